"""Which mask belongs to which picture; where they do not pair, the message names patterns that would, and these work."""

import re
import time
import unicodedata

import numpy as np
import pytest
from PIL import Image

from segmentation_helpers.datasets import DatasetError, FolderDataset

ABC = list("abc")


def write(root, *patterns, names=("0", "1", "2", "3")):
    """A file for each name and pattern; ids and pictures tell which."""
    for number, name in enumerate(names):
        for pattern in patterns:
            path = root / pattern.format(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            array = np.full((8, 8), number % 3, np.uint8)
            array[0, 0] = (number + 1) % 3
            picture = patterns.index(pattern) == 0
            options = {"optimize": False} if path.suffix == ".gif" else {}  # else Pillow's GIFs number the ids anew
            Image.fromarray(np.dstack([array * 50] * 3) if picture else array).save(path, **options)
    return root


def own(root, images="images", masks="masks", **options):
    return FolderDataset(root / images, root / masks, ABC, **options)


def follow(error):
    """What the message says to give, as options."""
    found = dict(re.findall(r'(image_pattern|mask_pattern|unpaired)="(.*?)"', str(error.value)))
    assert {"image_pattern", "mask_pattern"} <= set(found), str(error.value)
    return found


LAYOUTS = {  # pictures, masks, the two folders, options that somebody might start with
    "image_ and mask_": ("images/image_{}.png", "masks/mask_{}.png", "images", "masks", {}),
    "img and mask numbers": ("images/img{}.jpg", "masks/mask{}.png", "images", "masks", {}),
    "DeepGlobe": ("images/{}_sat.jpg", "masks/{}_mask.png", "images", "masks", {"mask_suffix": "_mask"}),
    "DRIVE": ("images/{}_training.tif", "masks/{}_manual1.gif", "images", "masks", {}),
    "DRIVE with a suffix": ("images/{}_training.tif", "masks/{}_manual1.gif", "images", "masks", {"mask_suffix": "_manual1"}),
    "Cityscapes": ("images/aachen/a_{}_leftImg8bit.png", "masks/aachen/a_{}_gtFine_labelIds.png", "images", "masks", {}),
    "Cityscapes with a suffix": ("images/aachen/a_{}_leftImg8bit.png", "masks/aachen/a_{}_gtFine_labelIds.png", "images", "masks",
                                 {"mask_suffix": "_gtFine_labelIds"}),
    "pictures in sub-folders": ("images/a/{}.png", "masks/a/{}.png", "images", "masks", {}),
    "masks alone in sub-folders": ("images/{}.png", "masks/labels/{}.png", "images", "masks", {}),
    "one folder": ("all/{}.jpg", "all/{}.png", "all", "all", {}),
    "one folder, sat and mask": ("all/{}_sat.jpg", "all/{}_mask.png", "all", "all", {}),
    "one folder, mask alone": ("all/{}.jpg", "all/{}_mask.png", "all", "all", {}),
    "one folder, same suffix": ("all/{}.png", "all/{}_mask.png", "all", "all", {}),
    "one folder, prefixes": ("all/image_{}.png", "all/label_{}.png", "all", "all", {}),
    "one folder, folders in it": ("all/images/{}.png", "all/masks/{}.png", "all", "all", {}),
    "one folder, split in it": ("all/train/images/{}.jpg", "all/train/masks/{}.png", "all", "all", {}),
    "a mask_suffix that is wrong": ("images/{}.png", "masks/{}_seg.png", "images", "masks", {"mask_suffix": "_mask"}),
    "named after the picture's file": ("images/{}.jpg", "masks/{}.jpg.png", "images", "masks", {}),
    "numbers on both sides": ("images/2024_{}_v2.png", "masks/2024_{}_v2_lbl.png", "images", "masks", {}),
    "accents": ("images/é{}_x.png", "masks/é{}_y.png", "images", "masks", {}),
}  # fmt: skip


@pytest.mark.parametrize(
    "names", [("0", "1", "2", "3"), ("8", "9", "10", "11"), ("100", "101"), ("7",), ("cat-1", "dog_2")]
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_patterns_that_a_message_names_pair_everything(tmp_path, layout, names):
    picture, mask, images, masks, options = LAYOUTS[layout]
    write(tmp_path, picture, mask, names=names)
    with pytest.raises(DatasetError, match=f"(All|all) {len(names)} pictures pair with image_pattern=") as error:
        own(tmp_path, images, masks, **options)
    data = own(tmp_path, images, masks, **follow(error))
    expected = [(tmp_path / picture.format(name), tmp_path / mask.format(name)) for name in names]
    assert sorted(data.pairs) == sorted(expected)


def test_several_kinds_of_masks_beside_each_other(tmp_path):
    kinds = [f"masks/{{}}_gtFine_{kind}.png" for kind in ("labelIds", "color", "instanceIds")]
    write(tmp_path, "images/{}_leftImg8bit.png", *kinds)
    with pytest.raises(DatasetError, match="Other files would pair, too: .*_gtFine_color.png") as error:
        own(tmp_path)
    pairs = own(tmp_path, **follow(error)).pairs
    assert [mask.name for _, mask in pairs] == [f"{i}_gtFine_labelIds.png" for i in range(4)]
    assert len(own(tmp_path, image_pattern="{name}_leftImg8bit.png", mask_suffix="_gtFine_instanceIds")) == 4


def test_one_folder_with_a_suffix_for_masks(tmp_path):
    write(tmp_path, "train/{}.jpg", "train/{}_mask.png")
    assert [image.name for image, _ in own(tmp_path, "train", "train", mask_suffix="_mask").pairs] == [
        "0.jpg",
        "1.jpg",
        "2.jpg",
        "3.jpg",
    ]
    write(tmp_path, "same/{}.png", "same/{}_mask.png")
    assert len(own(tmp_path, "same", "same", mask_suffix="_mask")) == 4
    assert len(own(tmp_path, "same", "same", image_pattern="{name}.png", mask_pattern="{name}_mask.png")) == 4
    write(tmp_path, "other/{}_img.png", "other/{}.png")
    data = own(tmp_path, "other", "other", image_pattern="{name}_img.png", mask_pattern="{name}.png")
    assert [(image.name, mask.name) for image, mask in data.pairs][0] == ("0_img.png", "0.png") and len(data) == 4
    write(tmp_path, "top/{}.png", "top/masks/{}.png")
    assert len(own(tmp_path, "top", "top/masks")) == 4
    assert len(own(tmp_path, "top", "top/masks", image_pattern="{name}.png")) == 4


def test_a_file_is_never_its_own_mask(tmp_path):
    write(tmp_path, "all/{}.png", names=["0"])
    for options in ({}, {"image_pattern": "{name}.png", "mask_pattern": "{name}.png"}):
        with pytest.raises(DatasetError, match="0.png would be picture and mask at once"):
            own(tmp_path, "all", "all", **options)


@pytest.mark.parametrize("way", ["a link to the folder", "two dots", "links to the files", "hard links"])
@pytest.mark.parametrize("options", [{}, {"threshold": 1, "classes": ["a", "b"]}])
def test_a_folder_under_two_names_is_one_folder(tmp_path, way, options):
    write(tmp_path, "images/{}.png")
    masks = tmp_path / ("images/../images" if way == "two dots" else "masks")
    if way == "a link to the folder":
        masks.symlink_to(tmp_path / "images")
    elif way != "two dots":
        masks.mkdir()
        for path in (tmp_path / "images").iterdir():
            (masks / path.name).symlink_to(path) if "links to" in way else (masks / path.name).hardlink_to(path)
    with pytest.raises(DatasetError, match="0.png would be picture and mask at once"):
        FolderDataset(tmp_path / "images", masks, **{"classes": ABC, **options})
    if way == "a link to the folder":
        write(tmp_path, "images/{}_img.png", "images/{}_mask.png")
        for path in (tmp_path / "images").glob("?.png"):
            path.unlink()
        with pytest.raises(DatasetError, match="one folder. All 4 pictures pair with") as error:
            own(tmp_path)
        assert len(own(tmp_path, **follow(error))) == 4


@pytest.mark.parametrize("pattern, better", [
    ("*{name}.png", "*_{name}.png"), ("{name}*.png", "{name}_*.png"), ("day*/x*{name}.png", "day*/x*_{name}.png"),
    ("{name}*", "{name}_*"),
])  # fmt: skip
def test_a_star_right_beside_the_name_is_refused(tmp_path, pattern, better):
    write(tmp_path, "images/im_{}.png", "masks/mask_{}.png", names=("11", "22", "32"))
    with pytest.raises(DatasetError, match="nobody can say where the name (begins|ends)") as error:
        own(tmp_path, image_pattern=pattern, mask_pattern=pattern)
    assert f'as in "{better}"' in str(error.value)


def test_what_a_star_leaves_is_the_longest_name(tmp_path):
    write(tmp_path, "images/im_{}.png", "masks/mask_{}.png", names=("1_1", "2_1", "3_2"))
    data = own(tmp_path, image_pattern="*_{name}.png", mask_pattern="*_{name}.png")
    assert [(image.stem, mask.stem) for image, mask in data.pairs] == [
        (f"im_{i}", f"mask_{i}") for i in ("1_1", "2_1", "3_2")
    ]
    write(tmp_path, "a/{}_x_2020.png", "b/{}_y.png", names=("1_1", "2_1"))
    data = own(tmp_path, "a", "b", image_pattern="{name}_x_*.png", mask_pattern="{name}_*.png")
    assert [(image.stem, mask.stem) for image, mask in data.pairs] == [
        (f"{i}_x_2020", f"{i}_y") for i in ("1_1", "2_1")
    ]


def test_pictures_in_sub_folders_beside_others_are_told_of(tmp_path):
    write(tmp_path, "images/{}.png", "masks/{}.png")
    own(tmp_path)
    write(tmp_path, "images/day2/{}.png", "masks/day2/{}.png", names=("5", "6"))
    write(tmp_path, "images/.hidden/{}.png", names=("5", "6"))
    words = r"holds 4 pictures, and 2 more in sub-folders \(day2/5\.png the first\), which are left out.*image_pattern="
    with pytest.warns(UserWarning, match=words) as told:
        assert len(own(tmp_path)) == 4
    assert len(told) == 1 and told[0].filename == __file__
    found = dict(re.findall(r'(image_pattern|mask_pattern)="(.*?)"', str(told[0].message)))
    assert len(own(tmp_path, **found)) == 6
    write(tmp_path, "top/{}.png", "top/labels/masks/{}.png")
    assert len(own(tmp_path, "top", "top/labels/masks")) == 4, "masks in a sub-folder are no pictures"


@pytest.mark.parametrize("unpaired", ["error", "skip"])
@pytest.mark.parametrize("missing", [0, 1, 3, 5])
def test_patterns_are_found_whichever_picture_lacks_its_mask(tmp_path, missing, unpaired):
    for layout in (("images/p{}.png", "masks/p{}_mask.png", "masks"), ("one/p{}.png", "one/p{}_mask.png", "one")):
        root = tmp_path / layout[2]
        write(root, *layout[:2], names="012345")
        (root / layout[1].format(missing)).unlink()
        with pytest.raises(DatasetError, match="5 of 6 pictures pair with") as error:
            own(root, "one" if layout[2] == "one" else "images", layout[2], unpaired=unpaired)
        data = own(root, "one" if layout[2] == "one" else "images", layout[2], **follow(error))
        assert [mask.stem for _, mask in data.pairs] == [f"p{i}_mask" for i in range(6) if i != missing]


def test_pictures_are_not_paired_with_pictures(tmp_path):
    tiles = [f"{i // 64:03}_{i % 64:03}" for i in range(130)]
    for name in [f"S2A_T32_tile_{tile}" for tile in tiles] + [f"label-{i * 7 + 1:05}" for i in range(130)]:
        (tmp_path / "all").mkdir(exist_ok=True)
        (tmp_path / f"all/{name}.png").write_bytes(b"")
    with pytest.raises(DatasetError, match="picture and mask at once. Say how each is called") as error:
        own(tmp_path, "all", "all")
    assert "pair with" not in str(error.value)


def test_a_way_that_pairs_few_files_is_not_suggested(tmp_path):
    write(tmp_path, "images/{}.png", names=[f"x{i}" for i in range(30)])
    write(tmp_path, "masks/{}.png", names=[f"other{i * 7}y" for i in range(27)])
    write(tmp_path, "masks/{}_mask.png", names=["x0", "x1", "x2"])
    with pytest.raises(DatasetError, match="no mask") as error:
        own(tmp_path)
    assert "pair with" not in str(error.value)


@pytest.mark.parametrize("layout", [("i/{}.tif", "i/{}_label.tif", "i"), ("i/{}_B04.tif", "m/label-{}.tif", "m")])
def test_patterns_of_thousands_of_files_are_found_in_seconds(tmp_path, layout):
    for number in range(3000):
        name = f"S2A_MSIL2A_20200101T103421_N0213_R108_T32TMS_20200101T122544_tile_{number // 64:03}_{number % 64:03}"
        for pattern in layout[:2]:
            path = tmp_path / pattern.format(name)
            path.parent.mkdir(exist_ok=True)
            path.touch()
    start = time.process_time()
    with pytest.raises(DatasetError, match="All 3000 pictures pair with"):
        own(tmp_path, "i", layout[2])
    assert time.process_time() - start < 10


@pytest.mark.parametrize("missing", ["masks/2.png", "images/2.png"])
def test_what_has_no_partner_is_left_out_where_asked(tmp_path, missing, capsys):
    write(tmp_path, "images/{}.png", "masks/{}.png")
    (tmp_path / missing).unlink()
    with pytest.raises(DatasetError, match='no (mask|picture).*unpaired="skip"'):
        own(tmp_path)
    data = own(tmp_path, unpaired="skip")
    assert [image.stem for image, _ in data.pairs] == [mask.stem for _, mask in data.pairs] == ["0", "1", "3"]
    what = "picture without a mask" if "masks" in missing else "mask without a picture"
    assert capsys.readouterr().out == f"Left out: 1 {what} (2.png the first). 3 pairs stay.\n"
    own(write(tmp_path, "images/{}.png", "masks/{}.png"), unpaired="skip")
    assert capsys.readouterr().out == "", "nothing was left out"
    (tmp_path / "masks/0.png").unlink()
    (tmp_path / "images/1.png").unlink()
    assert len(own(tmp_path, unpaired="skip")) == 2
    assert "1 picture without a mask (0.png the first) and 1 mask without a picture (1.png" in capsys.readouterr().out


def test_skipping_never_leaves_nothing(tmp_path):
    write(tmp_path, "images/a{}.png", "masks/b{}.png")
    with pytest.raises(DatasetError, match="All 4 pictures pair with") as error:
        own(tmp_path, unpaired="skip")
    assert len(own(tmp_path, **follow(error))) == 4
    with pytest.raises(DatasetError, match='must be "error" or "skip"'):
        own(tmp_path, unpaired="ignore")


def test_half_are_annotated_under_other_names(tmp_path):
    write(tmp_path, "images/image_{}.png")
    write(tmp_path, "images/image_{}.png", "masks/mask_{}.png", names=("0", "1"))
    with pytest.raises(DatasetError, match='2 of 4 pictures pair with .*unpaired="skip"') as error:
        own(tmp_path)
    assert len(own(tmp_path, **follow(error))) == 2


OTHERS = {
    ".npy": "np.load",
    ".json": "labelme",
    ".txt": "YOLO",
    ".xml": "CVAT",
    ".nii": "convert them to PNG",
    ".mat": "loadmat",
}


@pytest.mark.parametrize("suffix", OTHERS)
@pytest.mark.parametrize("pattern", ["{}", "{}_m"])
def test_masks_of_kinds_that_are_not_read_are_named(tmp_path, suffix, pattern):
    write(tmp_path, "images/{}.png")
    (tmp_path / "masks").mkdir()
    for i in range(4):
        (tmp_path / f"masks/{pattern.format(i)}{suffix}").write_text("{}")
    name = pattern.format(0)
    with pytest.raises(
        DatasetError, match=rf"{name}\{suffix} is there, but masks of \{suffix} cannot be read here: .*{OTHERS[suffix]}"
    ):
        own(tmp_path, mask_suffix="_m" if "_m" in pattern else "")


def test_the_remedy_for_arrays_works(tmp_path, monkeypatch):
    write(tmp_path, "images/{}.png", names=("0",))
    (tmp_path / "masks").mkdir()
    np.save(tmp_path / "masks/0.npy", np.eye(8, dtype=np.int64))
    with pytest.raises(DatasetError, match="save each array as PNG, ") as error:
        own(tmp_path)
    monkeypatch.chdir(tmp_path / "masks")
    exec(re.search(r"(Image\.fromarray.*\))\.$", str(error.value))[1], {"Image": Image, "np": np})
    assert own(tmp_path).read(0)[1].tolist() == np.eye(8, dtype=int).tolist()


def test_pictures_of_kinds_that_are_not_read_are_named(tmp_path):
    write(tmp_path, "images/{}.png", "masks/{}.png")
    (tmp_path / "images/2.png").rename(tmp_path / "images/2.heic")
    with pytest.raises(
        DatasetError, match=r"2\.png has no picture: 2\.heic is there, but pictures of \.heic cannot be read"
    ):
        own(tmp_path)
    for path in list((tmp_path / "images").iterdir()):
        path.rename(path.with_suffix(".dcm"))
    with pytest.raises(DatasetError, match=r"holds no pictures \(.*0\.dcm is there, but pictures of \.dcm cannot"):
        own(tmp_path)


@pytest.mark.parametrize("suffix", ["jfif", "pgm", "ppm", "pbm", "jp2", "PNG", "JPG", "Tiff"])
def test_kinds_that_are_read(tmp_path, suffix):
    write(tmp_path, "images/{}.png", "masks/{}.png")
    for path in list((tmp_path / "images").iterdir()):
        image = Image.open(path)
        path.unlink()
        image.save(path.with_suffix(f".{suffix}"), format="JPEG" if suffix == "jfif" else None)
    data = own(tmp_path)
    assert len(data) == 4 and data.read(1)[0].shape == (8, 8, 3)
    assert len(own(tmp_path, image_pattern=f"{{name}}.{suffix.lower()}")) == 4


def test_names_pair_whatever_their_unicode_form(tmp_path):
    for options in ({}, {"mask_pattern": "{name}.png"}, {"image_pattern": unicodedata.normalize("NFD", "{name}.png")}):
        write(
            tmp_path,
            "images/{}.png",
            names=[unicodedata.normalize("NFC", "Straße-é"), unicodedata.normalize("NFD", "ü")],
        )
        write(
            tmp_path,
            "masks/{}.png",
            names=[unicodedata.normalize("NFD", "Straße-é"), unicodedata.normalize("NFC", "ü")],
        )
        assert len(own(tmp_path, **options)) == 2
    write(tmp_path, "more/" + unicodedata.normalize("NFD", "Maß-é-{}.png"))
    write(tmp_path, "images/{}.png", names="0123")
    assert (
        len(
            own(
                tmp_path,
                "images",
                "more",
                mask_pattern=unicodedata.normalize("NFC", "Maß-é-{name}.png"),
                unpaired="skip",
            )
        )
        == 4
    )


def test_hidden_files_stay_out(tmp_path):
    write(tmp_path, "images/{}.png", "masks/{}.png")
    for name in (
        "images/._0.png",
        "masks/.x.png",
        "images/__MACOSX/0.png",
        "images/.ipynb_checkpoints/0.png",
        "masks/a/.b/0.png",
    ):
        write(tmp_path, name, names=("",))
    assert len(own(tmp_path)) == len(own(tmp_path, image_pattern="{name}.png", mask_pattern="{name}.*")) == 4


def test_two_candidates_for_one_mask(tmp_path):
    write(tmp_path, "images/{}.png", "masks/{}.png", "masks/{}.tif")
    with pytest.raises(DatasetError, match=r"0\.png and 0\.tif have the same stem.*mask_pattern=") as error:
        own(tmp_path)
    pattern = re.search(r'mask_pattern="(.*?)"', str(error.value))[1]
    assert {mask.suffix for _, mask in own(tmp_path, mask_pattern=pattern).pairs} == {".png"}
    write(tmp_path, "more/{}_mask.png", "more/{}_mask2.png")
    with pytest.raises(DatasetError, match=r"both look like \{name\}_mask\*\.png.*merged into one"):
        own(tmp_path, "images", "more", mask_pattern="{name}_mask*.png")


def test_patterns_that_fit_nothing_say_what_is_there(tmp_path):
    write(tmp_path, "images/{}.png", "masks/{}.png")
    with pytest.raises(
        DatasetError, match=r"no pictures called \{name\}_sat\.jpg.*All 4 pictures pair|0\.png is there"
    ):
        own(tmp_path, image_pattern="{name}_sat.jpg")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="empty holds no pictures"):
        own(tmp_path, "empty")
    with pytest.raises(DatasetError, match=r"images/0\.png has no mask \(and 3 more\): add the mask"):
        own(tmp_path, "images", "empty")


@pytest.mark.parametrize("count", [1, 4])
def test_too_few_pictures_for_a_split(tmp_path, count):
    write(tmp_path, "images/{}.png", "masks/{}.png", names="0123"[:count])
    assert len(own(tmp_path, split="train")) == count
    with pytest.raises(DatasetError, match=f'split="val" takes every fifth picture, and there (is|are) only {count}'):
        own(tmp_path, split="val")
