"""The order of the pictures and what is drawn for them: the same with workers, when resumed, and in all processes."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate.state import PartialState
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, DistributedSampler, Sampler

from segmentation_helpers.training import TrainingError, evaluate, fit, plan_steps
from segmentation_helpers.training.identity import checksum
from segmentation_helpers.training.order import EpochBatches

pytestmark = pytest.mark.usefixtures("on_the_cpu")


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Conv2d(4, 3, 1)
    )


def picture(index):
    generator = torch.Generator().manual_seed(int(index))
    mask = torch.randint(3, (8, 8), generator=generator)
    return (mask / 3 + 0.2 * torch.rand(3, 8, 8, generator=generator)).clamp(0, 1), mask


class Pictures(Dataset):
    def __init__(self, length=8):
        self.length, self.read = length, []

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.read.append(index)
        return picture(index)


class Brighter(Pictures):
    """Its epoch is a plain number, which no process tells another."""

    epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __getitem__(self, index):
        image, mask = super().__getitem__(index)
        return image * (1 - 0.1 * self.epoch), mask


class Noisy(Pictures):
    """Draws from the generators of everybody."""

    def __getitem__(self, index):
        image, mask = super().__getitem__(index)
        return 0.4 * image + 0.2 * (torch.rand(()) + random.random() + np.random.rand()).float(), mask  # noqa: NPY002


class AtOnce(Noisy):
    """Reads whole batches, as Hugging Face's data sets do."""

    def __getitems__(self, indices):
        noise = torch.rand(len(indices)).tolist()
        return [
            (image * share, mask) for (image, mask), share in zip(map(self.__getitem__, indices), noise, strict=True)
        ]


def mixed(batch):
    """MixUp, which stands in a collate_fn."""
    image, mask = torch.utils.data.default_collate(batch)
    return image + random.random() * (image.flip(0) - image), mask


def train(loader, folder=None, stop=None, epochs=3):
    """The checksum that a run ends with; with `stop` it is first stopped after that step."""
    if stop is not None:
        model = network()
        optimizer, count = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9), itertools.count(1)
        optimizer.register_step_post_hook(
            lambda *_: signal.raise_signal(signal.SIGINT) if next(count) == stop else None
        )
        with pytest.raises(KeyboardInterrupt):
            fit(
                model,
                loader,
                loss=F.cross_entropy,
                optimizer=optimizer,
                epochs=epochs,
                precision="fp32",
                run_dir=folder,
            )
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    history = fit(
        model, loader, loss=F.cross_entropy, optimizer=optimizer, epochs=epochs, precision="fp32", run_dir=folder
    )
    length = len(loader) // int(os.environ.get("WORLD_SIZE", 1))
    assert [row["step"] for row in history] == [length * epoch for epoch in range(1, epochs + 1)]
    return checksum(model)


# What is drawn for a picture ------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("data", [Brighter, Noisy, AtOnce])
def test_workers_and_stops_make_no_difference(tmp_path, data):
    def loader(workers):
        return DataLoader(data(), 4, shuffle=True, num_workers=workers, collate_fn=mixed)

    whole = train(loader(0))
    assert train(loader(2)) == whole
    assert {train(loader(workers), tmp_path / f"{workers}", stop=3) for workers in (0, 2)} == {whole}, "within an epoch"
    assert {train(loader(workers), tmp_path / f"{workers}-4", stop=4) for workers in (0, 2)} == {whole}, "at its end"


def test_every_epoch_and_batch_is_drawn_anew():
    seen = []

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = network()

        def forward(self, image):
            seen.append(round(float(image.mean()), 6))
            return self.body(image)

    model = Watched()
    fit(model, DataLoader(Noisy(), 4), loss=F.cross_entropy, optimizer=torch.optim.SGD(model.parameters(), 0.0), epochs=3,
        precision="fp32")  # fmt: skip
    assert len(set(seen)) == 6
    data = Brighter(4)
    seen.clear()
    model = Watched()
    fit(model, DataLoader(data, 4), loss=F.cross_entropy, optimizer=torch.optim.SGD(model.parameters(), 0.0), epochs=3,
        precision="fp32")  # fmt: skip
    assert seen == pytest.approx([seen[0], 0.9 * seen[0], 0.8 * seen[0]], rel=1e-4)


# In which order -------------------------------------------------------------------------------------------------------


class Own(Sampler):
    """Keeps a generator of its own."""

    def __init__(self, generator, permuted):
        self.generator_of_mine, self.permuted = generator, permuted

    def __len__(self):
        return 8

    def __iter__(self):
        return iter(self.permuted(self.generator_of_mine))


def sample(generator):
    return generator.sample(range(8), 8)


def permuted(generator):
    return generator.permutation(8).tolist()


SAMPLERS = {
    "numpy": lambda: Own(np.random.default_rng(5), permuted),
    "numpy, the old one": lambda: Own(np.random.RandomState(5), permuted),  # noqa: NPY002
    "python": lambda: Own(random.Random(5), sample),
    "torch": lambda: Own(torch.Generator(), lambda generator: torch.randperm(8, generator=generator).tolist()),
    "numpy's of everybody": lambda: Own(None, lambda _: np.random.permutation(8).tolist()),  # noqa: NPY002
    "python's of everybody": lambda: Own(None, lambda _: sample(random)),
    "set_epoch": lambda: DistributedSampler(range(8), 1, 0),
}


