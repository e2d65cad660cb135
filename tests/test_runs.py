"""What makes a run that run, what is kept however it ends, and what goes wrong most often, in words."""

import csv
import errno
import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

import training_run
from segmentation_helpers.inference import Normalized
from segmentation_helpers.metrics import ConfusionMatrix
from segmentation_helpers.training import TrainingError, evaluate, fit, load_weights, plan_steps, save_weights
from segmentation_helpers.training.identity import checksum
from training_run import Squares, cross_entropy, loaders, small_model

pytestmark = pytest.mark.usefixtures("on_the_cpu")


def sgd(model, rate=0.05):
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], rate, momentum=0.9)


def run(folder, model=None, loader=None, *, loss=cross_entropy, epochs=3, **options):
    """One call of `fit` as a notebook's cell makes it; the model."""
    model = small_model() if model is None else model
    loader = DataLoader(Squares(), batch_size=4, shuffle=True) if loader is None else loader
    options = {"precision": "fp32", "optimizer": sgd(model)} | options
    fit(model, loader, loss=loss, epochs=epochs, run_dir=folder, **options)
    return model


def weights_of(folder):
    return (Path(folder) / "model.safetensors").read_bytes()


# Identity -------------------------------------------------------------------------------------------------------------

SHARE = 0.5


def scaled(value):
    return value * SHARE


def scaled_loss(logits, mask):
    """What it says here changes nothing."""
    return scaled(F.cross_entropy(logits, mask, ignore_index=255))


def zeroed(model):
    nn.init.zeros_(model[-1].weight)
    return model


def frozen(model):
    model[0].requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: {"model": zeroed(small_model())}, "weights are neither those that it began with"),
        (lambda: {"model": frozen(small_model())}, "trained was"),
        (lambda: {"loss": scaled_loss}, "loss was"),
        (lambda: {"settings": {"size": 3}}, "size was None, is 3"),
        (lambda: {"seed": 1}, "seed was 0, is 1"),
    ],
)
def test_another_run_is_kept_aside_and_told_apart(tmp_path, capsys, change, words):
    run(tmp_path)
    before = weights_of(tmp_path)
    run(tmp_path, **change())
    printed = capsys.readouterr().out
    assert words in printed and "starting anew" in printed
    assert weights_of(tmp_path / "previous-1") == before
    assert (weights_of(tmp_path) == before) == ("size" in words), "a setting alone changes no weights"


def test_the_cell_run_again_after_the_end_loads_and_after_a_change_says_what_it_starts_from(tmp_path, capsys):
    model = run(tmp_path, ema=0.9)
    trained = checksum(model)
    run(tmp_path, model, ema=0.9)
    assert "nothing to train" in capsys.readouterr().out and checksum(model) == trained
    run(tmp_path, small_model(), ema=0.9)
    assert "nothing to train" in capsys.readouterr().out
    run(tmp_path, model, ema=0.9, optimizer=sgd(model, 0.01))
    assert "begins with the weights which that run left in the model" in capsys.readouterr().out


def test_the_rate_in_the_history_is_that_of_the_epochs_last_step(tmp_path):
    """One-cycle's value after its last step is one that no step took."""
    model, rates = small_model(), []
    optimizer = sgd(model)
    optimizer.register_step_pre_hook(lambda *_: rates.append(optimizer.param_groups[-1]["lr"]))
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=18)
    loader = DataLoader(Squares(), batch_size=4, shuffle=True)
    history = fit(
        model, loader, loss=cross_entropy, epochs=3, optimizer=optimizer, scheduler=scheduler, precision="fp32"
    )
    assert [row["learning_rate"] for row in history] == [rates[5], rates[11], rates[17]] and rates[17] == min(rates)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_after_each_epoch_the_weights_that_are_evaluated_are_shown(tmp_path, ema):
    run(tmp_path / "without", ema=ema)
    seen, fail = {}, True

    def look(epoch, model):
        seen.setdefault(epoch, []).append(checksum(model))
        torch.rand(7)  # random numbers of its own change nothing
        model.eval()
        if epoch == 2 and fail:
            raise KeyError("a full disk")

    model = small_model()
    with pytest.raises(KeyError, match="a full disk"):
        run(tmp_path / "with", model, ema=ema, after_epoch=look)
    fail = False
    run(tmp_path / "with", model, ema=ema, after_epoch=look)
    epochs = len((tmp_path / "with/history.csv").read_text().splitlines()) - 1
    assert list(seen) == list(range(1, epochs + 1)) and epochs > 2
    assert len(seen[2]) == 2 and seen[2][0] == seen[2][1] and len(seen[1]) == len(seen[3]) == 1
    assert seen[epochs] == [checksum(model)], "the last epoch's are those that the run ends with"
    assert weights_of(tmp_path / "with") == weights_of(tmp_path / "without")
    assert not list((tmp_path / "with").glob("previous-*"))


