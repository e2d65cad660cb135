"""CamVid with the drive 0006R0 held out of training: what each ingredient of notebook 10's pretrained U-Net brings.

Rows take the same steps, but for those that name their epochs: does a longer training want something else? Nothing here
looks at the test set. A difference counts where the ranges do not overlap.
"""

from functools import partial

import albumentations as A
import cv2
import torch
from tests.notebook_code import definitions
from torch import nn
from torch.utils.data import DataLoader, default_collate

from segmentation_helpers import environment
from segmentation_helpers.datasets import check_dataset, load_dataset
from segmentation_helpers.encoders import create_encoder
from segmentation_helpers.training import evaluate

DATASET, SEEDS, DRIVE, EPOCHS = "camvid", (0, 1, 2), "0006R0", 18
LITE0 = "tf_efficientnet_lite0"
ROWS = {
    "notebook 10 with an encoder": {},
    "both stronger": {"augmentation": "both"},
    "lite2": {"recipe": {"encoder": "tf_efficientnet_lite2"}},
    "encoder from random weights": {"pretrained": False},
    "two stages frozen": {"frozen": 2},
    "encoder at a tenth of the rate": {"encoder_rate": 2e-4},
    "encoder keeps ImageNet's statistics": {"keep_statistics": True},
    "classes pasted": {"paste": True},
    "stronger zoom": {"augmentation": "zoom"},
    "stronger colour": {"augmentation": "colour"},
    "no zoom and colour": {"recipe": {"zoom": None}},
    "no Jaccard loss": {"recipe": {"jaccard": 0.0}},
    "no class weights": {"recipe": {"weights": False}},
    "60 epochs": {"epochs": 60, "seeds": [0]},
    "60 epochs, both stronger": {"epochs": 60, "augmentation": "both", "seeds": [0]},
    "60 epochs, two stages frozen": {"epochs": 60, "frozen": 2, "seeds": [0]},
    "60 epochs, lite2": {"epochs": 60, "recipe": {"encoder": "tf_efficientnet_lite2"}, "seeds": [0]},
}
SPLITS = {
    "held-out drive": lambda: load_dataset(DATASET, "val", valid=DRIVE),
    "the same, flips and scales": lambda: load_dataset(DATASET, "val", valid=DRIVE),
    "val": lambda: load_dataset(DATASET, "val"),
}


def geometry(size, low, high):
    """Scaled by 1 + low to 1 + high, cut out, mirrored; what lies outside of the picture is void."""
    return [
        A.RandomScale((low, high), p=0.8, mask_interpolation=cv2.INTER_NEAREST_EXACT),
        A.RandomCrop(*size, pad_if_needed=True, fill_mask=255), A.HorizontalFlip(),
    ]  # fmt: skip


def augmentations(size, zoom):
    """By name: the notebook's (None) or stronger ones."""
    small = [A.RandomBrightnessContrast(p=0.5), A.HueSaturationValue(10, 25, 0, p=0.5)]
    strong = [A.ColorJitter(0.4, 0.4, 0.4, 0.05, p=0.8), A.RandomGamma((60, 160), p=0.5)]
    return {
        "zoom": [*geometry(size, -0.4, 0.8), *small], "both": [*geometry(size, -0.4, 0.8), *strong],
        "colour": [*geometry(size, -0.25, 0.25), *strong],
    }  # fmt: skip


def train(settings, seed, folder):
    """Notebook 10's `train`, with what `settings` change in it."""
    data = load_dataset(DATASET, "train", valid=DRIVE, cache=True)
    size = (288, 384)
    notebook = definitions(
        "10_unet_from_scratch", dataset=DATASET, own=None, valid=DRIVE, classes=data.classes, train_data=data,
        pixels=check_dataset(data), valid_loader=None, image_size=size, batch_size=8, workers=0, smoke_test=False, seed=seed,
    )  # fmt: skip
    recipe = notebook.pretrained | {"encoder": LITE0, "take_back": 0.0, "frozen": settings.get("frozen", 0)}
    recipe |= settings.get("recipe", {})
    if "augmentation" in settings:
        transform = A.Compose(augmentations(size, recipe["zoom"])[settings["augmentation"]])
        notebook.augmentation = lambda zoom: transform
    notebook.create_encoder = partial(create_encoder, pretrained=settings.get("pretrained", True))
    if "keep_statistics" in settings:
        build = notebook.build_network
        notebook.build_network = lambda recipe: keep_statistics(build(recipe))
    if "encoder_rate" in settings:
        groups = notebook.parameter_groups
        notebook.parameter_groups = lambda *args: [
            groups(*args)[0] | {"lr": settings["encoder_rate"]},
            *groups(*args)[1:],
        ]
    if "paste" in settings:
        notebook.DataLoader = partial(DataLoader, collate_fn=paste_classes)
    return notebook.train(recipe, None, folder, settings.get("epochs", EPOCHS))


def keep_statistics(model):
    """The encoder's batch normalisation keeps the means and variances of ImageNet."""
    for layer in model.network.encoder.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    return model


def paste_classes(samples):
    """A batch in which every second image gets half of the classes of the next one pasted in (as in ClassMix, 2021)."""
    images, masks = default_collate(samples)
    mixed, labels = images.clone(), masks.clone()
    for i in range(0, len(images), 2):
        there = masks[i + 1].unique()
        there = there[there != 255]
        chosen = there[torch.randperm(len(there))[: len(there) // 2]]
        pasted = torch.isin(masks[i + 1], chosen)
        mixed[i] = torch.where(pasted, images[i + 1], images[i])
        labels[i] = torch.where(pasted, masks[i + 1], masks[i])
    return mixed, labels


def score(model, split):
    """The confusion matrix over a split, picture by picture."""
    views = {"flip": True, "scales": (0.75, 1, 1.25)} if "flips and scales" in split else {}
    return evaluate(model, DataLoader(SPLITS[split]()), precision=environment.best_precision(), **views)
