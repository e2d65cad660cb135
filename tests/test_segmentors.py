"""The ten segmentors: one contract for all, references where there are some, and checkpoints that must fit to the key."""

import re
from functools import partial

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from segmentation_models_pytorch.decoders.deeplabv3.decoder import ASPP as SmpASPP
from segmentation_models_pytorch.decoders.pspnet.decoder import PSPBlock
from torch import nn
from torchvision.models.segmentation import fcn_resnet50
from torchvision.models.segmentation.deeplabv3 import ASPP as TorchvisionASPP
from transformers import ConvNextConfig, SegformerConfig, SegformerModel, UperNetConfig, UperNetForSemanticSegmentation

import segmentors
from segmentation_helpers.inference import Normalized, input_spec, predict
from segmentors.ccnet import CrissCrossAttention
from segmentors.checkpoints import KNOWN, CheckpointError, fetch, load_strictly, read_state, rules_for, translate
from segmentors.deeplabv3 import ASPP
from segmentors.fastfcn import JPU
from segmentors.fcn import auxiliary, enlarge
from segmentors.pspnet import PyramidPooling
from segmentors.unet import Up, twice

MEAN, STD = (0.3, 0.5, 0.6), (0.2, 0.25, 0.4)

SMALL = {  # a small one of each kind, and of each kind of head
    "fcn": ("fcn", {"encoder": "resnet18"}), "unet": ("unet", {"width": 4}), "pspnet": ("pspnet", {"encoder": "resnet18"}),
    "deeplabv3": ("deeplabv3", {"encoder": "resnet18"}), "upernet": ("upernet", {"encoder": "resnet18", "channels": 16}),
    "upernet-convnext": ("upernet", {"encoder": "convnext_atto", "channels": 16}),
    "ccnet": ("ccnet", {"encoder": "resnet18"}), "fastfcn-psp": ("fastfcn", {"encoder": "resnet18"}),
    "fastfcn-aspp": ("fastfcn", {"encoder": "resnet18", "head": "aspp"}),
    "fastfcn-encoding": ("fastfcn", {"encoder": "resnet18", "head": "encoding"}),
    "setr-naive": ("setr", {"encoder": "vit_tiny_patch16_224", "decoder": "naive", "image_size": 64}),
    "setr-pup": ("setr", {"encoder": "vit_tiny_patch16_224", "image_size": 64}),
    "setr-mla": ("setr", {"encoder": "vit_tiny_patch16_224", "decoder": "mla", "image_size": 64}),
    "segmenter-mask": ("segmenter", {"encoder": "vit_tiny_patch16_224", "image_size": 64}),
    "segmenter-linear": ("segmenter", {"encoder": "vit_tiny_patch16_224", "decoder": "linear", "image_size": 64}),
    "segformer": ("segformer", {}),
}  # fmt: skip


def small(kind, num_classes=5):
    """A small segmentor, its gates and zero-initialised weights moved so that everything has a say."""
    torch.manual_seed(0)
    name, options = SMALL[kind]
    model = segmentors.create(name, num_classes, **options).network
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


# One contract for all -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("size", [(64, 96), (97, 131)])
def test_logits_have_the_size_of_the_image(kind, size):
    with torch.inference_mode():
        assert small(kind).eval()(torch.rand(1, 3, *size)).shape == (1, 5, *size)


def test_predict_shows_a_segmentor_the_normalised_image_unpadded():
    model = Normalized(small("segformer"), MEAN, STD, divisor=1).eval()
    image = (255 * torch.rand(97, 131, 3)).byte()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    with torch.inference_mode():
        expected = model.network((image.permute(2, 0, 1)[None] / 255 - mean) / std)[0]
    torch.testing.assert_close(predict(model, image.numpy(), return_logits=True), expected)


@pytest.mark.parametrize("kind", SMALL)
def test_gradients_reach_every_parameter(kind):
    model = small(kind).train()
    outputs = model.forward_with_auxiliary(torch.rand(2, 3, 64, 96))
    for logits in outputs:
        assert logits.shape in ((2, 5, 64, 96), (2, 5))  # the latter: which classes are present
    torch.manual_seed(1)
    sum((logits * torch.randn_like(logits)).sum() for logits in outputs).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == (["encoder.class_token"] if kind == "setr-mla" else [])  # in the published files, and unused


