"""Minutes as steps: measured as `fit` counts them, and measured anew where something that costs time is another."""

import json
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

from segmentation_helpers.training import fit, plan_steps, steps

pytestmark = pytest.mark.usefixtures("on_the_cpu")


class Pictures(Dataset):
    """Eight pictures; `read` is called before each."""

    def __init__(self, read=None):
        self.read = read

    def __len__(self):
        return 8

    def __getitem__(self, index):
        if self.read is not None:
            self.read()
        generator = torch.Generator().manual_seed(index)
        mask = torch.randint(3, (8, 8), generator=generator)
        return (mask / 3 + 0.2 * torch.rand(3, 8, 8, generator=generator)).clamp(0, 1), mask


def network(width=4):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 3, 1))


def cross_entropy(logits, mask):
    return F.cross_entropy(logits, mask)


def other_loss(logits, mask):
    return 2 * F.cross_entropy(logits, mask)


def sgd(model):
    return torch.optim.SGD(model.parameters(), 0.05)


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(steps, "time", types.SimpleNamespace(perf_counter=lambda: self.now))

    def passes(self, seconds):
        self.now += seconds


COSTS = [(0.0, 0.0, 0.02), (0.0, 0.001, 0.2), (0.5, 0.01, 0.1), (0.03, 0.0, 0.0015)]


@pytest.mark.parametrize(("first", "picture", "step"), COSTS)
def test_a_plan_counts_what_fit_counts(monkeypatch, first, picture, step):
    """Time for a picture, for a step, and for the first batch of an epoch, which nothing prefetches."""
    clock = Clock(monkeypatch)

    def loss(logits, mask):
        clock.passes(step)
        return cross_entropy(logits, mask)

    class Order(torch.utils.data.Sampler):
        def __len__(self):
            return 8

        def __iter__(self):
            return iter(range(8))

    class Starts(Pictures):
        def __getitem__(self, index):
            clock.passes(picture + (first if index == 0 else 0))
            return super().__getitem__(index)

    minutes = min(0.2, 10 * step)
    count = plan_steps(minutes, network(), DataLoader(Starts(), 4, sampler=Order()), loss=loss, precision="fp32")
    model = network()
    loader = DataLoader(Starts(), 4, sampler=Order())
    history = fit(model, loader, loss=loss, optimizer=sgd(model), steps=count, precision="fp32", checkpoint_minutes=1e9)
    assert sum(row["seconds"] for row in history) == pytest.approx(60 * minutes, rel=0.05)
    assert count == pytest.approx(60 * minutes / (first / 2 + 4 * picture + step), rel=0.05)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_are_started_once(tmp_path):
    def started(number):
        (tmp_path / f"{number}-{len(list(tmp_path.iterdir()))}").touch()

    loader = DataLoader(Pictures(), 4, num_workers=2, worker_init_fn=started)
    assert plan_steps(0.01, network(), loader, loss=cross_entropy, precision="fp32") > 2
    assert len(list(tmp_path.iterdir())) == 2, "for many epochs of two steps"


def test_planning_changes_nothing(recwarn):
    model, generator = network(), torch.Generator().manual_seed(3)
    sampler = torch.utils.data.RandomSampler(range(8), generator=generator)
    before = [x.clone() for x in model.state_dict().values()]
    one_class = [(torch.rand(3, 8, 8), torch.tensor([0, 255]).repeat(8, 4))] * 8
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), generator.get_state()  # noqa: NPY002
    for data in (Pictures(), one_class):
        loss = nn.CrossEntropyLoss(ignore_index=255)
        plan_steps(0.001, model, DataLoader(data, 4, sampler=sampler), loss=loss, precision="fp32")
    assert all(torch.equal(x, y) for x, y in zip(before, model.state_dict().values(), strict=True)) and model.training
    assert torch.equal(states[0], torch.get_rng_state()) and torch.equal(states[2], generator.get_state())
    assert states[1] == np.random.get_state()[1].tolist()  # noqa: NPY002
    assert not [w for w in recwarn if "All labelled pixels" in str(w.message)], "fit says so, once"


def test_a_frozen_normalisation_is_measured_frozen():
    """As `fit` trains it; a network that is in eval mode as a whole is trained, by both."""
    for frozen in (True, False):
        seen, model = [], network()
        model[1].train(not frozen)
        model[1].register_forward_hook(lambda layer, *_, seen=seen: seen.append(layer.training))
        plan_steps(0.001, model, DataLoader(Pictures(), 4), loss=cross_entropy, precision="fp32")
        assert set(seen) == {not frozen}
        assert model[1].training != frozen
        seen.clear()
        plan_steps(0.001, model.eval(), DataLoader(Pictures(), 4), loss=cross_entropy, precision="fp32")
        assert set(seen) == {True}


def changed(**changes):
    options = {"minutes": 0.002, "model": network(), "train_loader": DataLoader(Pictures(), 4), "loss": cross_entropy,
               "precision": "fp32"}  # fmt: skip
    return options | changes


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, True),
        ({"train_loader": DataLoader([Pictures()[0]] * 8, 4)}, True),
        ({"minutes": 0.001}, False),
        ({"model": network(5)}, False),
        ({"model": network().requires_grad_(False), "thaw": True}, False),
        ({"loss": other_loss}, False),
        ({"train_loader": DataLoader(Pictures(), 2)}, False),
        ({"train_loader": DataLoader(Pictures(), 4, num_workers=1)}, False),
        ({"train_loader": DataLoader([Pictures()[0]] * 9, 4, drop_last=True)}, False),
        ({"settings": {"size": 3}}, False),
        ({"precision": "bf16"}, False),
    ],
)
def test_a_plan_holds_for_what_it_was_made_for(tmp_path, changes, kept):
    plan_steps(**changed(), run_dir=tmp_path)
    plan = json.loads((tmp_path / "plan.json").read_text())
    (tmp_path / "plan.json").write_text(json.dumps(plan | {"steps": 12345}))
    changes = dict(changes)
    if changes.pop("thaw", False):  # the head alone trains
        changes["model"][3].requires_grad_(True)
    assert (plan_steps(**changed(**changes), run_dir=tmp_path) == 12345) == kept


def test_a_run_that_has_begun_keeps_its_plan_on_a_machine_with_more_cores(tmp_path):
    model = network()
    count = plan_steps(**changed(model=model), run_dir=tmp_path)
    fit(model, DataLoader(Pictures(), 4), loss=cross_entropy, optimizer=sgd(model), steps=count, precision="fp32",
        run_dir=tmp_path)  # fmt: skip
    for workers in (0, 1):
        more = DataLoader(Pictures(), 4, num_workers=workers)
        assert plan_steps(**changed(model=model, train_loader=more), run_dir=tmp_path) == count
