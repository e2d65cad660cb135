"""Which runs are the same: settings, schedules, what the optimizer trains, frozen layers, batches, and parts used again."""

import functools
import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from segmentation_helpers.training import TrainingError, fit
from segmentation_helpers.training.identity import load_loss, loss_state
from training_run import Squares, cross_entropy, small_model

pytestmark = pytest.mark.usefixtures("on_the_cpu")


def sgd(model, rate=0.05):
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], rate, momentum=0.9)


def shuffled(data=None, batch_size=4):
    return DataLoader(Squares(12) if data is None else data, batch_size, shuffle=True)


def run(folder, *, model=None, loader=None, loss=cross_entropy, optimizer=None, scheduler=None, epochs=3, **options):
    """One call of `fit` as a notebook's cell makes it; optimizer and scheduler may be made from what they need."""
    model = small_model() if model is None else model
    optimizer = sgd(model) if optimizer is None else optimizer
    optimizer = optimizer if isinstance(optimizer, torch.optim.Optimizer) else optimizer(model)
    scheduler = scheduler(optimizer) if callable(scheduler) else scheduler
    fit(model, loader or shuffled(), loss=loss, optimizer=optimizer, scheduler=scheduler, epochs=epochs, run_dir=folder,
        precision="fp32", **options)  # fmt: skip
    return model


def weights_of(folder):
    return (Path(folder) / "model.safetensors").read_bytes()


def five_times(logits, mask):
    return 5 * cross_entropy(logits, mask)


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["loss", "optimizer", "model", "scheduler", "trained", "seed", "steps", "settings"])
def test_a_setting_with_one_of_our_names_hides_nothing(tmp_path, capsys, name):
    run(tmp_path, epochs=1, settings={name: "the same"})
    run(tmp_path, epochs=1, settings={name: "the same"})
    assert "nothing to train" in capsys.readouterr().out
    run(tmp_path, epochs=1, settings={name: "the same"}, loss=five_times)
    printed = capsys.readouterr().out
    assert "loss was cross_entropy " in printed and ", is five_times " in printed and "starting anew" in printed
    assert weights_of(tmp_path) != weights_of(tmp_path / "previous-1")
    run(tmp_path, epochs=1, settings={name: "another"}, loss=five_times)
    shown = name if name == "settings" else f'settings["{name}"]'
    assert f"{shown} was the same, is another" in capsys.readouterr().out


def test_settings_that_are_the_same_in_other_words(tmp_path, capsys):
    def flip(image):
        return image.flip(-1)

    run(tmp_path, epochs=1, settings={"t": float("nan"), "kinds": {"cat", "dog"}, "flip": flip})
    run(tmp_path, epochs=1, settings={"kinds": {"dog", "cat"}, "flip": flip, "t": float("nan")})
    assert "nothing to train" in capsys.readouterr().out
    run(tmp_path, epochs=1, settings={"kinds": {"dog", "cow"}, "flip": flip, "t": float("nan")})
    assert "kinds was ['cat', 'dog'], is ['cow', 'dog']" in capsys.readouterr().out


def test_a_long_setting_is_shown_where_it_differs(tmp_path, capsys):
    for last in ("one", "two"):
        run(tmp_path, epochs=1, settings={"files": [*"abcdefghijklmnopqrstuvwxyz", last]})
    printed = capsys.readouterr().out
    assert "'one']" in printed and "'two']" in printed


def test_a_checkpoint_of_an_earlier_version_is_another_run(tmp_path, capsys):
    run(tmp_path, epochs=1)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    saved["settings"] = {"loss": "cross_entropy", "dataset": "streets", "steps": 3}
    torch.save(saved, tmp_path / "checkpoint.pt")
    run(tmp_path, epochs=2)
    printed = capsys.readouterr().out
    assert "its checkpoint was written by an earlier version of segmentation_helpers): starting anew" in printed
    assert (tmp_path / "previous-1/checkpoint.pt").is_file()


