"""MMSegmentation's own networks, built from its own configurations, for `make parity` and `make bench-segmentors`.

Version 1.2.2 from PyPI, beside today's torch. mmcv's compiled operators are not needed by the ten, nor are mmpretrain's
model index and Matlab reader: inert modules stand in for them.
"""

import logging
import re
import sys
import types
import warnings
from pathlib import Path

import torch
from torch import nn

import segmentors
from segmentors.checkpoints import KNOWN, load_strictly, rules_for, translate

SIZES = (128, 192), (97, 131)  # a multiple of 32, and one of nothing

warnings.filterwarnings("ignore")


class Inert(types.ModuleType):
    """A module of which everything is None."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)


for (
    absent
) in "mmcv._ext mat4py modelindex modelindex.load_model_index modelindex.models modelindex.models.Model".split():
    sys.modules[absent] = Inert(absent)

import mmpretrain.models  # noqa: F401, E402  registers ConvNeXt
import mmseg  # noqa: E402
from mmengine import Config, ConfigDict  # noqa: E402
from mmseg.registry import MODELS  # noqa: E402
from mmseg.utils import register_all_modules  # noqa: E402

register_all_modules(init_default_scope=True)
logging.disable(logging.WARNING)


def pair(name, **test_cfg):
    """Both sides with the same weights."""
    reference = shaken(theirs(name, **test_cfg), SIZES[0])
    known = KNOWN["checkpoints"][name]
    model = segmentors.create(
        known["segmentor"], len(KNOWN["datasets"][known["dataset"]]["classes"]), **known["options"]
    ).network
    load_strictly(model, translate(reference.state_dict(), rules_for(known)), name)
    return model.eval(), reference


def theirs(name, **test_cfg):
    """MMSegmentation's model of a checkpoint, with random weights; `test_cfg` as there (mode, crop_size, stride)."""
    folder = re.match("[a-z0-9]+", name)[0]
    file = Path(mmseg.__file__).parent / f".mim/configs/{folder}/{name}.py"
    settings = without_downloads(Config.fromfile(file).model.to_dict())
    settings.pop("data_preprocessor", None)
    if test_cfg:
        settings["test_cfg"] = ConfigDict(test_cfg)
    if settings["backbone"]["type"] == "VisionTransformer":
        settings["backbone"]["patch_bias"] = True  # the published files have it; mmseg 1.2 would drop it in silence
    return MODELS.build(settings)


def without_downloads(node):
    """A configuration without pretrained weights, and with BN for SyncBN."""
    if isinstance(node, dict):
        kept = {key: without_downloads(value) for key, value in node.items() if key not in ("pretrained", "init_cfg")}
        return kept | {"type": "BN"} if kept.get("type") == "SyncBN" else kept
    return [without_downloads(value) for value in node] if isinstance(node, list) else node


def shaken(model, size, seed=0):
    """Random weights that hide nothing: no parameter at 0 or 1, batch statistics measured on noise and then moved."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape):
        return torch.randn(shape, generator=generator)

    norms = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_((0.02 if parameter.ndim > 1 else 0.1) * noise(*parameter.shape))
            if parameter.numel() == 1:
                parameter.fill_(0.4)  # gates
        if norms:
            for norm in norms:
                norm.momentum = None
                norm.reset_running_stats()
            model.train()
            for layer in model.modules():
                if isinstance(layer, (nn.Dropout, nn.Dropout2d)):
                    layer.eval()
            image = noise(2, 3, *size)
            model.encode_decode(image, [{"img_shape": size, "ori_shape": size}] * 2)
            auxiliary_logits(model, image)
        for norm in norms:
            norm.running_mean.add_(0.1 * noise(*norm.running_mean.shape) * norm.running_var.sqrt())
            norm.running_var.mul_(0.8 + 0.4 * torch.rand(norm.running_var.shape, generator=generator))
    return model.eval()


def auxiliary_logits(model, image):
    """What the auxiliary heads say, as MMSegmentation gives it, and the presence of classes where there is such a head."""
    heads = getattr(model, "auxiliary_head", [])
    heads = heads if isinstance(heads, (list, nn.ModuleList)) else [heads]
    features = model.extract_feat(image)
    main = model.decode_head(features)
    presence = [main[1]] if isinstance(main, tuple) else []
    return [head(features) for head in heads] + presence
