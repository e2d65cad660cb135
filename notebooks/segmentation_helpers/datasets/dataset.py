"""The data set: pairs of a picture and a mask on disk; known ones, and folders of your own."""

import functools
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from .. import environment
from .classes import IGNORE_INDEX
from .files import IMAGE_SUFFIXES, INVALID, DatasetError, read_colour_mask, read_image, read_index_mask
from .pairing import every_fifth, files_of, paired


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
        if not len(self.classes) == len(self.palette) < INVALID:
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


class FolderDataset(SegmentationDataset):
    """Your own data: a folder of pictures and a folder of masks, paired by name.

    Args:
        images, masks: the two folders; they may be one.
        classes: names in the order of their ids.
        palette: a colour (0..255) per class; default: colour-blind-safe ones.
        mapping: what the values on disk mean, `{raw id: class}` or `{(r, g, b): class}`, 255 for void.
            Default: ids are classes, and 255 is void.
        image_pattern, mask_pattern: how files of one pair are called, "{name}_sat.jpg" and "{name}_mask.png"; `{name}` may
            hold folders, `*` stands for anything. Default: the same stem.
        mask_suffix: short for mask_pattern="{name}<mask_suffix>.*".
        split: "train" or "val" takes every fifth picture for validation; None takes all. Frames of one video belong
            to one side: keep them apart in folders of their own.

    Raises DatasetError, naming the file: unpaired files here, all else on reading. Run `check_dataset` once.
    """

    def __init__(self, images, masks, classes, *, palette=None, mask_suffix="", mapping=None, split=None,
                 image_pattern=None, mask_pattern=None, **options):  # fmt: skip
        classes = list(classes)
        if mask_suffix:
            if mask_pattern is not None:
                raise DatasetError("mask_suffix and mask_pattern both say how masks are called: give one of them.")
            mask_pattern = f"{{name}}{mask_suffix}.*"
        pairs = paired(
            files_of(Path(images), image_pattern), files_of(Path(masks), mask_pattern), image_pattern or "{name}.*",
            mask_pattern or "{name}.*",
        )  # fmt: skip
        if not pairs:
            raise DatasetError(f"{images} holds no pictures ({', '.join(sorted(IMAGE_SUFFIXES))}).")
        if split is not None:
            pairs = every_fifth(pairs, split)
        if palette is None:
            from ..pictures import colour_blind_palette

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
