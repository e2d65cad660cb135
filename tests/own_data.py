"""A reader's own data, for tests: two classes, pictures of three sizes, and no way to tell the classes by brightness."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

SIZES = [(96, 128), (120, 104), (84, 140)]  # (height, width)
KINDS = ("hue", "texture")


def scene(seed, size, kind="hue"):
    """A picture, uint8 (H, W, 3), and its mask: blobs of class 1 on a quarter of the pixels.

    Both classes have the same brightness, noise and shading; they differ in hue, or in the direction of their stripes.
    """
    rng = np.random.default_rng((seed, 77))
    height, width = size
    field = cv2.GaussianBlur(rng.normal(size=size), (0, 0), 9)
    mask = (field > np.quantile(field, 0.75)).astype(np.uint8)
    light = 110 + 60 * cv2.resize(rng.uniform(-1, 1, (3, 4)), (width, height), interpolation=cv2.INTER_CUBIC)
    if kind == "hue":
        tints = np.array([[0.2, -0.1, 0.06], [-0.2, 0.1, -0.06]])  # luma 0.299 R + 0.587 G + 0.114 B: as good as none
        picture = light[..., None] * (1 + tints[mask] * rng.uniform(0.7, 1.2))
    else:
        y, x = np.mgrid[:height, :width]
        stripes = np.where(mask, np.sin(x * 1.3 + rng.uniform(0, 6)), np.sin(y * 1.3 + rng.uniform(0, 6)))
        picture = (light * (1 + 0.25 * stripes))[..., None].repeat(3, 2)
    picture = picture + rng.normal(0, 6, (height, width, 1))
    return picture.clip(0, 255).astype(np.uint8), mask


def write(folder, count=15, kind="hue", value=255) -> Path:
    """`images/NAME.jpg` and `masks/NAME_mask.png`, whose values are 0 and `value`; returns the folder."""
    folder = Path(folder)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture, mask = scene(number, SIZES[number % len(SIZES)], kind)
        Image.fromarray(picture).save(folder / f"images/field_{number:02d}.jpg", quality=95)
        Image.fromarray(value * mask).save(folder / f"masks/field_{number:02d}_mask.png")
    return folder


def parameters(folder, value=255) -> dict:
    """What a notebook's settings are for these folders, as text from the command line."""
    return {"images": str(folder / "images"), "masks": str(folder / "masks"), "classes": "ground,field",
            "mapping": f"0:0,{value}:1", "mask_pattern": "{name}_mask.png"}  # fmt: skip
