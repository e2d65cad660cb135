"""However `fit` ends, its checkpoint equals the weights in memory, and running the cell again loses and repeats nothing."""

import errno
import itertools
import math
import os
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

from segmentation_helpers import training
from segmentation_helpers.training import TrainingError, checkpoints, evaluate, fit
from segmentation_helpers.training.identity import checksum, left_by
from segmentation_helpers.training.weights import Average, Buffers, not_finite

pytestmark = pytest.mark.usefixtures("on_the_cpu")


class Pictures(Dataset):
    """Small pictures of three classes; `hook` is called with each index that is read."""

    def __init__(self, length=8, hook=None):
        self.length, self.hook = length, hook

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if self.hook is not None:
            self.hook(index)
        generator = torch.Generator().manual_seed(index)
        mask = torch.randint(3, (8, 8), generator=generator)
        return (mask / 3 + 0.2 * torch.rand(3, 8, 8, generator=generator)).clamp(0, 1), mask


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Conv2d(4, 3, 1)
    )


def cross_entropy(logits, mask):
    return F.cross_entropy(logits, mask, ignore_index=255)


def sgd(model, rate=0.05):
    return torch.optim.SGD(model.parameters(), rate, momentum=0.9)


def shuffled(data=None, size=4, **options):
    return DataLoader(Pictures() if data is None else data, size, shuffle=True, **options)


def run(folder, model=None, loader=None, valid_loader=None, *, loss=cross_entropy, epochs=2, **options):
    model = network() if model is None else model
    options = {"optimizer": sgd(model), "precision": "fp32", "run_dir": folder} | options
    fit(model, shuffled() if loader is None else loader, valid_loader, loss=loss, epochs=epochs, **options)
    return model


def checkpoint_of(folder):
    return torch.load(Path(folder) / "checkpoint.pt", weights_only=True)


def agrees(folder, model):
    """Whether a folder's checkpoint holds the weights in memory, or says that its run left them there."""
    return left_by(checkpoint_of(folder)) == checksum(model)


def weights_of(folder):
    return (Path(folder) / "model.safetensors").read_bytes()


def nth(number, do):
    """A function that calls `do` the n-th time that it is called."""
    count = itertools.count(1)

    def hook(*_):
        if next(count) == number:
            do()

    return hook


class Boom(BaseException):
    """Not caught by anybody's `except Exception`."""


def boom():
    raise Boom


# Every exit -----------------------------------------------------------------------------------------------------------


class Hooked(torch.optim.lr_scheduler.StepLR):
    """Calls a hook when it steps; not where a copy of it is gone through."""

    hook, owner = None, None

    def step(self):
        super().step()
        if self.optimizer is Hooked.owner:
            Hooked.hook()


def events(hook):
    while True:
        hook()
        yield


EVENTS = events(lambda: None)  # whose inside is no part of what identifies a run


def watched_loss(logits, mask):
    next(EVENTS)
    return cross_entropy(logits, mask)


def disturbed(folder, model, monkeypatch, kind="", hook=None, ema=None):
    """The run of `run`, with a hook at one of its events; whether it came to its end."""
    call = dict.fromkeys(KINDS, lambda *_: None) | {kind: hook}
    optimizer, replace = sgd(model), os.replace
    optimizer.register_step_pre_hook(lambda *_: call["before"]())
    optimizer.register_step_post_hook(lambda *_: call["after"]())
    handle = model[4].register_forward_hook(lambda layer, *_: call["forward"]() if layer.training else None)
    scheduler = Hooked(optimizer, 3, 0.5)

    def replaced(*names):
        call["unwritten"]()
        replace(*names)
        call["written"]()

    with monkeypatch.context() as patch:
        patch.setattr(Hooked, "owner", optimizer)
        patch.setattr(Hooked, "hook", lambda: call["scheduler"]())
        patch.setattr(os, "replace", replaced)
        patch.setitem(globals(), "EVENTS", events(call["loss"]))
        try:
            loader, valid = shuffled(Pictures(8, call["train"])), DataLoader(Pictures(4, call["valid"]), 4)
            fit(model, loader, valid, loss=watched_loss, optimizer=optimizer, scheduler=scheduler, epochs=2, precision="fp32",
                run_dir=folder, ema=ema)  # fmt: skip
            return True
        except Boom:
            return False
        finally:
            handle.remove()


