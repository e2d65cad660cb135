"""Random numbers of a transform that depend on one seed alone."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch

from .parts import sources


class Seeds:
    """What is seeded around a call of a transform: `random`, numpy, torch, and what the transform draws from itself.

    All but albumentations' own generators are restored afterwards.
    """

    def __init__(self, transform):
        self.transform, self.found = transform, None

    def __getstate__(self):
        return {"transform": self.transform, "found": None}  # a copy in another process draws from other objects

    @contextlib.contextmanager
    def __call__(self, seed: int) -> Iterator[None]:
        if self.found is None:
            self.found = sources(self.transform)
        generators = [source for source in self.found if not hasattr(source, "set_random_seed")]
        states = [_state(generator) for generator in generators]
        python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002  transforms may use it
        try:
            with torch.random.fork_rng(devices=[]):
                random.seed(seed)
                np.random.seed(seed)  # noqa: NPY002
                torch.manual_seed(seed)
                for source in self.found:
                    _seed(source, seed)
                yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)  # noqa: NPY002
            for generator, state in zip(generators, states, strict=True):
                _restore(generator, state)


def _state(generator):
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    return generator.get_state() if isinstance(generator, np.random.RandomState) else generator.getstate()


def _seed(generator, seed):
    if hasattr(generator, "set_random_seed"):
        generator.set_random_seed(seed)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = type(generator.bit_generator)(seed).state
    elif isinstance(generator, torch.Generator):
        generator.manual_seed(seed)
    else:
        generator.seed(seed)


def _restore(generator, state):
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif isinstance(generator, (torch.Generator, np.random.RandomState)):
        generator.set_state(state)
    else:
        generator.setstate(state)