NETWORK = """
import torch
from torch import nn
calls = []

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, image):
        calls.append(len(image))
        return self.conv(image) * FACTOR

def build():
    torch.manual_seed(0)
    return nn.Sequential(Block())
"""


def test_the_code_of_a_network_is_part_of_the_run(tmp_path, capsys):
    def cell(factor, text=NETWORK):
        space = {"__name__": "__main__"}
        exec(text.replace("FACTOR", factor), space)
        return space

    first = cell("1.0")
    run(tmp_path, model=first["build"](), epochs=1)
    run(tmp_path, model=first["build"](), epochs=1)  # its list of calls has grown meanwhile
    run(tmp_path, model=cell("1.0", "# a comment\n" + NETWORK)["build"](), epochs=1)
    assert capsys.readouterr().out.count("nothing to train") == 2
    run(tmp_path, model=cell("0.5")["build"](), epochs=1)
    assert "model was Sequential " in capsys.readouterr().out
    run(tmp_path / "alone", model=cell("0.5")["build"](), epochs=1)
    assert weights_of(tmp_path) == weights_of(tmp_path / "alone")


# Schedules ------------------------------------------------------------------------------------------------------------


def poly(steps, power=0.9):
    return lambda o: lr_scheduler.LambdaLR(o, lambda step: max(0, 1 - step / steps) ** power)


def warm_up(steps, share=0.1):
    return lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, share, total_iters=2), lr_scheduler.CosineAnnealingLR(o, steps - 2)], [2]
    )


def chained(gamma):
    return lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o, 0.5, 2), lr_scheduler.ExponentialLR(o, gamma)]
    )


def one_cycle(share, **options):
    return lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=9, pct_start=share, **options)


class Poly:
    """A callable with a state, which the checkpoint restores."""

    def __init__(self, steps):
        self.steps = steps

    def __call__(self, step):
        return 1.0 if step < 9 else max(0.0, 1 - step / self.steps)


SCHEDULES = {
    "another lambda": (poly(9), poly(9, power=2)),
    "a lambda that is zero": (poly(9), lambda o: lr_scheduler.LambdaLR(o, lambda step: 0.0)),
    "another warm-up": (warm_up(9), warm_up(9, share=0.5)),
    "another part of a chain": (chained(0.9), chained(0.8)),
    "another peak": (one_cycle(0.3), one_cycle(0.9)),
    "another momentum": (one_cycle(0.3), one_cycle(0.3, max_momentum=0.99)),
    "other milestones": (
        lambda o: lr_scheduler.MultiStepLR(o, [3, 6]), lambda o: lr_scheduler.MultiStepLR(o, [3, 7])),
    "another patience": (
        lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1), lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=2)),
    "none": (poly(9), None),
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULES)
def test_another_schedule_is_another_run(tmp_path, capsys, name):
    one, other = SCHEDULES[name]
    run(tmp_path, scheduler=one)
    run(tmp_path, scheduler=one)
    assert "nothing to train" in capsys.readouterr().out
    run(tmp_path, scheduler=other)
    printed = capsys.readouterr().out
    assert "scheduler was " in printed and "starting anew" in printed
    run(tmp_path / "alone", scheduler=other)
    assert weights_of(tmp_path) == weights_of(tmp_path / "alone")


