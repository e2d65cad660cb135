"""Every layout, every bad input with its message, and augmentation that differs from sample to sample."""

import csv
import json
import pickle
import re
import shutil

import albumentations as A
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import streets
from segmentation_helpers import datasets, environment
from segmentation_helpers.datasets import (
    CAMVID32_CLASSES,
    CAMVID32_COLOURS,
    CAMVID32_TO_11,
    CAMVID_CLASSES,
    CAMVID_SPLITS,
    DatasetError,
    FolderDataset,
    check_dataset,
    load_dataset,
    voc_palette,
)
from streets import data

SPLITS = json.loads(CAMVID_SPLITS.read_text())
CLASSES = ["ground", "plant", "stone"]


def save(array, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def mask32(frame, rng=None):
    """Ids of the 32 classes, 12 x 16, that depend on the frame's name alone."""
    rng = np.random.default_rng(list(frame.encode()))
    return rng.integers(0, 32, (12, 16)).astype(np.uint8)


TO_11 = np.array([255 if c == "Void" else CAMVID_CLASSES.index(CAMVID32_TO_11[c]) for c in CAMVID32_CLASSES], np.uint8)
TO_32 = np.array([255 if c == "Void" else i for i, c in enumerate(CAMVID32_CLASSES)], np.uint8)
EMPTY = np.zeros((12, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    """CamVid's 701 frames (empty pictures) in the three layouts; Kaggle's and fastai's own splits are wrong on purpose."""
    base = tmp_path_factory.mktemp("camvid")
    for split, frames in SPLITS.items():
        for number, frame in enumerate(frames):
            ids = mask32(frame)
            eleven = TO_11[ids]
            save(EMPTY, base / f"segnet/{split}/{frame}.png")
            save(np.where(eleven == 255, 11, eleven).astype(np.uint8), base / f"segnet/{split}annot/{frame}.png")
            save(EMPTY, base / f"fastai/images/{frame}.png")
            save(ids, base / f"fastai/labels/{frame}_P.png")
            other = split if number % 7 else "train"
            save(EMPTY, base / f"kaggle/{other}/{frame}.png")
            save(
                np.array(list(CAMVID32_COLOURS.values()), np.uint8)[ids], base / f"kaggle/{other}_labels/{frame}_L.png"
            )
    (base / "fastai/codes.txt").write_text("\n".join(CAMVID32_CLASSES) + "\n")
    (base / "fastai/valid.txt").write_text("\n".join(f"{frame}.png" for frame in SPLITS["test"]))
    with (base / "kaggle/class_dict.csv").open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["name", " r", " g", " b"])
        rows.writerows([name, *colour] for name, colour in CAMVID32_COLOURS.items())
    return base


@pytest.mark.parametrize("layout", ["segnet", "fastai", "kaggle"])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_camvid_gives_the_official_split_in_every_layout(camvid, layout, split):
    dataset = load_dataset("camvid", split, root=camvid / layout)
    assert [image.stem for image, _ in dataset.pairs] == SPLITS[split]
    assert dataset.classes == CAMVID_CLASSES and dataset.palette.shape == (11, 3) and dataset.ignore_index == 255
    for index in (0, 7, -1):
        np.testing.assert_array_equal(dataset.read(index)[1], TO_11[mask32(SPLITS[split][index])])


@pytest.mark.parametrize("layout", ["fastai", "kaggle"])
def test_camvid32_keeps_the_order_of_the_classes_and_makes_void_255(camvid, layout):
    dataset = load_dataset("camvid32", "val", root=camvid / layout)
    assert dataset.classes == CAMVID32_CLASSES and len(dataset.palette) == 32
    np.testing.assert_array_equal(dataset.read(3)[1], TO_32[mask32(SPLITS["val"][3])])


def test_camvid_holds_a_drive_out(camvid):
    train = load_dataset("camvid", "train", root=camvid / "segnet", valid="0006R0")
    valid = load_dataset("camvid", "val", root=camvid / "segnet", valid="0006R0")
    assert len(train) == 367 - 101 and len(valid) == 101
    assert {image.stem.split("_")[0] for image, _ in valid.pairs} == {"0006R0"}
    assert not {image for image, _ in train.pairs} & {image for image, _ in valid.pairs}
    with pytest.raises(DatasetError, match="a drive of the train split.*0001TP"):
        load_dataset("camvid", "train", root=camvid / "segnet", valid="0016E6")


def test_camvid_names_what_is_missing(camvid, tmp_path):
    shutil.copytree(camvid / "segnet/val", tmp_path / "val")
    shutil.copytree(camvid / "segnet/valannot", tmp_path / "valannot")
    (tmp_path / "trainannot").mkdir()
    (tmp_path / "val" / f"{SPLITS['val'][5]}.png").unlink()
    with pytest.raises(DatasetError, match=f"lacks the picture of {SPLITS['val'][5]}, and 1 of the 101"):
        load_dataset("camvid", "val", root=tmp_path)
    save(EMPTY, tmp_path / "val/holiday.png")
    with pytest.raises(DatasetError, match=r"holiday\.png is none of CamVid's 701 frames.*FolderDataset"):
        load_dataset("camvid", "val", root=tmp_path)


def test_the_real_camvid(real_data):
    dataset = load_dataset("camvid", "train", root=real_data, cache=True)
    share = check_dataset(dataset) / sum(mask.size for _, mask in dataset._cache) * 100
    expected = [16.85, 23.26, 0.98, 31.66, 4.49, 9.72, 1.17, 1.13, 5.87, 0.64, 0.29, 3.95]
    np.testing.assert_allclose(share, expected, atol=0.006)


@pytest.mark.parametrize("year, splits", [("2007", ["train", "val", "trainval", "test"]), ("2012", ["train", "val"])])
def test_voc(tmp_path, year, splits):
    streets.write_voc(tmp_path, year=year, counts={"train": 3, "val": 2} | ({"test": 2} if year == "2007" else {}))
    for split in splits:
        dataset = load_dataset(f"voc{year}", split, root=tmp_path)
        listed = (tmp_path / f"VOCdevkit/VOC{year}/ImageSets/Segmentation/{split}.txt").read_text().split()
        assert [image.stem for image, _ in dataset.pairs] == listed
        image, mask = dataset.read(0)
        raw = np.array(Image.open(dataset.pairs[0][1]))
        np.testing.assert_array_equal(mask, raw)
        assert 255 in mask and image.shape == (*mask.shape, 3) and len(dataset.classes) == 21
        check_dataset(dataset)
    with pytest.raises(DatasetError, match="the splits here are .*train"):
        load_dataset(f"voc{year}", "nothing", root=tmp_path)
    dataset.pairs[0][1].unlink()
    with pytest.raises(DatasetError, match=f"names {dataset.pairs[0][1].stem}.*is missing"):
        load_dataset(f"voc{year}", splits[-1], root=tmp_path)


def test_voc_palette_is_the_published_one():
    palette = voc_palette()
    assert palette.shape == (256, 3)
    np.testing.assert_array_equal(palette[[0, 1, 2, 7, 15, 20, 255]], [
        (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 128), (192, 128, 128), (0, 64, 128), (224, 224, 192)])  # fmt: skip


def test_stanford_background(tmp_path):
    streets.write_stanford_background(tmp_path, count=10)
    train, valid = (load_dataset("stanford_background", split, root=tmp_path) for split in ("train", "val"))
    assert len(train) == 8 and len(valid) == 2 and len(train.classes) == len(train.palette) == 8
    counts = check_dataset(train)
    assert counts[-1] > 0, "-1, unknown, becomes void"
    rows = train.pairs[0][1].read_text().splitlines()
    np.testing.assert_array_equal(train.read(0)[1], np.array([r.split() for r in rows], int).astype(np.uint8))


@pytest.mark.parametrize("damage, message", [
    (lambda rows: [rows[0], rows[1][:-2], *rows[2:]], "row 2 has"),
    (lambda rows: ["9" + rows[0][1:], *rows[1:]], "holds the id 9 at row 0, column 0"),
    (lambda rows: ["-2" + rows[0][1:], *rows[1:]], "holds the id -2"),
    (lambda rows: ["x" + rows[0][1:], *rows[1:]], "other than whole numbers"),
    (lambda rows: [], "it is empty"),
    (lambda rows: rows[:-1], "no pair"),
])  # fmt: skip
def test_stanford_background_damaged(tmp_path, damage, message):
    streets.write_stanford_background(tmp_path, count=2)
    path = sorted((tmp_path / "iccv09Data/labels").glob("*.regions.txt"))[0]
    path.write_text("\n".join(damage([" ".join(r.split()) for r in path.read_text().splitlines()])))
    with pytest.raises(DatasetError, match=message) as error:
        check_dataset(load_dataset("stanford_background", "train", root=tmp_path))
    assert str(path) in str(error.value)


def test_streets_are_drawn_on_the_spot_and_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SEGMENTATION_DATA", str(tmp_path))
    draw = streets.write_streets
    monkeypatch.setattr(
        data, "write_streets", lambda folder: draw(folder, counts=dict(train=3, val=2, test=1), size=(60, 45))
    )
    train = load_dataset("streets", "train")
    assert (
        len(train) == 3 and train.classes == CAMVID_CLASSES and train.pairs[0][0].is_relative_to(tmp_path / "streets")
    )
    image, mask = train[0]
    assert image.shape == (3, 45, 60) and image.dtype == torch.float32 and mask.dtype == torch.int64
    monkeypatch.setattr(data, "write_streets", lambda folder: pytest.fail("drawn twice"))
    assert len(load_dataset("streets", "val")) == 2
    monkeypatch.setattr(data, "VERSION", "another")
    monkeypatch.setattr(
        data, "write_streets", lambda folder: draw(folder, counts=dict(train=4, val=2, test=1), size=(60, 45))
    )
    assert len(load_dataset("streets", "train")) == 4, "another version of the scenes is drawn anew"
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")) == ["streets"]


# Your own data -------------------------------------------------------------------------------------------------------


def own(folder, **options):
    return FolderDataset(folder / "images", folder / "masks", CLASSES, **options)


def test_folder_dataset(folder_of_pairs):
    dataset = own(folder_of_pairs)
    assert len(dataset) == 10 and dataset.palette.shape == (3, 3)
    image, mask = dataset[3]
    assert image.shape == (3, 32, 40) and 0 <= image.min() and image.max() <= 1 and mask.shape == (32, 40)
    assert set(mask.unique().tolist()) == {0, 1, 2, 255}
    np.testing.assert_array_equal(np.array(Image.open(dataset.pairs[3][1])), dataset.read(3)[1])
    counts = check_dataset(dataset)
    assert counts.sum() == 10 * 32 * 40 and counts[-1] == 10
    with pytest.raises(IndexError):
        dataset[10]
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[-1][0], dataset[9][0])


def test_split_takes_every_fifth(folder_of_pairs):
    train, valid = own(folder_of_pairs, split="train"), own(folder_of_pairs, split="val")
    assert [image.stem for image, _ in valid.pairs] == ["p4", "p9"] and len(train) == 8
    with pytest.raises(DatasetError, match="no split"):
        own(folder_of_pairs, split="test")


def test_a_limit_takes_pictures_from_all_over_the_list(folder_of_pairs):
    names = {n: [image.stem for image, _ in own(folder_of_pairs, limit=n).pairs] for n in (1, 2, 4, 10, 11)}
    assert names[1] == ["p0"] and names[2] == ["p0", "p5"] and names[4] == ["p0", "p2", "p5", "p7"]
    assert names[10] == names[11] == [f"p{i}" for i in range(10)]
    with pytest.raises(DatasetError, match="no pictures"):
        own(folder_of_pairs, limit=0)


def test_mapping_of_ids_and_colours(folder_of_pairs):
    direct = own(folder_of_pairs)
    for image, mask in direct.pairs:
        ids = np.array(Image.open(mask))
        save(np.where(ids == 255, 7, ids * 10).astype(np.uint8), folder_of_pairs / f"tens/{image.stem}_m.png")
        colours = np.array([(9, 9, 9), (200, 0, 0), (0, 0, 77)], np.uint8)
        save(
            np.where((ids == 255)[..., None], 0, colours[ids % 3]).astype(np.uint8),
            folder_of_pairs / f"rgb/{image.stem}.png",
        )
    tens = FolderDataset(folder_of_pairs / "images", folder_of_pairs / "tens", CLASSES, mask_suffix="_m",
                         mapping={0: 0, 10: 1, 20: 2, 7: 255})  # fmt: skip
    mapping = {(9, 9, 9): 0, (200, 0, 0): 1, (0, 0, 77): 2, (0, 0, 0): 255}
    rgb = FolderDataset(folder_of_pairs / "images", folder_of_pairs / "rgb", CLASSES, mapping=mapping)
    for index in range(10):
        np.testing.assert_array_equal(tens.read(index)[1], direct.read(index)[1])
        np.testing.assert_array_equal(rgb.read(index)[1], direct.read(index)[1])
    mapping.pop((0, 0, 77))
    broken = FolderDataset(folder_of_pairs / "images", folder_of_pairs / "rgb", CLASSES, mapping=mapping)
    with pytest.raises(DatasetError, match=r"holds the colour \(0, 0, 77\) at row"):
        check_dataset(broken)
    with pytest.raises(DatasetError, match="sends 0 to 3"):
        own(folder_of_pairs, mapping={0: 3})


def turn(folder):
    Image.open(folder / "masks/p6.png").rotate(90, expand=True).save(folder / "masks/p6.png")


def cut_in_half(folder):
    path = folder / "images/p2.jpg"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zeros_and_255(folder):
    for path in (folder / "masks").iterdir():
        save(np.where(np.array(Image.open(path)) == 1, 255, 0).astype(np.uint8), path)


def jpeg(folder):
    Image.open(folder / "masks/p1.png").save(folder / "masks/p1.jpg")
    (folder / "masks/p1.png").unlink()


BAD = {
    "a mask is missing": (lambda f: (f / "masks/p7.png").unlink(), "p7.jpg has no mask.*add the mask"),
    "a picture is missing": (lambda f: (f / "images/p7.jpg").unlink(), "p7.png has no picture"),
    "two files of one stem": (lambda f: shutil.copy(f / "images/p7.jpg", f / "images/p7.bmp"), "same stem"),
    "the sizes differ": (turn, r"p6\.png is 32 x 40, but its picture p6\.jpg is 40 x 32"),
    "an id is out of range": (lambda f: save(np.full((32, 40), 3, np.uint8), f / "masks/p8.png"),
                              r"p8\.png holds the id 3 at row 0, column 0, but the data set has 3 classes \(0-2\).*mapping"),
    "0 and 255": (zeros_and_255, r"p0\.png and all other masks hold only 0 and 255.*mapping=\{0: 0, 255: 1\}"),
    "void everywhere": (lambda f: [save(np.full((32, 40), 255, np.uint8), p) for p in (f / "masks").iterdir()],
                        "All masks are void"),
    "a colour mask": (lambda f: save(np.zeros((32, 40, 3), np.uint8), f / "masks/p3.png"),
                      r"p3\.png is a colour picture \(RGB\).*which colour is which class"),
    "a JPEG mask": (jpeg, r"p1\.jpg is a JPEG.*PNG"),
    "a damaged picture": (cut_in_half, r"p2\.jpg cannot be read.*damaged"),
    "no picture at all": (lambda f: (f / "images/p5.jpg").write_text("<html>"), r"p5\.jpg cannot be read"),
    "no folder": (lambda f: shutil.rmtree(f / "masks"), "masks does not exist"),
}  # fmt: skip


@pytest.mark.parametrize("damage, message", BAD.values(), ids=BAD)
def test_bad_input_is_named_with_its_remedy(folder_of_pairs, damage, message):
    damage(folder_of_pairs)
    with pytest.raises(DatasetError, match=message) as error:
        check_dataset(own(folder_of_pairs))
    assert str(folder_of_pairs) in str(error.value), "the message names the file"


def test_an_id_out_of_range_never_reaches_training(folder_of_pairs):
    save(np.full((32, 40), 200, np.uint8), folder_of_pairs / "masks/p8.png")
    with pytest.raises(DatasetError, match="holds the id 200"):
        own(folder_of_pairs)[8]


def test_exif_turns_a_picture_upright(folder_of_pairs):
    upright = Image.open(folder_of_pairs / "images/p0.jpg")
    exif = upright.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    upright.rotate(90, expand=True).save(folder_of_pairs / "images/p0.jpg", exif=exif, quality=95, subsampling=0)
    image, _ = own(folder_of_pairs).read(0)
    assert image.shape == (32, 40, 3)
    error = np.abs(image.astype(int) - np.asarray(upright)).mean()
    assert error < 3 < np.abs(image[::-1].astype(int) - np.asarray(upright)).mean()


def test_unknown_names_and_places(tmp_path):
    with pytest.raises(DatasetError, match="no data set"):
        load_dataset("cityscapes", "train")
    with pytest.raises(DatasetError, match=re.escape(str(tmp_path))):
        load_dataset("voc2007", "train", root=tmp_path)
    with pytest.raises(DatasetError, match="has no drives"):
        load_dataset("streets", "train", valid="0006R0")


# Augmentation, caching -----------------------------------------------------------------------------------------------

AUGMENT = A.Compose([A.Affine(translate_px=(-9, 9), fill_mask=255, p=1.0), A.RandomBrightnessContrast(p=0.9)])


def draws(dataset, workers=0, epoch=None):
    if epoch is not None:
        dataset.set_epoch(epoch)
    loader = DataLoader(dataset, batch_size=2, num_workers=workers)
    return torch.cat([image for image, _ in loader])


def test_augmentation_depends_on_seed_epoch_and_index_alone(folder_of_pairs):
    shutil.copy(folder_of_pairs / "images/p0.jpg", folder_of_pairs / "images/p1.jpg")
    dataset = own(folder_of_pairs, transform=AUGMENT, seed=3)
    first = draws(dataset, epoch=0)
    assert not torch.equal(first[0], first[1]), "the same picture at another index is augmented otherwise"
    assert torch.equal(first, draws(dataset, workers=2, epoch=0)), "workers agree with the main process"
    assert not torch.equal(first, draws(dataset, epoch=1)), "epochs differ"
    assert torch.equal(first, draws(dataset, epoch=0)), "and can be repeated: resuming is exact"
    assert not torch.equal(first, draws(own(folder_of_pairs, transform=AUGMENT, seed=4), epoch=0))


def test_augmentation_differs_without_set_epoch_too(folder_of_pairs):
    """albumentations by itself repeats one sequence in every worker and every epoch."""
    shutil.copy(
        folder_of_pairs / "images/p0.jpg", folder_of_pairs / "images/p2.jpg"
    )  # the first of each worker's batches
    loader = DataLoader(own(folder_of_pairs, transform=AUGMENT), batch_size=2, num_workers=2)
    torch.manual_seed(0)
    epochs = [torch.cat([image for image, _ in loader]) for _ in range(2)]
    assert not torch.equal(epochs[0][0], epochs[0][2]) and not torch.equal(*epochs)
    torch.manual_seed(0)
    assert torch.equal(epochs[0], torch.cat([image for image, _ in loader])), "torch.manual_seed sets it"


def test_running_workers_see_the_epoch(folder_of_pairs):
    dataset = own(folder_of_pairs, transform=AUGMENT)
    loader = DataLoader(dataset, batch_size=2, num_workers=1, persistent_workers=True)
    epochs = []
    for epoch in range(2):
        dataset.set_epoch(epoch)
        epochs.append(torch.cat([image for image, _ in loader]))
    assert not torch.equal(*epochs) and torch.equal(epochs[1], draws(dataset, epoch=1))


def test_any_callable_with_albumentations_keywords_is_a_transform(folder_of_pairs):
    def transform(image, mask):
        noise = torch.randint(0, 9, image.shape).numpy().astype(np.uint8)
        return {"image": (image // 2 + noise).astype(np.float32), "mask": mask}

    dataset = own(folder_of_pairs, transform=transform)
    assert torch.equal(draws(dataset, epoch=2), draws(dataset, epoch=2))
    before = torch.get_rng_state()
    dataset[0]
    assert torch.equal(before, torch.get_rng_state()), "the caller's random numbers stay"
    assert dataset[0][0].max() > 1, "floats are left as they are"


def test_cache_holds_the_decoded_pictures(folder_of_pairs):
    plain, cached = own(folder_of_pairs), own(folder_of_pairs, cache=True)
    for index in range(10):
        for a, b in zip(plain.read(index), cached.read(index), strict=True):
            np.testing.assert_array_equal(a, b)
    image, _ = cached[0]
    image.zero_()
    assert cached[0][0].max() > 0, "a sample is a copy"
    with pytest.raises(ValueError, match="read-only"):
        cached.read(0)[0][:] = 0
    shutil.rmtree(folder_of_pairs / "images")
    assert cached.read(5)[0].shape == (32, 40, 3), "no file is read again"


def test_data_roots(monkeypatch, tmp_path):
    monkeypatch.setenv("SEGMENTATION_DATA", str(tmp_path))
    assert environment.data_root() == tmp_path
    monkeypatch.setenv("SEGMENTATION_DATA", "somewhere/data")
    assert environment.data_root() == environment.ROOT / "somewhere/data"
    monkeypatch.delenv("SEGMENTATION_DATA")
    assert environment.data_root() == environment.user_cache()


def test_the_32_classes_map_onto_the_11():
    assert len(CAMVID32_CLASSES) == 32 == len(set(CAMVID32_COLOURS.values())) and sorted(
        CAMVID32_CLASSES, key=str.lower
    )
    assert set(CAMVID32_TO_11.values()) == {*CAMVID_CLASSES, "Void"}
    colours = {"Sky": (128, 128, 128), "Pole": (192, 192, 128), "Pavement": (0, 0, 192), "Bicyclist": (0, 128, 192)}
    for name, colour in colours.items():
        assert tuple(datasets.CAMVID_PALETTE[CAMVID_CLASSES.index(name)]) == colour
