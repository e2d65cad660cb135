"""Look at a whole data set before training on it."""

import numpy as np

from .classes import IGNORE_INDEX
from .files import DatasetError


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
