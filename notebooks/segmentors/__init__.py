"""Ten segmentors in plain PyTorch, one file each, and everybody's published weights for them.

`create` builds one, `load` gives one with published weights, `available` lists those, `WithAuxiliary` shows one to
`fit`, `for_inference` makes one faster.
"""

import numpy as np
import timm
from torch import nn

from .ccnet import CCNet
from .checkpoints import KNOWN, CheckpointError, fetch, load_strictly, read_state, rules_for, translate
from .deeplabv3 import DeepLabV3
from .fastfcn import FastFCN
from .fcn import FCN
from .pspnet import PSPNet
from .segformer import SegFormer
from .segmenter import Segmenter
from .setr import SETR
from .speed import for_inference
from .unet import UNet
from .upernet import UPerNet

__all__ = ["SEGMENTORS", "CheckpointError", "WithAuxiliary", "available", "create", "for_inference", "load"]

SEGMENTORS = {
    "fcn": FCN, "unet": UNet, "pspnet": PSPNet, "deeplabv3": DeepLabV3, "upernet": UPerNet, "ccnet": CCNet,
    "fastfcn": FastFCN, "setr": SETR, "segmenter": Segmenter, "segformer": SegFormer,
}  # fmt: skip


def create(name, num_classes, *, encoder=None, weights=None, **options) -> nn.Module:
    """Build a segmentor: image (B, 3, H, W), normalised, -> logits (B, num_classes, H, W).

    Args:
        name: one of SEGMENTORS.
        encoder: the name of a timm model, where the segmentor has an encoder to choose ("mit_b0" to "mit_b5" for
            SegFormer); default: the class's own.
        weights: None for random ones; "imagenet" for timm's on the encoder (downloads); or the name of a checkpoint,
            whose weights are taken but for the layers that give class scores, to fine-tune on other classes. The model
            then knows the `mean`, `std`, `tile` and `stride` that it was trained with.
        options: the class's other arguments, such as SETR's `decoder`.

    Raises ValueError naming what there is, for an unknown name.
    """
    if name not in SEGMENTORS:
        raise ValueError(f'there is no segmentor "{name}", but {", ".join(SEGMENTORS)}')
    if weights not in (None, "imagenet"):
        return _start_from(weights, name, num_classes)
    if encoder is not None:
        options["encoder"] = _resnet18c() if encoder == "resnet18c" else encoder
    if weights == "imagenet":
        options["pretrained"] = True
    model = SEGMENTORS[name](num_classes, **options)
    model.divisor = 1  # `predict` need not pad
    return model


def load(checkpoint, *, file=None) -> nn.Module:
    """A segmentor with published weights, in eval mode, ready for `predict`.

    Args: `checkpoint`, one of `available()`'s names; `file`, a .pth that you already have (else it is downloaded).
    The model knows its `classes`, `palette`, `mean`, `std` and, where it slides, the `tile` and `stride` for `predict`.
    Raises CheckpointError where a key has no place or a place no key, or the file is damaged; DownloadError.
    """
    known = _known(checkpoint)
    data = KNOWN["datasets"][known["dataset"]]
    model = create(known["segmentor"], len(data["classes"]), **known["options"])
    path = fetch(checkpoint, file)
    load_strictly(model, translate(read_state(path), rules_for(known)), path)
    model.classes, model.palette = list(data["classes"]), np.array(data["palette"], np.uint8)
    return _as_published(model, known).eval()


def available() -> list[dict]:
    """What `load` knows: name, segmentor, data set, mIoU as published, parameters and megabytes to download."""
    return [
        {"name": name, "segmentor": known["segmentor"], "dataset": known["dataset"], "miou": known.get("miou"),
         "parameters": known["parameters"], "megabytes": known["megabytes"]}
        for name, known in KNOWN["checkpoints"].items()
    ]  # fmt: skip


class WithAuxiliary(nn.Module):
    """A segmentor for `fit`: image (B, 3, H, W) -> logits (B, num_classes, H, W); in training a tuple of them, the
    segmentor's own first, then what its `forward_with_auxiliary` adds.

    `mean` and `std`, for `predict`, are the segmentor's, else ImageNet's.
    """

    divisor = 1

    def __init__(self, segmentor):
        super().__init__()
        self.segmentor = segmentor
        self.mean = getattr(segmentor, "mean", timm.data.IMAGENET_DEFAULT_MEAN)
        self.std = getattr(segmentor, "std", timm.data.IMAGENET_DEFAULT_STD)

    def forward(self, image):
        return self.segmentor.forward_with_auxiliary(image) if self.training else self.segmentor(image)


def _known(checkpoint):
    if checkpoint not in KNOWN["checkpoints"]:
        raise ValueError(f'there is no checkpoint "{checkpoint}": see available()')
    return KNOWN["checkpoints"][checkpoint]


def _resnet18c():
    """MMSegmentation's ResNet-18: timm's with a deep stem, and in its dilated blocks only the first convolution is."""
    encoder = timm.create_model(
        "resnet18", features_only=True, out_indices=(3, 4), output_stride=8, stem_type="deep", stem_width=32
    )
    for stage, gap in (("layer3", 2), ("layer4", 4)):
        for number, block in enumerate(encoder[stage]):
            rate = gap if number else gap // 2
            block.conv1.dilation = block.conv1.padding = (rate, rate)
            block.conv2.dilation = block.conv2.padding = (1, 1)
    return encoder


def _start_from(checkpoint, name, num_classes):
    """A checkpoint's network for other classes: every weight is its, but for the layers that give scores."""
    known = _known(checkpoint)
    if known["segmentor"] != name:
        raise ValueError(f"{checkpoint} is a {known['segmentor']}, not a {name}")
    path = fetch(checkpoint)
    old = create(name, len(KNOWN["datasets"][known["dataset"]]["classes"]), **known["options"])
    model = create(name, num_classes, **known["options"])
    load_strictly(old, translate(read_state(path), rules_for(known)), path)
    weights = model.state_dict()
    model.load_state_dict({k: v if v.shape == weights[k].shape else weights[k] for k, v in old.state_dict().items()})
    return _as_published(model, known)


def _as_published(model, known):
    """Tells the model how it wants its images, for `predict`."""
    model.mean, model.std = ([value / 255 for value in known[key]] for key in ("mean", "std"))
    model.tile, model.stride = known.get("tile"), known.get("stride")
    return model
