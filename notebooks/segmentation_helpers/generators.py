"""Random number generators of torch, numpy and Python: seeded for a while, then as they were."""

import contextlib
import random

import numpy as np
import torch


@contextlib.contextmanager
def seeded(seed: int, generators=()):
    """The CPU's global generators and those given begin with `seed`; afterwards they go on as if nothing had been drawn.

    `generators`: of torch, numpy or Python; albumentations' transforms, too, which are seeded and not restored.
    """
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002  transforms may use it
    states = [(generator, state_of(generator)) for generator in generators]
    try:
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        for generator in generators:
            _seed(generator, seed)
        yield
    finally:
        torch.set_rng_state(before[0])
        random.setstate(before[1])
        np.random.set_state(before[2])  # noqa: NPY002
        for generator, state in states:
            _restore(generator, state)


def state_of(generator):
    """The state of a generator of torch, numpy or Python; None for anything else."""
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    if isinstance(generator, (torch.Generator, np.random.RandomState)):
        return generator.get_state()
    return generator.getstate() if isinstance(generator, random.Random) else None


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
    elif isinstance(generator, random.Random):
        generator.setstate(state)