@pytest.mark.parametrize("kind", SMALL)
def test_bfloat16_says_nearly_the_same(kind):
    model, image = small(kind).eval(), torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        exact = model(image)
        rough = model.bfloat16()(image.bfloat16()).float()
    assert (rough - exact).abs().mean() < 0.05 * exact.std() + 0.01


@pytest.mark.parametrize("kind", SMALL)
def test_export_at_a_fixed_size(kind):
    model, image = small(kind).eval(), torch.rand(1, 3, 64, 96)
    exported = torch.export.export(model, (image,)).module()
    torch.testing.assert_close(exported(image), model(image), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", SMALL)
def test_training_and_inference_paths_agree(kind):
    model, image = small(kind).eval(), torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(model(image), model.forward_with_auxiliary(image)[0])


@pytest.mark.parametrize("kind", SMALL)
def test_auxiliary_heads_speak_in_training_alone(kind):
    model, image = segmentors.WithAuxiliary(Normalized(small(kind), MEAN, STD)), torch.rand(2, 3, 64, 96)
    outputs = model.train()(image)
    alone = model.eval()(image)
    if kind == "fastfcn-encoding":
        *outputs, presence = outputs
        assert presence.shape == (2, 5)
    assert {x.shape for x in outputs} == {alone.shape} == {(2, 5, 64, 96)}
    expected = {"segmenter": 1, "segformer": 1, "setr": 5 if "mla" in kind else 4}.get(kind.split("-")[0], 2)
    assert len(outputs) == expected
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    torch.testing.assert_close(alone, model.network((image - mean) / std))


def test_auxiliary_heads_keep_statistics_and_geometry():
    model = Normalized(small("unet"), MEAN, STD, divisor=1, scale=(512, 256), tile=(64, 96), stride=32, window="flat")
    model.classes = ["a", "b"]
    known = segmentors.WithAuxiliary(model)
    assert input_spec(known) == input_spec(model) and known.classes == ["a", "b"]
    assert torch.equal(known.mean, model.mean) and torch.equal(known.std, model.std)
    assert known.network is model.network and known.state_dict().keys() == model.state_dict().keys()
    with pytest.raises(TypeError, match="UNet is not normalised"):
        segmentors.WithAuxiliary(model.network)


@pytest.mark.parametrize(
    ("name", "options", "mean"),
    [
        ("fcn", {"encoder": "resnet18"}, (0.485, 0.456, 0.406)),
        ("segmenter", {"encoder": "vit_tiny_patch16_224"}, (0.5, 0.5, 0.5)),
        ("segmenter", {}, (0.5, 0.5, 0.5)),
        ("setr", {"encoder": "vit_tiny_patch16_224"}, (0.5, 0.5, 0.5)),
        ("segformer", {}, (0.485, 0.456, 0.406)),
        ("unet", {"width": 4}, (0.485, 0.456, 0.406)),
    ],
)
def test_statistics_are_those_of_the_encoder(name, options, mean):
    model = segmentors.create(name, 5, **options)
    assert model.mean.flatten().tolist() == pytest.approx(mean) and input_spec(model).bands == 3
    encoder = timm.create_model("vit_tiny_patch16_224")
    assert segmentors._statistics("setr", encoder) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize("kind", SMALL)
def test_for_inference_folds_every_norm_and_changes_no_logits(kind):
    model, image = Normalized(perturbed(small(kind)), MEAN, STD), torch.rand(1, 3, 97, 131)
    faster = segmentors.for_inference(model)
    half = segmentors.for_inference(model, torch.bfloat16)
    assert torch.equal(half.mean, model.mean) and next(half.network.parameters()).dtype == torch.bfloat16
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in faster.modules())
    same(faster, model, image)
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in model.modules()) or "segmenter" in kind


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(ValueError, match="fcn, unet, pspnet"):
        segmentors.create("yolo", 3)


# Published weights ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KNOWN["checkpoints"])
def test_parameters_are_as_many_as_published(name):
    known = KNOWN["checkpoints"][name]
    with torch.device("meta"):
        model = segmentors.create(
            known["segmentor"], len(KNOWN["datasets"][known["dataset"]]["classes"]), **known["options"]
        )
    assert sum(p.numel() for p in model.parameters()) == known["parameters"]


def test_available_lists_them_all():
    listed = segmentors.available()
    assert len(listed) == len(KNOWN["checkpoints"]) == 37
    assert all(row["parameters"] > 1e6 and row["megabytes"] > 10 for row in listed)


def saved(tmp_path, state, name="model.pth"):
    torch.save({"meta": {}, "state_dict": state}, tmp_path / name)
    return tmp_path / name