@pytest.mark.parametrize("kind", SAMPLERS)
def test_a_sampler_gives_the_same_order_when_resumed_and_another_in_each_epoch(tmp_path, kind):
    data = Pictures()
    whole = train(DataLoader(data, 4, sampler=SAMPLERS[kind]()))
    epochs = [data.read[start : start + 8] for start in (0, 8, 16)]
    assert all(sorted(epoch) == list(range(8)) for epoch in epochs) and epochs[0] != epochs[1] != epochs[2]
    assert train(DataLoader(Pictures(), 4, sampler=SAMPLERS[kind]()), tmp_path, stop=3) == whole
    nested = BatchSampler(SAMPLERS[kind](), 4, False)
    assert train(DataLoader(Pictures(), batch_sampler=nested)) == whole


def test_drawing_an_order_disturbs_nobody():
    sampler = Own(np.random.default_rng(5), permuted)
    before = torch.get_rng_state(), random.getstate(), sampler.generator_of_mine.bit_generator.state
    batches = EpochBatches(BatchSampler(sampler, 4, False), 0, 0, 1)
    first = list(batches)
    assert len({batch.seed for batch in first}) == 2 and first == list(batches)
    assert torch.equal(before[0], torch.get_rng_state()) and before[1] == random.getstate()
    assert sampler.generator_of_mine.bit_generator.state == before[2]


def test_an_order_that_cannot_be_repeated_is_refused():
    hidden = np.random.default_rng(0)
    sampler = Own(None, lambda _: hidden.permutation(8).tolist())
    with pytest.raises(
        TrainingError, match="Own gives another order when it is asked twice.*could not be resumed: let it"
    ):
        train(DataLoader(Pictures(), 4, sampler=sampler))


class Claims(Sampler):
    """A batch sampler with a length of its own."""

    def __init__(self, length, gives):
        self.length, self.gives = length, gives

    def __len__(self):
        return self.length

    def __iter__(self):
        return iter([[0, 1], [2, 3], [4, 5], [6, 7]][: self.gives])


@pytest.mark.parametrize(("length", "gives"), [(4, 3), (1, 0)])
def test_fewer_batches_than_promised_are_told_of(length, gives):
    with pytest.raises(TrainingError, match=f"Claims gives {gives} batches in epoch 1, but its length is {length}"):
        train(DataLoader(Pictures(), batch_sampler=Claims(length, gives)))


@pytest.mark.parametrize(("count", "world"), [(4, 3), (1, 3), (2, 5), (4, 4), (3, 1)])
def test_every_process_gets_as_many_batches(count, world, monkeypatch):
    monkeypatch.setattr("segmentation_helpers.training.order.gather_object", lambda objects: objects * world)
    each = [list(EpochBatches(Claims(count, count), 0, rank, world)) for rank in range(world)]
    assert (
        {len(batches) for batches in each}
        == {len(EpochBatches(Claims(count, count), 0, 0, world))}
        == {-(-count // world)}
    )
    taken = [batch.indices[0] // 2 for batches in zip(*each, strict=True) for batch in batches]
    assert taken[:count] == list(range(count)) and set(taken[count:]) <= set(range(count))
    assert len({batch.seed for batches in each for batch in batches}) == len(taken), "drawn anew where one comes twice"
    part = EpochBatches(Claims(count, count), 0, 0, world)
    part.start, part.stop = 1, 2
    assert list(part) == each[0][1:2]


if __name__ == "__main__":  # one of two processes
    folder, kind = sys.argv[1:]
    data = Pictures()
    PartialState(cpu=True)  # which starts the process group that DistributedSampler asks
    sampler = DistributedSampler(data) if kind == "refused" else SAMPLERS[kind]()
    try:
        train(DataLoader(data, 1, sampler=sampler), epochs=1)
    except TrainingError as error:
        data.read = str(error)
    score = evaluate(network(), DataLoader(Pictures(7), 2, shuffle=True)).matrix.tolist()
    steps = plan_steps(0.002, network(), DataLoader(Pictures(), 2), loss=F.cross_entropy, precision="fp32")
    Path(folder, f"{os.environ['RANK']}.json").write_text(json.dumps([data.read, score, steps]))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("kind", ["python's of everybody", "refused"])
def test_two_processes_share_one_order(tmp_path, kind):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        __file__,
        tmp_path,
        kind,
    ]
    variables = {"ACCELERATE_USE_CPU": "true", "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | variables)
    assert done.returncode == 0, done.stderr[-3000:]
    (first, *shared), (second, *same) = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert shared == same, "a score, and a number of steps"
    assert shared[0] == evaluate(network(), DataLoader(Pictures(7), 2)).matrix.tolist(), (
        "each picture once, though shuffled"
    )
    if kind == "refused":
        assert "DistributedSampler gives each process another order" in first and first == second
    else:
        assert sorted(first + second) == list(range(8)), "each picture once"
