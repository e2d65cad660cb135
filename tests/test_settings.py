"""Settings from the command line: text becomes what a notebook works with, and nonsense is named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmentation_helpers import settings
from segmentation_helpers.datasets import DatasetError, FolderDataset, load_dataset
from segmentation_helpers.environment import given_path
from segmentation_helpers.settings import SettingError, choice, meanings, names, numbers, own_data, size


@pytest.mark.parametrize(
    ("value", "expected"),
    [("240x320", (240, 320)), ("240, 320", (240, 320)), ("(240, 320)", (240, 320)), ("96", (96, 96)), (96, (96, 96)),
     ((240, 320), (240, 320)), ([240, 320], (240, 320)), (None, None)],
)  # fmt: skip
def test_sizes_are_height_by_width(value, expected):
    assert size(value) == expected


@pytest.mark.parametrize("value", ["240;320", "", "0x10", "a", (1, 2, 3), 2.5, (2.5, 3), -4, "240x320x3", {}, True])
def test_sizes_that_make_no_sense(value):
    with pytest.raises(SettingError, match=r"image_size is .*: give height x width in pixels, such as 240x320"):
        size(value)


def test_names():
    assert names("background, cat") == names(["background", "cat"]) == ["background", "cat"]
    assert names("cat") == ["cat"] and names(None) is None
    for wrong in ("a,,b", "", ["a", 1], []):
        with pytest.raises(SettingError, match="classes is .*with commas"):
            names(wrong)
    with pytest.raises(SettingError, match="encoders names a twice"):
        names("a,b,a", "encoders")


def test_numbers():
    assert numbers("2,4,6", "rates") == (2, 4, 6) and numbers("0.5, 1e-3", "rates") == (0.5, 0.001)
    assert numbers(3, "rates") == (3,) and numbers([1, 2], "rates") == (1, 2) and numbers(None, "rates") is None
    assert all(isinstance(value, int) for value in numbers("2,4", "rates"))
    with pytest.raises(SettingError, match='rates is .*"2,4,6"'):
        numbers("2;4", "rates")


@pytest.mark.parametrize("value, expected", [
    ("128", 128), ("128.0", 128), (" 4095.0 ", 4095), ("1e3", 1000), ("0.5", 0.5), (128, 128), (128.0, 128), (np.uint8(7), 7),
    (np.float32(0.5), 0.5), (None, None), ("-1", -1), (str(2**60 + 1), 2**60 + 1),
])  # fmt: skip
def test_one_number(value, expected):
    found = settings.number(value, "scale")
    assert found == expected and isinstance(found, type(expected))
    if value is not None:
        assert numbers(value, "scale") == (expected,)


@pytest.mark.parametrize("value", [
    "4,095", "65,535", "100,200", "0,5", "4095,", "", "x", [128], (1, 2), {}, True, "nan", float("inf"),
])  # fmt: skip
def test_what_is_not_one_number_is_refused(value):
    words = "give one number without a comma" if "," in str(value) and isinstance(value, str) else "give one number"
    with pytest.raises(SettingError, match=rf"threshold is .*: {words}"):
        settings.number(value, "threshold")
    for key in ("scale", "threshold", "bands"):
        with pytest.raises(SettingError, match=rf"{key} is .*: {words}"):
            own_data("images", "masks", "a,b", **{key: value})


def test_numbers_of_own_data_arrive_whole():
    given = own_data("images", "masks", "a,b", threshold="128.0", scale="4095.0", bands="3")
    assert given["threshold"] == 128 and given["scale"] == 4095 and given["bands"] == 3
    assert all(isinstance(given[key], int) for key in ("threshold", "scale", "bands"))
    assert own_data("images", "masks", "a,b", threshold="0.5")["threshold"] == 0.5


@pytest.mark.parametrize("value", ["", " ", 2024, [], ["images"], True])
@pytest.mark.parametrize("name", ["images", "masks"])
def test_a_folder_must_be_named(value, name):
    folders = {"images": "images", "masks": "masks"} | {name: value}
    with pytest.raises(
        SettingError, match=rf'{name} is .*: give the folder of your \w+, such as "{name}", or "\." for this one'
    ):
        own_data(**folders, classes="a,b")
    with pytest.raises(SettingError, match="give the folder of your pictures"):
        own_data("", None, None)
    assert own_data(**folders | {name: "."}, classes="a,b")[name].resolve() == given_path(".").resolve(), "the remedy"


def test_own_data_of_other_types_are_refused_in_words():
    for value in (2, 2.5, None, object()):
        if value is not None:
            with pytest.raises(SettingError, match="classes is .*: give names with commas"):
                names(value)
            with pytest.raises(SettingError, match="image_pattern is .*: give how files are called"):
                own_data("images", "masks", "a,b", image_pattern=value)
    assert names(np.array(["a", "b"])) == names(name for name in "ab") == ["a", "b"]


def test_mappings():
    assert meanings("0:0,255:1") == meanings({0: 0, 255: 1}) == meanings({"0": 0, "255": "1"}) == {0: 0, 255: 1}
    assert (
        meanings("#800000:1, #000000:0") == meanings({(128, 0, 0): 1, (0, 0, 0): 0}) == {(128, 0, 0): 1, (0, 0, 0): 0}
    )
    assert meanings("0:ground,7:void,9:255", ["ground", "cat"]) == {0: 0, 7: 255, 9: 255} and meanings(None) is None
    assert meanings({np.int64(3): np.uint8(1)}) == {3: 1} and meanings("-1:255,70000:0") == {-1: 255, 70000: 0}
    for wrong, words in [
        ("0", "value:class with commas"), ("0:0,0:1", "stands there twice"), ("0:0,#000000:1", "not both"),
        ("x:0", "the value 'x'"), ("0:9", "classes are 0 to 1"), ("0:dog", "classes are 0 to 1"), ("#80:1", "the value '#80'"),
        ("1.5:0", "the value '1.5'"), ("0:-1", "classes are 0 to 1"),
    ]:  # fmt: skip
        with pytest.raises(SettingError, match=words):
            meanings(wrong, ["ground", "cat"])


def test_a_choice_lists_what_there_is():
    assert choice("mla", ["mla", "pup"], "decoder") == "mla"
    with pytest.raises(SettingError, match="decoder is 'mal', but must be one of mla, pup"):
        choice("mal", ["mla", "pup"], "decoder")


def test_own_data_start_where_the_command_was_given(folder_of_pairs, monkeypatch):
    monkeypatch.setenv("SEGMENTATION_START", str(folder_of_pairs))
    own = own_data("images", "masks", "a,b,c", mapping="0:0,1:1,2:2")
    assert own["images"] == folder_of_pairs / "images"
    data = load_dataset("own", "val", own=own, cache=True)
    assert isinstance(data, FolderDataset) and len(data) == 2 and data.classes == ["a", "b", "c"]
    assert len(load_dataset("own", "train", own=own)) == 8
    monkeypatch.delenv("SEGMENTATION_START")
    monkeypatch.chdir(folder_of_pairs)
    assert own_data("images", Path("masks"), ["a"]) | {"classes": None, "mapping": None} == own | {
        "classes": None,
        "mapping": None,
    }
    assert own_data("~/x", "masks", "a")["images"] == Path.home() / "x"


def test_half_of_the_settings_for_own_data_is_an_error():
    assert own_data(None, None, None) is None
    for given, words in [
        ((None, "m", None), "masks is given, but not images"), (("i", None, "a"), "not masks, the folder of their masks"),
        (("i", "m", None), "not classes"), ((None, None, None, None, "{name}.png"), "image_pattern is given"),
    ]:  # fmt: skip
        with pytest.raises(SettingError, match=words):
            own_data(*given)
    with pytest.raises(DatasetError, match="your own data has no drives"):
        load_dataset("own", "train", own={"images": "i"}, valid="0006R0")
    assert issubclass(settings.SettingError, ValueError)


LAYOUTS = {  # where public data sets keep their pictures and masks
    "one folder": ("{name}_sat.jpg", "{name}_mask.png", "{name}_sat.jpg", "{name}_mask.png"),
    "Cityscapes": ("{name}_leftImg8bit.png", "{name}_gtFine_labelIds.png", "town/{name}_leftImg8bit.png",
                   "town/{name}_gtFine_labelIds.png"),
    "DRIVE": ("{name}_training.tif", "{name}_manual1.gif", "{name}_training.tif", "{name}_manual1.gif"),
    "prefixes": ("image_{name}.png", "mask_{name}.*", "image_{name}.png", "mask_{name}.bmp"),
    "a folder each": ("{name}/images/*.png", "{name}/masks/*.png", "{name}/images/p.png", "{name}/masks/m.png"),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_patterns_pair_what_names_alone_do_not(layout, tmp_path):
    image_pattern, mask_pattern, image_file, mask_file = LAYOUTS[layout]
    for number in range(3):
        for file, value in ((image_file, 60 * number), (mask_file, number)):
            path = tmp_path / file.replace("{name}", f"p{number}")
            path.parent.mkdir(parents=True, exist_ok=True)
            options = {"optimize": False} if path.suffix == ".gif" else {}  # else Pillow's GIFs number the ids anew
            Image.fromarray(np.full((8, 8), value, np.uint8)).save(path, **options)
    (tmp_path / "readme.png.txt").write_text("no picture")
    data = FolderDataset(tmp_path, tmp_path, ["a", "b", "c"], image_pattern=image_pattern, mask_pattern=mask_pattern)
    assert len(data) == 3
    for number, (image, mask) in enumerate(data.pairs):
        assert f"p{number}" in image.relative_to(tmp_path).as_posix() and image != mask
        assert mask == tmp_path / mask_file.replace("{name}", f"p{number}")
    (tmp_path / mask_file.replace("{name}", "p1")).unlink()
    with pytest.raises(DatasetError, match="p1.* has no mask: add the mask .*p1.*mask_pattern="):
        FolderDataset(tmp_path, tmp_path, ["a", "b", "c"], image_pattern=image_pattern, mask_pattern=mask_pattern)


def test_patterns_that_make_no_sense(folder_of_pairs):
    folders = folder_of_pairs / "images", folder_of_pairs / "masks", ["a", "b", "c"]
    with pytest.raises(DatasetError, match=r'"mask.png" must hold \{name\} once'):
        FolderDataset(*folders, mask_pattern="mask.png")
    with pytest.raises(DatasetError, match="give one of them"):
        FolderDataset(*folders, mask_suffix="_m", mask_pattern="{name}.png")
    (folder_of_pairs / "images/q_0.jpg").write_bytes((folder_of_pairs / "images/p0.jpg").read_bytes())
    (folder_of_pairs / "images/r_0.jpg").write_bytes((folder_of_pairs / "images/p0.jpg").read_bytes())
    with pytest.raises(DatasetError, match=r"both look like \*_\{name\}\.jpg"):
        FolderDataset(*folders, image_pattern="*_{name}.jpg")
