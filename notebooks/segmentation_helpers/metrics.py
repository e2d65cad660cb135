"""Scores of a whole data set: IoU per class, mIoU, pixel accuracy (ConfusionMatrix) and Boundary IoU.

Counts are added up over all images before anything is divided, as every benchmark does it; the mean of per-image IoUs
is another number. Void pixels (ignore_index) are left out by the ground truth alone, whatever is predicted there.
"""

import math

import numpy as np
import torch


class _IoU:
    """What the two scores share: their settings, and the mean over classes."""

    def __init__(self, num_classes, ignore_index):
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}, but there must be at least one class")
        self.num_classes = num_classes
        self.ignore_index = ignore_index

    @property
    def miou(self):
        """Mean of `iou` over the classes that occur (a float; NaN if none does)."""
        return self.iou.nanmean().item()

    def _without_ignored(self, scores):
        if self.ignore_index is not None and 0 <= self.ignore_index < self.num_classes:
            scores[self.ignore_index] = float("nan")
        return scores

    def _check_like(self, other):
        same = type(other) is type(self) and other.num_classes == self.num_classes
        if not same or other.ignore_index != self.ignore_index:
            raise ValueError(f"cannot merge {other!r} into {self!r}: both must be made with the same settings")

    def __repr__(self):
        return f"{type(self).__name__}({self.num_classes} classes, mIoU {self.miou:.4f})"


class ConfusionMatrix(_IoU):
    """Counts pixels by true and predicted class.

    `matrix` is an int64 tensor on the CPU, num_classes x num_classes: rows are the truth, columns the prediction.
    Class ids run from 0 to num_classes - 1; a mask may hold `ignore_index` besides. It may be one of the classes (fastai's
    CamVid has its void at 30): that class then takes no part in the mean. None ignores nothing. `void` counts the pixels
    that were ignored.
    """

    def __init__(self, num_classes, ignore_index=255):
        super().__init__(num_classes, ignore_index)
        self.matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.void = 0

    def update(self, prediction, mask):
        """Count class ids (not logits): two integer tensors or arrays of one shape, on any device.

        Raises ValueError, and counts nothing, where shapes differ or an id is out of range.
        """
        prediction, mask, valid = _class_ids(prediction, mask, self.num_classes, self.ignore_index)
        pairs = (mask * self.num_classes + prediction)[valid]
        self.matrix += torch.bincount(pairs, minlength=self.num_classes**2).cpu().view_as(self.matrix)
        self.void += valid.numel() - len(pairs)

    def merge(self, other):
        """Add the counts of another ConfusionMatrix, for instance another process's; returns self."""
        self._check_like(other)
        self.matrix += other.matrix
        self.void += other.void
        return self

    @property
    def iou(self):
        """Intersection over union per class: float64 (num_classes,); NaN where neither truth nor prediction has it.

        NaN, too, for an ignored class: what is predicted as it elsewhere counts against the true class alone.
        """
        hits = self.matrix.diag()
        return self._without_ignored(hits.double() / (self.matrix.sum(0) + self.matrix.sum(1) - hits))

    @property
    def pixel_accuracy(self):
        """Share of the non-void pixels whose class is right (a float; NaN if there are none)."""
        return (self.matrix.trace().double() / self.matrix.sum()).item()


