"""`make bench-peers`: our recipe against two that people start from, on the real CamVid: images/s, and minutes to an mIoU.

Each side is what its own users get: smp's CamVid example (FPN on ResNeXt-50, Dice, Adam, batch 32, fp32, decoding in each
epoch), fastai's lesson (`unet_learner` on ResNet-34, batch 8, half size, cycles of 8 epochs), and notebook 10. All start from
random weights; smp's is spared its wrong normalisation (smp#1224) and its void class. Speed: a few steps of each in turn, each
side in a process of its own. Minutes: training alone counts; val is scored after every epoch, by one confusion matrix in bf16.
Needs SEGMENTATION_DATA with CamVid; writes results/benchmarks.json, beside what `make bench` wrote.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import albumentations as A
import fastai.vision.all as fastai
import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from tests.notebook_code import definitions
from torch.utils.data import DataLoader

from segmentation_helpers import environment
from segmentation_helpers.datasets import check_dataset, load_dataset
from segmentation_helpers.inference import Normalized
from segmentation_helpers.training import evaluate, fit

GOAL, LIMIT, ROUNDS, SPEED_IMAGES = 0.30, 20.0, 3, 64


class Reached(Exception):
    """The goal is reached, or the time is up."""


class Watch:
    """Counts the seconds of training; `score` stops the clock, evaluates, and raises Reached at the end."""

    def __init__(self, minutes):
        self.seconds, self.limit, self.begun, self.miou = 0.0, 60 * minutes, time.perf_counter(), 0.0

    def score(self, model):
        self.seconds += time.perf_counter() - self.begun
        confusion = evaluate(model, DataLoader(load_dataset("camvid", "val"), 4), precision="bf16")
        self.miou = confusion.miou
        print(f"{self.seconds / 60:5.1f} min: mIoU {self.miou:.3f}", file=sys.stderr, flush=True)
        if self.miou >= GOAL or self.seconds > self.limit:
            raise Reached("enough")  # fastai wants a word
        self.begun = time.perf_counter()
        return confusion


class Rater:
    """Seconds of the steps after the first two; `step` raises Reached when enough images have gone by."""

    def __init__(self, batch_size):
        self.batch_size, self.times = batch_size, [time.perf_counter()]

    def step(self):
        self.times.append(time.perf_counter())
        if (len(self.times) - 3) * self.batch_size >= SPEED_IMAGES:
            raise Reached("enough")  # fastai wants a word

    @property
    def rate(self):
        return self.batch_size / statistics.median(np.diff(self.times)[2:])


class Halved(torch.nn.Module):
    """A network that wants images of half the size, for full-size ones."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, image):
        small = F.interpolate(image, scale_factor=0.5, mode="bilinear", antialias=True)
        return F.interpolate(self.model(small), size=image.shape[-2:], mode="bilinear")


def smp_example(meter, watch, model=None):
    """examples/camvid_segmentation_multiclass: augmentation, loss, optimizer and schedule as published."""
    one_of = [
        A.OneOf([A.CLAHE(p=1), A.RandomBrightnessContrast(p=1), A.RandomGamma(p=1)], p=0.9),
        A.OneOf([A.Sharpen(p=1), A.Blur(3, p=1), A.MotionBlur(3, p=1)], p=0.9),
        A.OneOf([A.RandomBrightnessContrast(p=1), A.HueSaturationValue(p=1)], p=0.9),
    ]
    transform = A.Compose([
        A.HorizontalFlip(p=0.5), A.Affine(scale=(0.5, 1.5), translate_percent=0.1, fill_mask=255, p=1),
        A.PadIfNeeded(320, 320, fill_mask=255), A.RandomCrop(320, 320), A.GaussNoise(p=0.2),
        A.Perspective(p=0.5, fill_mask=255), *one_of,
    ])  # fmt: skip
    loader = DataLoader(load_dataset("camvid", "train", transform=transform), 32, shuffle=True)
    if model is None:
        network = smp.FPN("resnext50_32x4d", encoder_weights=None, classes=11)
        model = Normalized(network, *fastai.imagenet_stats, divisor=32)
    loss = smp.losses.DiceLoss("multiclass", from_logits=True, ignore_index=255)
    optimizer = torch.optim.Adam(model.parameters(), 2e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50, eta_min=1e-5)
    while True:
        model.train()
        for image, mask in loader:
            optimizer.zero_grad()
            loss(model(image), mask).backward()
            optimizer.step()
            scheduler.step()
            meter and meter.step()
        watch and watch.score(model)