def test_the_same_rates_in_another_way_are_the_same_run(tmp_path, capsys):
    run(tmp_path, scheduler=lambda o: lr_scheduler.LambdaLR(o, lambda step: 0.5 if step else 1.0))
    run(tmp_path, scheduler=lambda o: lr_scheduler.LambdaLR(o, lambda n: 1.0 if n == 0 else 1 / 2))
    assert "nothing to train" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("short", "long", "goes_on"),
    [
        (poly(9), poly(18), False),
        (poly(40), poly(40), True),
        (warm_up(9), warm_up(18), False),
        (chained(0.9), chained(0.9), True),
        (lambda o: lr_scheduler.MultiStepLR(o, [4]), lambda o: lr_scheduler.MultiStepLR(o, [4]), True),
        # the same rates so far, but what the checkpoint restores is made for the shorter run
        (lambda o: lr_scheduler.MultiStepLR(o, [4]), lambda o: lr_scheduler.MultiStepLR(o, [4, 12]), False),
        (lambda o: lr_scheduler.LambdaLR(o, Poly(10)), lambda o: lr_scheduler.LambdaLR(o, Poly(20)), False),
        # a lambda is not restored, and does the right thing afterwards
        (lambda o: lr_scheduler.LambdaLR(o, lambda n: 1.0), lambda o: lr_scheduler.LambdaLR(o, lambda n: 1.0 if n < 10 else 0.1),
         True),
    ],
)  # fmt: skip
def test_a_longer_run_goes_on_only_where_it_ends_as_if_it_had_been_long_from_the_start(
    tmp_path, capsys, short, long, goes_on
):
    run(tmp_path / "long", scheduler=long, epochs=6)
    run(tmp_path / "run", scheduler=short, epochs=3)
    capsys.readouterr()
    run(tmp_path / "run", scheduler=long, epochs=6)
    printed = capsys.readouterr().out
    assert ("Going on after step 9 of 18" in printed) == goes_on and ("starting anew" in printed) != goes_on
    assert weights_of(tmp_path / "run") == weights_of(tmp_path / "long")


def test_describing_a_schedule_does_not_disturb_it():
    from segmentation_helpers.training.schedule import Schedule

    model = small_model()
    optimizer = sgd(model)
    scheduler = warm_up(50)(optimizer)
    before, rng = (str(optimizer.state_dict()), str(scheduler.state_dict())), torch.get_rng_state()
    words = Schedule(optimizer, scheduler).rates(50)
    assert (str(optimizer.state_dict()), str(scheduler.state_dict())) == before and torch.equal(
        torch.get_rng_state(), rng
    )
    assert words.startswith("SequentialLR from 0.005 to ") and "at most 0.05," in words
    rates = Schedule(optimizer, scheduler).rows(3)
    for row in rates:
        assert float(row.split()[0]) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-5)
        optimizer.step()
        scheduler.step()


def test_a_scheduler_that_cannot_be_copied_is_seen_by_its_settings(tmp_path, capsys):
    class Held(lr_scheduler.StepLR):
        def __init__(self, optimizer, gamma):
            self.held = threading.Lock()
            super().__init__(optimizer, 3, gamma)

        def state_dict(self):
            return {key: value for key, value in super().state_dict().items() if key != "held"}

    for gamma in (0.5, 0.5, 0.1):
        run(tmp_path, scheduler=lambda o, gamma=gamma: Held(o, gamma))
    printed = capsys.readouterr().out
    assert printed.count("nothing to train") == 1 and printed.count("scheduler was") == 1


# What the optimizer trains --------------------------------------------------------------------------------------------


def two_rates(first, second):
    return lambda m: torch.optim.SGD(
        [{"params": m[first].parameters(), "lr": 1e-4}, {"params": m[second].parameters()}], 0.1
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda m: sgd(m[9]), sgd),
        (two_rates(0, 9), two_rates(9, 0)),
        (sgd, lambda m: sgd(m, 0.01)),
        (sgd, lambda m: torch.optim.SGD(m.parameters(), 0.05, momentum=0.9, weight_decay=0.1)),
        (lambda m: torch.optim.Adam(m.parameters()), lambda m: torch.optim.AdamW(m.parameters())),
    ],
)
def test_another_optimizer_is_another_run(tmp_path, capsys, one, other):
    run(tmp_path, optimizer=one)
    run(tmp_path, optimizer=one)
    assert "nothing to train" in capsys.readouterr().out
    run(tmp_path, optimizer=other)
    assert "optimizer was " in capsys.readouterr().out
    run(tmp_path / "alone", optimizer=other)
    assert weights_of(tmp_path) == weights_of(tmp_path / "alone")


