"""In which order a run sees its data, and the state of its randomness: functions of the seed and the epoch alone."""

import functools
import itertools
import math
import random
import signal
import zlib
from typing import NamedTuple

import numpy as np
import torch
from accelerate.utils import gather_object
from torch.utils.data import DataLoader, Dataset, Sampler

from ..generators import seeded, state_of
from .files import TrainingError


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


class Batch(NamedTuple):
    """The pictures of one batch, with what their augmentation may depend on."""

    indices: list
    epoch: int
    seed: int


class EpochBatches:
    """This process's batches of one epoch, from `start` to `stop`, in an order that depends on (seed, epoch) alone."""

    def __init__(self, sampler, seed, rank, world):
        self.sampler, self.seed, self.rank, self.world = sampler, seed, rank, world
        self.epoch, self.start, self.stop, self.checked = 0, 0, None, False

    def __len__(self):
        return math.ceil(len(self.sampler) / self.world)

    def __iter__(self):
        batches, seed = self.drawn(), epoch_seed(self.seed, self.epoch)
        if not self.checked:
            self.check(batches)
        each = len(self)  # every process takes the same number of steps, the last ones on pictures seen before
        batches = list(itertools.islice(itertools.cycle(batches), each * self.world))
        for number in range(*slice(self.start, self.stop).indices(each)):
            number = number * self.world + self.rank
            yield Batch(batches[number], self.epoch, int(np.random.SeedSequence([seed, number]).generate_state(1)[0]))

    def drawn(self):
        """The batches of the epoch for all processes."""
        samplers = _samplers(self.sampler)
        with seeded(epoch_seed(self.seed, self.epoch), _generators(samplers)):
            for sampler in samplers:
                if hasattr(sampler, "set_epoch"):
                    sampler.set_epoch(self.epoch)
            batches = [list(batch) for batch in self.sampler]
        if len(batches) < len(self.sampler):
            raise TrainingError(
                f"The loader's {type(self.sampler).__name__} gives {len(batches)} batches in epoch {self.epoch + 1}, but its "
                f"length is {len(self.sampler)}: let __len__ return what __iter__ gives."
            )
        return batches

    def check(self, batches):
        """Raise TrainingError where the order cannot be repeated, or is not the same in all processes."""
        name = type(getattr(self.sampler, "sampler", None) or self.sampler).__name__
        if self.drawn() != batches:
            raise TrainingError(
                f"The loader's {name} gives another order when it is asked twice for the same epoch, so a run could not be "
                "resumed: let it draw from the generator of torch, numpy or random, from one that it keeps as an attribute, "
                "or from what set_epoch(epoch) tells it."
            )
        if self.world > 1 and len(set(gather_object([zlib.crc32(repr(batches).encode())]))) > 1:
            raise TrainingError(
                f"The loader's {name} gives each process another order, but the batches are shared among the processes here: use "
                "shuffle=True or a sampler of the whole data set, not a DistributedSampler."
            )
        self.checked = True


class Repeatable(Dataset):
    """Whole batches for EpochBatches: what data set and collate_fn draw depends on the run's seed, the epoch and the batch.

    That holds in workers, too. Those that outlive an epoch hear of the next one with its first batch.
    """

    def __init__(self, dataset, collate):
        self.dataset, self.collate, self.epoch = dataset, collate, None

    def __len__(self):
        return len(self.dataset)

    def __getitems__(self, batch):
        if self.epoch != batch.epoch:
            set_epoch(self.dataset, batch.epoch)
            self.epoch = batch.epoch
        with seeded(batch.seed):
            if callable(getattr(self.dataset, "__getitems__", None)):
                return self.collate(self.dataset.__getitems__(batch.indices))
            return self.collate([self.dataset[index] for index in batch.indices])


def loader_like(loader, batches, **options):
    """The same data in other batches; workers leave Ctrl-C to the process that started them."""
    init = functools.partial(_init_worker, loader.worker_init_fn)
    options = {"num_workers": loader.num_workers, "multiprocessing_context": loader.multiprocessing_context} | options
    if options["num_workers"]:
        options |= {"prefetch_factor": loader.prefetch_factor, "timeout": loader.timeout}
    dataset, collate = loader.dataset, loader.collate_fn
    if isinstance(batches, EpochBatches):
        dataset, collate = Repeatable(dataset, collate), _as_it_is
    return DataLoader(
        dataset, batch_sampler=batches, collate_fn=collate, pin_memory=torch.cuda.is_available(),
        worker_init_fn=init, **options)  # fmt: skip


def shared_batches(loader, rank, world) -> list:
    """This process's share of the batches of an evaluation."""
    if world == 1:
        return list(loader.batch_sampler)
    batches = EpochBatches(loader.batch_sampler, 0, rank, world)
    drawn = batches.drawn()
    batches.check(drawn)  # else pictures would be counted twice or never
    return drawn[rank::world]


def _as_it_is(batch):
    return batch


def _samplers(sampler):
    """A batch sampler and the samplers in it."""
    inner = [x for key, x in getattr(sampler, "__dict__", {}).items() if isinstance(x, Sampler) or key == "sampler"]
    return [sampler, *itertools.chain.from_iterable(map(_samplers, inner))]


def first_batch(loader):
    """A loader of the first batch alone, read in this process."""
    return loader_like(loader, [next(iter(loader.batch_sampler))], num_workers=0, multiprocessing_context=None)


def _init_worker(then, number):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if then is not None:
        then(number)


def _generators(owners) -> list:
    """The generators that samplers keep as attributes."""
    return [x for owner in owners for x in getattr(owner, "__dict__", {}).values() if state_of(x) is not None]


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
