"""CamVid in 15 minutes on the same pretrained encoder: the recipes that people start from.

smp's CamVid example (FPN, Dice, Adam, batch 32) and fastai's segmentation lesson (`unet_learner`, half size, `fine_tune`), each
with its own augmentation, loss and schedule, in float32, as their users get them, beside notebook 10. Training alone counts.
"""

import time
from contextlib import suppress

import fastai.vision.all as fastai
import segmentation_models_pytorch as smp
from tests.benchmarks.peers import Halved, Reached, fastai_loaders, smp_example
from tests.notebook_code import definitions
from torch.utils.data import DataLoader

from segmentation_helpers import environment
from segmentation_helpers.datasets import check_dataset, load_dataset
from segmentation_helpers.encoders import fastai_body, load_imagenet, statistics, whole
from segmentation_helpers.inference import Normalized
from segmentation_helpers.training import evaluate

ENCODER, MINUTES = "tf_efficientnet_lite0", 15
DATASET, SEEDS = "camvid", (0, 1, 2)
ROWS = {
    "notebook 10": {"recipe": "notebook 10", "encoder": ENCODER, "minutes": MINUTES},
    "notebook 10, an hour": {"recipe": "notebook 10", "encoder": ENCODER, "minutes": 60, "seeds": [0]},
    "smp's CamVid example": {"recipe": "smp", "encoder": ENCODER, "minutes": MINUTES},
    "fastai's segmentation lesson": {"recipe": "fastai", "encoder": ENCODER, "minutes": MINUTES},
}
SPLITS = {split: lambda split=split: load_dataset("camvid", split) for split in ("val", "test")}


def train(settings, seed, folder):
    if settings["recipe"] == "notebook 10":
        notebook = notebook_10(seed)
        return notebook.train(notebook.pretrained | {"encoder": ENCODER}, settings["minutes"], folder, epochs=1)
    recipe = {"smp": train_smp, "fastai": train_fastai}[settings["recipe"]]
    return recipe(settings["minutes"])


def notebook_10(seed=0):
    """Notebook 10's definitions with the settings that it has on CamVid with an encoder."""
    data = load_dataset(DATASET, "train", cache=True)
    return definitions(
        "10_unet_from_scratch", dataset=DATASET, own=None, valid=None, classes=data.classes, train_data=data,
        pixels=check_dataset(data), valid_loader=None, image_size=(288, 384), batch_size=8, workers=0, smoke_test=False,
        seed=seed,
    )  # fmt: skip


class Clock:
    """Counts steps, and raises Reached when the minutes are over."""

    def __init__(self, minutes):
        self.begun, self.limit, self.steps = time.perf_counter(), 60 * minutes, 0

    @property
    def seconds(self):
        return time.perf_counter() - self.begun

    def step(self):
        self.steps += 1
        if self.seconds > self.limit:
            raise Reached("enough")  # fastai wants a word

    def history(self):
        return [{"epoch": 1, "step": self.steps, "loss": None, "seconds": self.seconds}]


def train_smp(minutes):
    network = load_imagenet(smp.FPN(f"tu-{ENCODER}", encoder_weights=None, classes=11), ENCODER)
    model, clock = Normalized(network, *statistics(ENCODER), divisor=32), Clock(minutes)
    with suppress(Reached):
        smp_example(clock, None, model)
    return model, clock.history()


class Training(fastai.Callback):
    """Steps a clock; validation would cost time and change nothing."""

    def __init__(self, clock):
        self.clock = clock

    def after_batch(self):
        if self.training:
            self.clock.step()

    def before_validate(self):
        raise fastai.CancelValidException


def learner():
    loss = fastai.CrossEntropyLossFlat(axis=1, ignore_index=255)
    dls = fastai_loaders(statistics(ENCODER))
    return fastai.unet_learner(dls, fastai_body, cut=whole, normalize=False, n_out=11, loss_func=loss)


def train_fastai(minutes):
    """`fine_tune`: an epoch with the encoder frozen, then as many as fit into the minutes, measured by a twentieth of them."""
    with learner().no_bar() as trial, suppress(Reached):
        trial.unfreeze()
        sample = Clock(minutes / 20)
        trial.fit(10**6, cbs=Training(sample))
    an_epoch = sample.seconds / sample.steps * len(trial.dls.train)
    epochs = max(1, int(60 * minutes / an_epoch) - 1)
    with learner().no_bar() as learn, suppress(Reached):
        clock = Clock(minutes)
        learn.fine_tune(epochs, cbs=Training(clock))
    return Normalized(Halved(learn.model), *statistics(ENCODER), divisor=64), clock.history()


def score(model, split):
    """Picture by picture; notebook 10's network with the views that its notebook evaluates with, the peers with theirs: one."""
    views = definitions("10_unet_from_scratch").views if hasattr(getattr(model, "network", None), "bridge") else {}
    return evaluate(model, DataLoader(SPLITS[split]()), precision=environment.best_precision(), **views)