def test_parts_that_do_not_belong_together_are_refused(tmp_path):
    model, other = small_model(), small_model()
    with pytest.raises(TrainingError, match="12 of the optimizer's 12 parameters do not belong to the model: create"):
        run(tmp_path, model=model, optimizer=sgd(other))
    mixed = torch.optim.SGD([*model.parameters(), *other[9].parameters()], 0.1)
    with pytest.raises(TrainingError, match="2 of the optimizer's 14 parameters"):
        run(tmp_path, model=model, optimizer=mixed)
    optimizer = sgd(model)
    with pytest.raises(TrainingError, match="The scheduler belongs to another optimizer: create it again"):
        run(tmp_path, model=model, optimizer=optimizer, scheduler=lr_scheduler.StepLR(sgd(model), 3))
    run(tmp_path, model=model, optimizer=optimizer, epochs=1)


def test_the_optimizer_may_train_the_parameters_of_the_loss(tmp_path):
    class Learned(nn.Module):
        def __init__(self):
            super().__init__()
            self.share = nn.Parameter(torch.zeros(()))

        def forward(self, logits, mask):
            return cross_entropy(logits, mask) * torch.exp(-self.share) + self.share

    for wrap in (lambda loss: loss, lambda loss: loss.forward, functools.partial):
        model, loss = small_model(), Learned()
        optimizer = torch.optim.SGD([*model.parameters(), *loss.parameters()], 0.1)
        run(None, model=model, loss=wrap(loss), optimizer=optimizer, epochs=1)
        assert loss.share != 0


# Frozen layers, batches -----------------------------------------------------------------------------------------------


def frozen_norm():
    model = small_model().train()
    model[1].eval()
    return model


def test_layers_in_eval_mode_are_part_of_the_run(tmp_path, capsys):
    run(tmp_path, model=frozen_norm())
    run(tmp_path, model=frozen_norm())
    assert "nothing to train" in capsys.readouterr().out
    run(tmp_path, model=small_model())
    assert "layers in eval mode was 1 (" in capsys.readouterr().out
    run(tmp_path / "alone")
    assert weights_of(tmp_path) == weights_of(tmp_path / "alone")


class Frozen(nn.Sequential):
    """A network that keeps its first normalisation in eval mode by a train() of its own, as frozen encoders do."""

    def train(self, mode=True):
        super().train(mode)
        self[1].eval().requires_grad_(False)
        return self


def test_a_train_method_that_freezes_makes_no_other_run_when_the_cell_is_run_again(tmp_path, capsys):
    model, data = Frozen(*small_model()), Fails(20)
    optimizer = torch.optim.SGD([p for name, p in model.named_parameters() if not name.startswith("1.")], 0.05)
    with pytest.raises(KeyError):
        run(tmp_path, model=model, optimizer=optimizer, loader=shuffled(data))
    for said in ("Going on after step 4 of 9", "nothing to train"):
        run(tmp_path, model=model, optimizer=optimizer, loader=shuffled(data))
        assert said in capsys.readouterr().out
    assert model[1].weight.min() == model[1].weight.max() == 1


def weighted(first):
    weights = torch.ones(12, dtype=torch.double)
    weights[0] = first
    return DataLoader(Squares(12), 4, sampler=WeightedRandomSampler(weights, 12))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (shuffled(batch_size=7), shuffled(batch_size=11)),
        (shuffled(), DataLoader(Squares(12), 4)),
        (weighted(1), weighted(5)),
        (shuffled(), weighted(1)),
        (DataLoader(Squares(11), 4, shuffle=True), DataLoader(Squares(11), 5, shuffle=True, drop_last=False)),
    ],
)
def test_other_batches_are_another_run(tmp_path, capsys, one, other):
    run(tmp_path, loader=one)
    run(tmp_path, loader=one)
    assert "nothing to train" in capsys.readouterr().out
    run(tmp_path, loader=other)
    assert "batches was " in capsys.readouterr().out
    run(tmp_path / "alone", loader=other)
    assert weights_of(tmp_path) == weights_of(tmp_path / "alone")


