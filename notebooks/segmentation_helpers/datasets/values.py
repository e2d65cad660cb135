"""From the values in a mask to class ids, and what to say of a value that no class claims."""

from pathlib import Path

import numpy as np

from .classes import IGNORE_INDEX
from .errors import DatasetError
from .palettes import check_greys

INVALID = 254  # internal: a raw value that no class claims


def classes_of(ids: np.ndarray, mapping, num_classes: int, path: Path, palette=None) -> np.ndarray:
    """Whole numbers (H, W) to class ids, uint8; 255 is void unless the mapping says otherwise.

    `mapping` holds (raw id, class) pairs, None: ids are classes. An id that no class claims is a DatasetError that names
    the place. `palette` (256, 4) is that of a mask whose ids are indices.
    """
    if palette is not None:
        check_greys(ids, mapping, num_classes, path, palette)
    meaning = {IGNORE_INDEX: IGNORE_INDEX} | dict(mapping or ((i, i) for i in range(num_classes)))
    if ids.dtype == np.uint8:
        table = np.full(256, INVALID, np.uint8)
        for raw, target in meaning.items():
            if 0 <= raw <= 255:
                table[raw] = target
        classes = table[ids]
        wrong = classes == INVALID
    else:
        keys = np.array(sorted(meaning), np.int64)
        targets = np.array([meaning[key] for key in keys.tolist()], np.uint8)
        ids = ids.astype(np.int64)
        place = np.searchsorted(keys, ids).clip(max=len(keys) - 1)
        classes, wrong = targets[place], keys[place] != ids
    if wrong.any():
        y, x = np.argwhere(wrong)[0]
        raise DatasetError(_complaint(ids, (int(y), int(x)), mapping, meaning, num_classes, path))
    return classes


def _complaint(ids, place, mapping, meaning, num_classes, path):
    """What is wrong with the id at `place`, and a remedy that works."""
    values, counts = np.unique(ids, return_counts=True)
    unknown = [int(value) for value in values if int(value) not in meaning]
    start = f"{path} holds the id {ids[place]} at row {place[0]}, column {place[1]}, but the data set has "
    start += f"{num_classes} classes (0-{num_classes - 1})" if num_classes > 1 else "1 class (0)"
    start += f" and {IGNORE_INDEX} for void. "
    if smooth := _smooth_edges(ids, values, counts, unknown):
        low, high = smooth
        remedy = "Resize masks without smoothing (nearest neighbour) and save them as PNG"
        if num_classes == 2:
            instead = " in place of the mapping" if mapping else ""
            remedy += f"; or say from which value on a pixel is class 1: threshold={(low + high + 1) // 2}{instead}"
        share = counts[np.isin(values, unknown)].sum() / ids.size
        many = f"{len(unknown)} value{'s' * (len(unknown) > 1)} between {low} and {high} on {share:.1%} of its pixels"
        return f"{start}{many} look like smooth edges: the mask was resized or compressed. {remedy}."
    if num_classes == 1 and mapping is None:
        classes = "background" if len(values) <= 2 else "background, and every other class"
        return f'{start}Name the {classes}, too: classes=["background", ...].'
    if len(unknown) > 12:
        return f"{start}{len(unknown)} of its values are none of these: is it a mask of ids? Else export one."
    return f"{start}Correct the mask, or say what its values mean: {_remedy(values, unknown, mapping, num_classes)}."


def _remedy(values, unknown, mapping, num_classes):
    """A mapping that reads this mask, as text. The values in their order where there are as many as classes."""
    known = [int(value) for value in values if value != IGNORE_INDEX]
    if mapping is None and len(known) == num_classes and len(unknown) >= num_classes - 1 and known[0] >= 0:
        return f"mapping={dict(zip(known, range(num_classes), strict=True))}"
    more = {value: IGNORE_INDEX for value in unknown}
    void = f" ({IGNORE_INDEX} for those that mean nothing)"
    if mapping is not None and len(mapping) > 12:
        return f"add {str(more)[1:-1]} to the mapping{void}"
    if mapping is None and num_classes > 12:
        return f"mapping={{i: i for i in range({num_classes})}} | {more}{void}"
    return f"mapping={(dict(mapping) if mapping else {i: i for i in range(num_classes)}) | more}{void}"


def _smooth_edges(ids, values, counts, unknown):
    """The two main values, where what no class claims lies between them: many values, or thin lines and no areas."""
    if len(values) < 3:
        return None
    low, high = sorted(int(value) for value in values[np.argsort(-counts, kind="stable")[:2]])
    between = [value for value in unknown if low < value < high]
    if not between or len(between) < 0.6 * len(unknown):
        return None
    share, count = counts[np.isin(values, unknown)].sum() / counts.sum(), len(unknown)
    many = count >= 24 or (count >= 8 and share < 0.5)
    return (low, high) if many or ((count > 1 or share < 0.05) and not _has_areas(ids, unknown)) else None


def _has_areas(ids, unknown):
    """Whether 3 x 3 neighbours somewhere have one and the same of these values."""
    solid = np.isin(ids, unknown)[1:-1, 1:-1]
    middle, (height, width) = ids[1:-1, 1:-1], ids.shape
    for y in range(3):
        for x in range(3):
            solid = solid & (ids[y : height - 2 + y, x : width - 2 + x] == middle)
    return bool(solid.any())
