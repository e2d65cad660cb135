"""Published weights by name: MMSegmentation's files in our networks, every weight in its place.

`checkpoints.json` holds what is known of the 37 files: address, hash, data set, published score, how images are
normalised and tiled. The tables below say where each of their keys belongs here. Nothing of MMSegmentation is needed.
"""

import hashlib
import json
import pickle
import re
from pathlib import Path

import torch

from segmentation_helpers import environment
from segmentation_helpers.download import fetch_file

KNOWN = json.loads(Path(__file__).with_name("checkpoints.json").read_text())


class CheckpointError(ValueError):
    """A checkpoint cannot be loaded. The message says which keys or bytes are wrong and what to do."""


RESNET = [(r"backbone\.stem\.7\.", "encoder.bn1."), (r"backbone\.stem\.(\d)\.", r"encoder.conv1.\1."),
          (r"backbone\.layer", "encoder.layer")]  # fmt: skip
CONVNEXT = [
    (r"backbone\.downsample_layers\.0\.(\d)\.", r"encoder.stem_\1."),
    (r"backbone\.downsample_layers\.(\d)\.(\d)\.", r"encoder.stages_\1.downsample.\2."),
    (r"backbone\.stages\.(\d)\.(\d+)\.", r"encoder.stages_\1.blocks.\2."), (r"depthwise_conv\.", "conv_dw."),
    (r"pointwise_conv(\d)\.", r"mlp.fc\1."), (r"backbone\.norm(\d)\.", r"norms.\1."),
]  # fmt: skip
BLOCK = [  # of a vision transformer
    (r"\.ln(\d)\.", r".norm\1."), (r"\.attn\.attn\.in_proj_", ".attn.qkv."), (r"\.attn\.attn\.out_proj\.", ".attn.proj."),
    (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."), (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
]  # fmt: skip
VIT = [
    (r"backbone\.ln1\.", "norm."), (r"backbone\.cls_token", "encoder.class_token"), (r"backbone\.pos_embed", "encoder.positions"),
    (r"backbone\.patch_embed\.projection\.", "encoder.patches."), (r"backbone\.layers\.", "encoder.blocks."), *BLOCK,
]  # fmt: skip
JPU = [
    (r"neck\.conv_layers\.(\d)\.0\.", r"jpu.convs.\1."), (r"depthwise_conv\.conv\.", "0."), (r"depthwise_conv\.bn\.", "1."),
    (r"pointwise_conv\.", "2."), (r"neck\.dilation_layers\.(\d)\.0\.", r"jpu.views.\1."),
]  # fmt: skip
AUXILIARY = [
    (r"auxiliary_head\.convs\.0\.", "auxiliary_head.0."),
    (r"auxiliary_head\.conv_seg\.", "auxiliary_head.1.1."),
]
CONV_BN = [(r"\.conv\.(weight|bias)$", r".0.\1"), (r"\.bn\.", ".1.")]  # a convolution and its norm, in that order


def head(*rules):
    return [(rf"decode_head\.{key}", value) for key, value in rules]


RULES = {
    "fcn": RESNET + head((r"convs\.", "head.convs."), (r"conv_cat\.", "head.mix."), (r"conv_seg\.", "head.classify.1.")),
    "unet": [
        (r"backbone\.encoder\.(\d)\.\d\.convs\.", r"down.\1."),
        (r"backbone\.decoder\.(\d)\.conv_block\.convs\.", lambda m: f"up.{3 - int(m[1])}.mix."),
        (r"backbone\.decoder\.(\d)\.upsample\.interp_upsample\.1\.", lambda m: f"up.{3 - int(m[1])}.narrow."),
        (r"(decode|auxiliary)_head\.convs\.0\.", r"\1_head.0."), (r"(decode|auxiliary)_head\.conv_seg\.", r"\1_head.2."),
        (r"decode_head\.", "head."),
    ],
    "pspnet": RESNET + head(
        (r"psp_modules\.", "head.0.views."), (r"bottleneck\.", "head.0.mix."), (r"conv_seg\.", "head.1.1.")),
    "deeplabv3": RESNET + head(
        (r"image_pool\.", "head.0.image_mean."), (r"aspp_modules\.", "head.0.views."), (r"bottleneck\.", "head.0.mix."),
        (r"conv_seg\.", "head.1.1.")),
    "upernet": RESNET + CONVNEXT + head(
        (r"psp_modules\.", "head.pool.views."), (r"bottleneck\.", "head.pool.mix."), (r"lateral_convs\.", "head.lateral."),
        (r"fpn_convs\.", "head.smooth."), (r"fpn_bottleneck\.", "head.mix."), (r"conv_seg\.", "head.classify.1.")),
    "ccnet": RESNET + head(
        (r"convs\.0\.", "head.before."), (r"convs\.1\.", "head.after."), (r"conv_cat\.", "head.mix."),
        (r"cca\.gamma\.scale", "head.attention.gate"), (r"cca\.(\w+)_conv\.", r"head.attention.\1."),
        (r"conv_seg\.", "head.classify.1.")),
    "fastfcn": RESNET + JPU + head(
        (r"psp_modules\.", "context.views."), (r"image_pool\.", "context.image_mean."), (r"aspp_modules\.", "context.views."),
        (r"bottleneck\.", "context.mix."), (r"conv_seg\.", "classify.1.")),
    "fastfcn-encoding": RESNET + JPU + head(
        (r"bottleneck\.", "context.narrow."), (r"enc_module\.encoding_project\.", "context.project."),
        (r"enc_module\.encoding\.", "context.encode."), (r"enc_module\.fc\.0\.", "context.gate."),
        (r"se_layer\.", "context.presence."), (r"conv_seg\.", "classify.1.")),
    "setr": [
        *VIT, (r"decode_head\.up_convs\.(\d)\.0\.", r"head.convs.\1."), (r"decode_head\.norm\.", "head.norm."),
        (r"auxiliary_head\.(\d)\.up_convs\.(\d)\.0\.", r"auxiliary_heads.\1.convs.\2."),
        (r"auxiliary_head\.(\d)\.norm\.", r"auxiliary_heads.\1.norm."),
        (r"auxiliary_head\.(\d)\.conv_seg\.", r"auxiliary_heads.\1.classify."), (r"decode_head\.conv_seg\.", "head.classify."),
    ],
    "setr-mla": [
        *VIT, (r"neck\.norm\.", "head.norms."), (r"neck\.mla\.channel_proj\.", "head.project."),
        (r"neck\.mla\.feat_extract\.", "head.extract."), (r"decode_head\.up_convs\.", "head.branches."),
        (r"decode_head\.conv_seg\.", "head.classify."), (r"auxiliary_head\.(\d)\.conv_seg\.", r"auxiliary_heads.\1."),
    ],
    "segmenter": [
        *VIT, *head((r"dec_proj\.", "head.project."), (r"cls_emb", "head.classes"), (r"layers\.", "head.blocks."),
                    (r"patch_proj\.", "head.patch_projection."), (r"classes_proj\.", "head.class_projection."),
                    (r"decoder_norm\.", "head.norm."), (r"mask_norm\.", "head.mask_norm."), (r"conv_seg\.", "head.")),
    ],
    "segformer": [
        (r"backbone\.layers\.(\d)\.0\.projection\.", r"encoder.stages.\1.patches."),
        (r"backbone\.layers\.(\d)\.0\.norm\.", r"encoder.stages.\1.patch_norm."),
        (r"backbone\.layers\.(\d)\.1\.", r"encoder.stages.\1.blocks."),
        (r"backbone\.layers\.(\d)\.2\.", r"encoder.stages.\1.norm."),
        (r"\.attn\.attn\.in_proj_", ".attention.in_proj."),
        (r"\.attn\.attn\.out_proj\.", ".attention.out."), (r"\.attn\.sr\.", ".attention.reduce."),
        (r"\.attn\.norm\.", ".attention.norm."), (r"\.ffn\.layers\.0\.", ".ffn.widen."), (r"\.ffn\.layers\.1\.", ".ffn.mix."),
        (r"\.ffn\.layers\.4\.", ".ffn.narrow."),
        *head((r"convs\.", "head.project."), (r"fusion_conv\.", "head.mix."), (r"conv_seg\.", "head.classify.1.")),
    ],
}  # fmt: skip


def renamed(key, rules):
    """Where a key of MMSegmentation's belongs here."""
    for pattern, place in [*rules, *AUXILIARY, *CONV_BN]:
        key = re.sub(pattern, place, key)
    return key


def translate(state, rules):
    """A state dict of MMSegmentation's under our names."""
    ours = {}
    for key, value in state.items():
        place = renamed(key, rules)
        if ".attention.in_proj." in place:  # SegFormer's queries, keys and values in one
            query, rest = value.tensor_split([len(value) // 3])
            ours[place.replace("in_proj", "query")] = query
            ours[place.replace("in_proj", "key_and_value")] = rest
        else:
            ours[place] = value
    return ours


def read_state(path):
    """The weights in a .pth file, and nothing that would run. CheckpointError names the file and the remedy."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(
            f"{path} cannot be read as weights alone ({str(error).splitlines()[0][:120]}). If it is a file of your own "
            'from MMSegmentation 1.x, save it anew with `torch.save({"state_dict": old["state_dict"]}, path)`.'
        ) from None
    state = content.get("state_dict", content)
    return {key.removeprefix("module."): value for key, value in state.items() if isinstance(value, torch.Tensor)}


def load_strictly(model, state, source, spare=()):
    """Load a state dict that must fit: keys missing, too many or of another shape are listed. `spare` may be missing."""
    own = model.state_dict()
    flat = {
        k: v.flatten(1) if k in own and v.ndim == 4 and own[k].ndim == 2 and v.shape[2:] == (1, 1) else v
        for k, v in state.items()
    }  # fmt: skip  a 1 x 1 convolution is a linear layer
    wrong = {
        "missing": [key for key in own if key not in flat and key not in spare],
        "unexpected": [key for key in flat if key not in own],
        "of another shape": [f"{k} {tuple(v.shape)}, not {tuple(own[k].shape)}" for k, v in flat.items()
                             if k in own and v.shape != own[k].shape],
    }  # fmt: skip
    if any(wrong.values()):
        lists = "; ".join(f"{len(keys)} {what}: {', '.join(keys[:8])}" for what, keys in wrong.items() if keys)
        raise CheckpointError(f"{source} does not fit {type(model).__name__}: {lists}")
    model.load_state_dict(flat, strict=not spare)


def rules_for(known):
    """The table for a checkpoint's segmentor and options."""
    kind, options = known["segmentor"], known["options"]
    kind += "-mla" if options.get("decoder") == "mla" else "-encoding" if options.get("head") == "encoding" else ""
    return RULES[kind]


def fetch(name, file=None):
    """The path of a checkpoint's file: downloaded and checked, or the user's own, checked where its name has a hash."""
    known = KNOWN["checkpoints"][name]
    if file is None:
        target = environment.user_cache() / "checkpoints" / known["url"].rpartition("/")[2]
        return fetch_file(known["url"], target, hash_prefix=known["hash"])
    file = Path(file).expanduser()
    if not file.is_file():
        raise CheckpointError(f"{file} is missing. Fetch it from {known['url']}")
    digits = re.search(r"-([0-9a-f]{8})\.pth$", file.name)
    if digits and not sha256(file).startswith(digits[1]):
        raise CheckpointError(f"{file} is damaged: its SHA-256 does not begin with {digits[1]}. Fetch it again.")
    return file


def sha256(path):
    with open(path, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
