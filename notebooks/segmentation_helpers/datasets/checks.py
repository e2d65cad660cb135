"""Look at a whole data set before training on it."""

import numpy as np

from .classes import IGNORE_INDEX
from .conventions import Sides, Ways, only_0_and_255
from .errors import DatasetError, warn
from .files import glance, has_palette_or_bits, load
from .masks import brightness, read_index_mask, read_threshold_mask, stored_ids
from .members import members
from .palettes import used
from .smooth import Between

DARK, BRIGHT = 16, 239  # 12 bits taken for 16 end at 15


def check_dataset(dataset) -> np.ndarray:
    """Read every pair once; raise DatasetError on the first problem, in words, with the file and the remedy.

    Finds damaged files, sizes that differ, ids out of range, JPEG and colour masks, masks of 0 and 255, palettes that
    differ, masks written in two ways, masks that are void everywhere or hold one class alone. Warns of classes that smooth
    resizing seems to have made, and of pictures that are of one colour, nearly black or nearly white, of another depth or
    number of bands than the rest, or turned by an EXIF tag that the mask may not know.
    Takes Subset and ConcatDataset, too. Returns the number of pixels of each class, int64 (num_classes + 1,), void last.
    """
    data = members(dataset)
    counts, only = np.zeros(256, np.int64), True  # whether masks hold but 0 and 255
    first_mixed, pictures, masks = None, _Pictures(), _Masks()
    for index in range(len(data)):
        image, mask = data.read(index)
        pair = data.pair(index) or (f"picture {index}", f"mask {index}")
        if mask.ndim != 2 or mask.dtype != np.uint8:
            raise DatasetError(f"{pair[1]} is read as {mask.dtype} of shape {mask.shape}, but a mask is uint8 (H, W).")
        here = np.bincount(mask.ravel(), minlength=256)
        strange = np.flatnonzero(here[len(data.classes) : IGNORE_INDEX])
        if len(strange):
            raise DatasetError(
                f"{pair[1]} is read as the id {strange[0] + len(data.classes)}, but there are {len(data.classes)} classes."
            )
        counts += here
        only &= here[0] + here[IGNORE_INDEX] == mask.size
        if first_mixed is None and here[0] and here[IGNORE_INDEX]:
            first_mixed = pair[1]
        pictures.look(image, pair[0])
        masks.look(data.sources[index][0], pair[1], mask, here)
    masks.check(data.classes)
    present = counts[: len(data.classes)]
    first = (data.pair(0) or (None, "the first mask"))[1]
    if only and present[0] and counts[IGNORE_INDEX]:
        raise DatasetError(only_0_and_255(first_mixed or first, len(data.classes)))
    if not present.any():
        raise DatasetError(f"All masks are void (255), {first} the first: there is nothing to learn.")
    if (present > 0).sum() == 1:
        name = data.classes[int(present.argmax())]
        remedy = (
            "Name the background, too" if len(data.classes) == 1 else "Are these the right masks, and the right mapping"
        )
        raise DatasetError(
            f'All masks hold the class "{name}" alone, {first} the first: there is nothing to tell apart. '
            f"{remedy}{'.' if len(data.classes) == 1 else '?'}"
        )
    pictures.warn(getattr(data, "scale", None))
    return np.append(present, counts[IGNORE_INDEX])


class _Masks:
    """How the masks of each data set are written; nothing is known of those that a decoder of the reader's own reads."""

    def __init__(self):
        self.between, self.seen = (
            {},
            {},
        )  # by decoder, for data sets that were put together may read their masks in different ways

    def look(self, data, path, mask, counts):
        """One mask by its file, and as it was read, with the number of pixels of each id."""
        decode = getattr(data, "decode", None)
        function, options = getattr(decode, "func", decode), getattr(decode, "keywords", {})
        if not (hasattr(path, "is_file") and path.is_file()):  # a cached data set may outlive its files
            return
        if function is read_index_mask and "num_classes" in options:
            mapping = options.get("mapping")
            if mapping is None:
                self.between.setdefault(decode, Between()).look(mask, path)
            ways = self.seen.setdefault(decode, Ways(mapping, options["num_classes"]))
            if has_palette_or_bits(path):
                ids, raw = stored_ids(path)
                if ids is not None:
                    ways.look(path, used(ids), raw)
            elif mapping is None:
                ways.look(path, np.flatnonzero(counts).tolist())
        elif function is read_threshold_mask and "threshold" in options:
            sides = self.seen.setdefault(decode, Sides(options["threshold"]))
            if counts[1] == 0 or sides.bright is None:
                sides.look(path, brightness(path))

    def check(self, classes):
        for ways in self.seen.values():
            ways.check()
        for between in self.between.values():
            between.warn(classes)


class _Pictures:
    """What is odd about the pictures of a data set: the first of each kind, and how many."""

    def __init__(self):
        self.odd: dict[str, list] = {"of one colour": [], "nearly black": [], "nearly white": []}
        self.forms: dict[tuple, list] = {}
        self.turned = []
        self.count = 0

    def look(self, image, path):
        self.count += 1
        flat = image.reshape(-1, image.shape[2])
        if (flat == flat[0]).all():
            self.odd["of one colour"].append(path)
        elif (image > DARK).mean() < 0.001:
            self.odd["nearly black"].append(path)
        elif (image < BRIGHT).mean() < 0.001:
            self.odd["nearly white"].append(path)
        if hasattr(path, "is_file") and path.is_file():  # a cached data set may outlive its files
            *form, orientation = glance(path)
            self.forms.setdefault(tuple(form), []).append(path)
            if orientation in (2, 3, 4) or (orientation in (5, 6, 7, 8) and image.shape[0] == image.shape[1]):
                self.turned.append(path)

    def warn(self, scale):
        for what, paths in self.odd.items():
            if paths:
                start = f"{paths[0]}, the first of {len(paths)}," if len(paths) > 1 else str(paths[0])
                are = f"{start} is {what}: look at it" + _scale_hint(paths[0], what, scale)
                warn(f"{are}.")
        if len(self.forms) > 1:
            usual = max(self.forms, key=lambda form: len(self.forms[form]))
            other, paths = next((form, paths) for form, paths in self.forms.items() if form != usual)
            warn(
                f"{paths[0]} has {_words(other)}, but {len(self.forms[usual])} of {self.count} pictures have {_words(usual)}: "
                "make sure that they look alike once they are read."
            )
        if self.turned:
            warn(
                f"{self.turned[0]} is turned by its EXIF orientation, and its size does not tell whether its mask knows: look at "
                f"show_samples ({len(self.turned)} such picture{'s' * (len(self.turned) > 1)})."
            )


def _scale_hint(path, what, scale):
    """What to say of a dark picture whose file has more bits than it uses."""
    if what == "of one colour" or scale is not None or not path.is_file():
        return ""
    raw = load(path)
    if raw.pixels.dtype.kind not in "iu" or raw.pixels.dtype.itemsize < 2:
        return ""
    largest = int(raw.pixels.max())
    return f", or say which value is white: its largest is {largest}, which scale={2 ** largest.bit_length() - 1} fits"


def _words(form):
    bands, bits = form
    return f"{bands} band{'s' * (bands > 1)} of {bits} bit{'s' * (bits > 1)}"
