"""What makes two runs the same run: settings, network, what trains, the code of the loss, and the initial weights."""

import contextlib
import functools
import json
import zlib

import torch
from torch import nn

from .digest import ADDRESS, code_digest, in_short, is_own, text_digest
from .files import as_json
from .schedule import Schedule, check_parts, module_of

FORMAT = 2  # of what is described: a checkpoint of another one is another run
_begun = {}  # what a loss, a network's code or a transform was when a fit ended -> what it was when that fit began


def describe(model, train_loader, loss, optimizer, scheduler, settings, steps) -> dict:
    """What a checkpoint must agree on to be gone on with, as plain values. The weights are looked at apart: `checksum`.

    `steps`: those of the run, whose rates are found on a copy of the scheduler; 0 where nothing is kept. Raises
    TrainingError, in words, where the optimizer was not made for the model, or the scheduler not for the optimizer.
    """
    names, schedule = check_parts(model, loss, optimizer, scheduler), Schedule(optimizer, scheduler)
    described = {"optimizer": schedule.groups(names), "scheduler": schedule.rates(steps)}
    described |= describe_model(model) | describe_data(train_loader)
    return described | {"loss": describe_loss(loss, model), "settings": as_json(settings), "format": FORMAT}


def describe_model(model) -> dict:
    """Layers, shapes and the code of the reader's own layers; which parameters train, and which layers are in eval mode."""
    shapes = "".join(f"{key}{tuple(value.shape)}" for key, value in model.state_dict().items())
    modes = {layer: layer.training for layer in model.modules()}
    model.train()  # as it will be: a layer may have a train() of its own that freezes parts of it
    frozen = [
        name for name, layer in model.named_modules() if not layer.training or (modes[model] and not modes[layer])
    ]
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    for layer, training in modes.items():
        layer.training = training
    return {
        "model": f"{type(model).__name__} {text_digest(shapes + ADDRESS.sub('', repr(model)) + _first(_code_of(model)))}",
        "trained": f"{len(trained)} of {sum(1 for _ in model.parameters())} parameters {text_digest(repr(trained))}",
        "layers in eval mode": f"{len(frozen)} ({text_digest(repr(frozen))})" if frozen else "none",
    }


def describe_data(loader) -> dict:
    """How many pictures, their transform, and how they are put into batches; for torch's DataLoader and fastai's."""
    words, holder = [], getattr(loader, "batch_sampler", None) or loader
    for part in (holder, getattr(holder, "sampler", None)):
        kept = {key: getattr(part, key, None) for key in
                ("batch_size", "bs", "drop_last", "shuffle", "replacement", "num_samples", "weights", "indices")}  # fmt: skip
        if part is not None:
            words.append(type(part).__name__)
            words += [f"{key} {value}" for key, value in kept.items() if isinstance(value, (bool, int))]
            words += [f"{key} {code_digest(value)}" for key, value in kept.items()
                      if isinstance(value, (list, tuple, torch.Tensor))]  # fmt: skip
    return {
        "pictures": len(loader.dataset), "transform": _first(_transform_of(loader)),
        "batches": ", ".join(words),
    }  # fmt: skip


def describe_loss(loss, model) -> str:
    """The name of a loss and the digest of its code and values.

    What changes while it trains, such as a counter or a learned weight, counts as it was when the run began: a loss that
    an earlier fit of this process left is the one that it began with.
    """
    digest, inner = _first(code_digest(loss, apart=[model])), loss
    while isinstance(inner, functools.partial):
        inner = inner.func
    return f"{getattr(inner, '__qualname__', None) or type(inner).__name__} {digest}"


def loss_state(loss) -> dict:
    """The parameters and buffers of a loss that is a module, for a checkpoint; no entry where it is none."""
    return module_of(loss).state_dict()


def load_loss(loss, state) -> None:
    """Give a loss the parameters and buffers that `loss_state` found."""
    module_of(loss).load_state_dict(state)


def _transform_of(loader) -> str:
    return in_short(getattr(loader.dataset, "transform", None))


def _code_of(model) -> str:
    """The digest of the classes of a network's layers; of the code, that is, not of the weights."""
    return code_digest(
        [kind for kind in dict.fromkeys(map(type, model.modules())) if is_own(kind.__module__)], apart=[model]
    )


def _first(digest) -> str:
    """The digest that it was when the run began, if an earlier fit of this process left it as it is."""
    return _begun.get(digest, digest)


@contextlib.contextmanager
def remembered(run_dir, model, loader, loss, optimizer=None, scheduler=None):
    """While a run trains: what its parts were when it began is known when its cell is run again.

    An optimizer and a scheduler that an earlier run left begin anew; a checkpoint is restored after that.
    """
    if run_dir is None:
        yield
        return
    schedule = Schedule(optimizer, scheduler) if optimizer is not None else None

    def parts():
        return code_digest(loss, apart=[model]), _code_of(model), _transform_of(loader)

    begun = [_first(part) for part in parts()]
    if schedule is not None:
        schedule.rewind()
    try:
        yield
    finally:
        if schedule is not None:
            schedule.leave()
        _begun.update({left: first for left, first in zip(parts(), begun, strict=True) if left != first})


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
    if old.get("format") != FORMAT:
        return ["its checkpoint was written by an earlier version of segmentation_helpers"]
    was, new = (_flat(one) for one in (old, described))
    words = [
        f"{key} was {_excerpt(was.get(key), new.get(key))}, is {_excerpt(new.get(key), was.get(key))}"
        for key in sorted({*was, *new}) if json.dumps(was.get(key)) != json.dumps(new.get(key))
    ]  # fmt: skip
    if not words and now != saved["initial"] and now != left_by(saved):
        words = ["the model's weights are neither those that it began with nor those that it left"]
    return words


def goes_on(saved, described, now, optimizer, scheduler) -> bool:
    """Whether the only difference is that this run is to be longer: then a finished one is gone on with.

    Its scheduler must do in the steps of the shorter run what it did there, and what the checkpoint restores of it must
    not depend on the number of steps.
    """
    steps, schedule = saved["settings"].get("steps", 0), Schedule(optimizer, scheduler)
    if described["steps"] <= steps:
        return False
    shorter = described | {"steps": steps, "scheduler": schedule.rates(steps)}
    return not differences(saved, shorter, now) and schedule.continues(saved, described["steps"])


def left_by(saved) -> int:
    """The checksum of the weights that a run left in the model when it last ended."""
    return saved["left"] if saved["finished"] else checksum(saved["model"])


def _flat(described) -> dict:
    """The reader's settings beside ours; those that have the name of one of ours are told by the name of their dict."""
    own = described.get("settings", {})
    ours = {key: value for key, value in described.items() if key not in ("settings", "format")}
    return ours | {f'settings["{key}"]' if key in ours else key: value for key, value in own.items()}


def _excerpt(value, other) -> str:
    """80 characters of a value that show where it differs from another."""
    value, other = str(value), str(other)
    same = next((i for i, (a, b) in enumerate(zip(value, other, strict=False)) if a != b), min(len(value), len(other)))
    start = max(0, same - 20) if same > 60 else 0
    return f"{'...' if start else ''}{value[start : start + 80]}{'...' if len(value) > start + 80 else ''}"