KINDS = ("train", "valid", "loss", "forward", "before", "after", "scheduler", "unwritten", "written")


@pytest.mark.parametrize("ema", [None, 0.9])
def test_every_exit_leaves_a_checkpoint_that_equals_the_weights_and_goes_on(tmp_path, monkeypatch, ema):
    disturbed(tmp_path / "whole", network(), monkeypatch, ema=ema)
    points = {}
    for kind in KINDS:
        for number in itertools.count(1):
            model, folder = network(), tmp_path / f"{kind}-{number}"
            if disturbed(folder, model, monkeypatch, kind, nth(number, boom), ema):
                break
            if (folder / "checkpoint.pt").is_file():
                assert agrees(folder, model), (kind, number)
            assert disturbed(folder, model, monkeypatch, ema=ema)
            assert weights_of(folder) == weights_of(tmp_path / "whole"), (kind, number)
            assert not list(folder.glob("previous-*")), (kind, number)
        points[kind] = number - 1
    assert points["train"] == 16 and points["valid"] == 12 and points["written"] >= 6
    assert {points[kind] for kind in ("loss", "forward", "before", "after", "scheduler")} == {4}, "one in each step"


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_second_control_c_may_strike_at_any_line(tmp_path, ema):
    """Raised at every 17th line of the training package that a run executes, once it has its first checkpoint."""
    home = os.path.dirname(training.__file__)
    files = {os.path.join(home, f"{name}.py") for name in ("loop", "steps", "checkpoints", "weights", "order")}
    lines = 0

    def at_line(number):
        count = itertools.count(1)

        def local(frame, event, _):
            nonlocal lines
            if event == "line" and started:
                lines = next(count)
                if lines == number:
                    sys.settrace(None)
                    raise KeyboardInterrupt
            return local

        return lambda frame, *_: local if frame.f_code.co_filename in files else None

    def go(folder, model, number=0):
        started.clear()
        optimizer = sgd(model)
        optimizer.register_step_pre_hook(lambda *_: started.append(1))
        sys.settrace(at_line(number))
        try:
            run(folder, model, optimizer=optimizer, ema=ema)
            return True
        except KeyboardInterrupt:
            return False
        finally:
            sys.settrace(None)

    started = []
    run(tmp_path / "whole", ema=ema)
    go(tmp_path / "counted", network(), -1)
    assert lines > 300
    for number in range(1, lines, 17):
        model, folder = network(), tmp_path / str(number)
        assert not go(folder, model, number)
        assert agrees(folder, model), number
        run(folder, model, ema=ema)
        assert weights_of(folder) == weights_of(tmp_path / "whole"), number
        assert not list(folder.glob("previous-*")), number


def test_a_mistake_in_the_loss_changes_nothing_even_without_a_folder():
    """The cell is corrected and run again with the same model: it ends as in a fresh kernel."""
    model = network()
    with pytest.raises(ValueError, match="batch"):
        run(None, model, loss=lambda logits, mask: F.cross_entropy(logits, mask[:1]))
    assert checksum(model) == checksum(network())
    assert checksum(run(None, model)) == checksum(run(None))


def test_buffers_of_any_kind_are_put_back():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", torch.tensor(3))
            self.register_buffer("replaced", torch.ones(2))
            self.register_buffer("late", None)
            self.register_buffer("hidden", torch.ones(2), persistent=False)

        def forward(self, image):
            self.count += 1
            self.replaced = self.replaced * 2
            self.late = torch.ones(1)
            self.hidden.mul_(5)

    model = Odd()
    buffers = Buffers(model)
    for _ in range(2):
        buffers.keep()
        model(None)
    buffers.put_back()
    assert model.count == 4 and model.replaced.tolist() == [2, 2] and model.hidden.tolist() == [5, 5]
    assert model.late.tolist() == [1]