# The same parts again: only fit's cell is run again -------------------------------------------------------------------


class Fails(Dataset):
    """Squares, one of which cannot be read on some day."""

    def __init__(self, at=None):
        self.data, self.at, self.read = Squares(12), at, itertools.count(1)

    def set_epoch(self, epoch):
        self.data.set_epoch(epoch)

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        if next(self.read) == self.at:
            raise KeyError("the connection is lost")
        return self.data[index]


def step_lr(optimizer):
    return lr_scheduler.StepLR(optimizer, 2, 0.5)


@pytest.mark.parametrize("schedule", [None, step_lr, one_cycle(0.3), poly(9), warm_up(9), chained(0.9)])
def test_an_interrupted_run_goes_on_with_the_optimizer_and_the_scheduler_of_an_earlier_cell(tmp_path, capsys, schedule):
    run(tmp_path / "undisturbed", scheduler=schedule, loader=shuffled(Fails()))
    model = small_model()
    optimizer = sgd(model)
    scheduler, data = schedule and schedule(optimizer), Fails(20)
    with pytest.raises(KeyError):
        run(tmp_path / "run", model=model, optimizer=optimizer, scheduler=scheduler, loader=shuffled(data))
    capsys.readouterr()
    for said in ("Going on after step 4 of 9", "nothing to train"):
        run(tmp_path / "run", model=model, optimizer=optimizer, scheduler=scheduler, loader=shuffled(data))
        assert said in capsys.readouterr().out
    assert weights_of(tmp_path / "run") == weights_of(tmp_path / "undisturbed")


def test_a_finished_run_is_made_longer_with_the_same_parts(tmp_path, capsys):
    run(tmp_path / "long", scheduler=step_lr, epochs=5)
    model = small_model()
    optimizer = sgd(model)
    scheduler = step_lr(optimizer)
    for epochs in (3, 5):
        run(tmp_path / "run", model=model, optimizer=optimizer, scheduler=scheduler, epochs=epochs)
    assert "Going on after step 9 of 15" in capsys.readouterr().out
    assert weights_of(tmp_path / "run") == weights_of(tmp_path / "long")


def test_an_optimizer_used_again_begins_anew_and_one_that_was_changed_is_another(tmp_path, capsys):
    run(tmp_path / "one", scheduler=step_lr)
    model = small_model()
    optimizer = sgd(model)
    scheduler = step_lr(optimizer)
    run(tmp_path / "two", model=model, optimizer=optimizer, scheduler=scheduler)
    model.load_state_dict(small_model().state_dict())
    run(tmp_path / "three", model=model, optimizer=optimizer, scheduler=scheduler)
    assert weights_of(tmp_path / "one") == weights_of(tmp_path / "two") == weights_of(tmp_path / "three")
    optimizer.param_groups[0]["lr"] = 0.01
    model.load_state_dict(small_model().state_dict())
    run(tmp_path / "three", model=model, optimizer=optimizer, scheduler=scheduler)
    assert "optimizer was " in capsys.readouterr().out


def test_a_rate_that_a_schedule_left_is_not_taken_for_its_beginning(tmp_path, capsys):
    run(tmp_path, scheduler=step_lr)  # ends at 0.05 / 16
    run(tmp_path, optimizer=lambda m: sgd(m, 0.05 / 16), scheduler=step_lr)
    assert "optimizer was " in capsys.readouterr().out


class Counts(nn.Module):
    """A loss that is smaller in its first steps, and notes what it saw."""

    def __init__(self):
        super().__init__()
        self.calls, self.seen = 0, []
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, logits, mask):
        self.calls += 1
        self.seen.append(len(mask))
        self.mean.mul_(0.9).add_(0.1)
        return cross_entropy(logits, mask) * min(1, self.calls / 5)