class Fails(Dataset):
    """Squares, one of which cannot be read on some day."""

    def __init__(self, at, error=KeyError):
        self.data, self.at, self.error, self.read = Squares(), at, error, itertools.count(1)

    def set_epoch(self, epoch):
        self.data.set_epoch(epoch)

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        if next(self.read) == self.at:
            raise self.error("the connection is lost")
        return self.data[index]


def test_a_loader_that_fails_leaves_a_checkpoint_equal_to_the_weights_in_memory(tmp_path):
    run(tmp_path / "undisturbed", loader=DataLoader(Fails(None), batch_size=4, shuffle=True))
    for at in (1, 9, 22, 23, 30):  # the first batch, the third, the last of an epoch, the first of the next, within it
        folder, model = tmp_path / str(at), small_model()
        with pytest.raises(KeyError, match="connection"):
            run(folder, model, DataLoader(Fails(at), batch_size=4, shuffle=True))
        saved = torch.load(folder / "checkpoint.pt", weights_only=True)
        assert saved["state"]["step"] == (at - 1) // 22 * 6 + (at - 1) % 22 // 4
        assert checksum(saved["model"]) == checksum(model)
        run(
            folder, model, DataLoader(Fails(None), batch_size=4, shuffle=True)
        )  # the same cell, the same model in memory
        assert weights_of(folder) == weights_of(tmp_path / "undisturbed"), at
        assert not list(folder.glob("previous-*"))


def test_half_a_step_is_taken_back(tmp_path):
    """An optimizer that dies within its step, and a loss that is no longer finite: the last checkpoint's weights come back."""
    for error in (KeyError("within the step"), None):
        model, count = small_model(), itertools.count(1)
        optimizer = sgd(model)

        def spoil(*_, error=error, count=count, model=model):
            if next(count) == 9:
                with torch.no_grad():
                    next(model.parameters()).fill_(math.nan)
                if error:
                    raise error

        optimizer.register_step_post_hook(spoil)
        folder = tmp_path / type(error).__name__
        with pytest.raises((KeyError, TrainingError)):
            run(folder, model, optimizer=optimizer)
        saved = torch.load(folder / "checkpoint.pt", weights_only=True)
        assert saved["state"]["step"] == 6 and checksum(saved["model"]) == checksum(model)
        run(folder, model)
        run(tmp_path / "undisturbed")
        assert weights_of(folder) == weights_of(tmp_path / "undisturbed")


def test_what_cannot_be_validated_fails_before_the_training(tmp_path):
    taken, model = [], small_model()
    optimizer = sgd(model)
    optimizer.register_step_post_hook(lambda *_: taken.append(1))
    wrong = DataLoader([(torch.rand(3, 8, 8), torch.full((8, 8), 7))], batch_size=1)
    with pytest.raises(TrainingError, match="A mask holds class 7, but the model has 3 outputs"):
        fit(
            model,
            loaders()[0],
            wrong,
            loss=cross_entropy,
            optimizer=optimizer,
            epochs=1,
            precision="fp32",
            run_dir=tmp_path,
        )
    assert not taken


