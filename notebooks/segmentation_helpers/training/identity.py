"""What makes two runs the same run."""

import hashlib
import json
import re


def describe(model, train_loader, loss, optimizer, scheduler, settings):
    """What a checkpoint must agree on to be gone on with, as plain values."""
    shapes = "".join(f"{key}{tuple(value.shape)}" for key, value in model.state_dict().items())
    named = {
        "model": f"{type(model).__name__} {hashlib.sha256((shapes + repr(model)).encode()).hexdigest()[:12]}",
        "loss": getattr(loss, "__qualname__", None) or repr(loss),
        "optimizer": f"{type(optimizer).__name__} " + repr(
            [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]),
        "scheduler": repr(scheduler and {k: v for k, v in scheduler.state_dict().items() if not k.startswith("_")}),
        "pictures": len(train_loader.dataset),
        "transform": repr(getattr(train_loader.dataset, "transform", None)),
    }  # fmt: skip
    for key, value in named.items():  # memory addresses differ from run to run
        named[key] = re.sub(r" at 0x[0-9a-f]+", "", value) if isinstance(value, str) else value
    return named | json.loads(json.dumps(settings, default=str))
