"""CamVid with few images: what ImageNet weights are worth to fastai's U-Net.

8, 24, 80 and all 367 training images, evenly spread over the drives, at 120 x 160. At each number both weights take the same
steps, at the same rates, in one cycle with a cosine; twice the steps, once, say whether random weights had enough of them.
Whole masks are scored: the network predicts at the size at which it was trained, and its logits are upsampled.
"""

import fastai.vision.all as fastai
import numpy as np
import torch
from PIL import Image
from tests.notebook_code import definitions

from segmentation_helpers import environment
from segmentation_helpers.datasets import check_dataset, load_dataset
from segmentation_helpers.encoders import fast_depthwise, fastai_body, statistics, whole
from segmentation_helpers.inference import Normalized
from segmentation_helpers.learner import BFloat16, KeepRun, MatrixMetric

DATASET, SEEDS = "camvid", (0, 1, 2)
ENCODER, SIZE, BATCH, RATE = "tf_efficientnet_lite0", (120, 160), 8, 1e-3
SCHEDULES = {8: (50, 8), 24: (17, 8), 80: (5, 12), 367: (1, 22)}  # images: how often each in an epoch, epochs
ROWS = {}
for count, (copies, epochs) in SCHEDULES.items():
    row = {"images": count, "copies": copies, "epochs": epochs}
    ROWS[f"{count} images, ImageNet"] = {"pretrained": True, **row}
    ROWS[f"{count} images, random weights"] = {"pretrained": False, **row}
    ROWS[f"{count} images, random weights, twice the steps"] = {
        "pretrained": False, **row, "epochs": 2 * epochs, "seeds": [0]}  # fmt: skip
SPLITS = {split: lambda split=split: load_dataset("camvid", split) for split in ("val", "test")}


def resized(data, size):
    """All images and masks of a data set at `size`, uint8: bilinear, and the nearest pixel for masks."""
    height, width = size
    pairs = []
    for number in range(len(data)):
        image, mask = map(Image.fromarray, data.read(number))
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        pairs.append((np.array(image), np.array(mask.resize((width, height), Image.Resampling.NEAREST))))
    return pairs


def loaders(data, size, copies=1):
    """fastai's DataLoaders: mirrored and zoomed images, each `copies` times per epoch; some of val, to watch."""
    train, valid = resized(data, size), resized(load_dataset("camvid", "val", limit=8), size)
    pairs = train * copies + valid  # an item is a number: fastai would transform a tuple part by part
    block = fastai.DataBlock(
        blocks=(fastai.ImageBlock, fastai.MaskBlock(data.classes)),
        getters=[lambda item: pairs[item][0], lambda item: pairs[item][1]],
        splitter=fastai.IndexSplitter(range(len(pairs) - len(valid), len(pairs))),
        batch_tfms=fastai.aug_transforms(max_rotate=0, max_warp=0, max_lighting=0, max_zoom=1.5),
    )
    return block.dataloaders(list(range(len(pairs))), bs=BATCH, num_workers=0)


def learner(dls, data, pretrained):
    """fastai's U-Net on the encoder, for images in 0..1; rare classes weigh more."""
    frequency = np.maximum(check_dataset(data)[:-1], 1)
    weights = torch.tensor(np.sqrt(np.median(frequency) / frequency), dtype=torch.float32).clamp(max=5)
    half = [BFloat16()] if environment.best_precision() == "bf16" else []
    learn = fastai.unet_learner(
        dls, fastai_body, cut=whole, normalize=False, pretrained=pretrained, n_out=len(data.classes), metrics=MatrixMetric(11),
        loss_func=fastai.CrossEntropyLossFlat(axis=1, ignore_index=255, weight=weights.to(dls.device)),
        cbs=[fastai.ChannelsLast(), *half],
    )  # fmt: skip
    learn.model = Normalized(fast_depthwise(learn.model), *statistics(ENCODER), divisor=1)
    return learn


def at_size(learn, size):
    """The trained network for images of any size, at which it computes at `size`."""
    at_trained_size = definitions("11_unet_fastai").Resized(learn.model.network, size)
    return Normalized(at_trained_size, *statistics(ENCODER), divisor=1)


def train(settings, seed, folder):
    """Everything trains from the first step on, at one rate: the two weights differ in nothing else."""
    data = load_dataset("camvid", "train", limit=settings["images"])
    learn = learner(loaders(data, SIZE, settings["copies"]), data, settings["pretrained"])
    learn.unfreeze()
    keep = KeepRun(folder, seed, settings)
    with learn.no_bar():
        learn.fit_one_cycle(settings["epochs"], RATE, cbs=keep)
    return at_size(learn, SIZE), keep.history
