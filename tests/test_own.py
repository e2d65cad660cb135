"""Notebooks 30 to 32: parts taken out, LoRA, a data set of one's own, a contract that finds faults, a head of one's own."""

import functools
import itertools

import numpy as np
import pytest
import torch
from torch import nn

import segmentors
from notebook_code import definitions
from segmentation_helpers.datasets import DatasetError
from segmentation_helpers.inference import Normalized
from segmentation_helpers.training import load_weights, save_weights

MEAN, STD = (0.3, 0.5, 0.6), (0.2, 0.25, 0.4)


@pytest.fixture(scope="module")
def ten():
    return definitions("30_ten_segmentors", num_classes=5, image_size=(64, 96))


@pytest.fixture(scope="module")
def setr():
    return definitions(
        "31_finetune_setr", image_size=(64, 96), grid_size=(64, 96), encoder="vit_tiny_patch16_224", num_classes=5
    )


@pytest.fixture(scope="module")
def design():
    return definitions("32_design_upernet_convnext", num_classes=5, channels=16)


# 30: ten segmentors ---------------------------------------------------------------------------------------------------


def brute_force_taps(size, rate):
    inside = total = 0
    for y, x in itertools.product(range(size[0]), range(size[1])):
        for dy, dx in itertools.product((-rate, 0, rate), repeat=2):
            total += 1
            inside += 0 <= y + dy < size[0] and 0 <= x + dx < size[1]
    return inside / total


@pytest.mark.parametrize("rate", [1, 4, 12, 36])
def test_the_share_of_taps_on_the_map(ten, rate):
    assert ten.taps_inside((11, 17), rate) == pytest.approx(brute_force_taps((11, 17), rate))


def test_one_round_of_criss_cross_reaches_a_cross_and_two_reach_everything(ten):
    once, twice = (ten.reach(rounds, size=(7, 9), position=(2, 3)) for rounds in (1, 2))
    cross = torch.zeros(7, 9, dtype=torch.bool)
    cross[2], cross[:, 3] = True, True
    assert torch.equal(once > 0, cross) and (twice > 0).all()


@pytest.mark.parametrize("part", ["dilation", "pyramid pooling", "attention", "skips"])
def test_a_part_taken_out_leaves_a_segmentor_that_trains(ten, part):
    whole = ten.small(ten.PARTS[part])
    rest = ten.without(part, ten.small(ten.PARTS[part]))
    sizes = [sum(p.numel() for p in model.parameters()) for model in (whole, rest)]
    assert sizes[1] < sizes[0] if part == "pyramid pooling" else sizes[1] == sizes[0]
    outputs = segmentors.WithAuxiliary(rest).train()(torch.rand(2, 3, 64, 96))
    assert {x.shape for x in outputs} == {(2, 5, 64, 96)}
    sum(x.square().mean() for x in outputs).backward()


def test_without_skips_fine_detail_cannot_pass(ten):
    """The gradient of the scores, at the first level's features, comes through the pooling alone: one in four of them."""
    dead = []
    for model in (ten.small("unet"), ten.without("skips", ten.small("unet"))):
        seen = {}
        model.network.down[0].register_forward_hook(lambda _, __, output, seen=seen: seen.update(x=output))
        logits = model.eval()(torch.rand(1, 3, 64, 96))
        (gradient,) = torch.autograd.grad(logits.square().sum(), seen["x"])
        dead.append((gradient == 0).float().mean().item())
    assert dead[0] < 0.6 and dead[1] >= 0.75


def test_the_loss_weighs_auxiliary_heads_by_0_4(ten):
    ten.class_weights = torch.ones(5)
    logits, mask = torch.randn(2, 5, 8, 8), torch.randint(5, (2, 8, 8))
    alone = nn.functional.cross_entropy(logits, mask)
    torch.testing.assert_close(ten.loss((logits, logits, logits), mask), 1.8 * alone)


# 31: fine-tuning SETR -------------------------------------------------------------------------------------------------


