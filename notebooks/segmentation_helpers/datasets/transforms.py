"""Calling a transform, of albumentations, of torchvision's v2 or a function, and looking at what it returns."""

import inspect
from collections.abc import Mapping

import cv2
import numpy as np
import torch
from PIL import Image
from torch import nn

from .classes import IGNORE_INDEX
from .errors import DatasetError

BACKGROUND = ("background", "bg")  # class 0 of that name is what padding may be


def kind_of(transform) -> str:
    """How a transform is called: "albumentations", "v2", "v2 sequence", "keywords" or "positions". Raises DatasetError."""
    if hasattr(transform, "set_random_seed"):
        return "albumentations"
    modules = {kind.__module__ for kind in type(transform).__mro__}
    if any(module.startswith("torchvision.transforms.v2") for module in modules):
        return "v2"
    if isinstance(transform, nn.Sequential) and all(kind_of(part) == "v2" for part in transform):
        return "v2 sequence"
    if any(module.startswith("torchvision.transforms") for module in modules):
        raise DatasetError(
            f"{type(transform).__name__} of torchvision.transforms changes the image and leaves the mask behind: take it from "
            "torchvision.transforms.v2."
        )
    if not callable(transform):
        raise DatasetError(f"The transform is {transform!r}, but must be callable: transform(image=, mask=).")
    try:
        parameters = inspect.signature(transform).parameters.values()
    except (TypeError, ValueError):
        return "keywords"
    names = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if {"image", "mask"} <= names or any(p.kind == p.VAR_KEYWORD for p in parameters):
        return "keywords"
    places = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    if places >= 2 or any(p.kind == p.VAR_POSITIONAL for p in parameters):
        return "positions"
    raise DatasetError(
        f"The transform {getattr(transform, '__name__', type(transform).__name__)} takes {', '.join(names) or 'nothing'}, but "
        "must take the image and the mask, so that both change alike."
    )


def call(transform, kind, image, mask):
    """(image, mask) as the transform returns them for uint8 (H, W, bands) and (H, W)."""
    if kind in ("albumentations", "keywords"):
        out = transform(image=image, mask=mask)
    elif kind == "positions":
        out = transform(image, mask)
    else:
        from torchvision import tv_tensors  # late: most transforms are not torchvision's

        image = tv_tensors.Image(torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous())
        mask = tv_tensors.Mask(torch.from_numpy(np.array(mask)))
        out = transform((image, mask)) if kind == "v2 sequence" else transform(image, mask)
    if isinstance(out, Mapping):
        if missing := {"image", "mask"} - set(out):
            raise DatasetError(
                f"The transform returns a dict without {sorted(missing)[0]!r}: it must hold image and mask."
            )
        return out["image"], out["mask"]
    if isinstance(out, (tuple, list)) and len(out) == 2:
        return tuple(out)
    raise DatasetError(
        f"The transform returns a {type(out).__name__}, but must return image and mask, as a dict or a tuple."
    )


def tensors(image, mask, bands: int, num_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Image float32 (bands, H, W), uint8 scaled to 0..1, and mask int64 (H, W). Raises DatasetError for anything odd."""
    image = _image(image, bands)
    mask = _mask(mask, num_classes)
    if image.shape[1:] != mask.shape:
        raise DatasetError(
            f"The transform returns an image of {image.shape[1]} x {image.shape[2]} and a mask of {mask.shape[0]} x "
            f"{mask.shape[1]} (height x width): both must change alike."
        )
    return image, mask


def _image(image, bands):
    if isinstance(image, Image.Image):
        image = np.asarray(image)
    if isinstance(image, np.ndarray):
        image = image[..., None] if image.ndim == 2 and bands == 1 else image
        if image.ndim == 3:
            image = np.moveaxis(image, 2, 0)
        image = torch.from_numpy(np.array(image, order="C"))  # a copy
    if not isinstance(image, torch.Tensor):
        raise DatasetError(
            f"The transform returns a {type(image).__name__} as image, but must return an array or a tensor."
        )
    image = image.as_subclass(torch.Tensor)
    if image.ndim != 3 or image.shape[0] != bands:
        has = f"{image.shape[0]} bands" if image.ndim == 3 else f"the shape {tuple(image.shape)}"
        remedy = "" if bands == 1 else "; for grey pictures make the data set with bands=1"
        raise DatasetError(f"The transform returns an image with {has}, but pictures have bands={bands} here{remedy}.")
    if image.dtype == torch.uint8:
        return image.float() / 255
    if not image.is_floating_point():
        raise DatasetError(
            f"The transform returns an image of {image.dtype}, but must return uint8, or floats in 0..1."
        )
    return image.float()


def _mask(mask, num_classes):
    if isinstance(mask, Image.Image):
        mask = np.asarray(mask)
    if not isinstance(mask, (np.ndarray, torch.Tensor)):
        raise DatasetError(
            f"The transform returns a {type(mask).__name__} as mask, but must return an array or a tensor."
        )
    mask = torch.as_tensor(np.array(mask) if isinstance(mask, np.ndarray) else mask).as_subclass(torch.Tensor)
    if mask.is_floating_point() or mask.is_complex():
        raise DatasetError(
            f"The transform returns a mask of {mask.dtype}, but class ids are whole numbers: leave it as it is."
        )
    if mask.ndim == 3 and 1 in (mask.shape[0], mask.shape[2]):
        mask = mask.squeeze(0 if mask.shape[0] == 1 else 2)
    if mask.ndim != 2:
        raise DatasetError(
            f"The transform returns a mask of shape {tuple(mask.shape)}, but must return (height, width)."
        )
    mask = mask.long()
    strange = ((mask < 0) | (mask >= num_classes)) & (mask != IGNORE_INDEX)
    if strange.any():
        raise DatasetError(
            f"The transform puts the id {mask[strange][0].item()} into the mask, but the classes are 0 to {num_classes - 1}, "
            f"void {IGNORE_INDEX}: give fill_mask={IGNORE_INDEX}, and resize masks to the nearest pixel."
        )
    return mask


def filling(transform, classes) -> str | None:
    """Words about the first transform that pads masks with 0, which is a class; None where there is none."""
    if classes[0].lower() in BACKGROUND:
        return None
    for part in _parts(transform):
        name, options = type(part).__name__, vars(part)
        if getattr(part, "p", 1) == 0:
            continue
        if "fill_mask" in options and _pads(part):
            if _zero(options["fill_mask"]):
                return _fills(name, classes[0], f"fill_mask={IGNORE_INDEX}")
        elif "torchvision" in type(part).__module__ and _pads_v2(part, name):
            remedy = f"fill={{tv_tensors.Image: 0, tv_tensors.Mask: {IGNORE_INDEX}}}"
            return _fills(name, classes[0], remedy)
    return None


def _fills(name, first, remedy):
    return (
        f"{name} fills what lies outside of the picture with 0, and in masks 0 is the class {first!r}. "
        f"Make it void: {name}(..., {remedy})."
    )


def _parts(transform):
    """A transform and those in it."""
    yield transform
    inside = getattr(transform, "transforms", None)
    if inside is None and isinstance(transform, nn.Sequential):
        inside = list(transform)
    if isinstance(inside, (list, tuple, nn.ModuleList)):
        for part in inside:
            yield from _parts(part)


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