def fastai_loaders(statistics):
    """`SegmentationDataLoaders` of the tutorial on CamVid's official split, at half size, batch 8."""
    train, valid = load_dataset("camvid", "train"), load_dataset("camvid", "val")
    pairs = train.pairs + valid.pairs  # an item is a number: fastai would transform a tuple part by part
    block = fastai.DataBlock(
        blocks=(fastai.ImageBlock, fastai.MaskBlock(train.classes)),
        getters=[lambda item: pairs[item][0], lambda item: train.decode(pairs[item][1])],
        splitter=fastai.IndexSplitter(range(len(train), len(pairs))), item_tfms=fastai.Resize((180, 240)),
        batch_tfms=[*fastai.aug_transforms(), fastai.Normalize.from_stats(*statistics)],
    )  # fmt: skip
    return block.dataloaders(list(range(len(pairs))), bs=8, num_workers=0)


def fastai_tutorial(meter, watch):
    """`SegmentationDataLoaders` at half size, batch 8, `unet_learner(resnet34)`, one cycle of 8 epochs, again and again."""

    class Keeper(fastai.Callback):
        def after_batch(self):
            if self.training and meter:
                meter.step()

        def before_validate(self):
            raise fastai.CancelValidException  # the clock runs

        def after_epoch(self):
            watch and watch.score(Normalized(Halved(self.learn.model), *fastai.imagenet_stats, divisor=64))

    dls = fastai_loaders(fastai.imagenet_stats)
    loss = fastai.CrossEntropyLossFlat(axis=1, ignore_index=255)
    learn = fastai.unet_learner(dls, fastai.resnet34, pretrained=False, n_out=11, loss_func=loss, cbs=Keeper())
    while True:
        learn.fit_one_cycle(8, 1e-3)


def ours(meter, watch):
    """Notebook 10's improved recipe, on a plan of 15 minutes."""
    train_data, valid_data = (load_dataset("camvid", split, cache=True) for split in ("train", "val"))
    notebook = definitions(
        "10_unet_from_scratch", dataset="camvid", width=32, classes=train_data.classes, train_data=train_data,
        pixels=check_dataset(train_data), valid_loader=DataLoader(valid_data, 4), image_size=(240, 320), batch_size=8,
        workers=0, smoke_test=False, seed=0, valid=None, own=None,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        if watch:
            notebook.fit = lambda *given, **settings: fit(*given, **settings | {"evaluate_every": 1})
            with mock.patch(
                "segmentation_helpers.training.loop.evaluate", lambda model, _, precision: watch.score(model)
            ):
                notebook.train(notebook.improved, 15, Path(folder))
            return
        notebook.plan_steps, build_loss = (lambda *_, **__: 1000), notebook.build_loss
        notebook.build_loss = lambda recipe: lambda *pair: (meter.step(), build_loss(recipe)(*pair))[1]
        notebook.train(notebook.improved, 1, Path(folder))


SIDES = {"ours": (ours, 8), "smp": (smp_example, 32), "fastai": (fastai_tutorial, 8)}
NAMES = {"smp": "smp's CamVid example", "fastai": "fastai's `unet_learner`"}


def run_one(side, what):
    """Images/s of a few steps, or [minutes of training, mIoU]."""
    environment.seed_everything(0)
    if side == "ours":  # the peers get what their own users have
        environment.set_threads()
    run, batch_size = SIDES[side]
    meter, watch = (Rater(batch_size), None) if what == "rate" else (None, Watch(LIMIT))
    with contextlib.suppress(Reached):
        run(meter, watch)
    return meter.rate if meter else [watch.seconds / 60, watch.miou]


def in_a_process(side, what):
    command = [sys.executable, "-m", "tests.benchmarks.peers", side, what]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=environment.ROOT).stdout
    return json.loads(answer.splitlines()[-1])


def compare_all():
    """Rows for the table of speeds, and minutes to the goal by side."""
    rates = [{side: in_a_process(side, "rate") for side in SIDES} for _ in range(ROUNDS)]
    rows = []
    for peer, name in NAMES.items():
        ratios = sorted(rate["ours"] / rate[peer] for rate in rates)
        rows.append({
            "what": "CamVid, a whole recipe (network, size, precision)", "unit": "images/s", "ours": "notebook 10", "other": name,
            "ours_rate": statistics.median(rate["ours"] for rate in rates),
            "other_rate": statistics.median(rate[peer] for rate in rates),
            "ratio": statistics.median(ratios), "least": ratios[0], "most": ratios[-1],
        })  # fmt: skip
        print(rows[-1], flush=True)
    minutes = {}
    for side in SIDES:
        minutes[side] = dict(zip(("minutes", "miou"), in_a_process(side, "minutes"), strict=True))
        print(side, minutes[side], flush=True)
    return rows, {"miou": GOAL, "limit": LIMIT, "sides": minutes}


def main():
    path = environment.ROOT / "results/benchmarks.json"
    report = json.loads(path.read_text())
    rows, report["minutes_to_goal"] = compare_all()
    report["peers"] = {"device": environment.processor(), "rounds": ROUNDS, "rows": rows}
    path.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    if len(sys.argv) > 1:
        with contextlib.redirect_stdout(sys.stderr):  # fastai prints its tables
            answer = run_one(*sys.argv[1:])
        print(json.dumps(answer))
    else:
        main()
