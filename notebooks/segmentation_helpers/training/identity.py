"""What makes two runs the same run: settings, network, what trains, the code of the loss, and the initial weights."""

import re
import zlib

import torch
from torch import nn

from .digest import code_digest, text_digest
from .files import as_json


def describe(model, train_loader, loss, optimizer, scheduler, settings) -> dict:
    """What a checkpoint must agree on to be gone on with, as plain values. The weights are looked at apart: `checksum`."""
    shapes = "".join(f"{key}{tuple(value.shape)}" for key, value in model.state_dict().items())
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    named = {
        "model": f"{type(model).__name__} {text_digest(shapes + repr(model))}",
        "trained": f"{len(trained)} of {sum(1 for _ in model.parameters())} parameters {text_digest(repr(trained))}",
        "loss": f"{getattr(loss, '__qualname__', None) or type(loss).__name__} {code_digest(loss, apart=[model])}",
        "optimizer": f"{type(optimizer).__name__} " + repr(
            [{k: _plain(v) for k, v in group.items() if k != "params"} for group in optimizer.param_groups]),
        "scheduler": repr(scheduler and {k: _plain(v) for k, v in scheduler.state_dict().items() if k[0] != "_"}),
        "pictures": len(train_loader.dataset),
        "transform": repr(getattr(train_loader.dataset, "transform", None)),
    }  # fmt: skip
    for key, value in named.items():  # memory addresses differ from run to run
        named[key] = re.sub(r" at 0x[0-9a-f]+", "", value) if isinstance(value, str) else value
    return named | as_json(settings)


def checksum(state) -> int:
    """CRC-32 of all parameters and buffers of a model, or of a state dict, names included."""
    state, total = state.state_dict() if isinstance(state, nn.Module) else state, 0
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            flat = value.detach().cpu().contiguous().reshape(-1)
            total = zlib.crc32(flat.view(torch.uint8).numpy(), zlib.crc32(name.encode(), total))
    return total


def differences(saved, described, now) -> list[str]:
    """How a checkpoint's run differs from this one, in words; an empty list: it is the same run.

    `now` is the checksum of the weights in the model. They must be those that the run began with, or those that it left in
    the model when it last ended: then the cell was simply run once more.
    """
    old = saved["settings"]
    words = [
        f"{key} was {old.get(key)!s:.80}, is {described.get(key)!s:.80}"
        for key in sorted({*old, *described}) if old.get(key) != described.get(key)
    ]  # fmt: skip
    if not words and now != saved["initial"] and now != left_by(saved):
        words = ["the model's weights are neither those that it began with nor those that it left"]
    return words


def goes_on(saved, described, now) -> bool:
    """Whether the only difference is that this run is to be longer: then a finished one is gone on with."""
    longer = described["steps"] > saved["settings"].get("steps", 0)
    return longer and not differences(saved, described | {"steps": saved["settings"].get("steps")}, now)


def left_by(saved) -> int:
    """The checksum of the weights that a run left in the model when it last ended."""
    return saved["left"] if saved["finished"] else checksum(saved["model"])


def _plain(value):
    """numpy's numbers as Python's, so that a rate from np.logspace describes the same run as the number itself."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
