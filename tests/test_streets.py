"""Tests of the drawn data sets: same bytes for a seed, exact masks, CamVid's long tail, and the layouts on disk."""

import cv2
import numpy as np
import pytest
from PIL import Image

from streets import draw_street, write_stanford_background, write_streets, write_voc, writers

# CamVid's train split, % of all pixels, classes 0-10 and void
CAMVID_SHARES = np.array([16.85, 23.26, 0.98, 31.66, 4.49, 9.72, 1.17, 1.13, 5.87, 0.64, 0.29, 3.95])


@pytest.fixture(scope="module")
def camvid_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streets")
    counts = {"train": 4, "val": 3, "test": 2}
    assert write_streets(folder, counts=counts, size=(96, 72), progress=False) == folder
    return folder


@pytest.fixture(scope="module")
def voc_root(tmp_path_factory):
    return write_voc(tmp_path_factory.mktemp("voc"), counts={"train": 14, "val": 6, "test": 4})


def test_a_seed_gives_the_same_bytes_whatever_was_drawn_before():
    first = draw_street(7, (96, 72), instances=True)
    np.random.default_rng(0).random(10)
    draw_street(8, (96, 72))
    again = draw_street(7, (96, 72), instances=True)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, again, strict=True))
    assert first[0].tobytes() != draw_street(8, (96, 72))[0].tobytes()
    assert all((a == b).all() for a, b in zip(draw_street(7, (96, 72)), first, strict=False))


@pytest.mark.parametrize("size", [(96, 72), (240, 180), (320, 240), (101, 67), (480, 360)])
@pytest.mark.parametrize("style", ["day", "dusk"])
def test_sizes_and_types(size, style):
    image, mask, instances = draw_street(3, size, style=style, instances=True)
    assert image.shape == (size[1], size[0], 3) and mask.shape == instances.shape == (size[1], size[0])
    assert (image.dtype, mask.dtype, instances.dtype) == (np.uint8, np.uint8, np.uint16)
    assert mask.max() <= 11 and image.std() > 20 and image.flags.c_contiguous


@pytest.mark.parametrize("seed", [0, 5, 11])
def test_the_composition_is_the_same_at_every_size(seed):
    large = draw_street(seed, (480, 360))[1]
    for size in [(240, 180), (96, 72)]:
        small = draw_street(seed, size)[1]
        sampled = cv2.resize(large, size, interpolation=cv2.INTER_NEAREST)
        assert (small == sampled).mean() > (0.95 if size[0] == 240 else 0.9)
        other = draw_street(seed + 1, size)[1]
        assert (other == sampled).mean() < 0.85  # so that the line above can fail


def test_dusk_is_the_same_street_in_another_light():
    for seed in range(4):
        (day, mask), (dusk, dusk_mask) = (draw_street(seed, (96, 72), style=style) for style in ("day", "dusk"))
        assert (mask == dusk_mask).mean() > 0.98  # loose leaves turn to the sun
        assert dusk.mean() < day.mean() - 15


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match="style"):
        draw_street(0, style="night")
    with pytest.raises(ValueError, match="16 pixels"):
        draw_street(0, (240, 8))
    with pytest.raises(ValueError):
        draw_street(-1)


def test_class_shares_are_camvids_within_a_factor_of_three():
    masks = [draw_street(seed, (160, 120))[1] for seed in range(64)]
    share = 100 * np.bincount(np.concatenate(masks, None), minlength=12) / np.concatenate(masks, None).size
    assert len(share) == 12
    ratio = share / CAMVID_SHARES
    assert (ratio > 1 / 3).all() and (ratio < 3).all(), ratio.round(2)
    assert 1 <= share[11] <= 4
    for rare in (7, 9, 10):  # fence, pedestrian and bicyclist are not in every scene
        assert 10 < sum((mask == rare).any() for mask in masks) < 64


def test_mask_edges_lie_on_image_edges():
    """Colour jumps across label borders: far more than between neighbours with one label."""
    across, within = [], []
    for seed in range(6):
        image, mask = draw_street(seed, (240, 180))
        jump = np.abs(np.diff(image.astype(float), axis=1)).sum(2)
        jump = np.maximum(jump[:, :-1], jump[:, 1:])  # an edge may be one pixel off
        border = (mask[:, 1:] != mask[:, :-1])[:, :-1]
        across.append(jump[border].mean())
        within.append(jump[~border].mean())
    assert np.mean(across) > 2.5 * np.mean(within), (across, within)


def test_each_instance_has_one_of_the_three_object_classes():
    seen = set()
    for seed in range(6):
        _, mask, instances = draw_street(seed, instances=True)
        ids = np.unique(instances)
        assert (ids == np.arange(len(ids))).all()  # 0, 1, 2, ... without gaps
        assert ((instances > 0) == np.isin(mask, (8, 9, 10))).all()
        for i in ids[1:]:
            classes = np.unique(mask[instances == i])
            assert len(classes) == 1
            seen.add(int(classes[0]))
    assert seen == {8, 9, 10}


def test_threads_and_cv2_settings_are_left_alone():
    before = cv2.getNumThreads()
    draw_street(0, (96, 72))
    assert cv2.getNumThreads() == before


