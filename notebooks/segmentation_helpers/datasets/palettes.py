"""Masks with a palette: what their indices mean in one file, and whether they mean the same in the next."""

import numpy as np

from .classes import IGNORE_INDEX
from .errors import DatasetError

INDICES_REMEDY = 'Image.fromarray(np.array(Image.open(path))).save("mask.png")'  # an index becomes the grey level


class Palettes:
    """The colour of each index that masks use. Raises DatasetError where two masks disagree."""

    def __init__(self):
        self.colours: dict[int, tuple] = {}  # index: (colour, the first mask that uses it)
        self.indices: dict[tuple, tuple] = {}  # colour: (index, the first mask that uses it)

    def look(self, indices: np.ndarray, palette: np.ndarray, path) -> None:
        for index in used(indices):
            colour = tuple(palette[index, :3].tolist())
            other, first = self.colours.setdefault(index, (colour, path))
            if other != colour:
                raise DatasetError(
                    _differ(f"index {index} is {other} in {first}, but {colour} in {path}", other, colour)
                )
            other, first = self.indices.setdefault(colour, (index, path))
            if tuple(palette[other, :3].tolist()) != colour:
                words = f"{colour} is index {other} in {first}, but index {index} in {path}"
                raise DatasetError(_differ(words, colour, tuple(palette[other, :3].tolist())))


def _differ(words, first, second):
    return (
        f"The masks have different palettes: {words}. So an index is not a class id here. Say which class each colour is: "
        f"mapping={{{first}: 0, {second}: 1, ...}}. If the indices are right after all, save every mask as grey levels: "
        f"{INDICES_REMEDY}."
    )


def used(indices: np.ndarray) -> list[int]:
    """The values that occur, in order."""
    if indices.dtype == np.uint8:
        return np.flatnonzero(np.bincount(indices.ravel(), minlength=256)).tolist()
    return np.unique(indices).tolist()


def black_and_white(values: list[int], palette: np.ndarray) -> bool:
    """Whether a palette says no more than bits would: 0 is black, 1 is white, and nothing else is used."""
    colours = palette[:2, :3].tolist()
    return set(values) <= {0, 1} and all(colours[value] == [255 * value] * 3 for value in values)


def check_greys(ids: np.ndarray, mapping, num_classes: int, path, palette) -> None:
    """Raise DatasetError for a palette of greys whose levels are classes, but others than its indices are, or alone are.

    `mapping` holds (raw id, class) pairs, None: ids are classes. Where the indices fit, too, the mask could mean either.
    """
    values = used(ids)
    if not 0 <= values[0] <= values[-1] < len(palette):
        return
    levels = palette[values][:, :3]
    greys = levels[:, 0].tolist()
    if (levels != levels[:, :1]).any() or greys == values:
        return
    meaning = {IGNORE_INDEX: IGNORE_INDEX} | dict(mapping or ((i, i) for i in range(num_classes)))
    if not all(grey in meaning for grey in greys):
        return
    start = f"{path} has a palette: its indices are {_list(values)}, its grey levels {_list(greys)}."
    if not all(value in meaning for value in values):
        raise DatasetError(
            f"{start} Indices are read as ids, but {'the mapping' if mapping else 'the range of classes'} fits the grey levels "
            f"alone. Map them as colours: mapping={_greys(mapping, num_classes, greys)}; or save every mask as grey, "
            'Image.open(path).convert("L").'
        )
    if (palette[:, :3] != palette[:, :1]).any():
        return  # a palette of colours, such as VOC's, in which a grey is one of them
    if all(meaning[value] == meaning[grey] for value, grey in zip(values, greys, strict=True)):
        return
    if black_and_white(values, palette) and IGNORE_INDEX not in dict(mapping or ()):
        return  # bits; as levels they would be class 0 and void, and nothing would be learned
    raise DatasetError(
        f"{start} Both fit the {'mapping' if mapping else 'classes'}, and nobody can say which of the two is meant. If it is the "
        f"grey levels, map them as colours: mapping={_greys(mapping, num_classes, greys)}. If it is the indices, save every "
        f"mask as grey levels: {INDICES_REMEDY}."
    )


def _greys(mapping, num_classes, greys):
    """A mapping of grey levels as text."""
    if mapping is None and num_classes == 2 and set(greys) <= {0, IGNORE_INDEX}:
        return "{(0, 0, 0): 0, (255, 255, 255): 1}"  # void would leave class 0 alone
    if mapping is None and num_classes > 8:
        return f"{{(i, i, i): i for i in (*range({num_classes}), {IGNORE_INDEX})}}"
    pairs = dict(mapping or ((i, i) for i in range(num_classes)))
    pairs = pairs if IGNORE_INDEX in pairs else pairs | {IGNORE_INDEX: IGNORE_INDEX}
    return str({(raw,) * 3: target for raw, target in pairs.items() if 0 <= raw <= 255})


def _list(values):
    return ", ".join(map(str, values[:12])) + (", ..." if len(values) > 12 else "")
