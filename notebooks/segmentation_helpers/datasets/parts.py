"""A transform taken apart: the steps in it, and what it draws random numbers from."""

import collections
import functools
import itertools
import random
import sysconfig
import types
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from .errors import DatasetError

MOST, MANY = 2000, 100  # objects that are looked at in search of random numbers, and items of one list
LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))


def parts(transform) -> Iterator:
    """A transform and the steps in it, in their order."""
    yield transform
    inside = getattr(transform, "transforms", None)
    if inside is None and isinstance(transform, nn.Sequential):
        inside = list(transform)
    if isinstance(inside, (list, tuple, nn.ModuleList)):
        for part in inside:
            yield from parts(part)


def check_order(transform) -> None:
    """Raise DatasetError where one of torchvision's v2 moves the picture and can no longer tell what the mask is."""
    pure = False
    for part in parts(transform):
        kinds = [f"{kind.__module__}.{kind.__name__}" for kind in type(part).__mro__]
        if pure and any(kind.startswith("torchvision.transforms.v2._geometry.") for kind in kinds):
            raise DatasetError(
                f"{type(part).__name__} comes after ToPureTensor, which turns image and mask into plain tensors: the image would "
                "move, and the mask would not. Put ToPureTensor at the end."
            )
        pure |= type(part).__name__ == "ToPureTensor"


def sources(transform) -> list:
    """What a transform draws random numbers from: albumentations' transforms and generators that it reaches.

    Looks into attributes, lists and dicts, functools.partial, methods, and the closures, defaults and global names of
    functions, not into those of libraries.
    """
    found, seen, waiting = [], {}, collections.deque([transform])
    while waiting and len(seen) < MOST:
        thing = waiting.popleft()  # what is near comes first
        if id(thing) in seen or isinstance(thing, NOTHING_INSIDE):
            continue
        seen[id(thing)] = thing  # kept, so that no other thing gets its id
        if hasattr(type(thing), "set_random_seed") or isinstance(thing, GENERATORS):
            found.append(thing)
        else:
            waiting += _inside(thing)
    return found


NOTHING_INSIDE = (
    type,
    types.ModuleType,
    types.BuiltinFunctionType,
    np.ndarray,
    torch.Tensor,
    str,
    bytes,
    int,
    float,
    type(None),
)
GENERATORS = (np.random.Generator, np.random.RandomState, random.Random, torch.Generator)


def _inside(thing):
    """What a thing refers to, as far as a transform may keep something there that draws random numbers."""
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if isinstance(thing, types.MethodType):
        return [thing.__self__, thing.__func__]
    if isinstance(thing, types.FunctionType):
        return _inside_function(thing)
    if isinstance(thing, dict):
        return list(itertools.islice(thing.values(), MANY))
    if isinstance(thing, (list, tuple, set, frozenset)):
        return list(itertools.islice(thing, MANY))
    methods = [
        value for kind in type(thing).__mro__ for value in vars(kind).values() if isinstance(value, types.FunctionType)
    ]
    return [*getattr(thing, "__dict__", {}).values(), *(method for method in methods if not _of_a_library(method))]


def _of_a_library(function):
    return function.__code__.co_filename.startswith((*LIBRARIES, "<frozen"))


def _inside_function(function):
    kept = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values(),
            *getattr(function, "__dict__", {}).values()]  # fmt: skip
    for cell in function.__closure__ or ():
        try:
            kept.append(cell.cell_contents)
        except ValueError:
            continue  # not filled yet
    if _of_a_library(function):
        return kept
    names, codes = set(), [function.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    for value in (function.__globals__.get(name) for name in names):
        if isinstance(value, types.ModuleType):  # a module of the reader's own, mine.augment
            value = [vars(value)[name] for name in names if name in vars(value)]
            value = [item for item in value if not isinstance(item, (type, types.ModuleType))]
        kept.append(value)
    return kept