def test_a_text_mask_is_read_with_unknown_as_void(setr, tmp_path):
    path = tmp_path / "0.regions.txt"
    path.write_text("0 7 -1\n3 3 3\n")
    assert setr.read_regions(path).tolist() == [[0, 7, 255], [3, 3, 3]]
    path.write_text("0 8\n")
    with pytest.raises(DatasetError, match=r"0\.regions\.txt"):
        setr.read_regions(path)


def small_setr(**options):
    torch.manual_seed(0)
    return segmentors.create("setr", 5, encoder="vit_tiny_patch16_224", decoder="mla", image_size=(64, 96), **options)


def with_lora(setr, model):
    for block in model.network.encoder.blocks:
        block.attn.qkv, block.attn.proj = setr.LoRA(block.attn.qkv), setr.LoRA(block.attn.proj)
    return model


def test_lora_changes_nothing_at_first_and_can_be_merged_away(setr):
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        plain = small_setr().eval()(image)
    model = with_lora(setr, small_setr()).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(image), plain)
        for name, parameter in model.named_parameters():
            if "lora_up" in name:
                parameter.normal_()
        tuned = model(image)
        assert (tuned - plain).abs().max() > 0.01
        assert setr.merged(model.network) is model.network
        torch.testing.assert_close(model(image), tuned, rtol=1e-3, atol=1e-4)
    assert model.state_dict().keys() == small_setr().state_dict().keys()


def test_with_lora_the_encoder_itself_is_frozen(setr):
    model = small_setr()
    model.network.encoder.requires_grad_(False)
    with_lora(setr, model)
    trained = {name for name, p in model.network.encoder.named_parameters() if p.requires_grad}
    assert trained and all("lora" in name for name in trained)


def test_a_frozen_encoder_keeps_no_activations(setr):
    everything, frozen = segmentors.WithAuxiliary(small_setr()), segmentors.WithAuxiliary(small_setr())
    frozen.network.encoder.requires_grad_(False)
    assert setr.training_megabytes(frozen) < 0.6 * setr.training_megabytes(everything)


def test_training_memory_of_one_layer_is_what_one_counts_by_hand(setr):
    class Scores(nn.Conv2d):
        def forward(self, image):
            return (super().forward(image),)

    model = Scores(3, 5, 1)
    kept = 64 * 96 * (3 * 4 + 5 * 4 + 8)  # image, log-probabilities, mask
    by_hand = kept + 3 * 4 * sum(p.numel() for p in model.parameters())
    assert setr.training_megabytes(model) == pytest.approx(by_hand / 1e6, rel=0.01)


def test_a_position_is_most_like_itself(setr):
    model = small_setr()
    for size in ((4, 6), (7, 10)):
        alike = setr.likeness(model.network.encoder.positions_for(size), size)
        assert alike.shape == size and alike.argmax() == (size[0] // 2) * size[1] + size[1] // 2


@pytest.mark.parametrize("decoder", ["naive", "pup", "mla"])
def test_a_pretrained_encoder_keeps_its_weights_and_its_statistics(setr, decoder, tmp_path):
    setr.start = Normalized(small_setr().network, MEAN, STD, divisor=1)
    model = setr.pretrained(decoder)
    ours, theirs = model.network.encoder.state_dict(), setr.start.network.encoder.state_dict()
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())
    assert model.mean.flatten().tolist() == pytest.approx(MEAN) and model.std.flatten().tolist() == pytest.approx(STD)

    save_weights(model, tmp_path / "model.safetensors")  # which somebody loads elsewhere, with create alone
    other = segmentors.create("setr", 5, encoder="vit_tiny_patch16_224", decoder=decoder, image_size=(64, 96))
    load_weights(other, tmp_path / "model.safetensors")
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(other.eval()(image), model.eval()(image))


# 32: a design of one's own --------------------------------------------------------------------------------------------


def test_the_contract_holds_for_upernet_and_for_gates(design):
    upernet = functools.partial(segmentors.create, "upernet", encoder="convnext_atto", channels=16)
    assert (
        design.check_contract(upernet)
        == design.check_contract(functools.partial(design.gated, channels=16))
        == "keeps the contract"
    )


