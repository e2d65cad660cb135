"""A look at some masks when a data set is made: conventions that no single file shows."""

from pathlib import Path

import numpy as np

from .classes import IGNORE_INDEX
from .errors import DatasetError
from .masks import brightness, stored_ids

SOME = 16  # masks looked at, evenly spread; all of them where these look wrong


def void_or_class(masks: list[Path], num_classes: int) -> bool:
    """Whether a mask of one colour may be read as one of ids: not where masks are of one band otherwise.

    Raises DatasetError where masks hold 0 and 255 alone: 255 is void, so that nothing but class 0 would be left.
    """
    suspect, single = None, False
    for number, path in enumerate(_some_first(masks)):
        if number >= SOME and suspect is None:
            break
        try:
            ids, bands = stored_ids(path)
        except DatasetError:
            continue  # reading it will say so
        single |= bands == 1
        if ids is None:
            return not single
        values = set(np.unique(ids).tolist())
        if len(values) > 1:
            if values != {0, IGNORE_INDEX}:
                return not single
            suspect = suspect or path
    if suspect is not None:
        raise DatasetError(only_0_and_255(suspect, num_classes))
    return not single


def only_0_and_255(path, num_classes: int) -> str:
    """What is wrong with masks of 0 and 255, `path` the first of them, and the remedy."""
    remedy = "mapping={0: 0, 255: 1}"
    if num_classes == 1:
        remedy = f'give two names, background first, classes=["background", "cell"], {remedy}'
    return (
        f"{path} and all other masks hold only 0 and 255, and 255 means void here: only class 0 would be learned. "
        f"If 255 stands for class 1, say so: {remedy}."
    )


def check_threshold(masks: list[Path], threshold: float) -> None:
    """Raise DatasetError where no mask has pixels on both sides of the threshold, nor any two masks."""
    low, high = float("inf"), float("-inf")
    for path in _some_first(masks):
        try:
            values = brightness(path)
        except DatasetError:
            continue  # reading it will say so
        low, high = min(low, values.min()), max(high, values.max())
        if low < threshold <= high:
            return
    if high >= low:
        raise DatasetError(
            f"threshold={threshold:g} parts no mask: their values run from {low:g} to {high:g}. Give a value between the two, "
            "threshold=1 for masks of 0 and 1."
        )


def _some_first(masks):
    chosen = [i * len(masks) // min(SOME, len(masks)) for i in range(min(SOME, len(masks)))]
    rest = sorted(set(range(len(masks))) - set(chosen))
    return [masks[i] for i in (*chosen, *rest)]