# What a run with a moving average leaves ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "checkpoint.pt"])
@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_disk_that_is_full_at_the_end_costs_nothing(tmp_path, monkeypatch, capsys, name, ema):
    model = network()

    write_weights, write = checkpoints.save_weights, checkpoints.Checkpoints.write_checkpoint

    def weights(*arguments):
        if name == "model.safetensors":
            raise OSError(errno.ENOSPC, "No space left on device", name)
        write_weights(*arguments)

    def checkpoint(self, left=None):
        if name == "checkpoint.pt" and left is not None:
            raise OSError(errno.ENOSPC, "No space left on device", name)
        write(self, left)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save_weights", weights)
        patch.setattr(checkpoints.Checkpoints, "write_checkpoint", checkpoint)
        with pytest.raises(TrainingError, match="The disk is full"):
            run(tmp_path / "run", model, ema=ema)
    assert agrees(tmp_path / "run", model) and not checkpoint_of(tmp_path / "run")["finished"]
    capsys.readouterr()
    run(tmp_path / "run", model, ema=ema)
    assert "Going on after step 4 of 4" in capsys.readouterr().out
    assert weights_of(tmp_path / "run") == weights_of(run_whole(tmp_path, ema=ema))


def run_whole(tmp_path, **options):
    run(tmp_path / "whole", **options)
    return tmp_path / "whole"


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_finished_run_whose_extension_fails_is_still_that_run(tmp_path, capsys, ema):
    model = run(tmp_path / "run", ema=ema)
    wrong = DataLoader([(torch.rand(3, 8, 8), torch.full((8, 8), 7))], 1)
    with pytest.raises(TrainingError, match="holds class 7"):
        run(tmp_path / "run", model, ema=ema, epochs=4, valid_loader=wrong)
    assert agrees(tmp_path / "run", model)
    with pytest.raises(Boom):
        run(tmp_path / "run", model, shuffled(Pictures(8, nth(3, boom))), ema=ema, epochs=4)
    assert agrees(tmp_path / "run", model)
    capsys.readouterr()
    run(tmp_path / "run", model, ema=ema, epochs=4)
    assert "Going on after step 4 of 8" in capsys.readouterr().out
    assert weights_of(tmp_path / "run") == weights_of(run_whole(tmp_path, ema=ema, epochs=4))
    assert not list((tmp_path / "run").glob("previous-*"))


def test_a_finished_run_goes_on_from_its_last_weights_and_from_their_average(tmp_path, capsys):
    """An exit that is itself interrupted may leave either in memory."""
    whole = weights_of(run_whole(tmp_path, ema=0.9, epochs=4))
    for key in ("left", "model"):
        folder = tmp_path / key
        model = run(folder, ema=0.9)
        if key == "model":
            model.load_state_dict(checkpoint_of(folder)["model"])
        run(folder, model, ema=0.9, epochs=4)
        assert weights_of(folder) == whole and not list(folder.glob("previous-*"))
    model.load_state_dict(checkpoint_of(folder)["model"])
    capsys.readouterr()
    run(folder, model, ema=0.9, epochs=4)
    assert "nothing to train" in capsys.readouterr().out and agrees(folder, model)


