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
from .padding import BACKGROUND
from .parts import check_order, parts

PART_OF_THE_NETWORK = "normalisation is part of the network, Normalized(network, mean, std)"


def kind_of(transform) -> str:
    """How a transform is called: "albumentations", "v2", "v2 sequence", "keywords" or "positions". Raises DatasetError."""
    if hasattr(transform, "set_random_seed"):
        return "albumentations"
    check_order(transform)
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
    if isinstance(transform, nn.Sequential):
        raise DatasetError(
            "nn.Sequential hands one value from part to part, but these parts take two, image and mask. Put them into "
            "torchvision.transforms.v2.Compose([...]), which hands on both."
        )
    if not callable(transform):
        several = "; A.Compose or v2.Compose makes one of several" if isinstance(transform, (list, tuple)) else ""
        raise DatasetError(f"The transform is {transform!r}, but must be callable: transform(image=, mask=){several}.")
    try:
        call = transform.forward if isinstance(transform, nn.Module) else transform
        parameters = inspect.signature(call).parameters.values()
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


def range_told(image: torch.Tensor, transform) -> str | None:
    """What to say of an image whose values do not lie in 0..1, and what makes them so; None where they do."""
    low, high = image.amin(), image.amax()
    if low >= -0.25 and high <= 1.25:  # a resize may overshoot
        return None
    start = f"The transform gives images with values from {low:.2f} to {high:.2f}, but they should lie in 0..1: "
    steps = {type(part).__name__: part for part in parts(transform)}
    if not torch.isfinite(image).all():
        return f"{start}look for a division by zero in it."
    if "Normalize" in steps:
        library = "v2" if "torchvision" in type(steps["Normalize"]).__module__ else "A"
        return f"{start}take {library}.Normalize out, {PART_OF_THE_NETWORK}."
    if "FromFloat" in steps:
        return f"{start}take A.FromFloat out."
    if "ToDtype" in steps and not steps["ToDtype"].scale:
        return f"{start}v2.ToDtype keeps 0..255 unless you say v2.ToDtype(torch.float32, scale=True)."
    if low >= 0 and high <= 255.5:
        return f"{start}divide floats by 255, or return uint8, which is divided for you."
    return f"{start}take the normalisation out, it is {PART_OF_THE_NETWORK.split(' is ')[1]}."


def ids_told(before: np.ndarray, after: np.ndarray, path, classes, *, padding_told: bool) -> str | None:
    """What to say of class ids that a transform puts into a mask, from what `present` gave before and after; None for none.

    Class 0 is left out where it is the background, or where `padding_told` has said it.
    """
    new = after & ~before
    new[IGNORE_INDEX] = False
    if padding_told or classes[0].lower() in BACKGROUND:
        new[0] = False
    if not new.any():
        return None
    number = int(np.flatnonzero(new)[-1])
    held = ", ".join(map(str, np.flatnonzero(before)))
    start = (
        f"The transform puts the id {number}, {classes[number]!r}, into the mask of {path}, which holds only {held}: "
    )
    if number == 0:
        return (
            f"{start}it fills something with 0. Make it void: fill_mask={IGNORE_INDEX} in albumentations, "
            f"fill={{tv_tensors.Image: 0, tv_tensors.Mask: {IGNORE_INDEX}}} in torchvision's v2."
        )
    return (
        f"{start}a mask that is resized or turned smoothly gets classes that are not there. Take the nearest pixel: "
        "mask_interpolation=cv2.INTER_NEAREST in albumentations, tv_tensors.Mask in torchvision's v2, and in a function of "
        "your own cv2.INTER_NEAREST or Image.Resampling.NEAREST."
    )


def present(mask: np.ndarray) -> np.ndarray:
    """Which of the ids 0 to 255 a mask (H, W) holds, bool (256,)."""
    return cv2.calcHist([np.ascontiguousarray(mask)], [0], None, [256], [0, 256]).ravel() > 0


def tensors(image, mask, bands: int, num_classes: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Image float32 (bands, H, W), uint8 scaled to 0..1, mask int64 (H, W), and the ids that it holds, see `present`.

    Raises DatasetError for anything odd.
    """
    image = _image(image, bands)
    mask, held = _mask(mask, num_classes)
    if image.shape[1:] != mask.shape:
        raise DatasetError(
            f"The transform returns an image of {image.shape[1]} x {image.shape[2]} and a mask of {mask.shape[0]} x "
            f"{mask.shape[1]} (height x width): both must change alike."
        )
    return image, mask, held


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
        return image.float().div_(255)
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
    held = (
        present(mask.numpy()) if mask.dtype == torch.uint8 else None
    )  # a histogram is many times faster than comparisons
    mask = mask.long()
    if held is None or held[num_classes:IGNORE_INDEX].any():
        strange = mask[((mask < 0) | (mask >= num_classes)) & (mask != IGNORE_INDEX)]
        if not len(strange):
            return mask, present(mask.numpy().astype(np.uint8))
        raise DatasetError(
            f"The transform puts the id {strange[0].item()} into the mask, but the classes are 0 to {num_classes - 1}, "
            f"void {IGNORE_INDEX}: give fill_mask={IGNORE_INDEX}, and resize masks to the nearest pixel."
        )
    return mask, held