def test_a_validation_that_fails_later_loses_nothing(tmp_path):
    class Once(Squares):
        broken = False

        def __getitem__(self, index):
            if self.broken and index == 9:
                raise OSError("the disk is gone")
            return super().__getitem__(index)

    valid, model = Once(10), small_model()
    run(tmp_path / "undisturbed", valid_loader=DataLoader(Once(10), batch_size=3))
    valid.broken = True
    with pytest.raises(OSError, match="disk is gone"):
        run(tmp_path / "run", model, valid_loader=DataLoader(valid, batch_size=3), evaluate_every=9)
    saved = torch.load(tmp_path / "run/checkpoint.pt", weights_only=True)
    assert saved["state"]["step"] == 18 and checksum(saved["model"]) == checksum(model)
    valid.broken, taken = False, []
    optimizer = sgd(model)
    optimizer.register_step_post_hook(lambda *_: taken.append(1))
    run(tmp_path / "run", model, valid_loader=DataLoader(valid, batch_size=3), evaluate_every=9, optimizer=optimizer)
    assert not taken and weights_of(tmp_path / "run") == weights_of(tmp_path / "undisturbed")
    last = list(csv.DictReader((tmp_path / "run/history.csv").open()))[-1]
    assert last["step"] == "18" and last["miou"]


# Longer, schedulers, checkpoints --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scheduler", [None, torch.optim.lr_scheduler.StepLR, torch.optim.lr_scheduler.ReduceLROnPlateau]
)
@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_finished_run_is_made_longer_as_if_it_had_been_so_from_the_start(tmp_path, capsys, scheduler, ema):
    def go(folder, model=None, **length):
        model = small_model() if model is None else model
        optimizer = sgd(model)
        schedule = scheduler and scheduler(optimizer, *((8,) if scheduler.__name__ == "StepLR" else ()))
        loader = DataLoader(Squares(), batch_size=4, shuffle=True)
        fit(model, loader, loss=cross_entropy, optimizer=optimizer, scheduler=schedule, run_dir=tmp_path / folder, ema=ema,
            precision="fp32", **length)  # fmt: skip
        return model

    go("long", epochs=4)
    model = go("short", epochs=2)
    go("short", model, epochs=4)
    assert "Going on after step 12 of 24" in capsys.readouterr().out
    assert weights_of(tmp_path / "short") == weights_of(tmp_path / "long")
    assert len(list(csv.DictReader((tmp_path / "short/history.csv").open()))) == 4
    go("cut", steps=8)
    go("cut", steps=24)
    assert weights_of(tmp_path / "cut") == weights_of(tmp_path / "long"), "also from within an epoch"


def test_a_schedule_made_for_another_length_starts_anew(tmp_path, capsys):
    def go(epochs):
        model = small_model()
        optimizer = sgd(model)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=6 * epochs)
        run(tmp_path, model, epochs=epochs, optimizer=optimizer, scheduler=scheduler)

    go(1)
    go(2)
    printed = capsys.readouterr().out
    assert "steps was 6, is 12" in printed and "starting anew" in printed and "scheduler was" in printed


def test_a_scheduler_that_watches_a_score(tmp_path):
    model = small_model()
    optimizer = sgd(model)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", factor=0.1, patience=0, threshold=2.0)
    history = fit(
        model, *loaders(), loss=cross_entropy, optimizer=optimizer, scheduler=scheduler, epochs=3, precision="fp32"
    )
    assert [row["learning_rate"] for row in history] == pytest.approx([0.05, 0.05, 0.005]), "no mIoU rises threefold"


@pytest.mark.parametrize(
    "make",
    [
        lambda model: (torch.optim.AdamW(model.parameters(), lr=np.logspace(-3, -2, 2)[0]), None),
        lambda model: (o := sgd(model), torch.optim.lr_scheduler.LambdaLR(o, lambda step: np.cos(step / 100))),
        lambda model: (o := sgd(model), torch.optim.lr_scheduler.OneCycleLR(o, np.float64(1e-3), total_steps=18)),
        lambda model: (
            o := sgd(model, np.float32(0.05)),
            torch.optim.lr_scheduler.StepLR(o, int(np.int64(3)), np.float64(0.5)),
        ),
    ],
)
def test_numbers_of_numpy_can_be_read_back(tmp_path, make):
    def go(folder, at=None):
        model = small_model()
        optimizer, scheduler = make(model)
        run(
            tmp_path / folder,
            model,
            DataLoader(Fails(at), batch_size=4, shuffle=True),
            optimizer=optimizer,
            scheduler=scheduler,
        )

    go("undisturbed")
    with pytest.raises(KeyError):
        go("stopped", at=30)
    go("stopped")
    assert weights_of(tmp_path / "stopped") == weights_of(tmp_path / "undisturbed")