def test_the_average_copies_what_is_no_statistic():
    """Indices of attention, counters, and masks of minus infinity; weights that two layers share are averaged once."""

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
            self.second.weight = self.first.weight
            self.register_buffer("index", torch.arange(1, 9))
            self.register_buffer("mask", torch.tensor([0.0, -math.inf]))
            self.register_buffer("mean", torch.zeros(1))

    model = Attention()
    nn.init.zeros_(model.first.weight)
    average = Average(model, torch.device("cpu"), not_finite(model))
    assert not_finite(model) == {"mask"}
    for value in (1.0, 2.0, 4.0):
        nn.init.constant_(model.first.weight, value)
        model.mean.fill_(value)
        model.index += 1
        average.update(0.75)
    expected = 0.75 * (0.75 * 1 + 0.25 * 2) + 0.25 * 4
    assert average.module.first.weight.unique().tolist() == [expected] == average.module.mean.tolist()
    assert average.module.index.tolist() == list(range(4, 12)) and average.module.mask.tolist() == [0, -math.inf]
    assert average.module.second.weight is average.module.first.weight


def test_a_network_with_indices_ends_with_its_own(tmp_path):
    class Shuffled(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = network()
            self.register_buffer("order", torch.tensor([2, 0, 1]))
            self.register_buffer("mask", torch.tensor([0.0, -math.inf]))

        def forward(self, image):
            return self.body(image[:, self.order]) + self.mask.softmax(0)[0] - 1

    model = run(tmp_path, Shuffled(), ema=0.998, epochs=12)
    assert model.order.tolist() == [2, 0, 1] and model.mask.tolist() == [0, -math.inf]
    assert evaluate(model, DataLoader(Pictures(), 4)).miou > 0.3


# Nothing that is not finite is written --------------------------------------------------------------------------------


def root_of_zero(step):
    """A loss that is finite, and whose gradient is NaN in one step."""
    count = itertools.count(1)

    def loss(logits, mask):
        value = cross_entropy(logits, mask)
        return value + torch.sqrt((logits * 0).sum()) if next(count) == step else value

    return loss


@pytest.mark.parametrize("ema", [None, 0.9])
@pytest.mark.parametrize("step", [2, 4])  # the last of each epoch, where no later loss tells
def test_a_gradient_that_is_not_finite_never_reaches_a_file(tmp_path, step, ema):
    model = network()
    with pytest.raises(
        TrainingError, match=rf"weights are no longer finite at step {step} \(epoch {step // 2}\).*kept"
    ):
        run(tmp_path, model, loss=root_of_zero(step), ema=ema)
    assert not (tmp_path / "model.safetensors").exists() and checkpoint_of(tmp_path)["state"]["step"] == step - 2
    assert agrees(tmp_path, model) and not not_finite(model)
    with pytest.raises(TrainingError, match="no longer finite at step 4"):
        run(None, loss=root_of_zero(4))


def test_what_else_is_not_finite(tmp_path):
    """A NaN picture of nothing but void, and a statistic that no loss depends on."""
    data = [Pictures()[index] for index in range(4)]
    data[3] = torch.full((3, 8, 8), math.nan), torch.full((8, 8), 255)
    model = network()
    with pytest.raises(TrainingError, match="no longer finite at step 4"):
        run(tmp_path / "void", model, DataLoader(data, 1), epochs=1)
    assert checkpoint_of(tmp_path / "void")["state"]["step"] == 0 and agrees(tmp_path / "void", model)

    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.norm = network(), nn.BatchNorm2d(3)

        def forward(self, image):
            self.norm(image * (math.nan if self.training else 1))
            return self.body(image)

    with pytest.raises(TrainingError, match=r"step 2 .*although the loss is: norm\.running_mean holds NaN"):
        run(tmp_path / "aside", Aside())
    model = network()
    nn.init.constant_(model[4].bias, math.nan)
    with pytest.raises(TrainingError, match=r"NaN or infinity before the first step \(in 4\.bias\)"):
        run(tmp_path / "nan", model)
    assert not (tmp_path / "nan").exists()


class Overflows(nn.Module):
    """Its activations are too large for fp16 in some training steps."""

    def __init__(self, *steps):
        super().__init__()
        self.body, self.steps, self.count = network(), steps, itertools.count(1)

    def forward(self, image):
        return self.body(image * (1e6 if self.training and next(self.count) in self.steps else 1))


def test_a_step_that_fp16_skips_leaves_the_statistics_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGMENTATION_FP16_ON_CPU", "1")
    for ema in (None, 0.9):
        model = Overflows(2, 3)
        seen = []
        model.body[1].register_forward_pre_hook(
            lambda layer, inputs, seen=seen: seen.append(inputs[0].detach().float())
        )
        run(None, model, precision="fp16", epochs=3, ema=ema, optimizer=sgd(model, 0.0))
        mean = torch.zeros(4)
        for features in [features for features in seen if features.isfinite().all()]:
            mean = 0.9 * mean + 0.1 * features.mean((0, 2, 3))
        assert model.body[1].num_batches_tracked == 4 == sum(bool(x.isfinite().all()) for x in seen)
        if ema is None:
            torch.testing.assert_close(model.body[1].running_mean, mean, rtol=1e-2, atol=1e-4)
        assert not not_finite(model)


# Words ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (lambda logits, mask: cross_entropy(logits, mask).reshape(1), r"a single number, but it has the shape \(1,\)"),
        (lambda logits, mask: F.cross_entropy(logits, mask, reduction="none"), r"shape \(4, 8, 8\): end it with .mean"),
        (
            lambda logits, mask: cross_entropy(logits, mask).item(),
            "must return a tensor, but it returns a float: leave out",
        ),
        (lambda logits, mask: None, "it returns a NoneType"),
        (lambda logits, mask: (logits.argmax(1) != mask).float().mean(), "does not depend on any weight that trains"),
        (lambda logits, mask: cross_entropy(logits.detach(), mask), "without argmax, detach or no_grad"),
    ],
)
def test_a_loss_that_is_no_loss_is_told_of_before_it_changes_anything(tmp_path, loss, words):
    model = network()
    with pytest.raises(TrainingError, match=words):
        run(tmp_path, model, loss=loss)
    assert checksum(model) == checksum(network()) and agrees(tmp_path, model)


