"""The data set: pairs of a picture and a mask on disk; known ones, and folders of your own."""

import functools
import itertools
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral, Real
from pathlib import Path
from typing import SupportsIndex

import numpy as np
import torch
from torch.utils.data import Dataset

from .. import environment
from . import padding, transforms
from .classes import IGNORE_INDEX
from .conventions import check_threshold, void_or_class
from .errors import DatasetError, warn
from .files import load
from .images import check_options, read_image
from .masks import read_colour_mask, read_index_mask, read_threshold_mask
from .meanings import class_names, meanings, palette_of
from .pairing import every_fifth, pairs_of
from .seeding import Seeds
from .values import INVALID


class SegmentationDataset(Dataset):
    """Pairs of a picture and a mask on disk: `dataset[i]` gives `(image, mask)`.

    Without a transform: image float32 (bands, H, W) in 0..1, mask int64 (H, W) of class ids and 255 for void.
    `transform` takes image and mask, uint8 (H, W, bands) and (H, W), and changes both alike: albumentations, torchvision's
    transforms.v2 (which get tv_tensors), or a function that returns a dict or a tuple. Of what comes back uint8 is scaled
    to 0..1, and floats are left as they are. Every sample is seeded anew: from (seed, epoch, index) once `set_epoch` was
    called (`fit` does so: workers, epochs and resumed runs all agree), else from torch's generator. The seed reaches
    `random`, `np.random` and torch, and the albumentations and generators that the transform keeps: in attributes, lists,
    functools.partial, closures and global names. It does not reach a generator or an A.Compose that is made anew in each
    call, nor processes and libraries with random numbers of their own.

    Args: `pairs` of (image path, mask path); `classes` and `palette`, None for ours; `decode`, which turns a mask path
    into uint8 class ids; `cache` keeps the decoded pictures in memory, 4 bytes a pixel (CamVid's train split at
    480 x 360: 254 MB); `limit` takes that many, evenly spread over the list, for neighbouring frames of a video are
    nearly the same; `bands` and `scale` as for `read_image`.
    """

    ignore_index = IGNORE_INDEX

    def __init__(self, pairs, classes, palette, decode, *, transform=None, cache=False, seed=0, limit=None, bands=3,
                 scale=None):  # fmt: skip
        self.pairs = [(Path(image), Path(mask)) for image, mask in pairs]
        if limit is not None and check_limit(limit) < len(self.pairs):
            self.pairs = [self.pairs[i * len(self.pairs) // limit] for i in range(limit)]
        self.classes = class_names(classes)
        self.palette = palette_of(palette, len(self.classes))
        if not self.pairs:
            raise DatasetError("The data set has no pictures.")
        if not len(self.classes) < INVALID:
            raise DatasetError(f"{len(self.classes)} classes and {len(self.palette)} colours: one each, at most 253.")
        check_options(bands, scale)
        self.bands, self.scale = bands, scale
        self.decode, self.seed = decode, seed
        self.transform = transform
        self._epoch = torch.full((), -1, dtype=torch.int64).share_memory_()  # seen by workers that are running, too
        self._cache = None
        if cache:
            with ThreadPoolExecutor(environment.available_cpus()) as pool:
                self._cache = list(pool.map(self._decode, range(len(self))))
            for array in itertools.chain.from_iterable(self._cache):
                array.flags.writeable = False

    def __len__(self):
        return len(self.pairs)

    @property
    def transform(self):
        """What is called on image and mask; None for none."""
        return self._transform

    @transform.setter
    def transform(self, transform):
        self._kind = None if transform is None else transforms.kind_of(transform)
        self._transform, self._seeds = transform, Seeds(transform)
        self._told = set()  # what was said about it: "padding", "ids", "range"
        if transform is not None:
            self._tell("padding", padding.filling(transform, self.classes))

    def _tell(self, what, words):
        if words is not None:
            self._told.add(what)
            warn(words)

    def _decode(self, index):
        image_path, mask_path = self.pairs[index]
        image, mask = read_image(image_path, self.bands, self.scale), self.decode(mask_path)
        if image.shape[:2] != mask.shape:
            raise DatasetError(_sizes_differ(image, mask, image_path, mask_path))
        return image, mask

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The raw pair before the transform: uint8 (H, W, bands) and uint8 (H, W) (read-only where cached)."""
        return self._decode(index) if self._cache is None else self._cache[index]

    def set_epoch(self, epoch: int) -> None:
        """Seed the transform of each sample from (seed, epoch, index) from now on."""
        self._epoch.fill_(epoch)

    def _transformed(self, index, image, mask):
        if self._epoch < 0:
            seed = int(torch.randint(2**31, ()))  # differs by worker and epoch, follows torch.manual_seed
        else:
            seed = int(np.random.SeedSequence([self.seed, int(self._epoch), index]).generate_state(1)[0]) >> 1
        with self._seeds(seed):
            return transforms.call(self.transform, self._kind, image, mask)

    def __getitem__(self, index):
        if not isinstance(index, SupportsIndex):
            raise DatasetError(
                f"A data set gives one sample at a time, data[0], but was asked for data[{_as_written(index)}]. For several of "
                "them take torch.utils.data.Subset(data, range(0, 10))."
            )
        index = range(len(self))[index]  # -1 is the last, and past the end an IndexError
        image, mask = self.read(index)
        if self.transform is None:
            image = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()  # (bands, H, W), a copy
            return image.float() / 255, torch.as_tensor(np.array(mask), dtype=torch.int64)
        if "padding" not in self._told:
            self._tell("padding", padding.beyond(self.transform, image.shape, self.classes))
        before = None if "ids" in self._told else transforms.present(mask)  # now, for a function may change it in place
        given = self._transformed(index, image, mask)
        image, mask, held = transforms.tensors(*given, self.bands, len(self.classes))
        if before is not None:
            path, told = self.pairs[index][1], "padding" in self._told
            self._tell("ids", transforms.ids_told(before, held, path, self.classes, padding_told=told))
        if "range" not in self._told and getattr(given[0], "dtype", None) not in (np.uint8, torch.uint8):
            self._tell("range", transforms.range_told(image, self.transform))
        return image, mask

    def __repr__(self):
        return f"{type(self).__name__}({len(self)} pictures, {len(self.classes)} classes, {self.pairs[0][0].parent})"


class FolderDataset(SegmentationDataset):
    """Your own data: a folder of pictures and a folder of masks, paired by name.

    Args:
        images, masks: the two folders; they may be one.
        classes: names in the order of their ids, a list or a dict {id: name}; for two classes background comes first.
        palette: a colour (0..255) per class; default: colour-blind-safe ones for up to 32 classes, those of PASCAL VOC's
            colour map for more.
        mapping: what the values on disk mean, `{raw id: class}` or `{(r, g, b): class}`, 255 for void. Ids may be negative
            and large, colours also "#800000", classes also names; text such as "0:0,255:1" will do.
            Default: ids are classes, and 255 is void.
        threshold: for two classes in place of a mapping: pixels of this brightness or more are class 1. Masks may then have
            smooth edges, or be JPEG files.
        image_pattern, mask_pattern: how files of one pair are called, "{name}_sat.jpg" and "{name}_mask.png"; `{name}` may
            hold folders, `*` stands for anything. Default: the same stem.
        mask_suffix: short for mask_pattern="{name}<mask_suffix>.*".
        unpaired: "skip" leaves out pictures without a mask and masks without a picture, and prints how many; default:
            they are an error.
        split: "train" or "val" takes every fifth picture for validation; None takes all. Frames of one video belong
            to one side: keep them apart in folders of their own.
        options: bands, scale, transform, cache, seed and limit, as for SegmentationDataset.

    Raises DatasetError, naming the file: unpaired files and masks of 0 and 255 without a mapping here, all else on
    reading. Run `check_dataset` once.
    """

    def __init__(self, images, masks, classes, *, palette=None, mask_suffix="", mapping=None, threshold=None, split=None,
                 image_pattern=None, mask_pattern=None, unpaired="error", **options):  # fmt: skip
        classes = class_names(classes)
        if mask_suffix:
            if mask_pattern is not None:
                raise DatasetError("mask_suffix and mask_pattern both say how masks are called: give one of them.")
            mask_pattern = f"{{name}}{mask_suffix}.*"
        pairs = pairs_of(Path(images), Path(masks), image_pattern, mask_pattern, unpaired)
        meaning = meanings(mapping, classes)
        decode = _decoder(meaning, threshold, [mask for _, mask in pairs], classes)
        if split is not None:
            pairs = every_fifth(pairs, split)
        super().__init__(pairs, classes, palette, decode, **options)


def check_limit(limit):
    """The number of pictures to take. Raises DatasetError for anything else."""
    if not isinstance(limit, Integral) or isinstance(limit, bool):
        raise DatasetError(f"limit is {limit!r}, but must be how many pictures to take, a whole number such as 100.")
    if limit < 1:
        raise DatasetError(f"limit={limit} leaves no pictures: say how many to take, limit=100.")
    return limit


def _as_written(index):
    if not isinstance(index, slice):
        return repr(index)
    ends = ["" if end is None else repr(end) for end in (index.start, index.stop, index.step)]
    return ":".join(ends if ends[2] else ends[:2])


def _decoder(mapping, threshold, masks, classes):
    """The function that reads a mask."""
    if threshold is not None:
        if mapping is not None:
            raise DatasetError("mapping and threshold both say what the values in masks mean: give one of them.")
        if len(classes) != 2:
            raise DatasetError(
                f"threshold parts two classes, background first, but there are {len(classes)}: use mapping."
            )
        if not isinstance(threshold, Real) or isinstance(threshold, bool):
            raise DatasetError(f"threshold is {threshold!r}, but must be a number, such as 128.")
        check_threshold(masks, threshold)
        return functools.partial(read_threshold_mask, threshold=threshold)
    rows = tuple(mapping.items()) if mapping else None
    if rows and isinstance(rows[0][0], tuple):
        return functools.partial(read_colour_mask, mapping=rows)
    grey = void_or_class(masks, rows, len(classes))
    return functools.partial(read_index_mask, mapping=rows, num_classes=len(classes), grey_colours=grey)


def _sizes_differ(image, mask, image_path, mask_path):
    """Words for a pair of two sizes; most often one of them was not turned as its EXIF tag says."""
    start = f"{mask_path} is {mask.shape[1]} x {mask.shape[0]}, but its picture {image_path.name} is "
    start += f"{image.shape[1]} x {image.shape[0]}"
    if image.shape[1::-1] == mask.shape:
        tags = load(image_path).orientation, load(mask_path).orientation if mask_path.suffix != ".txt" else 1
        if tags[0] in (5, 6, 7, 8):
            return (
                f"{start} once it is turned as its EXIF orientation ({tags[0]}) asks: the mask was made without it. Turn the "
                "mask the same way, or save the picture again without the tag."
            )
        if tags[1] in (5, 6, 7, 8):
            return (
                f"{start}: the mask is turned by an EXIF orientation ({tags[1]}) of its own, which the picture lacks. Save the "
                "mask again without the tag."
            )
    return f"{start}: they are no pair, or one was resized or turned."
