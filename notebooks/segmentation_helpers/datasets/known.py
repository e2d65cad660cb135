"""The data sets known by name: where they lie, in which layouts, and what their masks mean."""

import csv
import functools
import json
from pathlib import Path

from .. import environment
from ..download import download_dataset
from .classes import (
    CAMVID32_CLASSES,
    CAMVID32_COLOURS,
    CAMVID32_TO_11,
    CAMVID_CLASSES,
    CAMVID_PALETTE,
    IGNORE_INDEX,
    STANFORD_CLASSES,
    STANFORD_PALETTE,
    VOC_CLASSES,
    voc_palette,
)
from .dataset import FolderDataset, SegmentationDataset
from .errors import DatasetError
from .masks import read_colour_mask, read_index_mask, read_regions_mask
from .pairing import every_fifth, files_of, paired

CAMVID_SPLITS = Path(__file__).with_name("camvid_splits.json")  # the official frame names of train, val and test


def _find(name: str, root, marks: dict[str, str], download: bool) -> tuple[Path, str]:
    """The folder of a data set and its layout: the first that holds a mark. `marks`: path that shows it -> layout."""
    roots = [Path(root)] if root is not None else environment.data_roots()
    usual = {
        "camvid": "CamVid CamVid32 camvid CamVid/CamVid camvid/CamVid",
        "camvid32": "CamVid32 CamVid camvid camvid/CamVid",
    }
    for base in roots:
        for folder in ["", *usual.get(name, "").split()]:
            for mark, layout in marks.items():
                if (base / folder / mark).exists():
                    return base / folder, layout
    if download and root is None:
        download_dataset(name, environment.data_root())
        return _find(name, environment.data_root(), marks, download=False)
    raise DatasetError(
        f"{name} is not in {' or '.join(str(base) for base in roots)} (looked for {', '.join(marks)}). "
        "Name the folder that holds it: SEGMENTATION_DATA, or root=."
    )


def _gather(folders, mask_folders, mask_suffix):
    """All pictures and masks of some folders by frame name."""
    images, masks = {}, {}
    for found, among, suffix in ((images, folders, ""), (masks, mask_folders, mask_suffix)):
        for folder in among:
            if folder.is_dir():
                found |= {stem.removesuffix(suffix): path for stem, path in files_of(folder).items()}
    return images, masks


def _camvid(name, split, root, download, valid):
    official = json.loads(CAMVID_SPLITS.read_text())
    if split not in official:
        raise DatasetError(f'CamVid has no split "{split}", only {", ".join(official)}.')
    marks = {"trainannot": "segnet", "class_dict.csv": "kaggle", "codes.txt": "fastai"}
    if name == "camvid32":
        marks = {"codes.txt": "fastai", "class_dict.csv": "kaggle"}
    base, layout = _find(name, root, marks, download)
    classes = CAMVID_CLASSES if name == "camvid" else CAMVID32_CLASSES
    target = {c: IGNORE_INDEX if c == "Void" else classes.index(CAMVID32_TO_11[c] if name == "camvid" else c)
              for c in CAMVID32_CLASSES}  # fmt: skip
    every = list(official)
    if layout == "segnet":
        images, masks = _gather([base / s for s in every], [base / f"{s}annot" for s in every], "")
        mapping = tuple((i, i) for i in range(11)) + ((11, IGNORE_INDEX),)
        decode = functools.partial(read_index_mask, mapping=mapping, num_classes=11)
    elif layout == "fastai":
        images, masks = _gather([base / "images"], [base / "labels"], "_P")
        codes = (base / "codes.txt").read_text().split()
        odd = [code for code in codes if code not in target]
        if odd:
            raise DatasetError(f"{base / 'codes.txt'} names {odd[0]}, which is none of CamVid's 32 classes.")
        mapping = tuple((i, target[code]) for i, code in enumerate(codes))
        decode = functools.partial(read_index_mask, mapping=mapping, num_classes=len(codes))
    else:
        images, masks = _gather([base / s for s in every], [base / f"{s}_labels" for s in every], "_L")
        with (base / "class_dict.csv").open(newline="") as file:
            rows = [{key.strip(): value.strip() for key, value in row.items()} for row in csv.DictReader(file)]
        odd = [row["name"] for row in rows if row["name"] not in target]
        if odd:
            raise DatasetError(f"{base / 'class_dict.csv'} names {odd[0]}, which is none of CamVid's 32 classes.")
        mapping = tuple(((int(row["r"]), int(row["g"]), int(row["b"])), target[row["name"]]) for row in rows)
        decode = functools.partial(read_colour_mask, mapping=mapping)
    strangers = [path for stem, path in images.items() if not any(stem in frames for frames in official.values())]
    if strangers:
        raise DatasetError(
            f"{strangers[0]} is none of CamVid's 701 frames. For pictures of your own use FolderDataset."
        )
    frames = official[split]
    if valid is not None:  # a whole drive of the train split, held out for model selection
        drive = [frame for frame in official["train"] if frame.startswith(valid)]
        if not drive or split == "test":
            drives = sorted({frame.split("_")[0] for frame in official["train"]})
            raise DatasetError(
                f'valid="{valid}" with split="{split}": a drive of the train split is held out, one of {drives}.'
            )
        frames = drive if split == "val" else [frame for frame in frames if frame not in set(drive)]
    for found, what in ((images, "picture"), (masks, "mask")):
        lost = [frame for frame in frames if frame not in found]
        if lost:
            raise DatasetError(
                f"{base} lacks the {what} of {lost[0]}, and {len(lost)} of the {len(frames)} in all that the "
                f'split "{split}" needs. Fetch the data set again, or use a split that is there.'
            )
    palette = CAMVID_PALETTE if name == "camvid" else list(CAMVID32_COLOURS.values())
    return [(images[frame], masks[frame]) for frame in frames], classes, palette, decode