def test_a_resumed_run_that_is_stopped_before_its_first_step(tmp_path):
    whole = weights_of(run_whole(tmp_path))
    model = network()
    with pytest.raises(Boom):
        run(tmp_path / "run", model, shuffled(Pictures(8, nth(13, boom))))
    for _ in range(2):
        with pytest.raises(Boom):
            run(tmp_path / "run", model, shuffled(Pictures(8, nth(1, boom))))
        assert agrees(tmp_path / "run", model) and checkpoint_of(tmp_path / "run")["state"]["step"] == 3
    run(tmp_path / "run", model)
    assert weights_of(tmp_path / "run") == whole


@pytest.mark.filterwarnings("error")
def test_one_validation_batch_says_nothing_about_the_truth():
    ground = torch.rand(3, 8, 8), torch.tensor([0, 255]).repeat(8, 4)
    data = [ground, *(Pictures()[index] for index in range(3))]
    run(None, valid_loader=DataLoader(data, 1), epochs=1)


def test_void_by_another_number():
    image = torch.rand(3, 8, 8)
    data = [(image, torch.tensor([0, 1, -1, 2]).repeat(8, 2)) for _ in range(2)]
    confusion = evaluate(network(), DataLoader(data, 1), ignore_index=-1)
    assert confusion.matrix.sum() == 2 * 48 and confusion.void == 2 * 16
    with pytest.raises(TrainingError, match="holds class -1, .*, or map that class to 255, void"):
        evaluate(network(), DataLoader(data, 1))
    with pytest.raises(TrainingError, match=r"holds class 7, .* as many classes as the data set has\.$"):
        evaluate(network(), DataLoader([(image, torch.full((8, 8), 7))], 1), ignore_index=None)
    with pytest.warns(UserWarning, match=r"is class 0 and void \(-1\).*mapping=\{0: 0, -1: 1\}"):
        evaluate(network(), DataLoader([(image, torch.tensor([0, -1]).repeat(8, 4))] * 2, 1), ignore_index=-1)


