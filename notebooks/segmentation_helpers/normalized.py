"""Normalisation as part of the network, with the geometry that it wants for its images.

Both are buffers. Whatever wraps a network keeps its buffers: DataParallel, an average of the weights, torch.compile, a
traced or exported program. Python attributes are lost on the way, and with them a normalisation that stood there.
"""

import warnings
from dataclasses import dataclass
from numbers import Integral

import torch
from torch import nn

WINDOWS = ("smooth", "flat")
BUFFERS = ("mean", "std", "input_spec")


@dataclass(frozen=True)
class InputSpec:
    """How a network wants its images; see Normalized. `bands` is None where the network does not say it."""

    bands: int | None = None
    divisor: int = 32
    scale: tuple[int, int] | None = None
    tile: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    window: str = "smooth"


class Normalized(nn.Module):
    """A network for images in 0..1: subtracts `mean`, divides by `std`, then calls `network`.

    image float (B, bands, H, W) in 0..1 -> what the network returns for the normalised image, in the network's precision.
    Indexing (`model[0]`, `model[1:]`) reaches into the network, so that fastai's splitters work as they are.

    Args:
        network: takes normalised images (B, bands, H, W).
        mean, std: one number per band (three for RGB), on the 0-1 scale.
        divisor: the network takes heights and widths that are multiples of it; `evaluate` and `predict` pad and crop.
        scale: `predict` resizes a picture, its shape kept, to fit into these (long edge, short edge) in pixels, as
            MMSegmentation's `Resize(scale=..., keep_ratio=True)` does; None: pictures stay as they are.
        tile, stride, window: how `predict` cuts large pictures, see there; None: the whole picture at once.

    Raises ValueError for statistics on the 0-255 scale and for a network that normalises already.
    """

    def __init__(self, network, mean, std, *, divisor=32, scale=None, tile=None, stride=None, window="smooth"):
        super().__init__()
        if input_spec(network).bands is not None:
            raise ValueError(f"{type(network).__name__} normalises its images already: wrap the network inside it")
        mean, std = _statistics(mean, "mean"), _statistics(std, "std")
        if not (torch.isfinite(mean).all() and torch.isfinite(std).all()):
            raise ValueError(f"mean {mean.flatten().tolist()} and std {std.flatten().tolist()} must be finite")
        if len(mean) != len(std) or mean.min() < 0 or mean.max() > 1 or std.max() > 1 or std.min() <= 0:
            raise ValueError(
                f"mean {mean.flatten().tolist()} and std {std.flatten().tolist()} must be one number each per band on "
                "the 0-1 scale: divide those for 0-255 by 255"
            )
        if window not in WINDOWS:
            raise ValueError(f'window is {window!r}, but it must be "smooth" or "flat"')
        if tile is None and stride is not None:
            raise ValueError("stride is given without tile")
        pairs = [(0, 0) if pair is None else pair_of(pair, name)
                 for name, pair in (("scale", scale), ("tile", tile), ("stride", stride))]  # fmt: skip
        if max(pairs[2][0] - pairs[1][0], pairs[2][1] - pairs[1][1]) > 0:
            raise ValueError(f"stride {pairs[2]} is larger than tile {pairs[1]}: pixels would be skipped")
        self.network = network
        where = torch.get_default_device()  # "meta" where only shapes are wanted
        self.register_buffer("mean", mean.to(where))
        self.register_buffer("std", std.to(where))
        numbers = [pair_of(divisor, "divisor")[0], *pairs[0], *pairs[1], *pairs[2], WINDOWS.index(window)]
        digits = torch.tensor([divmod(number, 256) for number in numbers], dtype=torch.float32, device="cpu")
        # Two digits to the base 256, each exact in bfloat16: a program that is cast to it keeps the numbers.
        self.register_buffer("input_spec", digits.to(where))

    def forward(self, image):
        return self.network(self.normalise(image))

    def normalise(self, image):
        """The image as the network takes it, in the precision of the network's parameters."""
        if not torch.jit.is_tracing() and image.shape[1] != len(self.mean):
            raise ValueError(f"the image has {image.shape[1]} bands, but the network is made for {len(self.mean)}")
        if not image.is_floating_point():
            raise TypeError(f"the image is {image.dtype}, but floats in 0..1 are wanted: divide it by 255")
        image = (image - self.mean) / self.std
        dtype = next((p.dtype for p in self.network.parameters() if p.is_floating_point()), image.dtype)
        return image.to(dtype)

    def __getitem__(self, index):
        return self.network[index]

    def __len__(self):
        return len(self.network)

    def __bool__(self):
        return True  # and not by its length, which most networks lack

    def _apply(self, fn, recurse=True):
        """Move, but do not cast: the statistics stay in float32 under `half()` and `bfloat16()`."""
        before = {name: getattr(self, name) for name in BUFFERS}
        super()._apply(fn, recurse)
        for name, buffer in before.items():
            if not buffer.is_meta:
                self._buffers[name] = buffer.to(self._buffers[name].device)
        return self

    def extra_repr(self):
        mean, std = ([round(value, 6) for value in x.flatten().tolist()] for x in (self.mean, self.std))
        spec = input_spec(self)
        return (f"mean={mean}, std={std}, divisor={spec.divisor}, scale={spec.scale}, tile={spec.tile}, "
                f"stride={spec.stride}, window={spec.window}")  # fmt: skip