def test_camvid_layout(camvid_folder):
    names = set()
    for split, count in {"train": 4, "val": 3, "test": 2}.items():
        lines = (camvid_folder / f"{split}.txt").read_text().splitlines()
        assert len(lines) == count
        for line in lines:
            image_path, mask_path = line.split(" ")
            assert image_path.startswith(f"{split}/") and mask_path == image_path.replace("/", "annot/")
            with Image.open(camvid_folder / image_path) as image, Image.open(camvid_folder / mask_path) as mask:
                assert (image.mode, mask.mode, image.size, mask.size) == ("RGB", "L", (96, 72), (96, 72))
                image, mask = np.array(image), np.array(mask)
            assert mask.max() <= 11
            seed = int(image_path.rsplit("_", 1)[1].removesuffix(".png"))
            again = draw_street(seed, (96, 72))
            assert (again[0] == image).all() and (again[1] == mask).all()
            names.add(image_path.split("/")[1])
        assert len(list((camvid_folder / split).iterdir())) == len(list((camvid_folder / f"{split}annot").iterdir()))
    assert len(names) == 9  # no scene in two splits
    folders = {"train", "trainannot", "val", "valannot", "test", "testannot"}
    assert {path.name for path in camvid_folder.iterdir()} == folders | {"train.txt", "val.txt", "test.txt"}


def test_splits_and_data_sets_have_seeds_of_their_own():
    most = writers.SCENES_PER_SPLIT
    ranges = sorted((writers.scene_seed(seed, split, 0), writers.scene_seed(seed, split, most - 1))
                    for seed in range(3) for split in range(10))  # fmt: skip
    assert all(last < first for (_, last), (first, _) in zip(ranges, ranges[1:], strict=False))
    with pytest.raises(ValueError, match="count"):
        write_streets("never_written", counts={"train": most + 1})


def test_write_streets_refuses_what_would_mix(camvid_folder, tmp_path):
    with pytest.raises(ValueError, match="unknown split"):
        write_streets(tmp_path, counts={"training": 1})
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileExistsError, match="other pictures"):
        write_streets(camvid_folder, counts={"train": 2}, size=(96, 72), progress=False)


def test_voc_layout(voc_root):
    assert voc_root.parts[-2:] == ("VOCdevkit", "VOC2007")
    lists = {path.stem: path.read_text().split() for path in (voc_root / "ImageSets/Segmentation").iterdir()}
    assert {name: len(members) for name, members in lists.items()} == {"train": 14, "val": 6, "trainval": 20, "test": 4}
    assert lists["trainval"] == sorted(lists["train"] + lists["val"])
    names = {*lists["trainval"], *lists["test"]}
    assert len(names) == 24 and all(len(name) == 6 and name.isdigit() for name in names)
    for part, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png"), ("SegmentationObject", "png")):
        assert {path.name for path in (voc_root / part).iterdir()} == {f"{name}.{suffix}" for name in names}


def test_voc_masks(voc_root):
    classes_seen = set()
    for path in (voc_root / "SegmentationClass").iterdir():
        with Image.open(path) as picture, Image.open(voc_root / "SegmentationObject" / path.name) as second:
            assert picture.mode == second.mode == "P"
            colours = np.array(picture.getpalette()).reshape(-1, 3)
            classes, objects = np.array(picture), np.array(second)
        with Image.open(voc_root / "JPEGImages" / f"{path.stem}.jpg") as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (250, 188))
        # the official development kit's first colours, and the border's
        assert colours[[0, 1, 7, 15, 16, 255]].tolist() == [
            [0, 0, 0], [128, 0, 0], [128, 128, 128], [192, 128, 128], [0, 64, 0], [224, 224, 192]]  # fmt: skip
        assert ((classes == 255) == (objects == 255)).all() and ((classes == 0) == (objects == 0)).all()
        ids = np.setdiff1d(objects, (0, 255))
        assert 1 <= len(ids) <= 6 and (ids == np.arange(1, len(ids) + 1)).all()
        for i in ids:
            own = np.unique(classes[objects == i])
            assert len(own) == 1 and 1 <= own[0] <= 20
            classes_seen.add(int(own[0]))
        # nothing but border touches an object: neither background nor another object
        for a, b in ((objects[1:], objects[:-1]), (objects[:, 1:], objects[:, :-1])):
            assert not ((a != b) & (a != 255) & (b != 255)).any()
        assert 0.002 < (classes == 255).mean() < 0.25
    assert len(classes_seen) >= 5 and {7, 15} <= classes_seen


def test_voc_2012_has_its_names_and_no_test_masks(tmp_path):
    root = write_voc(tmp_path, year="2012", counts={"train": 2, "val": 1}, size=(125, 94))
    lists = {path.stem: path.read_text().split() for path in (root / "ImageSets/Segmentation").iterdir()}
    assert set(lists) == {"train", "val", "trainval"} and root.name == "VOC2012"
    assert all(name.startswith("2007_") and len(name) == 11 for name in lists["trainval"])
    with pytest.raises(ValueError, match="unknown split"):
        write_voc(tmp_path, year="2012", counts={"test": 1})
    with pytest.raises(ValueError, match="year"):
        write_voc(tmp_path, year="2010")


def test_stanford_background_layout(tmp_path):
    root = write_stanford_background(tmp_path, count=16, size=(160, 120))
    images = sorted((root / "images").iterdir())
    assert root.name == "iccv09Data" and len(images) == len(list((root / "labels").iterdir())) == 16
    seen, unknown = set(), []
    for path in images:
        assert len(path.stem) == 7 and path.stem.isdigit()
        rows = (root / "labels" / f"{path.stem}.regions.txt").read_text().splitlines()
        labels = np.array([[int(word) for word in row.split(" ")] for row in rows])
        with Image.open(path) as image:
            assert (image.format, image.size) == ("JPEG", (160, 120)) and labels.shape == (120, 160)
        assert labels.min() >= -1 and labels.max() <= 7
        seen |= set(np.unique(labels).tolist())
        unknown.append((labels == -1).mean())
    assert seen == set(range(-1, 8))
    assert 0 < np.mean(unknown) < 0.1