def test_a_state_that_cannot_be_read_back_is_told_at_once(tmp_path):
    class Odd(torch.optim.lr_scheduler.LambdaLR):
        def state_dict(self):
            return super().state_dict() | {"folder": Path("odd")}

    model, taken = small_model(), []
    optimizer = sgd(model)
    optimizer.register_step_post_hook(lambda *_: taken.append(1))
    with pytest.raises(TrainingError, match=r"cannot be read.*Path.*state of the scheduler"):
        run(tmp_path, model, optimizer=optimizer, scheduler=Odd(optimizer, lambda step: 1.0))
    assert not taken


def test_settings_of_any_kind_are_compared(tmp_path, capsys):
    own = {
        "images": Path("a/b"),
        "mapping": {(128, 0, 0): 1, 0: 255},
        "sizes": (np.int64(3), 2.5),
        "kind": torch.float32,
    }
    for value in (own, dict(own), own | {"mapping": {(128, 0, 0): 0}}):
        run(tmp_path, epochs=1, settings={"dataset": value})
    printed = capsys.readouterr().out
    assert printed.count("nothing to train") == 1 and printed.count("dataset was") == 1
    assert plan_steps(
        0.01, small_model(), loaders()[0], loss=cross_entropy, settings=own, precision="fp32", run_dir=tmp_path
    )


def test_a_folder_of_ones_own_beside_the_earlier_runs(tmp_path):
    (tmp_path / "previous-best").mkdir()
    run(tmp_path, epochs=1)
    run(tmp_path, epochs=1, seed=1)
    assert sorted(path.name for path in tmp_path.glob("previous-*")) == ["previous-1", "previous-best"]


def test_a_full_disk_is_said_in_words_and_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    model, fsync, written = small_model(), os.fsync, itertools.count(1)

    def full(file):
        if next(written) > 2:
            raise OSError(errno.ENOSPC, "No space left on device", "checkpoint.pt")
        return fsync(file)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match="The disk is full .*make room and run it again.*last checkpoint is kept"):
        run(tmp_path, model)
    assert not list(tmp_path.glob(".*.part"))
    monkeypatch.setattr(os, "fsync", fsync)
    run(tmp_path, model)
    run(tmp_path / "undisturbed")
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["finished"]


# Frozen layers, void, precision ---------------------------------------------------------------------------------------


def test_frozen_batch_normalisation_stays_frozen(tmp_path):
    model = small_model().train()
    model[1].eval()
    before = model[1].running_mean.clone(), model[5].running_mean.clone()
    run(tmp_path, model, valid_loader=loaders()[1])
    assert torch.equal(model[1].running_mean, before[0]) and not torch.equal(model[5].running_mean, before[1])
    assert not model[1].training and model[5].training
    model = small_model().eval()  # as a loaded model comes: all of it is trained
    run(None, model, epochs=1)
    assert not torch.equal(model[1].running_mean, before[0])


class Void(Squares):
    """Every second picture has no label at all."""

    def __getitem__(self, index):
        image, mask = super().__getitem__(index)
        return image, torch.full_like(mask, 255) if index % 2 else mask


def test_batches_of_nothing_but_void_contribute_zero(tmp_path):
    model, seen = small_model(), []

    def loss(logits, mask):
        seen.append(int((mask != 255).sum()))
        return cross_entropy(logits, mask)

    history = fit(
        model, DataLoader(Void(), batch_size=1), loss=loss, optimizer=sgd(model, 0.01), epochs=1, precision="fp32"
    )
    assert history[0]["step"] == 22 and len(seen) == 11 and min(seen) > 0
    assert math.isfinite(history[0]["loss"]) and 0.2 < history[0]["loss"] < 2, "the mean of the labelled batches"
    before = checksum(model)
    torch.optim.SGD(model.parameters(), 0.1)
    only = DataLoader([(torch.rand(3, 8, 8), torch.full((8, 8), 255))] * 3, batch_size=1)
    untouched = {name: p.clone() for name, p in model.named_parameters()}
    fit(model, only, loss=loss, optimizer=torch.optim.SGD(model.parameters(), 0.1), epochs=1, precision="fp32")
    assert all(torch.equal(p, untouched[name]) for name, p in model.named_parameters()) and checksum(model) != before


