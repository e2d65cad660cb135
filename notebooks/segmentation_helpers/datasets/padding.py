"""Transforms that fill what lies outside of the picture, and so put a class into the mask."""

import re
from collections.abc import Mapping

import cv2
import numpy as np

from .classes import IGNORE_INDEX
from .parts import parts

BACKGROUND = ("background", "bg")  # class 0 of that name is what padding may be
RESIZES = re.compile("Crop|Resize|Pad|Rotation|Zoom|Scale|Size|Lambda")


def filling(transform, classes) -> str | None:
    """Words about the first transform that pads masks with 0, which is a class; None where there is none."""
    if classes[0].lower() in BACKGROUND:
        return None
    for part in parts(transform):
        name, options = type(part).__name__, vars(part)
        if getattr(part, "p", 1) == 0:
            continue
        if "fill_mask" in options and _pads(part):
            if _zero(options["fill_mask"]):
                return _fills(name, classes[0], f"fill_mask={IGNORE_INDEX}")
        elif name == "GridElasticDeform":
            remedy = f"take A.ElasticTransform(fill_mask={IGNORE_INDEX})"
            return f"{_start(name, classes[0])} It has no option to change this: {remedy}."
        elif "torchvision" in type(part).__module__ and _pads_v2(part, name):
            remedy = f"fill={{tv_tensors.Image: 0, tv_tensors.Mask: {IGNORE_INDEX}}}"
            return _fills(name, classes[0], remedy)
    return None


def _start(name, first):
    return f"{name} fills what lies outside of the picture with 0, and in masks 0 is the class {first!r}."


def _fills(name, first, remedy):
    return f"{_start(name, first)} Make it void: {name}(..., {remedy})."


def beyond(transform, shape, classes) -> str | None:
    """Words about a v2.CenterCrop that is larger than a picture of this shape, (height, width, ...), and so pads it."""
    if classes[0].lower() in BACKGROUND:
        return None
    for part in parts(transform):
        name = type(part).__name__
        if name == "CenterCrop" and "torchvision" in type(part).__module__:
            if part.size[0] > shape[0] or part.size[1] > shape[1]:
                return (
                    f"{_start(name, classes[0])} It crops {part.size[0]} x {part.size[1]} (height x width) out of a picture of "
                    f"{shape[0]} x {shape[1]}. Pad them with void first: v2.RandomCrop(..., pad_if_needed=True, "
                    f"fill={{tv_tensors.Image: 0, tv_tensors.Mask: {IGNORE_INDEX}}})."
                )
            return None
        if RESIZES.search(name):
            return None  # nobody knows how large the picture is after it
    return None


def _zero(fill):
    return np.isscalar(fill) and fill == 0 or (isinstance(fill, (list, tuple)) and not any(fill))


def _pads(part):
    """Whether one of albumentations can make new pixels of a constant colour."""
    name = type(part).__name__
    if getattr(part, "border_mode", None) != cv2.BORDER_CONSTANT:
        return False
    if name == "CropAndPad":
        return any(np.max(size) > 0 for size in (part.px, part.percent) if size is not None)
    return bool(getattr(part, "pad_if_needed", "Crop" not in name))


def _pads_v2(part, name):
    fill = getattr(part, "fill", None)
    pads = name in ("RandomAffine", "RandomRotation", "RandomPerspective", "ElasticTransform", "Pad", "RandomZoomOut")
    if name == "RandomCrop":
        pads = bool(part.pad_if_needed or part.padding)
    if not pads or getattr(part, "padding_mode", "constant") != "constant":
        return False
    if isinstance(fill, Mapping):
        from torchvision import tv_tensors

        fill = next((value for key, value in fill.items() if key in (tv_tensors.Mask, "others")), 0)
    return fill is None or _zero(fill)