class BoundaryIoU(_IoU):
    """Boundary IoU per class over a data set (Cheng et al. 2021, https://arxiv.org/abs/2103.16562).

    The IoU of two bands: the pixels of the true and of the predicted region at most d = ratio * image diagonal (at
    least one pixel) away from their region's contour. It sees ragged or shifted edges that the IoU of a large region
    hides. Distances are those of a square, and the image's border is contour, as in the authors' code. The paper is
    about one object at a time; here a class is one region, and void neither counts nor makes a contour.
    """

    def __init__(self, num_classes, ignore_index=255, ratio=0.02):
        super().__init__(num_classes, ignore_index)
        self.ratio = ratio
        self.intersection = torch.zeros(num_classes, dtype=torch.int64)  # pixels per class
        self.union = torch.zeros(num_classes, dtype=torch.int64)

    def update(self, prediction, mask):
        """Count class ids, (H, W) or (B, H, W) whole images; errors as in ConfusionMatrix.update."""
        prediction, mask, valid = _class_ids(prediction, mask, self.num_classes, self.ignore_index)
        if mask.ndim not in (2, 3):
            raise ValueError(f"a boundary needs masks of shape (H, W) or (B, H, W), not {tuple(mask.shape)}")
        distance = max(1, round(self.ratio * math.hypot(*mask.shape[-2:])))
        true_band = _contour_band(mask, valid, distance)
        predicted_band = _contour_band(prediction, valid, distance)

        def count(ids):
            return torch.bincount(ids, minlength=self.num_classes).cpu()

        both = count(mask[true_band & predicted_band & (mask == prediction)])
        self.intersection += both
        self.union += count(mask[true_band]) + count(prediction[predicted_band]) - both

    def merge(self, other):
        """Add the counts of another BoundaryIoU; returns self."""
        self._check_like(other)
        if other.ratio != self.ratio:
            raise ValueError(f"cannot merge Boundary IoUs of ratio {other.ratio} and {self.ratio}")
        self.intersection += other.intersection
        self.union += other.union
        return self

    @property
    def iou(self):
        """Boundary IoU per class: float64 (num_classes,); NaN where neither truth nor prediction has a contour."""
        return self._without_ignored(self.intersection.double() / self.union)


def boundary_iou(prediction, mask, num_classes, ignore_index=255, ratio=0.02):
    """Boundary IoU per class of one image (H, W) or batch (B, H, W) of class ids: see BoundaryIoU."""
    score = BoundaryIoU(num_classes, ignore_index, ratio)
    score.update(prediction, mask)
    return score.iou


def _contour_band(labels, valid, distance):
    """Valid pixels with another class, or the image's border, at most `distance` away: (..., H, W) bool.

    A window holds another class if its largest or its smallest label is not that of its centre: one pass for all
    classes.
    """
    labels = torch.stack([labels, -labels]).int()  # the smallest label is the largest negative one
    void = torch.iinfo(torch.int32).min
    windows = labels.masked_fill(~valid, void)
    outside = torch.iinfo(torch.int32).max
    windows = torch.nn.functional.pad(windows, (distance,) * 4, value=outside)
    for dim in (-1, -2):
        windows = _sliding_max(windows, 2 * distance + 1, dim)
    return (windows != labels).any(0) & valid


def _sliding_max(x, width, dim):
    """Largest of every `width` neighbours along `dim`, which gets width - 1 shorter; log2(width) steps."""
    reach = 1
    while reach < width:
        step = min(reach, width - reach)
        length = x.shape[dim] - step
        x = torch.maximum(x.narrow(dim, 0, length), x.narrow(dim, step, length))
        reach += step
    return x


def _class_ids(prediction, mask, num_classes, ignore_index):
    """Both as int64 tensors on the prediction's device, and which pixels count; ValueError where that cannot be."""
    prediction, mask = _integers(prediction, "prediction"), _integers(mask, "mask")
    if prediction.shape != mask.shape:
        raise ValueError(
            f"prediction has shape {tuple(prediction.shape)} but mask has shape {tuple(mask.shape)}: "
            "resize the logits to the mask's size before argmax(1), never the mask"
        )
    mask = mask.to(prediction.device)
    valid = mask != ignore_index if ignore_index is not None else torch.ones_like(mask, dtype=torch.bool)
    classes = f"there are {num_classes} classes (0-{num_classes - 1})" if num_classes > 1 else "there is one class (0)"
    for name, ids in (("mask", mask), ("prediction", prediction)):
        wrong = ids[valid & ((ids < 0) | (ids >= num_classes))]
        if len(wrong):
            remedy = "pass num_classes as large as the number of the model's outputs"
            if name == "mask":
                void = f" or to void ({ignore_index})" if ignore_index is not None else ""
                remedy = f"map that id to a class{void}, or pass a larger num_classes"
            raise ValueError(f"a {name} holds class {wrong[0].item()} but {classes}: {remedy}")
    return prediction, mask, valid


def _integers(ids, name):
    if not torch.is_tensor(ids):
        ids = np.asarray(ids)
        ids = torch.from_numpy(ids.astype(np.int64) if ids.dtype.kind in "iub" else ids.copy())
    if ids.is_floating_point():
        remedy = "call argmax(1) first" if name == "prediction" else "convert it with .long()"
        raise ValueError(f"{name} is floating-point ({ids.dtype}) but class ids are wanted: {remedy}")
    return ids.long()