def test_every_key_must_fit(tmp_path):
    model = small("segformer")
    state = dict(model.state_dict())
    state["backbone.surprise"] = state.pop("head.classify.1.bias")
    state["head.classify.1.weight"] = torch.zeros(3, 7, 1, 1)
    with pytest.raises(CheckpointError) as error:
        load_strictly(model, state, "file.pth")
    for words in ("1 missing: head.classify.1.bias", "1 unexpected: backbone.surprise",
                  "1 of another shape: head.classify.1.weight (3, 7, 1, 1), not (5, 256, 1, 1)"):  # fmt: skip
        assert words in str(error.value)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Surprise:
        def __reduce__(self):
            return print, ("this must not be printed",)

    torch.save({"state_dict": {}, "message_hub": Surprise()}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="cannot be read as weights alone"):
        read_state(tmp_path / "model.pth")


def test_a_file_is_checked_against_the_digits_in_its_name(tmp_path):
    name = "fcn_r50-d8_4xb2-40k_cityscapes-512x1024"
    path = saved(tmp_path, {"a": torch.zeros(1)}, "mine-0123abcd.pth")
    with pytest.raises(CheckpointError, match="mine-0123abcd.pth is damaged.*0123abcd"):
        fetch(name, path)
    with pytest.raises(CheckpointError, match="none.pth is missing. Fetch it from https://download.openmmlab.com"):
        fetch(name, tmp_path / "none.pth")
    assert fetch(name, saved(tmp_path, {}, "unnamed.pth")).name == "unnamed.pth"


def test_prefixes_of_parallel_training_are_left_out(tmp_path):
    assert list(read_state(saved(tmp_path, {"module.a": torch.zeros(1)}))) == ["a"]


def test_segformers_queries_keys_and_values_are_taken_apart():
    rules = rules_for({"segmentor": "segformer", "options": {}})
    weight = torch.arange(12.0).view(6, 2)
    ours = translate({"backbone.layers.0.1.0.attn.attn.in_proj_weight": weight}, rules)
    assert list(ours) == [f"encoder.stages.0.blocks.0.attention.{part}.weight" for part in ("query", "key_and_value")]
    torch.testing.assert_close(torch.cat(list(ours.values())), weight)


def test_a_loaded_model_knows_its_classes_and_how_it_wants_images(tmp_path, monkeypatch):
    name = "segformer_mit-b0_8xb2-160k_ade20k-512x512"
    model = segmentors.create("segformer", 150)
    path = saved(tmp_path, model.network.state_dict())
    monkeypatch.setattr(segmentors, "translate", lambda state, rules: state)
    loaded = segmentors.load(name, file=path)
    assert not loaded.training
    assert loaded.classes[:2] == ["wall", "building"] and loaded.palette.shape == (150, 3)
    assert [round(255 * value, 3) for value in loaded.mean.flatten().tolist()] == [123.675, 116.28, 103.53]


def test_fine_tuning_begins_with_a_checkpoints_weights_and_with_its_mean(tmp_path, monkeypatch):
    name = "segformer_mit-b0_8xb2-160k_ade20k-512x512"
    published = segmentors.create("segformer", 150)
    path = saved(tmp_path, published.network.state_dict())
    monkeypatch.setattr(segmentors, "translate", lambda state, rules: state)
    monkeypatch.setattr(segmentors, "fetch", lambda checkpoint: path)
    model, theirs = segmentors.create("segformer", 3, weights=name), published.state_dict()
    other = {key for key, value in model.state_dict().items() if not torch.equal(value, theirs[key])}
    assert other - {"mean", "std", "input_spec"} == {"network.head.classify.1.weight", "network.head.classify.1.bias"}
    assert (255 * model.std).flatten().tolist() == pytest.approx([58.395, 57.12, 57.375]) and input_spec(
        model
    ).tile is None
    with pytest.raises(ValueError, match="is a segformer, not a setr"):
        segmentors.create("setr", 3, weights=name)


# References -----------------------------------------------------------------------------------------------------------


def perturbed(model):
    """Batch statistics and affine parameters that are not 0 and 1."""
    torch.manual_seed(2)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1, 0.1), nn.init.normal_(layer.bias, 0, 0.1)
            nn.init.normal_(layer.running_mean, 0, 0.1), nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return model.eval()