@pytest.fixture
def fp16(monkeypatch):
    monkeypatch.setenv("SEGMENTATION_FP16_ON_CPU", "1")


def test_fp16_is_refused_on_a_cpu(tmp_path):
    with pytest.raises(ValueError, match='"fp16" is for GPUs without a fast bfloat16'):
        run(tmp_path, precision="fp16")
    with pytest.raises(ValueError, match='must be "fp32", "bf16" or "fp16"'):
        run(tmp_path, precision="fp8")


def test_fp16_learns_with_a_scaler_and_is_resumed_exactly(tmp_path, fp16):
    model = small_model()
    history = fit(model, *loaders(), loss=cross_entropy, optimizer=sgd(model), epochs=8, precision="fp16")
    assert history[-1]["loss"] < 0.7 * history[0]["loss"] and history[-1]["miou"] > history[0]["miou"]
    run(tmp_path / "undisturbed", precision="fp16")
    with pytest.raises(KeyError):
        run(tmp_path / "stopped", loader=DataLoader(Fails(30), batch_size=4, shuffle=True), precision="fp16")
    saved = torch.load(tmp_path / "stopped/checkpoint.pt", weights_only=True)
    assert saved["scaler"]["scale"] > 1
    run(tmp_path / "stopped", loader=DataLoader(Fails(None), batch_size=4, shuffle=True), precision="fp16")
    run(tmp_path / "undisturbed", loader=DataLoader(Fails(None), batch_size=4, shuffle=True), precision="fp16")
    assert weights_of(tmp_path / "stopped") == weights_of(tmp_path / "undisturbed")


def test_steps_that_overflow_are_skipped(tmp_path, fp16):
    model, stepped, count = small_model(), [], itertools.count(1)
    optimizer = sgd(model)
    optimizer.register_step_post_hook(lambda *_: stepped.append(1))
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1000)

    def loss(logits, mask):
        return cross_entropy(logits, mask) * (math.inf if next(count) in (3, 4) else 1)

    loader = DataLoader(Squares(), batch_size=4, shuffle=True)
    history = fit(
        model, loader, loss=loss, optimizer=optimizer, scheduler=scheduler, epochs=2, precision="fp16", ema=0.5
    )
    assert history[-1]["step"] == 12 and len(stepped) == 10 and scheduler.last_epoch == 10
    assert all(math.isfinite(row["loss"]) for row in history)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_25_overflows_in_a_row_are_an_error(tmp_path, fp16):
    with pytest.raises(
        TrainingError, match='overflowed in 25 steps in a row, the last of them step 28.*precision="fp32"'
    ):
        run(tmp_path, loss=_infinite_after(3), epochs=9, precision="fp16")


def _infinite_after(steps):
    count = itertools.count(1)

    def loss(logits, mask):
        return cross_entropy(logits, mask) * (math.inf if next(count) > steps else 1)

    return loss


# Words ----------------------------------------------------------------------------------------------------------------


def pairs(*sizes, classes=3):
    return [(torch.rand(3, *size), torch.randint(classes, size)) for size in sizes]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(pairs((8, 8)))


def pooled(classes=3):
    """Batch normalisation on 1 x 1 features, as in an image-pooling branch."""
    network = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, classes, 1), nn.BatchNorm2d(classes), nn.Upsample((8, 8))
    )
    return network


DICTS = [{"image": image, "mask": mask} for image, mask in pairs((8, 8), (8, 8))]


