"""What no single mask shows: whether 255 is a class, and whether all masks are written in the same way."""

from pathlib import Path

import numpy as np

from .classes import IGNORE_INDEX
from .errors import DatasetError, warn
from .masks import brightness, stored_ids
from .palettes import Palettes, black_and_white, check_greys, used

SOME, PIXELS = 16, 2**25  # masks looked at, evenly spread, and when to stop; all of them where these look wrong


def void_or_class(masks: list[Path], mapping, num_classes: int) -> bool:
    """Whether a mask of one colour may be read as one of ids: not where masks are of one band otherwise.

    Raises DatasetError where masks hold 0 and 255 alone: 255 is void, so that nothing but class 0 would be left; where
    their palettes differ; and where some of them are written in another way than the rest.
    """
    ways, single, answer, pixels = Ways(mapping, num_classes), False, None, 0
    for number, path in enumerate(_some_first(masks)):
        enough = number >= SOME or (number > 1 and pixels > PIXELS)
        if enough and not ways.only_0_and_255:
            break
        try:
            ids, raw = stored_ids(path)
        except DatasetError:
            continue  # reading it will say so
        single |= raw.bands == 1
        pixels += raw.pixels.size
        if ids is not None:
            values = used(ids)
            ways.look(path, values, raw)
        if answer is None and (ids is None or (len(values) > 1 and values != [0, IGNORE_INDEX])):
            answer = not single
    ways.check()
    return mapping is not None or (not single if answer is None else answer)


class Ways:
    """In which ways the masks of a data set are written, `mapping` and classes as for `read_index_mask`."""

    def __init__(self, mapping, num_classes: int):
        self.mapping, self.num_classes = mapping, num_classes
        self.palettes = Palettes()
        self.first: dict[str, Path] = {}  # the first mask of each kind

    def look(self, path, values: list[int], raw=None) -> None:
        """A mask by its values, and by its file where this has a palette or one bit. Raises DatasetError for palettes."""
        bits = raw is not None and raw.pixels.dtype == bool
        if raw is not None and raw.palette is not None:
            check_greys(raw.pixels, self.mapping, self.num_classes, path, raw.palette)
            self.palettes.look(raw.pixels, raw.palette, path)
            bits = black_and_white(values, raw.palette)
        present = set(values)
        if bits:
            kind = "bits" if 1 in present else "one value"
        elif present <= {0, IGNORE_INDEX}:
            kind = "void" if len(present) == 2 else "one value"
        else:
            kind = "ones" if present <= {0, 1} else "ids"  # those with 1 and 255, too
        self.first.setdefault(kind, path)

    @property
    def only_0_and_255(self) -> bool:
        """Whether all masks that could hold another id hold but 0 and 255, one of them both."""
        return "void" in self.first and not {"ids", "ones"} & set(self.first) and self.mapping is None

    def check(self) -> None:
        """Raise DatasetError, or warn, where masks of 0 and 255 are all, or lie beside masks of 0 and 1."""
        if self.only_0_and_255 and "bits" in self.first:
            raise DatasetError(
                f"The masks are written in two ways: {self.first['bits']} is black and white and holds 0 and 1, but "
                f"{self.first['void']} holds 0 and 255, and 255 means void here. If 255 stands for class 1, too, say so: "
                "mapping={0: 0, 1: 1, 255: 1}."
            )
        if self.only_0_and_255:
            raise DatasetError(only_0_and_255(self.first["void"], self.num_classes))
        two_ways = {"void", "ones"} <= set(self.first) and "ids" not in self.first
        if two_ways and self.mapping is None and self.num_classes == 2:
            warn(
                f"Some masks hold 0 and 1, as {self.first['ones']} does, others 0 and 255, as {self.first['void']} does, and "
                "none that was looked at holds 1 and 255: are they written in two ways? Here 255 means void. If it stands for "
                "class 1, say so: mapping={0: 0, 1: 1, 255: 1}."
            )


def only_0_and_255(path, num_classes: int) -> str:
    """What is wrong with masks of 0 and 255, `path` the first of them, and the remedy."""
    remedy = "mapping={0: 0, 255: 1}"
    if num_classes == 1:
        remedy = f'give two names, background first, classes=["background", "cell"], {remedy}'
    return (
        f"{path} and all other masks hold only 0 and 255, and 255 means void here: only class 0 would be learned. "
        f"If 255 stands for class 1, say so: {remedy}."
    )


class Sides:
    """On which sides of the threshold the masks of a data set lie."""

    def __init__(self, threshold: float):
        self.threshold = threshold
        self.low, self.high = float("inf"), float("-inf")
        self.bright = self.dark = None  # the first mask that reaches the threshold, and one of 0 and 1 that does not

    def look(self, path, values: np.ndarray) -> None:
        high = values.max()
        self.low, self.high = min(self.low, values.min()), max(self.high, high)
        if high >= self.threshold:
            self.bright = self.bright or (path, high)
        elif (
            high in (1, 255) and self.dark is None and ((values == 0) | (values == high)).all() and (values == 0).any()
        ):
            self.dark = path, high

    @property
    def parted(self) -> bool:
        return self.low < self.threshold <= self.high

    def check(self) -> None:
        """Raise DatasetError where some masks hold 0 and 1, and others values around the threshold."""
        if self.bright and self.dark:
            both = self.dark[1] == 1 and self.bright[1] == 255
            remedy = "; or say mapping={0: 0, 1: 1, 255: 1} if they hold nothing else" if both else ""
            raise DatasetError(
                f"The masks are written in two ways: {self.dark[0]} holds 0 and {self.dark[1]:g}, but {self.bright[0]} values up "
                f"to {self.bright[1]:g}. With threshold={self.threshold:g} the first would be class 0 everywhere. Save all masks "
                f"in the same way{remedy}."
            )


def check_threshold(masks: list[Path], threshold: float) -> None:
    """Raise DatasetError where no mask has pixels on both sides of the threshold, nor any two masks; or one never has."""
    sides, pixels = Sides(threshold), 0
    for number, path in enumerate(_some_first(masks)):
        if sides.parted and (number >= SOME or (number > 1 and pixels > PIXELS)):
            break
        try:
            values = brightness(path)
        except DatasetError:
            continue  # reading it will say so
        sides.look(path, values)
        pixels += values.size
    if not sides.parted and sides.high >= sides.low:
        raise DatasetError(
            f"threshold={threshold:g} parts no mask: their values run from {sides.low:g} to {sides.high:g}. Give a value between "
            "the two, threshold=1 for masks of 0 and 1."
        )
    sides.check()


def _some_first(masks):
    chosen = [i * len(masks) // min(SOME, len(masks)) for i in range(min(SOME, len(masks)))]
    rest = sorted(set(range(len(masks))) - set(chosen))
    return [masks[i] for i in (*chosen, *rest)]