def same(ours, theirs, image, **tolerance):
    """Largest difference of the logits below 1e-4 of their standard deviation."""
    with torch.inference_mode():
        expected, logits = theirs(image), ours(image)
    assert logits.shape == expected.shape
    assert (logits - expected).abs().max() < 1e-4 * expected.std()


def attended(layer, x):
    """Criss-cross attention, position by position."""
    query, key, value, out = layer.query(x), layer.key(x), layer.value(x), torch.empty_like(x)
    rows, columns = x.shape[-2:]
    for b in range(len(x)):
        for i in range(rows):
            for j in range(columns):
                places = [(i, v) for v in range(columns)] + [(g, j) for g in range(rows) if g != i]
                weights = torch.stack([query[b, :, i, j] @ key[b, :, g, v] for g, v in places]).softmax(0)
                heard = sum(w * value[b, :, g, v] for w, (g, v) in zip(weights, places, strict=True))
                out[b, :, i, j] = x[b, :, i, j] + layer.gate * heard
    return out


def test_criss_cross_attention_is_the_plain_loop():
    layer = CrissCrossAttention(16)
    nn.init.constant_(layer.gate, 0.7)
    x = torch.randn(2, 16, 5, 4)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), attended(layer, x), rtol=1e-4, atol=1e-5)


def test_narrowing_before_enlarging_is_the_same_in_inference_and_not_done_in_training():
    up = perturbed(Up(4))
    conv, norm, relu = up.narrow
    x, skip = torch.randn(2, 8, 5, 7), torch.randn(2, 4, 10, 14)
    plain = up.mix(torch.cat([skip, relu(norm(conv(twice(x))))], dim=1))
    torch.testing.assert_close(up(x, skip), plain, rtol=1e-4, atol=1e-5)
    seen = []
    norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[-2:]))
    up(x, skip), up.train()(x, skip)
    assert seen == [(5, 7), (10, 14)]