@pytest.mark.parametrize(
    ("data", "batch", "model", "words"),
    [
        (pairs((8, 8), (8, 8), (8, 8)), 2, pooled, "A batch of one picture at step 2.*drop_last=True"),
        (pairs((8, 8), (9, 8)), 2, small_model, "several sizes in one batch at step 1.*crop or pad.*batch_size=1"),
        (
            pairs((8, 8), (8, 8), classes=9),
            2,
            small_model,
            r"holds class [3-8], but the model has 3 outputs, for the classes 0",
        ),
        (DICTS, 2, small_model, "a dictionary of image, mask: let the data set return .image, mask."),
        ([(*pair, 1) for pair in pairs((8, 8))], 1, small_model, r"3 parts \(Tensor, Tensor, Tensor\)"),
        ([torch.rand(3, 8, 8)] * 2, 2, small_model, "must be a pair of tensors"),
    ],
)
def test_the_commonest_mistakes_in_words(data, batch, model, words):
    network = model()
    with pytest.raises(TrainingError, match=words):
        fit(network, DataLoader(data, batch), loss=cross_entropy, optimizer=sgd(network), epochs=1, precision="fp32")
    if "one picture" not in words:
        with pytest.raises(TrainingError, match=words.replace(" at step 1", " while evaluating")):
            evaluate(network, DataLoader(data, batch))


