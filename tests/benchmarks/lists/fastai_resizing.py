"""CamVid in four minutes of training: fastai's U-Net at full size, or at half size first.

Full size is 180 x 240, half of CamVid's usual 360 x 480, so that four minutes are several epochs. Both rows begin with
`fine_tune`; the second gives it half of the time at 90 x 120, and goes on at full size. The drive 0006R0 is held out of
training, and the test set is not looked at. The seconds of an epoch are measured once per run, and kept in its folder.
"""

import json
import time

import fastai.vision.all as fastai
from tests.benchmarks.lists.camvid_images import at_size, learner, loaders

from segmentation_helpers import environment
from segmentation_helpers.datasets import load_dataset
from segmentation_helpers.learner import KeepRun

DATASET, SEEDS, DRIVE = "camvid", (0, 1, 2), "0006R0"
FULL, HALF, RATE, MINUTES = (180, 240), (90, 120), 2e-3, 4
ROWS = {
    "full size": {"minutes": MINUTES, "share": 0.0},
    "half size first": {"minutes": MINUTES, "share": 0.5},  # of the minutes, at half size
}
SPLITS = {
    "held-out drive": lambda: load_dataset(DATASET, "val", valid=DRIVE),
    "val": lambda: load_dataset(DATASET, "val"),
}


class Stopwatch(fastai.Callback):
    """The seconds of each step of the first `steps`; then the fit ends."""

    def __init__(self, steps):
        self.steps, self.times = steps, [time.perf_counter()]

    def after_batch(self):
        self.times.append(time.perf_counter())
        if len(self.times) > self.steps:
            raise fastai.CancelFitException


def seconds_per_epoch(dls, data):
    """Of a network whose weights all train: the median of 16 steps, after four that warm up."""
    learn, watch = learner(dls, data, pretrained=False), Stopwatch(20)
    with learn.no_bar(), learn.no_logging():
        learn.fit(10**6, cbs=watch)
    times = sorted(after - before for before, after in zip(watch.times[4:], watch.times[5:], strict=False))
    return times[len(times) // 2] * len(dls.train)


def plan(folder, settings, half, full, data):
    """How many epochs of each size fit into the minutes, besides the frozen one: {"half": ..., "full": ...}."""
    path, seconds, share = folder / "plan.json", 60 * settings["minutes"], settings["share"]
    if not path.is_file():
        epochs = {"full": int(seconds * (1 - share) / seconds_per_epoch(full, data)), "half": 0}
        if share:
            epochs["half"] = int(seconds * share / seconds_per_epoch(half, data))
        epochs["half" if share else "full"] -= 1  # the frozen epoch is one of them
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(epochs))
    return json.loads(path.read_text())


def train(settings, seed, folder):
    data = load_dataset(DATASET, "train", valid=DRIVE)
    half, full = loaders(data, HALF), loaders(data, FULL)
    epochs = plan(folder, settings, half, full, data)
    environment.seed_everything(seed)  # the measurement drew random numbers
    learn = learner(half if settings["share"] else full, data, pretrained=True)
    first, second = KeepRun(folder / "first", seed, settings), KeepRun(folder / "second", seed, settings)
    with learn.no_bar():
        if not settings["share"]:
            learn.fine_tune(max(1, epochs["full"]), RATE, cbs=first)
            return at_size(learn, FULL), first.history
        learn.fine_tune(max(1, epochs["half"]), RATE, cbs=first)
        learn.dls = full
        learn.fit_one_cycle(max(1, epochs["full"]), slice(RATE / 200, RATE / 2), cbs=second)  # fine_tune's second phase
    before = first.history[-1]["step"]
    return at_size(learn, FULL), first.history + [row | {"step": before + row["step"]} for row in second.history]
