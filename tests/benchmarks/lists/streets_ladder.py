"""Notebook 10's ladder: from the U-Net of the paper to a pretrained encoder, one change per rung, equal steps.

Each rung is the one before it with one change; the rows after the ladder are branches of the rung in brackets. The classic
network has the best of three learning rates on val; everything else trains with notebook 10's.
"""

from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from tests.notebook_code import definitions
from torch import nn

from segmentation_helpers.datasets import check_dataset, load_dataset
from segmentation_helpers.encoders import create_encoder

DATASET, SEEDS, EPOCHS = "streets", (0, 1, 2), 15
SPLITS = {split: lambda split=split: load_dataset("streets", split) for split in ("val", "test")}

CLASSIC = {"norm": False, "half": False, "width": 16, "residual": False, "deeper": False, "dilated": False,
           "bilinear": False, "slim": False, "skips": True}  # fmt: skip
RECIPE = {"weights": False, "jaccard": 0.0, "take_back": 0.0, "zoom": None, "ema": None}
STEPS = {
    "U-Net of the paper": {},
    "+ batch normalisation": {"norm": True},
    "+ half resolution, a level less": {"half": True},
    "+ twice the channels": {"width": 32},
    "+ residual blocks": {"residual": True},
    "+ four more blocks, narrower below": {"deeper": True},
    "+ dilation": {"dilated": True},
    "+ bilinear upsampling": {"bilinear": True},
    "+ a decoder of half the depth": {"slim": True},
    "+ class weights": {"weights": True},
    "+ Jaccard loss": {"jaccard": 0.5},
    "+ pretrained encoder": {"pretrained": True},
}
LADDER, so_far = {}, {}
for name, change in STEPS.items():
    so_far = so_far | change
    LADDER[name] = so_far
LADDER["U-Net of the paper"] = {"rate": 1e-3}
IMPROVED = LADDER["+ Jaccard loss"]
BRANCHES = {
    "class weights (batch normalisation)": LADDER["+ batch normalisation"] | {"weights": True},
    "class weights, no skip connections (batch normalisation)": LADDER["+ batch normalisation"]
    | {"weights": True, "skips": False},
    "the same, random weights": IMPROVED | {"pretrained": False},
    "weights half taken back (Jaccard loss)": IMPROVED | {"take_back": 0.5},
    "zoom and colour (Jaccard loss)": IMPROVED | {"zoom": 0.25},
    "average, annealed": IMPROVED | {"ema": 0.98},
    "no average, constant rate": IMPROVED | {"annealed": False},
    "average, constant rate": IMPROVED | {"annealed": False, "ema": 0.98},
    "U-Net of the paper, rate 5e-4": {"rate": 5e-4, "seeds": [0]},
    "U-Net of the paper, rate 2e-3": {"rate": 2e-3, "seeds": [0]},
}
ROWS = LADDER | BRANCHES


class Rung(nn.Module):
    """The networks between notebook 10's UNet (all switches off) and its ResidualUNet (all on)."""

    def __init__(self, notebook, num_classes, *, norm, half, width, residual, deeper, dilated, bilinear, slim, skips):
        super().__init__()
        self.bilinear, self.skips, self.residual = bilinear, skips, residual
        widths = [width * 2**level for level in range(4 if half else 5)]
        if deeper:
            widths[-1] = 6 * width
        first = widths[0] if half else 3
        self.stem = nn.Sequential(notebook.conv_norm(3, first, stride=2), nn.ReLU()) if half else nn.Identity()
        self.encoder = nn.ModuleList()
        for level, (inputs, outputs) in enumerate(pairwise([first, *widths])):
            if residual:
                blocks = (1, 1, 2, 4)[level] if deeper else 1
                dilations = [2**n if dilated and level == 3 else 1 for n in range(blocks)]
                self.encoder.append(notebook.residual_stage(inputs, outputs, 2 if level else 1, dilations))
            else:
                self.encoder.append(notebook.double_conv(inputs, outputs, norm))
        upwards = list(pairwise(widths[::-1]))
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        for deep, shallow in upwards:
            self.up.append(nn.Identity() if bilinear else nn.ConvTranspose2d(deep, shallow, 2, stride=2))
            inputs = (deep if bilinear else shallow) + shallow
            slim_block = nn.Sequential(notebook.conv_norm(inputs, shallow), nn.ReLU()) if slim else None
            self.decoder.append(slim_block or notebook.double_conv(inputs, shallow, norm))
        self.head = nn.Conv2d(widths[0], num_classes, 1)

    def forward(self, image):
        x, features = self.stem(image), []
        for level, block in enumerate(self.encoder):
            x = block(x if self.residual or not level else F.max_pool2d(x, 2))
            features.append(x)
        features.pop()
        for up, block in zip(self.up, self.decoder, strict=True):
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear") if self.bilinear else up(x)
            skip = features.pop()
            x = block(torch.cat([x, skip if self.skips else torch.zeros_like(skip)], dim=1))
        return F.interpolate(self.head(x).float(), size=image.shape[-2:], mode="bilinear")


def load(seed):
    """Notebook 10's definitions, on the streets."""
    data = load_dataset(DATASET, "train", cache=True)
    return definitions(
        "10_unet_from_scratch", dataset=DATASET, own=None, valid=None, classes=data.classes, train_data=data,
        pixels=check_dataset(data), valid_loader=None, image_size=(176, 240), batch_size=8, workers=0, smoke_test=False,
        width=32, seed=seed, minutes=None, encoder=None,
    )  # fmt: skip


def build(notebook, recipe, settings):
    """The network of a row, normalised as notebook 10 does it."""
    if "pretrained" in settings:
        notebook.create_encoder = partial(create_encoder, pretrained=settings["pretrained"])
        return notebook.original(recipe | {"network": "pretrained", "encoder": "tf_efficientnet_lite0", "frozen": 0})
    model = notebook.original(recipe | {"network": "unet", "norm": True, "skips": True})  # seeds, mean and std
    switches = {name: settings.get(name, value) for name, value in CLASSIC.items()}
    model.network = Rung(notebook, len(notebook.classes), **switches)
    return model


def train(settings, seed, folder):
    """Notebook 10's `train`, with a row's network, loss, augmentation and schedule."""
    notebook = load(seed)
    recipe = RECIPE | {name: settings[name] for name in RECIPE if name in settings}
    recipe |= {"network": "pretrained" if "pretrained" in settings else "rung", "row": settings}
    notebook.original = notebook.build_network
    notebook.build_network = lambda recipe: build(notebook, recipe, settings)
    if "rate" in settings:
        groups = notebook.parameter_groups
        notebook.parameter_groups = lambda *args: [group | {"lr": settings["rate"]} for group in groups(*args)]
    if not settings.get("annealed", True):
        notebook.one_cycle = constant_rate
    return notebook.train(recipe, None, folder, EPOCHS)


def constant_rate(optimizer, steps):
    """Warmed up like notebook 10's one-cycle, and then constant: no annealing."""
    warm_up = max(1, round(0.1 * steps))
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / warm_up))
