"""From an image of any size to a class map of that size: resizes, pads, tiles, and blends the tiles.

Images lie in 0..1; a network that wants them normalised does so itself, see Normalized.
"""

import contextlib
import math
import os
import warnings
from collections.abc import Mapping
from numbers import Real

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

from .normalized import Normalized, input_spec, pair_of, require_no_attributes

__all__ = ["Normalized", "class_ids", "forward_padded", "forward_views", "input_spec", "predict"]


def forward_padded(model, image, divisor=None):
    """Logits of an image at exactly its size.

    image (B, bands, H, W) float in 0..1 -> logits (B, C, H, W) float32. Right and bottom are padded by reflection to multiples
    of `divisor` (default: what the network's Normalized says, else 32): unlike stripes of the last pixel, a reflection looks
    like the rest of the picture. Coarser logits are resized bilinearly to the padded size, then cropped. Takes "out" of the
    dictionary that torchvision's models return. Raises TypeError if the model returns something else than logits, and
    ValueError where these are NaN or infinite.
    """
    height, width = image.shape[-2:]
    divisor = divisor or input_spec(model).divisor
    padded = _padded(image, right=-width % divisor, bottom=-height % divisor)
    logits = _logits(model(padded), padded).float()
    if not math.isfinite(logits.amax().item()):  # NaN wherever there is one
        raise ValueError(
            "the model's logits are NaN or infinite: its weights are no longer finite, or numbers overflowed in half "
            "precision (then use float32 or bfloat16)"
        )
    if logits.shape[-2:] != padded.shape[-2:]:
        logits = F.interpolate(logits, size=padded.shape[-2:], mode="bilinear", align_corners=False)
    return logits[..., :height, :width]


def _padded(image, right, bottom):
    """The image, continued by its reflection at the right and at the bottom; copies of the last pixel, where it is too small."""
    for amount, side, padding in ((right, 3, (0, right, 0, 0)), (bottom, 2, (0, 0, 0, bottom))):
        if amount:
            image = F.pad(image, padding, mode="reflect" if amount < image.shape[side] else "replicate")
    return image


def forward_views(model, image, divisor=None, *, flip=False, scales=(1.0,)):
    """The mean of an image's logits over several views of it (test-time augmentation): each scale, mirrored too with `flip`.

    image (B, bands, H, W) float in 0..1 -> logits (B, C, H, W) float32. Each view goes through `forward_padded`; smaller ones
    are resized with antialiasing, logits back bilinearly.
    """
    size, views = image.shape[-2:], []
    for scale in check_scales(scales):
        scaled = [max(1, round(side * scale)) for side in size]
        view = image
        if scale != 1:
            view = F.interpolate(image.float(), scaled, mode="bilinear", antialias=True).to(image.dtype)
        for mirrored in (False, True) if flip else (False,):
            logits = forward_padded(model, view.flip(-1) if mirrored else view, divisor)
            if logits.shape[-2:] != size:
                logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
            views.append(logits.flip(-1) if mirrored else logits)
    return views[0] if len(views) == 1 else sum(views) / len(views)


def check_scales(scales):
    """The scales of a picture's views, such as (0.75, 1, 1.25). Raises ValueError for what is none."""
    numbers = tuple(scales) if isinstance(scales, (tuple, list)) else (scales,)
    if not numbers or not all(isinstance(scale, Real) and 0.1 <= scale <= 10 for scale in numbers):
        raise ValueError(f"scales is {scales!r}, but factors from 0.1 to 10 are wanted, such as (0.75, 1, 1.25)")
    return numbers


def class_ids(logits):
    """The class of every pixel: logits (B, C, H, W) -> int64 (B, H, W). One channel: class 1 where it is positive."""
    if logits.shape[1] == 1:
        return (logits[:, 0] > 0).long()
    return logits.max(1).indices  # faster than argmax on a CPU


def warn_of_probabilities(lowest, highest) -> None:
    """For one-channel outputs, by their range over a picture or more: a sigmoid inside makes all of them positive."""
    if 0 <= lowest <= highest <= 1:
        warnings.warn(
            f"The model's one channel holds values from {lowest:.2f} to {highest:.2f}, which look like probabilities, but logits "
            "are wanted, class 1 where they are positive: take the sigmoid out of the model (activation=None in smp).",
            stacklevel=3,
        )