def _voc(name, split, root, download):
    year = name.removeprefix("voc")
    marks = {f"{folder}ImageSets/Segmentation": folder for folder in (f"VOCdevkit/VOC{year}/", f"VOC{year}/", "")}
    base, folder = _find(name, root, marks, download)
    base = base / folder
    listed = base / "ImageSets/Segmentation" / f"{split}.txt"
    if not listed.is_file() and split == "test" and year == "2007" and download and root is None:
        download_dataset("voc2007_test", environment.data_root())
    if not listed.is_file():
        there = sorted(path.stem for path in listed.parent.glob("*.txt"))
        raise DatasetError(f"VOC {year} has no list {listed}; the splits here are {', '.join(there)}.")
    names = listed.read_text().split()
    pairs = [(base / f"JPEGImages/{n}.jpg", base / f"SegmentationClass/{n}.png") for n in names]
    for pair in pairs:
        for path in pair:
            if not path.is_file():
                raise DatasetError(f"{listed} names {path.stem}, but {path} is missing. Unpack the archive again.")
    decode = functools.partial(read_index_mask, mapping=None, num_classes=len(VOC_CLASSES))
    return pairs, VOC_CLASSES, voc_palette(len(VOC_CLASSES)), decode


def _stanford_background(name, split, root, download):
    marks = {"iccv09Data/labels": "iccv09Data", "labels": ""}
    base, folder = _find(name, root, marks, download)
    base = base / folder
    images = files_of(base / "images")
    masks = {path.name.removesuffix(".regions.txt"): path for path in sorted((base / "labels").glob("*.regions.txt"))}
    return every_fifth(paired(images, masks), split), STANFORD_CLASSES, STANFORD_PALETTE, read_regions_mask


def _streets(*arguments):
    """The drawn streets are a package of their own, which imports this one: hence the late import, the only one."""
    from streets.data import load_streets

    return load_streets(*arguments)


LOADERS = {"streets": _streets, "camvid": _camvid, "camvid32": _camvid, "voc2007": _voc, "voc2012": _voc,
           "stanford_background": _stanford_background}  # fmt: skip


def register_loader(name, loader) -> None:
    """Enter a data set of your own, so that `load_dataset(name, split)` knows it.

    `loader(name, split, root, download)` gives `(pairs, classes, palette, decode)`, as SegmentationDataset takes them.
    """
    LOADERS[name] = loader


def load_dataset(name, split, *, own=None, root=None, valid=None, download=True, **options):
    """A known data set, or your own, as a SegmentationDataset.

    Args:
        name: streets, camvid (11 classes), camvid32, voc2007, voc2012 or stanford_background.
        split: train, val or test; VOC has trainval too. Stanford Background and your own have none: every fifth is val.
        own: your own data instead, as `settings.own_data` gives them: what FolderDataset takes, as a dict.
        root: the folder that holds it, or the data set's own folder. Default: the folder that `SEGMENTATION_DATA`
            names, else the user's cache, and Kaggle's inputs; what is in none of them is downloaded (streets: drawn)
            into the first, unless `download=False`.
        valid: a drive of CamVid's train split ("0006R0") that is left out of train and becomes val. CamVid's official
            val frames lie between train frames of the same drive and flatter every model.
        options: transform, cache, seed, limit, bands and scale, as for SegmentationDataset.

    Raises DatasetError or DownloadError, naming what is missing and the remedy.
    """
    if own is None and name not in LOADERS:
        raise DatasetError(
            f'There is no data set "{name}", only {", ".join(LOADERS)}; for your own give images, masks and classes.'
        )
    camvid = own is None and name.startswith("camvid")
    if valid is not None and not camvid:
        raise DatasetError(f"valid= holds a drive out of CamVid; {'your own data' if own else name} has no drives.")
    if own is not None:
        return FolderDataset(**own, split=split, **options)
    pairs, classes, palette, decode = LOADERS[name](name, split, root, download, **({"valid": valid} if camvid else {}))
    return SegmentationDataset(pairs, classes, palette, decode, **options)
