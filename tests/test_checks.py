"""Looking at a whole data set, at parts of one, at classes and palettes; the command; where Kaggle mounts data."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Subset, random_split

from files_of_all_kinds import save, turned
from segmentation_helpers import environment, pictures
from segmentation_helpers.datasets import DatasetError, FolderDataset, SegmentationDataset, check_dataset, voc_palette
from segmentation_helpers.datasets.__main__ import main
from segmentation_helpers.datasets.members import members
from segmentation_helpers.settings import SettingError, own_data

ABC = list("abc")
RNG = np.random.default_rng(0)


def own(folder, classes=ABC, **options):
    return FolderDataset(folder / "images", folder / "masks", classes, **options)


def quiet(call, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return call(*arguments)


# Classes and palettes --------------------------------------------------------------------------------------------------


def test_classes_are_names_in_the_order_of_their_ids(folder_of_pairs):
    for classes in (ABC, tuple(ABC), (c for c in ABC), np.array(ABC), {0: "a", 1: "b", 2: "c"}, {"2": "c", "0": "a", "1": "b"},
                    {2: "c", 1: "b", 0: "a"}, {"a": 0, "c": 2, "b": 1}):  # fmt: skip
        data = own(folder_of_pairs, classes)
        assert data.classes == ABC and all(type(name) is str for name in data.classes)
        pictures.show_samples(data, [0])


@pytest.mark.parametrize("classes, words", [
    (3, r'classes=\["class 0", "class 1", "class 2"\]'), ("cat", r'give a list, classes=\["cat"\]'),
    ("background, cat", r'classes=\["background", "cat"\]'), ({0: "a", 2: "b"}, "no name for the id 1"),
    ({1: "a", 2: "b"}, "id 0"), (["a", "b", "a"], '"a" twice'), ({"a", "b"}, "a set, which has no order"),
    ([0, 1, 2], "holds 0, which is no name"), ([], "empty"),
    (["a", ""], "holds '', which is no name"), (None, "classes is None"), ({0: "a", "x": "b"}, "as a dict it must be"),
    ({}, "empty"), ({0: "a", 1: "a"}, "twice"), (True, "classes is True"),
])  # fmt: skip
def test_classes_that_make_no_sense(folder_of_pairs, classes, words):
    with pytest.raises(DatasetError, match=words):
        own(folder_of_pairs, classes)
    with pytest.raises(DatasetError, match=words):
        SegmentationDataset([("a", "b")], classes, None, decode=None)


def test_the_remedies_for_classes_work(folder_of_pairs):
    for classes in (3, "a, b, c"):
        with pytest.raises(DatasetError) as error:
            own(folder_of_pairs, classes)
        text = str(error.value)
        assert len(own(folder_of_pairs, eval(text[text.index("classes=[") + 8 : text.rindex("]") + 1])).classes) == 3


@pytest.mark.parametrize("count", [33, 150, 253])
def test_many_classes_have_different_colours(folder_of_pairs, count):
    data = own(folder_of_pairs, [f"c{i}" for i in range(count)])
    assert len(np.unique(data.palette, axis=0)) == count
    np.testing.assert_array_equal(data.palette, voc_palette(count))
    check_dataset(data)
    with pytest.raises(DatasetError, match="at most 253"):
        own(folder_of_pairs, [f"c{i}" for i in range(254)])


@pytest.mark.parametrize("palette", [
    [(0, 0, 0), (255, 0, 0), (0, 9, 0)], ["#000000", "#ff0000", "000900"], [0, 0, 0, 255, 0, 0, 0, 9, 0],
    np.array([(0, 0, 0), (255, 0, 0), (0, 9, 0)], np.uint8), [(0.0, 0, 0), (255.0, 0, 0), (0, 9.0, 0)],
])  # fmt: skip
def test_palettes(folder_of_pairs, palette):
    assert own(folder_of_pairs, palette=palette).palette.tolist() == [[0, 0, 0], [255, 0, 0], [0, 9, 0]]


@pytest.mark.parametrize("palette, words", [
    ([(0.0, 0, 0), (1.0, 0, 0), (0, 0.9, 0)], "0 to 1, but they are 0 to 255"),
    ([(0, 0, 0), (1, 1, 1)], "3 classes and 2 col"),
    ([(0, 0, 0), (1, 1, 1), (0, 256, 0)], r"\(0, 256, 0\)"), ([(0, 0, 0), (1, 1, 1), (0, -1, 0)], "whole numbers from 0 to 255"),
    ([(0, 0, 0, 255)] * 3, r"shape \(3, 4\)"), (voc_palette(), "3 classes and 256 colours"),
    (["red", "green", "blue"], "red, green"),
    ([(0, 0, 0), (1.5, 9, 9), (0, 9, 0)], "whole numbers"), (5, "a colour"),
])  # fmt: skip
def test_palettes_that_make_no_sense(folder_of_pairs, palette, words):
    with pytest.raises(DatasetError, match=words):
        own(folder_of_pairs, palette=palette)


# Subset, random_split, ConcatDataset -----------------------------------------------------------------------------------


def test_parts_and_sums_of_data_sets_are_looked_through(folder_of_pairs):
    data = own(folder_of_pairs)
    train, valid = random_split(data, [7, 3], torch.Generator().manual_seed(1))
    both, inner = ConcatDataset([train, valid]), Subset(ConcatDataset([data, data]), [3, 17, -1])
    np.testing.assert_array_equal(check_dataset(both), check_dataset(data))
    np.testing.assert_array_equal(check_dataset(train) + check_dataset(valid), check_dataset(data))
    for place, original in enumerate((3, 7, 9)):
        for a, b in zip(members(inner).read(place), data.read(original), strict=True):
            np.testing.assert_array_equal(a, b)
    for part in (train, both, inner):
        found = members(part)
        assert found.classes == ABC and found.ignore_index == 255 and len(found) == len(part) and found.bands == 3
        fig = pictures.show_samples(part, [1])
        np.testing.assert_array_equal(np.asarray(fig.axes[0].images[0].get_array()), found.read(1)[0])
        assert len(pictures.contact_sheet(part, range(3)).axes) == 3
        loader = DataLoader(part, 2)
        assert len(pictures.show_batch(*next(iter(loader)), part).axes) == 4
        image, mask = found.read(0)
        assert len(pictures.show_predictions([image], [mask], [mask], part).axes) == 4
        seen = []
        pictures.best_and_worst(
            None, part, k=1, predict=lambda model, image, seen=seen: seen.append(image) or image[..., 0] % 3
        )
        np.testing.assert_array_equal(seen[1], found.read(1)[0])
    (folder_of_pairs / "masks/p3.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"p3\.png cannot be read"):
        check_dataset(Subset(data, [1, 3]))


def test_what_has_no_classes_is_refused_in_words(folder_of_pairs):
    data = own(folder_of_pairs)
    with pytest.raises(DatasetError, match="different classes"):
        check_dataset(ConcatDataset([data, own(folder_of_pairs, ["x", "y", "z"])]))
    with pytest.raises(DatasetError, match=r"A DataLoader has no masks.*give its \.dataset"):
        check_dataset(DataLoader(data))
    with pytest.raises(DatasetError, match="A list has no masks of known classes"):
        pictures.show_samples([1, 2], [0])
    with pytest.raises(DatasetError, match="no pictures"):
        check_dataset(Subset(data, []))


def test_data_sets_that_do_not_go_together_are_told_of(folder_of_pairs):
    data, grey = own(folder_of_pairs), own(folder_of_pairs, bands=1)
    for both in (ConcatDataset([data, grey]), ConcatDataset([Subset(data, [1]), Subset(grey, [2, 3])])):
        with pytest.raises(
            DatasetError, match="put together have different bands, 3 and 1: make them with the same bands"
        ):
            check_dataset(both)
        with pytest.raises(DatasetError, match="different bands"):
            pictures.show_samples(both, [0])
    other = own(folder_of_pairs, palette=[(9, 9, 9), (255, 0, 0), (0, 0, 255)])
    with pytest.warns(UserWarning, match="put together have different palettes: .* the colours of the first") as told:
        found = members(ConcatDataset([data, other, other]))
    assert len(told) == 1 and told[0].filename == __file__
    np.testing.assert_array_equal(found.palette, data.palette)
    quiet(check_dataset, ConcatDataset([data, own(folder_of_pairs, scale=255), own(folder_of_pairs)]))
    quiet(check_dataset, ConcatDataset([other, Subset(other, [1])]))


def test_a_number_of_samples_is_spread_evenly(folder_of_pairs):
    data = own(folder_of_pairs)
    for count, places in ((3, [0, 3, 6]), (1, [0]), (12, range(10)), (np.int64(2), [0, 5])):
        fig = pictures.show_samples(data, count)
        assert len(fig.axes) == 3 * len(places)
        for row, place in enumerate(places):
            np.testing.assert_array_equal(np.asarray(fig.axes[3 * row].images[0].get_array()), data.read(place)[0])
    with pytest.raises(ValueError, match="no samples"):
        pictures.show_samples(data, 0)
    for wrong in ("ab", 2.5, None):
        with pytest.raises(ValueError, match=r"must be numbers of samples, \[0, 5\], or how many"):
            pictures.show_samples(data, wrong)


@pytest.mark.parametrize("bands", [1, 2, 4, 5])
def test_pictures_of_any_number_of_bands_are_shown(tmp_path, bands):
    image, mask = RNG.integers(0, 256, (12, 16, bands), dtype=np.uint8), RNG.integers(0, 2, (12, 16), dtype=np.uint8)
    (tmp_path / "images").mkdir()
    for i in range(2):
        tifffile.imwrite(tmp_path / f"images/{i}.tif", np.moveaxis(image, 2, 0), photometric="minisblack")
        save(mask, tmp_path / f"masks/{i}.png")
    data = own(tmp_path, ["a", "b"], bands=bands)
    expected = image[..., :3] if bands > 2 else image[..., :1].repeat(3, 2)
    np.testing.assert_array_equal(np.asarray(pictures.show_samples(data, [0]).axes[0].images[0].get_array()), expected)
    batch, masks = next(iter(DataLoader(data, 2)))
    above, below = pictures.show_batch(batch, masks, data).axes[::2][:2]
    np.testing.assert_array_equal(np.asarray(above.images[0].get_array()), expected)
    np.testing.assert_array_equal(
        np.asarray(below.images[0].get_array()), pictures.overlay(expected, mask, data.palette)
    )
    sheet = np.asarray(pictures.contact_sheet(data, [0]).axes[0].images[0].get_array())
    np.testing.assert_array_equal(sheet[:12], expected)
    fig = pictures.best_and_worst(
        None, data, k=1, predict=lambda model, picture: (picture[..., 0] > 99).astype(np.uint8)
    )
    np.testing.assert_array_equal(np.asarray(fig.axes[0].images[0].get_array()), expected)
    check_dataset(data)


# What check_dataset finds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, 1, 2])
def test_one_class_everywhere_is_nothing_to_tell_apart(folder_of_pairs, value):
    for path in sorted((folder_of_pairs / "masks").iterdir())[:-1]:
        save(np.full((32, 40), value, np.uint8), path)
    assert (quiet(check_dataset, own(folder_of_pairs))[:3] > 0).sum() == 3, "one mask of many is enough"
    save(np.where(np.arange(40) < 9, 255, np.full((32, 40), value)).astype(np.uint8), path.with_name("p9.png"))
    message = (
        "hold only 0 and 255" if value == 0 else rf'All masks hold the class "{ABC[value]}" alone.*p0\.png the first'
    )
    with pytest.raises(DatasetError, match=message):
        check_dataset(own(folder_of_pairs))


def test_masks_of_a_decoder_of_ones_own_are_looked_at(folder_of_pairs):
    pairs = own(folder_of_pairs).pairs
    for decode, words in (
        (lambda path: np.array(Image.open(path)).astype(int), "read as int64"),
        (lambda path: np.array(Image.open(path)) % 3 + 5, "read as the id [567], but there are 3 classes"),
    ):
        with pytest.raises(DatasetError, match=words):
            check_dataset(SegmentationDataset(pairs, ABC, None, decode))


ODD_PICTURES = {
    "one colour": (np.full((32, 40, 3), 77, np.uint8), r"p3\.png is of one colour"),
    "black": (RNG.integers(0, 16, (32, 40, 3), dtype=np.uint8), r"p3\.png is nearly black: look at it\.$"),
    "white": (RNG.integers(240, 256, (32, 40, 3), dtype=np.uint8), r"p3\.png is nearly white"),
    "12 of 16 bits": (RNG.integers(0, 4096, (32, 40), dtype=np.uint16),
                      r"p3\.png is nearly black.*largest is \d+, which scale=4095 fits"),
    "16 bits": (RNG.integers(0, 65536, (32, 40), dtype=np.uint16),
                "p3.png has 1 band of 16 bits, but 9 of 10 pictures have 3 bands of 8"),
    "grey": (RNG.integers(0, 256, (32, 40), dtype=np.uint8), "p3.png has 1 band of 8 bits, but 9 of 10"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD_PICTURES)
def test_odd_pictures_are_told_of(folder_of_pairs, kind):
    array, words = ODD_PICTURES[kind]
    assert quiet(check_dataset, own(folder_of_pairs)).sum() == 10 * 32 * 40
    (folder_of_pairs / "images/p3.jpg").unlink()
    save(array, folder_of_pairs / "images/p3.png")
    with pytest.warns(UserWarning, match=words) as told:
        check_dataset(own(folder_of_pairs))
    assert all(warning.filename == __file__ for warning in told)


def test_a_picture_whose_size_does_not_tell_how_it_is_turned(folder_of_pairs):
    image = own(folder_of_pairs).read(4)[0]
    turned(image, folder_of_pairs / "images/p4.jpg", 3)
    with pytest.warns(UserWarning, match=r"p4\.jpg is turned by its EXIF orientation.*1 such picture\)"):
        check_dataset(own(folder_of_pairs))
    turned(image, folder_of_pairs / "images/p4.jpg", 6)
    quiet(check_dataset, own(folder_of_pairs))


def test_a_cached_data_set_is_checked_without_its_files(folder_of_pairs):
    data = own(folder_of_pairs, cache=True)
    before = check_dataset(data)
    for path in (folder_of_pairs / "images").iterdir():
        path.unlink()
    np.testing.assert_array_equal(check_dataset(data), before)


def blobs(low, high, size=(64, 80)):
    """A mask of two ids in areas."""
    return np.where(np.kron(RNG.integers(0, 2, (8, 10)), np.ones((size[0] // 8, size[1] // 10))) > 0, high, low).astype(
        np.uint8
    )


def masks_of(root, masks):
    for number, mask in enumerate(masks):
        save(RNG.integers(0, 256, (*mask.shape, 3), dtype=np.uint8), root / f"images/{number}.png")
        save(mask, root / f"masks/{number}.png")
    return own(root, [f"c{i}" for i in range(21)])


@pytest.mark.parametrize("way", [Image.Resampling.BILINEAR, Image.Resampling.HAMMING])
@pytest.mark.parametrize("size", [(400, 320), (96, 72), (70, 60)])
def test_classes_that_smooth_resizing_has_made_are_told_of(tmp_path, way, size):
    masks = [blobs(low, high, (128, 160)) for low, high in ((0, 15), (0, 15), (15, 20))]
    smooth = [np.array(Image.fromarray(mask).resize(size, way)) for mask in masks]
    found = {*np.unique(np.stack(smooth)).tolist()} - {0, 15, 20}
    with pytest.warns(
        UserWarning, match=rf"{len(found)} classes \('c.*0\.png the first mask: .*resized smoothly.*INTER_NEAREST"
    ):
        check_dataset(masks_of(tmp_path / "smooth", smooth))
    nearest = [np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)) for mask in masks]
    quiet(check_dataset, masks_of(tmp_path / "nearest", nearest))


def test_thin_classes_that_are_drawn_are_quiet(tmp_path):
    border = blobs(0, 2)
    low, high = cv2.erode(border, np.ones((3, 3))), cv2.dilate(border, np.ones((3, 3)))
    border[low < high] = 1  # cells, their borders and the background
    lines = np.zeros((64, 80), np.uint8)
    lines[::8], lines[4::16] = 3, 4
    lines[:, 40:], lines[:, 60] = 9, 5
    noise = RNG.integers(0, 21, (20, 28), dtype=np.uint8)
    for number, masks in enumerate(([border], [lines], [border, lines], [noise])):
        quiet(check_dataset, masks_of(tmp_path / str(number), masks))


# The command, settings, Kaggle -----------------------------------------------------------------------------------------


def command(folder, *options):
    line = [
        sys.executable,
        "-m",
        "segmentation_helpers.datasets",
        str(folder / "images"),
        str(folder / "masks"),
        *options,
    ]
    path = str(Path(environment.__file__).parents[1])
    return subprocess.run(line, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path})


def test_the_command_prints_a_line_per_class(folder_of_pairs):
    run = command(folder_of_pairs, "--classes", "a,b,see")
    shares = check_dataset(own(folder_of_pairs)) / (10 * 32 * 40)
    assert run.returncode == 0 and run.stderr == ""
    first, *lines = run.stdout.splitlines()
    assert first == "10 pictures" and [line.split()[0] for line in lines] == ["a", "b", "see", "void"]
    assert [float(line.split()[1].rstrip("%")) for line in lines] == pytest.approx(100 * shares, abs=0.006)
    run = command(folder_of_pairs, "--classes", "a,b")
    assert run.returncode == 1 and run.stdout == "" and len(run.stderr.splitlines()) == 1
    assert "holds the id 2" in run.stderr


def test_the_commands_options(folder_of_pairs, capsys):
    folders = [str(folder_of_pairs / "images"), str(folder_of_pairs / "masks")]
    expected = check_dataset(own(folder_of_pairs, ["a", "b"], mapping={0: 0, 1: 1, 2: 1, 255: 255}))

    def shares(*options):
        main([*folders, *options])
        return [float(line.split()[1].rstrip("%")) for line in capsys.readouterr().out.splitlines()[1:]]

    assert shares("--classes", "a,b", "--mapping", "0:a,1:b,2:1,255:void") == pytest.approx(expected / 128, abs=0.006)
    assert shares("--classes", "a,b", "--threshold", "1", "--bands", "1", "--scale", "255")[2] == 0
    (folder_of_pairs / "masks/p0.png").unlink()
    for options, words in (
        ([], "p0.jpg has no mask"), (["--mask-pattern", "x{name}.png"], "no mask"), (["--image-pattern", "x"], "{name} once"),
        (["--unpaired", "skip", "--bands", "two"], "bands is 'two'"), (["--classes", "a,a"], "names a twice"),
    ):  # fmt: skip
        with pytest.raises(SystemExit) as left:
            main([*folders, "--classes", "a,b,c", *options])
        assert words in str(left.value) and "\n" not in str(left.value)
    main(
        [
            *folders,
            "--classes",
            "a,b,c",
            "--unpaired",
            "skip",
            "--image-pattern",
            "{name}.jpg",
            "--mask-pattern",
            "{name}.*",
        ]
    )
    assert capsys.readouterr().out.splitlines()[1] == "9 pictures"


def test_settings_for_own_data_take_the_other_options(folder_of_pairs):
    given = own_data(
        folder_of_pairs / "images",
        folder_of_pairs / "masks",
        "a,b",
        threshold="1",
        bands="1",
        scale=None,
        unpaired="skip",
    )
    assert given["threshold"] == 1 and given["bands"] == 1 and given["unpaired"] == "skip" and "scale" not in given
    assert FolderDataset(**given).read(0)[0].shape == (32, 40, 1)
    with pytest.raises(SettingError, match="bands is 'x'"):
        own_data("i", "m", "a,b", bands="x")
    with pytest.raises(SettingError, match="threshold is given, but not images"):
        own_data(None, None, None, threshold=1)


@pytest.mark.parametrize("mount", ["camvid", "datasets/carlolepelaars/camvid", "competitions/camvid-2026"])
def test_data_attached_on_kaggle_are_found(tmp_path, monkeypatch, mount):
    real = environment.Path
    monkeypatch.setattr(environment, "Path", lambda *a: tmp_path if a == ("/kaggle/input",) else real(*a))
    monkeypatch.setenv("SEGMENTATION_DATA", str(tmp_path / "none"))
    (tmp_path / mount).mkdir(parents=True)
    roots = environment.data_roots()
    assert roots[0] == tmp_path / "none" and tmp_path / mount in roots
    from segmentation_helpers.datasets.known import _find

    save(np.zeros((4, 4, 3), np.uint8), tmp_path / mount / "CamVid/val/x.png")
    (tmp_path / mount / "CamVid/class_dict.csv").write_text("name,r,g,b\n")
    assert _find("camvid", None, {"class_dict.csv": "kaggle"}, False) == (tmp_path / mount / "CamVid", "kaggle")