class Faulty(nn.Module):
    """A segmentor with one fault."""

    def __init__(self, num_classes, fault):
        super().__init__()
        self.conv, self.fault = nn.Conv2d(3, num_classes, 3, padding=1), fault
        self.idle = nn.Linear(1, 1) if fault == "idle" else None

    def forward(self, image):
        logits = self.conv(image)
        if self.fault == "size":
            return logits[..., : -1 if image.shape[-1] % 2 else None]
        return logits.softmax(1) if self.fault == "softmax" else logits

    def forward_with_auxiliary(self, image):
        logits = self.conv(image)
        return logits, logits[..., ::2, ::2] if self.fault == "auxiliary" else logits


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("size", "gives logits"),
        ("softmax", "softmax"),
        ("auxiliary", "auxiliary"),
        ("idle", r"idle\.weight"),
        (None, None),
    ],
)
def test_the_contract_finds_faults(design, fault, words):
    def build(classes):
        return Normalized(Faulty(classes, fault), MEAN, STD)

    if fault is None:
        assert design.check_contract(build) == "keeps the contract"
    else:
        with pytest.raises(AssertionError, match=words):
            design.check_contract(build)


@pytest.mark.parametrize("encoder", ["resnet18", "convnext_atto", "pvt_v2_b0"])
def test_layer_wise_rates_cover_every_parameter_once_and_fall(design, encoder):
    model = segmentors.create("upernet", 5, encoder=encoder, channels=16)
    groups = design.layered(model, rate=1.0, decay=0.5)
    given = [id(p) for group in groups for p in group["params"]]
    assert sorted(given) == sorted(id(p) for p in model.parameters())
    assert [group["lr"] for group in groups] == [0.5**n for n in range(len(groups))]
    stem = next(iter(model.network.encoder.parameters()))
    assert any(stem is p for p in groups[-1]["params"]), "the stem is the deepest"


def test_depths_follow_the_blocks(design):
    names = ["stem_0.weight", "stages_0.blocks.0.conv_dw.weight", "stages_0.blocks.1.norm.bias", "stages_1.downsample.0.weight",
             "stages_1.blocks.2.gamma"]  # fmt: skip
    assert [design.depth_of(name) for name in names] == [(-1, 0), (0, 0), (0, 1), (1, 0), (1, 2)]
    names = ["conv1.weight", "bn1.bias", "layer1.0.conv1.weight", "layer4.1.bn2.weight", "patch_embed.proj.weight"]
    assert [design.depth_of(name) for name in names] == [(-1, 0), (-1, 0), (1, 0), (4, 1), (-1, 0)]


def test_a_gate_passes_one_side_or_the_other(design):
    gate = design.Gate(4).eval()
    gate.smooth = nn.Identity()
    nn.init.zeros_(gate.share.weight)
    fine, coarse = torch.rand(1, 4, 8, 8), torch.rand(1, 4, 1, 1)
    for bias, expected in ((50.0, fine), (-50.0, coarse.expand(-1, -1, 8, 8))):
        nn.init.constant_(gate.share.bias, bias)
        torch.testing.assert_close(gate(fine, coarse), expected)


def test_shares_are_those_of_the_normalised_image(design):
    model, image, seen = design.gated(5, channels=16).eval(), torch.rand(3, 64, 96), []
    handle = model.network.head.gates[-1].share.register_forward_hook(lambda _, __, output: seen.append(output))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.inference_mode():
        model.network(((image - mean) / std)[None])
    handle.remove()
    torch.testing.assert_close(design.shares(model, image), seen[0][0].sigmoid().mean(0))


def test_costs_of_one_convolution(design):
    conv = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    costs = design.costs(conv, torch.rand(1, 3, 32, 32))
    assert costs["gmac"] == pytest.approx(9 * 3 * 5 * 32 * 32 / 1e9)
    assert costs["parameters"] == 135e-6 and costs["megabytes"] == pytest.approx(3 * 32 * 32 * 4 / 1e6)


def test_faults_are_told_in_words(design):
    assert "no error" == design.says(lambda: None)
    assert "size" in design.says(lambda: torch.zeros(2) + torch.zeros(3))


def test_notebook_palettes_have_a_colour_a_class(setr):
    assert len(setr.CLASSES) == len(setr.COLOURS) == len(np.unique(setr.COLOURS, axis=0))