class Halves(nn.Module):
    """A skip over one halving, which odd sizes do not survive."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, image):
        x = self.conv(image)
        return x + F.interpolate(F.max_pool2d(x, 2), scale_factor=2)


def test_a_crop_that_does_not_fit_the_network_in_words():
    model = Normalized(Halves(), [0.5] * 3, [0.25] * 3, divisor=2)
    words = r"cannot take images of 8 x 9 \(height x width\) at step 1 .*multiples of what the network halves"
    with pytest.raises(TrainingError, match=words):
        run(None, model, DataLoader(pairs((8, 9), (8, 9)), 2), epochs=1)
    evaluate(model, DataLoader(pairs((8, 9)), 1))  # which pads


def test_streams_and_empty_loaders_in_words():
    model = small_model()
    for use in (
        lambda loader: fit(model, loader, loss=cross_entropy, optimizer=sgd(model), epochs=1, precision="fp32"),
        lambda loader: evaluate(model, loader),
        lambda loader: plan_steps(1, model, loader, loss=cross_entropy, precision="fp32"),
    ):
        with pytest.raises(ValueError, match="reads an IterableDataset"):
            use(DataLoader(Stream(), 1))
        with pytest.raises(ValueError, match="has no batch: its data set has 6 pictures, fewer than batch_size"):
            use(DataLoader(pairs(*[(8, 8)] * 6), 8, shuffle=True, drop_last=True))
        with pytest.raises(ValueError, match="has no pictures"):
            use(DataLoader([], 2))


def test_float_masks_in_words():
    data = [(torch.rand(3, 8, 8), torch.rand(1, 8, 8).round()) for _ in range(2)]
    with pytest.raises(TrainingError, match=r"torch.float32 of shape \(2, 1, 8, 8\).*mask.squeeze\(0\).long\(\)"):
        evaluate(nn.Conv2d(3, 1, 1), DataLoader(data, 2))


def exhausted(when, text="CUDA out of memory. Tried to allocate 9 GiB"):
    model = small_model()

    def hook(module, inputs):
        if when == "always" or module.training == (when == "training"):
            raise torch.OutOfMemoryError(text) if "CUDA" in text else RuntimeError(text)

    model.register_forward_pre_hook(hook)
    return model


@pytest.mark.parametrize("text", ["CUDA out of memory", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
                                  "[enforce fail] DefaultCPUAllocator: can't allocate memory"])  # fmt: skip
def test_out_of_memory_names_what_ran_out_of_it(text):
    train, valid = DataLoader(pairs((32, 40), (32, 40)), 2), DataLoader(pairs((128, 160)), 1)
    model = exhausted("validation", text)
    with pytest.raises(
        TrainingError, match=r"Out of memory while evaluating with images \(1, 3, 128, 160\).*predict in tiles"
    ):
        fit(model, train, valid, loss=cross_entropy, optimizer=sgd(model), epochs=1, precision="fp32")
    with pytest.raises(TrainingError, match="Out of memory while evaluating"):
        evaluate(model, valid)
    model = exhausted("training", text)
    with pytest.raises(
        TrainingError, match=r"Out of memory at step 1 with images \(2, 3, 32, 40\).*batch_size \(it is 2\)"
    ):
        fit(model, train, valid, loss=cross_entropy, optimizer=sgd(model), epochs=1, precision="fp32")
    with pytest.raises(TrainingError, match=r"Out of memory while measuring a step with images \(2, 3, 32, 40\)"):
        plan_steps(1, model, train, loss=cross_entropy, precision="fp32")


def test_weights_of_another_format(tmp_path):
    torch.save(small_model().state_dict(), tmp_path / "best.pth")
    with pytest.raises(
        TrainingError, match=r'best.pth was written by torch.save.*torch.load\("best.pth", weights_only=True\)'
    ):
        load_weights(small_model(), tmp_path / "best.pth")
    model = small_model()
    model.load_state_dict(torch.load(tmp_path / "best.pth", weights_only=True))  # the remedy
    save_weights(model, tmp_path / "new/folder/model.safetensors")
    load_weights(small_model(), tmp_path / "new/folder/model.safetensors")


def test_a_truth_of_one_class_and_void_is_told():
    data = [(torch.rand(3, 8, 8), torch.tensor([0, 255]).repeat(8, 4)) for _ in range(3)]
    with pytest.warns(
        UserWarning, match=r"The truth of all 3 pictures is class 0 and void \(255\).*mapping=\{0: 0, 255: 1\}"
    ):
        evaluate(nn.Conv2d(3, 2, 1), DataLoader(data, 1))
    model = nn.Conv2d(3, 2, 1)
    with pytest.warns(
        UserWarning, match=r"All labelled pixels of the first epoch are class 0, the others void \(255\)"
    ):
        fit(model, DataLoader(data, 1), loss=cross_entropy, optimizer=sgd(model), epochs=1, precision="fp32")


# Metrics --------------------------------------------------------------------------------------------------------------


def test_an_ignored_class_takes_no_part_in_the_mean():
    truth, guess = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 2, 1, 1, 0, 2])
    score = ConfusionMatrix(3, ignore_index=2)
    score.update(guess, truth)
    assert score.iou.tolist()[:2] == [0.5, 1.0] and score.iou[2].isnan() and score.miou == 0.75 and score.void == 2
    everything = ConfusionMatrix(3, ignore_index=None)
    everything.update(guess, truth)
    assert everything.iou.tolist() == pytest.approx([1 / 3, 1, 1 / 3]) and everything.void == 0
    with pytest.raises(ValueError, match="map that id to a class, or pass"):
        everything.update(guess, torch.tensor([0, 0, 1, 1, 2, 255]))
    with pytest.raises(ValueError, match="cannot merge"):
        everything.merge(score)


# Several processes ----------------------------------------------------------------------------------------------------


def in_processes(count, folder, what):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
    command = command if count > 1 else [sys.executable]
    variables = {"ACCELERATE_USE_CPU": "true", "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, training_run.__file__, folder, what], capture_output=True, text=True,
                          env=os.environ | variables)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(folder / "weights.pt", weights_only=True), done.stdout


def test_two_processes_take_the_steps_of_one(tmp_path):
    """Pictures with very different numbers of labelled pixels, and some without any."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, _ = in_processes(1, tmp_path / "one", "equal")
    two, printed = in_processes(2, tmp_path / "two", "equal")
    start = training_run.plain_model().state_dict()
    assert any((one[key] - start[key]).abs().max() > 0.01 for key in one)
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=1e-4, atol=1e-6)


def test_several_processes_are_resumed_from_within_an_epoch(tmp_path):
    for name in ("undisturbed", "stopped"):
        (tmp_path / name).mkdir()
    whole, _ = in_processes(2, tmp_path / "undisturbed", "plain")
    resumed, printed = in_processes(2, tmp_path / "stopped", "resumed")
    assert "Going on after step 5 of 12" in printed
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert json.loads((tmp_path / "stopped/steps.json").read_text()) == [5, 12]
    assert "torch synchronises it on GPUs alone" in printed