def input_spec(model) -> InputSpec:
    """How a model wants its images: from the buffer of the Normalized in it, whatever wraps it, else the defaults."""
    buffers = dict(model.named_buffers())
    names = sorted((name for name in buffers if name.split(".")[-1] == "input_spec"), key=len)
    if not names or buffers[names[0]].is_meta:
        return InputSpec()
    high, low = buffers[names[0]].double().unbind(1)
    divisor, *edges, window = (256 * high + low).round().int().tolist()
    scale, tile, stride = (pair if all(pair) else None for pair in zip(edges[::2], edges[1::2], strict=True))
    bands = len(buffers[names[0].removesuffix("input_spec") + "mean"])
    return InputSpec(bands, divisor, scale, tile, stride, WINDOWS[window])


def require_no_attributes(model) -> None:
    """Raise ValueError where a module that has weights carries its normalisation as attributes, which nothing applies."""
    for module in model.modules():
        if any(True for _ in module.parameters()) and all(_is_statistic(module, name) for name in ("mean", "std")):
            raise ValueError(
                f"{type(module).__name__} has the attributes mean and std, which nothing here applies: normalisation is part "
                "of the network. Wrap it, model = Normalized(network, mean, std), delete the attributes, and take "
                "A.Normalize out of the transforms: images stay in 0..1 until they enter the network."
            )


def check_unit_range(images, model) -> None:
    """Object where pixel values lie far outside 0..1: normalised already, or never divided by 255.

    A Normalized network would normalise them again: ValueError. To any other they may be what it wants, but `predict` will
    not do the same to a picture: a warning. A resize may overshoot by a little, which is let through.
    """
    low, high = images.amin().item(), images.amax().item()
    if low >= -0.25 and high <= 1.25:
        return
    text = (
        f"the images hold values from {low:.2f} to {high:.2f}, but they should lie in 0..1. Normalisation is part of the "
        "network, Normalized(network, mean, std): take A.Normalize out of the transforms, and leave pixels as uint8 or "
        "divide them by 255."
    )
    if input_spec(model).bands is not None:
        raise ValueError(text)
    warnings.warn(f"{text} predict will show the network images in 0..1.", stacklevel=3)


def _is_statistic(module, name):
    """Whether `name` is an attribute of the module itself that holds numbers: no buffer, parameter, submodule, method."""
    for owner in (module, *type(module).__mro__):
        if name in vars(owner):
            value = vars(owner)[name]
            return value is not None and not callable(value) and not isinstance(value, (str, property))
    return False


def _statistics(values, name):
    values = torch.as_tensor(values, dtype=torch.float32, device="cpu").detach().clone()
    if values.ndim == 0:
        raise ValueError(
            f"{name} is {values.item():g}, but one number per band is wanted, such as ({values.item():g},) * 3"
        )
    return values.reshape(-1, 1, 1)


def pair_of(value, name) -> tuple[int, int]:
    """(height, width) from one positive whole number or two. Raises ValueError."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2 or not all(isinstance(side, Integral) and 0 < side < 2**16 for side in pair):
        raise ValueError(f"{name} is {value!r}, but it must be a positive whole number of pixels or (height, width)")
    return int(pair[0]), int(pair[1])
