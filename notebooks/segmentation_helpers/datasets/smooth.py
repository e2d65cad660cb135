"""Classes that smooth resizing has put between two others: thin lines, wherever they occur in a data set."""

import cv2
import numpy as np

from .classes import IGNORE_INDEX
from .errors import warn

LEAST = 3  # so many classes, for one or two may be drawn borders
AREAS = 0.2  # the share of the pixels whose neighbours are all of their class: masks are no noise


class Between:
    """Which ids lie everywhere between a smaller and a larger neighbour, as those that interpolation makes."""

    def __init__(self):
        self.counts, self.elsewhere, self.first = np.zeros(256, np.int64), np.zeros(256, bool), {}
        self.inside = 0

    def look(self, mask: np.ndarray, path) -> None:
        """A mask as it is read, uint8 (H, W)."""
        near = np.ones((3, 3), np.uint8)
        low, high = cv2.erode(mask, near), cv2.dilate(np.where(mask == IGNORE_INDEX, 0, mask).astype(np.uint8), near)
        here = np.bincount(mask.ravel(), minlength=256)
        self.elsewhere |= np.bincount(mask[(low < mask) & (mask < high)], minlength=256) != here
        self.counts += here
        self.inside += int((low == high).sum())
        for number in np.flatnonzero((here > 0) & ~self.elsewhere):
            self.first.setdefault(int(number), path)

    def warn(self, classes) -> None:
        """Warn where several classes are nothing but such lines."""
        thin = [
            number for number in np.flatnonzero((self.counts > 0) & ~self.elsewhere).tolist() if number < len(classes)
        ]
        if len(thin) < LEAST or self.inside < AREAS * self.counts.sum():
            return
        names = ", ".join(repr(classes[number]) for number in thin[:4]) + (", ..." if len(thin) > 4 else "")
        warn(
            f"{len(thin)} classes ({names}) occur only as thin lines between a smaller and a larger id, {self.first[thin[0]]} "
            "the first mask: it looks as if masks were resized smoothly, which invents classes. Resize them to the nearest "
            "pixel, cv2.INTER_NEAREST or Image.Resampling.NEAREST."
        )
