"""In which order a run sees its data, and the state of its randomness: functions of the seed and the epoch alone."""

import functools
import math
import random
import signal

import numpy as np
import torch
from torch.utils.data import DataLoader


def set_epoch(dataset, epoch):
    """Tell a data set, through Subset and ConcatDataset, which epoch begins: its augmentation depends on it."""
    if hasattr(dataset, "set_epoch"):
        dataset.set_epoch(epoch)
    for inner in [getattr(dataset, "dataset", None), *getattr(dataset, "datasets", [])]:
        if inner is not None:
            set_epoch(inner, epoch)


def epoch_seed(seed, epoch) -> int:
    """The seed of one epoch of a run: a run that is resumed needs no generator's state."""
    return (1_000_003 * seed + epoch) % 2**31


class EpochBatches:
    """This process's batches of one epoch, from `start` to `stop`, in an order that depends on (seed, epoch) alone."""

    def __init__(self, sampler, seed, rank, world):
        self.sampler, self.seed, self.rank, self.world = sampler, seed, rank, world
        self.epoch, self.start, self.stop = 0, 0, None

    def __len__(self):
        return math.ceil(len(self.sampler) / self.world)

    def __iter__(self):
        generator = getattr(getattr(self.sampler, "sampler", None), "generator", None)
        if generator is not None:
            generator.manual_seed(epoch_seed(self.seed, self.epoch))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(epoch_seed(self.seed, self.epoch))
            batches = list(self.sampler)
        batches += batches[: -len(batches) % self.world]  # every process takes the same number of steps
        return iter(batches[self.rank :: self.world][self.start : self.stop])


def loader_like(loader, batches, **options):
    """The same data in other batches; workers leave Ctrl-C to the process that started them."""
    init = functools.partial(_init_worker, loader.worker_init_fn)
    options = {"num_workers": loader.num_workers, "multiprocessing_context": loader.multiprocessing_context} | options
    return DataLoader(
        loader.dataset, batch_sampler=batches, collate_fn=loader.collate_fn, pin_memory=torch.cuda.is_available(),
        worker_init_fn=init, **options)  # fmt: skip


def first_batch(loader):
    """A loader of the first batch alone, read in this process."""
    return loader_like(loader, [next(iter(loader.batch_sampler))], num_workers=0, multiprocessing_context=None)


def _init_worker(then, number):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if then is not None:
        then(number)


def get_rng():
    """The state of all generators; numpy's as it is, an array that `files.plain` turns into a list."""
    state = {"torch": torch.get_rng_state(), "python": random.getstate(), "numpy": np.random.get_state()}  # noqa: NPY002
    return state | ({"cuda": torch.cuda.get_rng_state_all()} if torch.cuda.is_available() else {})


def set_rng(state):
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
