"""Notebook 13: FPN and U-Net of smp on the same encoder, equal steps and schedule, scored by the size of objects.

`small`, `medium`, `large` and `borders` hold test images whose masks are void everywhere else: their pixel accuracy is recall.
"""

from functools import partial

from tests.notebook_code import definitions
from torch.utils.data import DataLoader

from segmentation_helpers import environment
from segmentation_helpers.datasets import check_dataset, load_dataset
from segmentation_helpers.learner import KeepRun

DATASET, SEEDS, EPOCHS, SIZE = "streets", (0, 1, 2), 10, (176, 240)
ROWS = {"FPN": {"decoder": "fpn"}, "U-Net": {"decoder": "unet"}}


def notebook_13(seed=0):
    """Notebook 13's definitions with its settings on the streets."""
    return definitions(
        "13_fpn_smp", encoder="tf_efficientnet_lite0", seed=seed, precision=environment.best_precision(),
        classes=load_dataset(DATASET, "val").classes,
    )  # fmt: skip


def part(name):
    """One of the notebook's data sets on test."""
    notebook, data = notebook_13(), load_dataset(DATASET, "test")
    return notebook.at_borders(data) if name == "borders" else notebook.of_size(data, *notebook.SIZES[name])


SPLITS = {split: partial(load_dataset, DATASET, split) for split in ("val", "test")}
SPLITS |= {name: partial(part, name) for name in ("small", "medium", "large", "borders")}


def train(settings, seed, folder):
    notebook = notebook_13(seed)
    data = load_dataset(DATASET, "train", cache=True)
    loss = notebook.weighted_cross_entropy(check_dataset(data))
    data.transform = notebook.augment(SIZE)
    loaders = DataLoader(data, 8, shuffle=True, drop_last=True), DataLoader(load_dataset(DATASET, "val", limit=8))
    model = notebook.build(settings["decoder"], len(data.classes))
    kept = KeepRun(folder, seed=seed)
    with notebook.learner(model, loaders, loss, folder).no_bar() as learn:
        learn.fit_one_cycle(EPOCHS, slice(6e-4, 2e-3), cbs=kept)
    return model, kept.history