def test_a_loss_that_counts_goes_on_in_the_same_cell(tmp_path, capsys):
    model, loss, data = small_model(), Counts(), Fails(20)
    with pytest.raises(KeyError):
        run(tmp_path, model=model, loss=loss, loader=shuffled(data))
    assert loss.calls == 4
    for said in ("Going on after step 4 of 9", "nothing to train"):
        run(tmp_path, model=model, loss=loss, loader=shuffled(data))
        printed = capsys.readouterr().out
        assert said in printed and "starting anew" not in printed
    assert loss.calls == 9
    run(tmp_path, model=small_model(), loss=Counts(), loader=shuffled(data))  # another kernel's
    assert "nothing to train" in capsys.readouterr().out
    loss.calls = 3
    run(tmp_path, model=model, loss=loss, loader=shuffled(data))
    assert "loss was Counts " in capsys.readouterr().out


class Transformed(Squares):
    transform = None

    def __getitem__(self, index):
        image, mask = super().__getitem__(index)
        return self.transform(image), mask


def test_a_transform_that_notes_what_it_saw_goes_on_in_the_same_cell(tmp_path, capsys):
    seen, data = [], Transformed(12)

    def transform(image):
        seen.append(tuple(image.shape))
        return image

    data.transform = transform
    for _ in range(2):
        run(tmp_path, loader=shuffled(data), epochs=1)
    assert len(seen) == 12 and "nothing to train" in capsys.readouterr().out


def test_the_state_of_a_loss_is_kept_and_given_back():
    loss = nn.Sequential(nn.CrossEntropyLoss(torch.tensor([1.0, 2.0])), nn.PReLU())
    for wrapped in (loss, loss.forward, functools.partial(loss)):
        state = {name: value.clone() for name, value in loss_state(wrapped).items()}
        assert set(state) == {"0.weight", "1.weight"}
        nn.init.zeros_(loss[1].weight)
        load_loss(wrapped, state)
        assert loss[1].weight.item() == 0.25
    assert not loss_state(cross_entropy)
    load_loss(cross_entropy, {})


# Two at once ----------------------------------------------------------------------------------------------------------

SECOND = """
import sys
import segmentation_helpers.training.lock as lock
import training_run
lock.PATIENCE = 0.1
training_run.train(sys.argv[1], "fp32", epochs=1)
"""


def test_two_fits_in_one_folder_at_a_time_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("segmentation_helpers.training.lock.PATIENCE", 0.1)
    errors, path, other = [], os.pathsep.join(sys.path), small_model()

    class Meanwhile(Fails):
        def __getitem__(self, index):
            if next(self.read) == 9:
                with pytest.raises(
                    TrainingError, match="Another fit is training in .*: wait for it, or choose another"
                ):
                    run(tmp_path / "run", model=other)
                command = [sys.executable, "-c", SECOND, tmp_path / "run"]
                done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path})
                errors.append(done.stderr)
            return self.data[index]

    run(tmp_path / "run", loader=shuffled(Meanwhile()))
    assert "TrainingError: Another fit is training in" in errors[0]
    run(tmp_path / "alone")
    assert weights_of(tmp_path / "run") == weights_of(tmp_path / "alone")
    assert not list(tmp_path.glob("*/.lock")) and not list((tmp_path / "run").glob("previous-*"))
    run(tmp_path / "run", seed=1, epochs=1)  # free again
    assert (tmp_path / "run/previous-1").is_dir()


def test_a_folder_that_was_refused_is_not_left_behind(tmp_path):
    with pytest.raises(ValueError, match="either epochs or steps"):
        fit(small_model(), shuffled(), loss=cross_entropy, optimizer=None, run_dir=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_lock_of_a_run_that_was_killed_does_not_matter(tmp_path):
    (tmp_path / ".lock").touch()
    begun = time.monotonic()
    run(tmp_path, epochs=1)
    assert time.monotonic() - begun < 9 and weights_of(tmp_path)
