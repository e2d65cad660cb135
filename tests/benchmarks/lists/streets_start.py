"""Notebook 00's U-Net on the streets, without its skip connections and without class weights: its exercises 1 and 2.

Scored on val, as the exercises do it.
"""

import albumentations as A
import cv2
import numpy as np
import torch
import torch.nn.functional as F
from tests.notebook_code import definitions
from torch.utils.data import DataLoader

from segmentation_helpers.datasets import check_dataset, load_dataset
from segmentation_helpers.inference import Normalized
from segmentation_helpers.training import fit

DATASET, SEEDS, EPOCHS = "streets", (0, 1, 2), 18
ROWS = {"notebook 00": {}, "no skip connections": {"skips": False}, "no class weights": {"weights": False}}
SPLITS = {"val": lambda: load_dataset("streets", "val")}


def without_skips(small_unet):
    """The class of the network, with a decoder that gets zeros in place of the encoder's features."""

    class WithoutSkips(small_unet):
        def forward(self, image):
            skip1 = self.down1(self.stem(image))
            skip2 = self.down2(F.max_pool2d(skip1, 2))
            skip3 = self.down3(F.max_pool2d(skip2, 2))
            x = self.bottom(F.max_pool2d(skip3, 2))
            for up, skip in ((self.up3, skip3), (self.up2, skip2), (self.up1, skip1)):
                x = F.interpolate(x, scale_factor=2.0, mode="bilinear")
                x = up(torch.cat([x, torch.zeros_like(skip)], dim=1))
            return F.interpolate(self.head(x), scale_factor=2.0, mode="bilinear")

    return WithoutSkips


def train(settings, seed, folder):
    """As in the notebook's cells, with one change."""
    notebook = definitions("00_start_here")
    data = load_dataset(DATASET, "train", cache=True)
    counts = np.maximum(check_dataset(data)[:-1], 1)
    notebook.class_weights = torch.tensor(np.sqrt(np.median(counts) / counts), dtype=torch.float32)
    if not settings.get("weights", True):
        notebook.class_weights = torch.ones(len(counts))
    data.transform = A.Compose(
        [
            A.RandomScale((0, 0.5), mask_interpolation=cv2.INTER_NEAREST_EXACT),
            A.RandomCrop(176, 240, pad_if_needed=True, fill_mask=255),
            A.HorizontalFlip(),
            A.RandomBrightnessContrast(),
        ]
    )
    build = notebook.SmallUNet if settings.get("skips", True) else without_skips(notebook.SmallUNet)
    model = Normalized(build(len(data.classes)), mean=[0.5] * 3, std=[0.25] * 3, divisor=16)
    loader = DataLoader(data, 8, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=EPOCHS * len(loader))
    history = fit(
        model, loader, loss=notebook.loss, optimizer=optimizer, scheduler=scheduler, epochs=EPOCHS, seed=seed,
        run_dir=folder, settings=settings,
    )  # fmt: skip
    return model, history