class Dictionary(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = network()

    def forward(self, image):
        return {"out": self.body(image), "aux": None, "names": ["ground"]}


def test_void_for_a_model_that_returns_a_dictionary():
    void = [(torch.rand(3, 8, 8), torch.full((8, 8), 255))] * 4
    model = Dictionary()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    run(None, model, DataLoader(void, 2), loss=lambda output, mask: output["out"].mean(), optimizer=optimizer)
    fresh = Dictionary()
    assert all(torch.equal(x, y) for x, y in zip(model.parameters(), fresh.parameters(), strict=True))
    assert model.body[1].num_batches_tracked == 4


def test_a_scheduler_that_could_never_step():
    model = network()
    optimizer = sgd(model)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max")
    with pytest.raises(ValueError, match=r'mode="max"\) watches the validation mIoU: give fit a valid_loader'):
        run(None, model, optimizer=optimizer, scheduler=scheduler)
    assert checksum(model) == checksum(network())


def test_the_versions_of_layers_survive_a_checkpoint(tmp_path):
    """Some layers read the version of a state dict, which a file does not hold."""

    class Versioned(nn.Module):
        _version = 2

        def __init__(self):
            super().__init__()
            self.body = network()

        def forward(self, image):
            return self.body(image)

        def _load_from_state_dict(self, state_dict, prefix, local_metadata, *others):
            if local_metadata.get("version") != 2:
                raise ValueError(f"version is {local_metadata.get('version')}")
            super()._load_from_state_dict(state_dict, prefix, local_metadata, *others)

    for ema in (None, 0.9):
        folder = tmp_path / str(ema)
        with pytest.raises(Boom):
            run(folder, Versioned(), shuffled(Pictures(8, nth(13, boom))), ema=ema)
        assert weights_of(run_in(folder, Versioned(), ema)) == weights_of(
            run_in(tmp_path / f"whole-{ema}", Versioned(), ema)
        )


def run_in(folder, model, ema):
    run(folder, model, ema=ema)
    return folder


# A loss that learns ----------------------------------------------------------------------------------------------------


class Uncertain(nn.Module):
    """Cross entropy with a learned weight and a running mean of itself (Kendall et al. 2018 weigh tasks so)."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, logits, mask):
        value = cross_entropy(logits, mask)
        self.mean = 0.9 * self.mean + 0.1 * value.detach()
        return value * torch.exp(-self.weight) + self.weight


@pytest.mark.parametrize("fresh", [True, False], ids=["a fresh kernel", "the same cell"])
def test_what_a_loss_has_learned_is_in_the_checkpoint(tmp_path, fresh):
    def parts():
        model, loss = network(), Uncertain()
        return model, loss, torch.optim.SGD([*model.parameters(), *loss.parameters()], 0.05, momentum=0.9)

    reads = itertools.count(1)

    def stop(index):
        if next(reads) == 23:  # in the second epoch
            raise KeyError("lost")

    model, undisturbed, optimizer = parts()
    run(tmp_path / "undisturbed", model, loss=undisturbed, optimizer=optimizer, epochs=4)
    model, loss, optimizer = parts()
    data = Pictures(hook=stop)
    with pytest.raises(KeyError):
        run(tmp_path / "run", model, shuffled(data), loss=loss, optimizer=optimizer, epochs=4)
    if fresh:
        model, loss, optimizer = parts()
    data.hook = None
    run(tmp_path / "run", model, shuffled(data), loss=loss, optimizer=optimizer, epochs=4)
    assert weights_of(tmp_path / "run") == weights_of(tmp_path / "undisturbed")
    assert loss.weight.item() == undisturbed.weight.item() != 0 and loss.mean == undisturbed.mean
    assert not list((tmp_path / "run").glob("previous*"))
