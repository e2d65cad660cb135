"""The ten segmentors: one contract for all, references where there are some, and checkpoints that must fit to the key."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import segmentors
from segmentors.ccnet import CrissCrossAttention
from segmentors.checkpoints import KNOWN, CheckpointError, fetch, load_strictly, read_state, rules_for, translate
from segmentors.fastfcn import JPU

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
    model = segmentors.create(name, num_classes, **options)
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
    path = saved(tmp_path, model.state_dict())
    monkeypatch.setattr(segmentors, "translate", lambda state, rules: state)
    loaded = segmentors.load(name, file=path)
    assert not loaded.training
    assert loaded.classes[:2] == ["wall", "building"] and loaded.palette.shape == (150, 3)
    assert [round(255 * value, 3) for value in loaded.mean] == [123.675, 116.28, 103.53]


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
