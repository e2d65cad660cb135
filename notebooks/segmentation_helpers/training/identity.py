"""What makes two runs the same run: settings, network, what trains, the code of the loss, and the initial weights."""

import functools
import hashlib
import re
import types
import zlib

import torch
from torch import nn

from .files import as_json

IMMUTABLE = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device)


def describe(model, train_loader, loss, optimizer, scheduler, settings) -> dict:
    """What a checkpoint must agree on to be gone on with, as plain values. The weights are looked at apart: `checksum`."""
    shapes = "".join(f"{key}{tuple(value.shape)}" for key, value in model.state_dict().items())
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    named = {
        "model": f"{type(model).__name__} {_digest(shapes + repr(model))}",
        "trained": f"{len(trained)} of {sum(1 for _ in model.parameters())} parameters {_digest(repr(trained))}",
        "loss": f"{getattr(loss, '__qualname__', None) or type(loss).__name__} {code_digest(loss)}",
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


def code_digest(function) -> str:
    """A digest of what a loss computes, as far as it can be seen.

    Seen are bytecode, constants, defaults and immutable closure values, and the same for every function, class and immutable
    global of the same module or notebook that it reaches; the arguments of functools.partial; the immutable attributes of an
    object that is the loss. Not seen are mutable values (lists, dicts, tensors, other objects) and the inside of other
    packages: name in `settings` what matters of them.
    """
    found = hashlib.sha256()
    _feed(found, function, None, set())
    return found.hexdigest()[:12]


def _feed(found, value, home, seen):
    """Add what can be seen of a value; `home` is the module whose functions are followed."""
    if isinstance(value, IMMUTABLE):
        found.update(f"{type(value).__name__}:{value!r};".encode())
    elif isinstance(value, (tuple, frozenset)):
        found.update(f"{type(value).__name__}{len(value)}(".encode())
        for item in value if isinstance(value, tuple) else sorted(value, key=repr):
            _feed(found, item, home, seen)
    elif id(value) in seen:
        found.update(b"again;")
    elif isinstance(value, functools.partial):
        seen.add(id(value))
        for part in (value.func, value.args, tuple(sorted(value.keywords.items()))):
            _feed(found, part, home, seen)
    elif isinstance(value, types.MethodType):
        _feed(found, value.__self__, home, seen)
        _feed(found, value.__func__, home, seen)
    elif isinstance(value, types.FunctionType):
        _feed_function(found, value, home, seen)
    elif isinstance(value, type):
        _feed_class(found, value, home, seen)
    elif isinstance(value, nn.Module) or home is None:  # a criterion, or whatever object is the loss itself
        _feed_object(found, value, home, seen)


def _feed_function(found, function, home, seen):
    seen.add(id(function))
    home = home or function.__module__
    if function.__module__ != home:
        found.update(f"{function.__module__}.{function.__qualname__};".encode())
        return
    names = _feed_code(found, function.__code__, function.__doc__)
    for part in (function.__defaults__, tuple(sorted((function.__kwdefaults__ or {}).items()))):
        _feed(found, part, home, seen)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        found.update(f"{name}=".encode())
        try:
            _feed(found, cell.cell_contents, home, seen)
        except ValueError:  # not filled yet
            found.update(b"empty;")
    for name in sorted(names & function.__globals__.keys()):
        found.update(f"{name}=".encode())
        _feed(found, function.__globals__[name], home, seen)


def _feed_code(found, code, doc=None):
    """Add a code object; the names that it looks up."""
    found.update(code.co_code)
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _feed_code(found, constant)
        elif constant is not None and constant != doc:  # what a function says of itself changes nothing
            found.update(f"{type(constant).__name__}:{constant!r};".encode())
    found.update(repr((code.co_names, code.co_freevars)).encode())
    return names


def _feed_class(found, kind, home, seen):
    seen.add(id(kind))
    found.update(f"{kind.__module__}.{kind.__qualname__};".encode())
    if kind.__module__ == home:
        for name, value in sorted(vars(kind).items()):
            if isinstance(value, (types.FunctionType, *IMMUTABLE, tuple)) and name not in (
                "__doc__",
                "__firstlineno__",
            ):
                found.update(f"{name}=".encode())
                _feed(found, value, home, seen)


def _feed_object(found, value, home, seen):
    """An object that is called as a loss, such as an nn.Module: its class, its parts and its immutable attributes."""
    seen.add(id(value))
    kind = type(value)
    _feed(found, kind, home or kind.__module__, seen)
    if isinstance(value, nn.Module):
        found.update(re.sub(r" at 0x[0-9a-f]+", "", repr(value)).encode())
        for name, module in value.named_children():
            found.update(f"{name}=".encode())
            _feed(found, module, home or kind.__module__, seen)
    for name, attribute in sorted(getattr(value, "__dict__", {}).items()):
        if isinstance(attribute, (*IMMUTABLE, tuple, types.FunctionType)) and name != "training":
            found.update(f"{name}=".encode())
            _feed(found, attribute, home or kind.__module__, seen)


def _digest(text) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _plain(value):
    """numpy's numbers as Python's, so that a rate from np.logspace describes the same run as the number itself."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