def predict(model, image, *, tile=None, stride=None, window=None, flip=False, scales=(1.0,), return_logits=False):
    """The class of every pixel: uint8 image (H, W, bands), numpy or PIL, of any size -> uint8 class map (H, W), numpy.

    Several pictures of one size, an array (B, H, W, bands) or a list, give (B, H, W). A PIL image is turned upright by its EXIF
    tag, as `read_image` does it, and a grey one serves a network of one band as (H, W).

    The model gets the image in 0..1, as in `fit` and `evaluate`; where it wants it normalised, Normalized is part of it.
    The bands must be as many as the model takes: three are RGB. One-channel logits are binary: class 1 where the logit is
    positive. The model runs in eval mode on the device and in the precision of its parameters, and gets its training flags
    back; a program that cannot change its mode keeps it.

    tile: pixels, one number or (height, width); default: the tile and stride of the model's Normalized, if it has them,
        else the whole image at once. Large images want tiles: beside the image and the result, memory holds one row of
        tiles (C x tile height x W), not C x H x W.
    stride: pixels from one tile to the next, likewise; default: half a tile. The last tile is shifted inside.
    window: "smooth" fades every tile out towards its borders, so that no seams show; "flat" is the plain average of
        overlapping logits, as in MMSegmentation's slide_inference. Default: the Normalized's with its tile, else "smooth".
    flip: average the logits with those of the mirrored image.
    scales: average those of the image, or of each tile, at several scales, such as (0.75, 1, 1.25).
    return_logits: return the logits instead, a float32 tensor (C, H, W) on the CPU, of several pictures (B, C, H, W).

    Where the model's Normalized has a `scale`, the picture is resized to it first and the logits are resized back.
    Raises TypeError or ValueError, in words, for images and settings that make no sense.
    """
    if isinstance(image, (list, tuple)) or np.ndim(image) == 4:
        return _predict_each(
            model, image, tile=tile, stride=stride, window=window, flip=flip, scales=scales, return_logits=return_logits
        )
    require_no_attributes(model)
    spec = input_spec(model)
    image = _checked_image(image, spec.bands or _bands(model, image))
    height, width = image.shape[:2]
    if window not in (None, "smooth", "flat"):
        raise ValueError(f'window is {window!r}, but it must be "smooth" or "flat"')
    if tile is None and stride is not None:
        raise ValueError("stride is given without tile: pass tile too, or neither for the whole image at once")
    if tile is None and spec.tile is not None:
        tile, stride, window = spec.tile, spec.stride, window or spec.window
    image = _scaled(image, spec.scale)
    tile = image.shape[:2] if tile is None else pair_of(tile, "tile")
    stride = [max(1, side // 2) for side in tile] if stride is None else pair_of(stride, "stride")
    if stride[0] > tile[0] or stride[1] > tile[1]:
        raise ValueError(f"stride {tuple(stride)} is larger than tile {tile}: pixels would be skipped")

    result, lowest, highest = None, math.inf, -math.inf
    with eval_mode(model), torch.inference_mode():
        forward = _forward_of(model, spec, flip, check_scales(scales))
        finished = _finished_rows(forward, image, tile, stride, window or "smooth")
        if image.shape[:2] != (height, width):
            finished = _resized_rows(finished, (height, width))
        for top, logits in finished:  # logits (C, rows, W)
            classes, rows, _ = logits.shape
            if classes > 255 and not return_logits:
                raise ValueError(f"{classes} classes do not fit into a uint8 class map (255): use return_logits=True")
            if result is None:
                with torch.inference_mode(False):  # an ordinary tensor, which the caller may change in place
                    size = (classes, height, width) if return_logits else (height, width)
                    result = torch.empty(size, dtype=torch.float32 if return_logits else torch.uint8)
            if classes == 1 and not return_logits:
                lowest, highest = min(lowest, logits.amin().item()), max(highest, logits.amax().item())
            if not return_logits:
                logits = class_ids(logits[None])[0]
            result[..., top : top + rows, :] = logits
    warn_of_probabilities(lowest, highest)
    return result if return_logits else result.numpy()


def _finished_rows(forward, image, tile, stride, window):
    """Yield (top, logits (C, rows, W)) from top to bottom, each as soon as no later tile touches it."""
    height, width = image.shape[:2]
    tile = min(tile[0], height), min(tile[1], width)
    if tile == (height, width):
        yield 0, forward(image)
        return
    (tops, weight_y, total_y), (lefts, weight_x, total_x) = (
        _tile_axis(*axis, window) for axis in zip((height, width), tile, stride, strict=True)
    )
    band = None  # weighted sums of logits for the image rows top : top + tile height
    for top, next_top in zip(tops, [*tops[1:], height], strict=True):
        for left in lefts:
            logits = forward(image[top : top + tile[0], left : left + tile[1]])  # (C, *tile)
            if band is None:
                band = logits.new_zeros(len(logits), tile[0], width)
                weight_y, total_y, weight_x, total_x = (
                    x.to(logits.device) for x in (weight_y[:, None], total_y[:, None], weight_x, total_x)
                )
                weight = weight_y * weight_x  # (*tile)
            band[:, :, left : left + tile[1]].addcmul_(logits, weight)
        done = next_top - top
        yield top, band[:, :done].div_(total_y[top:next_top] * total_x)
        for plane in band:  # move up what the next tiles add to; one class at a time, to keep the copy small
            plane[: tile[0] - done] = plane[done:].clone()
            plane[tile[0] - done :] = 0


def _tile_axis(size, tile, stride, window):
    """Along one axis: where tiles start, a tile's weights (tile,), and their sum over all tiles (size,)."""
    count = math.ceil((size - tile) / stride) + 1
    starts = [min(i * stride, size - tile) for i in range(count)]
    weight = torch.ones(tile)
    if window == "smooth" and count > 1:
        weight = torch.sin(math.pi * (torch.arange(tile) + 0.5) / tile) ** 2  # Hann, at pixel centres: never zero
    total = torch.zeros(size)
    for start in starts:
        total[start : start + tile] += weight
    return starts, weight, total


def _predict_each(model, images, **options):
    """Several pictures, one after the other."""
    results = [predict(model, image, **options) for image in images]
    if not results:
        raise ValueError("there are no pictures to predict")
    sizes = {tuple(result.shape[-2:]) for result in results}
    if len(sizes) > 1:
        listed = ", ".join(f"{height} x {width}" for height, width in sorted(sizes))
        raise ValueError(
            f"pictures predicted together must have one size, but these have {listed}: predict them one by one"
        )
    return torch.stack(results) if options["return_logits"] else np.stack(results)


def _bands(model, image):
    """The bands that a model without a Normalized takes: three, or else the image's, where a convolution takes as many.

    Which convolution is the first, its modules do not say: a decoder may stand before the encoder.
    """
    taken = [layer.in_channels for layer in model.modules() if isinstance(layer, torch.nn.Conv2d)] or [3]
    there = len(image.getbands()) if isinstance(image, Image.Image) else (*np.shape(image), 1, 1, 1)[2]
    return 3 if 3 in taken else there if there in taken else taken[0]


def _scaled(image, scale):
    """The image resized to fit into (long edge, short edge), as MMSegmentation does it; untouched where scale is None."""
    if scale is None:
        return image
    sides = sorted(image.shape[:2])
    factor = min(max(scale) / sides[1], min(scale) / sides[0])
    height, width = (max(1, int(side * factor + 0.5)) for side in image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image
    resized = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=cv2.INTER_LINEAR)
    return resized.reshape(height, width, -1)  # cv2 drops a single band


def _resized_rows(finished, size, rows=64):
    """Bilinear (H, W) from (top, logits (C, rows, w)): some rows at a time, so that C x H x W is never held."""
    logits = torch.cat([part.clone() for _, part in finished], dim=1)  # (C, h, w)
    height, width = size
    place = ((torch.arange(height, device=logits.device) + 0.5) * logits.shape[1] / height - 0.5).clamp(min=0)
    above = place.long()
    below, share = (above + 1).clamp(max=logits.shape[1] - 1), (place - above)[:, None]
    for top in range(0, height, rows):
        part = slice(top, top + rows)
        lines = torch.lerp(logits[:, above[part]], logits[:, below[part]], share[part])  # (C, rows, w)
        yield top, F.interpolate(lines[None], size=(lines.shape[1], width), mode="bilinear", align_corners=False)[0]


def _forward_of(model, spec, flip, scales):
    """A function from uint8 pixels (h, w, bands) to float32 logits (C, h, w) on the model's device."""
    parameter = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    dtype = parameter.dtype if spec.bands is None else torch.float32  # Normalized casts after it has normalised

    def forward(pixels):
        pixels = torch.from_numpy(np.array(pixels, order="C")).to(parameter.device)  # a copy: views may be read-only
        image = (pixels.permute(2, 0, 1).float() / 255)[None].to(dtype)  # (1, bands, h, w)
        return forward_views(model, image, spec.divisor, flip=flip, scales=scales)[0]

    return forward


@contextlib.contextmanager
def eval_mode(model):
    """The model in eval mode; afterwards every module is in its own mode again (frozen ones stay frozen)."""
    training = [module for module in model.modules() if module.training]
    with contextlib.suppress(NotImplementedError):  # an exported program has the mode that it was exported in
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _logits(output, image):
    if isinstance(output, Mapping):
        if "out" not in output:
            raise TypeError(f'the model returned a dictionary of {sorted(output)}, but its logits must be under "out"')
        output = output["out"]
    if not torch.is_tensor(output):
        raise TypeError(f"the model returned a {type(output).__name__}, but a tensor of logits (B, C, h, w) is wanted")
    if output.ndim != 4 or len(output) != len(image) or not output.is_floating_point():
        raise TypeError(
            f"the model returned {output.dtype} of shape {tuple(output.shape)}, but floating-point logits "
            f"({len(image)}, C, h, w) are wanted: no argmax and no squeeze inside the model"
        )
    (height, width), (h, w) = image.shape[-2:], output.shape[-2:]
    if abs(h * width - w * height) > max(height, width):  # another shape, by more than rounding
        raise TypeError(
            f"the model returned {tuple(output.shape)} for an image of {height} x {width} pixels, but logits "
            f"({len(image)}, C, h, w) of its shape are wanted, the channels before height and width"
        )
    return output


def _upright(image, bands):
    """A PIL image turned by its EXIF tag, as grey or RGB where the model takes one band or three: what read_image gives."""
    image = ImageOps.exif_transpose(image)
    if image.mode in ("P", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
    if bands not in (1, 3):
        return image
    if image.mode in ("LA", "RGBA", "La", "RGBa"):
        if image.getchannel("A" if image.mode[-1] == "A" else "a").getextrema()[0] < 255:
            raise ValueError(
                "image is transparent in places, and nobody can say what is seen there: give it without alpha, as "
                'image.convert("RGB")'
            )
        image = image.convert("L" if image.mode[0] == "L" else "RGB")
    elif image.mode in ("1", "CMYK", "YCbCr", "HSV"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    elif image.mode == "LAB":
        raise TypeError("image has the mode LAB, which Pillow cannot convert: save it as RGB")
    if (image.mode, bands) in (("L", 3), ("RGB", 1)):
        image = image.convert("RGB" if bands == 3 else "L")
    return image


def _checked_image(image, bands):
    if isinstance(image, (str, os.PathLike)):
        raise TypeError(f"image is the name {str(image)!r}, but pixels are wanted: predict(model, read_image(name))")
    image = np.asarray(_upright(image, bands) if isinstance(image, Image.Image) else image)
    if image.ndim == 2 and bands == 1:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] != bands:
        wanted = "RGB (height, width, 3)" if bands == 3 else f"(height, width, {bands})"
        remedy = f"the model takes {bands} band{'s' * (bands > 1)}, so give it an image of as many"
        if image.ndim == 3 and image.shape[0] == bands:
            remedy = "move the channels last with image.transpose(1, 2, 0)"
        elif bands == 3 and (image.ndim == 2 or image.ndim == 3 and image.shape[2] in (1, 2, 4)):
            remedy = 'open it with PIL.Image.open(path).convert("RGB")'
        elif bands == 1 and image.ndim == 3 and image.shape[2] == 3:
            remedy = 'the model takes grey pictures: open it with PIL.Image.open(path).convert("L")'
        raise ValueError(f"image has shape {image.shape}, but {wanted} is wanted: {remedy}")
    if image.dtype != np.uint8:
        raise TypeError(f"image is {image.dtype}, but uint8 from 0 to 255 is wanted: predict brings it to 0..1 itself")
    if image.size == 0:
        raise ValueError(f"image is empty: its shape is {image.shape}")
    return image