def test_joint_pyramid_upsampling_is_the_plain_loop():
    layer = perturbed(JPU([4, 6, 8], channels=5))
    features = [torch.randn(1, c, 16 // 2**n, 24 // 2**n) for n, c in enumerate((4, 6, 8))]
    with torch.inference_mode():
        enlarged = []
        for conv, x in zip(layer.convs, features, strict=True):
            enlarged.append(F.interpolate(conv(x), size=(16, 24), mode="bilinear", align_corners=False))
        joined, views = torch.cat(enlarged, 1), []
        for rate, view in zip((1, 2, 4, 8), layer.views, strict=True):
            depthwise, norm, (pointwise, last_norm, relu) = view
            out = torch.zeros_like(joined)
            padded = F.pad(joined, [rate] * 4)
            for i in range(3):
                for j in range(3):
                    shifted = padded[..., i * rate : i * rate + 16, j * rate : j * rate + 24]
                    out += depthwise.weight[:, 0, i, j].view(1, -1, 1, 1) * shifted
            views.append(relu(last_norm(pointwise(norm(out)))))
        torch.testing.assert_close(layer(features), torch.cat(views, 1), rtol=1e-4, atol=1e-5)


def under_our_names(state, rules, model):
    """A state dict of another library's under our names, each value in our shape (a linear layer is a 1 x 1 convolution)."""
    own, ours = model.state_dict(), {}
    for key, value in state.items():
        for pattern, place in rules:
            key = re.sub(pattern, place, key)
        ours[key] = value.view_as(own[key]) if key in own and value.numel() == own[key].numel() else value
    return ours


def test_fcns_encoder_and_auxiliary_head_are_torchvisions():
    """torchvision's FCN has the head that is our auxiliary one, on both levels; ours on the deep level is MMSegmentation's."""
    reference = perturbed(fcn_resnet50(weights=None, weights_backbone=None, num_classes=5, aux_loss=True))
    model = segmentors.create("fcn", 5, encoder="resnet50").network.eval()
    deep_head, state = auxiliary(2048, 5).eval(), reference.state_dict()
    for head, name in ((model.auxiliary_head, "aux_classifier"), (deep_head, "classifier")):
        places = {"0.0.": f"{name}.0.", "0.1.": f"{name}.1.", "1.1.": f"{name}.4."}
        head.load_state_dict({key: state[places[key[:4]] + key[4:]] for key in head.state_dict()})
    model.encoder.load_state_dict({k[9:]: v for k, v in state.items() if k.startswith("backbone.")})
    image = torch.rand(1, 3, 97, 131)
    with torch.inference_mode():
        same(lambda x: model.forward_with_auxiliary(x)[1], lambda x: reference(x)["aux"], image)
        same(lambda x: enlarge(deep_head(model.encoder(x)[-1]), x), lambda x: reference(x)["out"], image)


@pytest.mark.parametrize(
    "theirs", [TorchvisionASPP, partial(SmpASPP, separable=False, dropout=0)], ids=["torchvision", "smp"]
)
def test_atrous_pyramid_pooling_is_torchvisions_and_smps(theirs):
    """Up to where both mix the views: there they have a 1 x 1 convolution, and the published weights a 3 x 3."""
    reference, model = perturbed(theirs(in_channels=24, atrous_rates=(12, 24, 36), out_channels=8)), ASPP(24, 8).eval()
    reference.project = model.mix = nn.Identity()
    order = [*model.views, model.image_mean[1]]
    for mine, other in zip(order, reference.convs, strict=True):
        mine.load_state_dict(dict(zip(mine.state_dict(), other.state_dict().values(), strict=True)))
    same(lambda x: model(x).roll(-8, 1), reference, torch.rand(2, 24, 40, 50))  # ours has the mean of the image first


def test_pyramid_pooling_is_smps_before_it_is_enlarged():
    """smp enlarges the means with aligned corners, the published weights were trained without."""
    model = PyramidPooling(16, 4).eval()
    x = torch.rand(2, 16, 12, 18)
    for scale, view in zip((2, 3, 6), model.views[1:], strict=True):
        reference = perturbed(PSPBlock(16, 4, scale))
        mine = dict(zip(view.state_dict(), reference.pool[1].state_dict().values(), strict=True))
        view.load_state_dict(mine)
        same(view, reference.pool, x)


def test_the_mix_transformer_is_that_of_transformers():
    torch.manual_seed(3)
    reference = SegformerModel(SegformerConfig(num_labels=5)).eval()
    for layer in reference.modules():
        if isinstance(layer, nn.LayerNorm):
            layer.eps = 1e-6  # as NVIDIA's and MMSegmentation's have it; transformers leaves torch's 1e-5 in some
            nn.init.normal_(layer.weight, 1, 0.1), nn.init.normal_(layer.bias, 0, 0.1)
    encoder = segmentors.create("segformer", 5).network.encoder.eval()
    rules = [
        (r"patch_embeddings\.proj", "patches"), (r"patch_embeddings\.layer_norm", "patch_norm"),
        (r"sequence_reduction\.sequence_reduction", "reduce"), (r"sequence_reduction\.layer_norm", "norm"),
        (r"layernorm_before", "norm1"), (r"layernorm_after", "norm2"), (r"(stages\.\d)\.layer_norm", r"\1.norm"),
        (r"q_proj", "query"), (r"o_proj", "out"), (r"mlp\.fc1", "ffn.widen"), (r"mlp\.fc2", "ffn.narrow"),
        (r"mlp\.dwconv\.dwconv", "ffn.mix"),
    ]  # fmt: skip
    state = under_our_names(reference.state_dict(), rules, encoder)
    for key in [key for key in state if "k_proj" in key]:
        both = [state.pop(key), state.pop(key.replace("k_proj", "v_proj"))]
        state[key.replace("k_proj", "key_and_value")] = torch.cat(both)
    encoder.load_state_dict(state)
    image = torch.rand(1, 3, 97, 131)
    expected = reference(image, output_hidden_states=True).hidden_states
    for mine, other in zip(encoder(image), expected, strict=True):
        same(lambda x, y=mine: y, lambda x, y=other: y, image)


def test_upernet_on_convnext_is_that_of_transformers():
    torch.manual_seed(3)
    stages = ["stage1", "stage2", "stage3", "stage4"]
    sizes = {"depths": [2, 2, 6, 2], "hidden_sizes": [40, 80, 160, 320]}
    convnext = ConvNextConfig(**sizes, out_features=stages, layer_norm_eps=1e-6)
    config = UperNetConfig(backbone_config=convnext, hidden_size=16, num_labels=5, auxiliary_in_channels=160)
    reference = perturbed(UperNetForSemanticSegmentation(config))
    with torch.no_grad():
        for layer in reference.modules():
            if hasattr(layer, "layer_scale_parameter"):
                layer.layer_scale_parameter.normal_()
    model = segmentors.create("upernet", 5, encoder="convnext_atto", channels=16).network.eval()
    rules = [
        (r"backbone\.embeddings\.patch_embeddings", "encoder.stem_0"), (r"backbone\.embeddings\.layernorm", "encoder.stem_1"),
        (r"backbone\.encoder\.stages\.(\d)", r"encoder.stages_\1"), (r"\.layers\.", ".blocks."),
        (r"downsampling_layer", "downsample"),
        (r"layer_scale_parameter", "gamma"), (r"dwconv", "conv_dw"), (r"\.layernorm", ".norm"), (r"pwconv", "mlp.fc"),
        (r"backbone\.hidden_states_norms\.stage(\d)", lambda m: f"norms.{int(m[1]) - 1}"), (r"\.batch_norm\.", ".1."),
        (r"\.conv\.", ".0."), (r"decode_head\.psp_modules", "head.pool.views"), (r"decode_head\.bottleneck", "head.pool.mix"),
        (r"decode_head\.lateral_convs", "head.lateral"), (r"decode_head\.fpn_convs", "head.smooth"),
        (r"decode_head\.fpn_bottleneck", "head.mix"), (r"decode_head\.classifier", "head.classify.1"),
        (r"auxiliary_head\.convs\.0", "auxiliary_head.0"), (r"auxiliary_head\.classifier", "auxiliary_head.1.1"),
    ]  # fmt: skip
    model.load_state_dict(under_our_names(reference.state_dict(), rules, model))
    same(model, lambda image: reference(image).logits, torch.rand(1, 3, 96, 128))


# Names, options, bands ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (("unet", 3), {"pretrained": True}, '"unet" has no weights of timm.* takes depth, in_chans, width'),
        (("segformer", 3), {"pretrained": True}, '"segformer" has no weights of timm'),
        (("unet", 3), {"encoder": "resnet34"}, '"unet" has no encoder to choose'),
        (("segformer", 3), {"encoder": "resnet34"}, "one of mit_b0, mit_b1"),
        (("fcn", 3), {"encoder": "vit_tiny_patch16_224"}, 'cannot be the encoder of "fcn", which takes a convolutional model'),
        (("setr", 3), {"encoder": "resnet18"}, 'resnet18 cannot be the encoder of "setr", which takes one of timm.s plain'),
        (("setr", 3), {"encoder": "swin_tiny_patch4_window7_224"}, "cannot be the encoder"),
        (("segmenter", 3), {"encoder": "convnext_atto"}, "cannot be the encoder"),
        (("setr", 3), {"encoder": "vit_tiny_patch16_224", "decoder": "PUP"}, '.PUP., but must be "naive", "pup" or "mla"'),
        (("segmenter", 3), {"encoder": "vit_tiny_patch16_224", "decoder": "masks"}, 'must be "mask" or "linear"'),
        (("fastfcn", 3), {"head": "pps"}, 'must be "psp", "aspp" or "encoding"'),
        (("unet", 3), {"in_channels": 1}, '"unet" has no option in_channels; it takes depth, in_chans, width'),
        (("fcn", 3), {"encoder": "resnet81"}, 'timm has no model "resnet81": do you mean resnet18'),
        (("unet", ["a", "b"]), {}, r"num_classes is \['a', 'b'\], but must be a number: len\(classes\)"),
        (("unet", 0), {}, "num_classes is 0"),
        (("setr", 3), {"weights": "imagenet"}, "say pretrained=True"),
        (("setr", 3), {"weights": "setr_vit-l_naive_8xb2-160k_ade20k-512x512", "decoder": "mla", "nonsense": 1},
         "a checkpoint decides everything but the classes: leave out decoder, nonsense"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_said_in_words(arguments, options, words):
    with pytest.raises(ValueError, match=words):
        segmentors.create(*arguments, **options)


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("bands", [1, 4])
def test_other_numbers_of_bands(kind, bands):
    name, options = SMALL[kind]
    model = segmentors.create(name, 5, in_chans=bands, **options)
    image = np.random.default_rng(0).integers(0, 256, (64, 96, bands), dtype=np.uint8)
    assert predict(model, image).shape == (64, 96) and input_spec(model).bands == bands
    assert model.mean.flatten().tolist() == pytest.approx([float(model.mean[0])] * bands)


def test_statistics_may_be_given():
    model = segmentors.create("unet", 5, width=4, in_chans=2, mean=(0.1, 0.2), std=(0.3, 0.4))
    assert model.mean.flatten().tolist() == pytest.approx([0.1, 0.2]) and model.std.flatten().tolist() == pytest.approx(
        [0.3, 0.4]
    )
