"""The networks, the losses and the augmentation that notebook 10 builds."""

from itertools import pairwise

import albumentations as A
import numpy as np
import pytest
import torch
import torch.nn.functional as F

import streets
from notebook_code import definitions
from segmentation_helpers.datasets import check_dataset, load_dataset
from segmentation_helpers.encoders import create_encoder
from segmentation_helpers.inference import forward_padded


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    streets.write_streets(root / "streets", counts={"train": 8}, size=(96, 72), progress=False)
    data = load_dataset("streets", "train", root=root, cache=True)
    return definitions(
        "10_unet_from_scratch",
        train_data=data,
        classes=data.classes,
        pixels=check_dataset(data),
        seed=0,
        image_size=(48, 64),
    )


def test_the_papers_network_has_its_23_convolutions_and_31_million_parameters(notebook):
    model = notebook.UNet(num_classes=2, width=64)
    convolutions = [m for m in model.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.ConvTranspose2d))]
    assert len(convolutions) == 23
    counted = 64 * 2 + 2  # the 1 x 1 convolution
    for i, o in pairwise([3, 64, 128, 256, 512, 1024]):
        counted += (9 * i * o + o) + (9 * o * o + o)
    for deep, shallow in pairwise([1024, 512, 256, 128, 64]):
        counted += (4 * deep * shallow + shallow) + (9 * deep * shallow + shallow) + (9 * shallow**2 + shallow)
    assert sum(p.numel() for p in model.parameters()) == counted
    assert round(counted / 1e6) == 31


@pytest.mark.parametrize("name", ["UNet", "ResidualUNet"])
@pytest.mark.parametrize("size", [(64, 96), (72, 90), (37, 51)])
def test_logits_have_the_size_of_the_image(notebook, name, size):
    model = getattr(notebook, name)(11).eval()
    assert forward_padded(model, torch.rand(2, 3, *size)).shape == (2, 11, *size)


def zero_the_skip(stage, inputs):
    """The second half of what a decoder block gets came over the skip connection."""
    features = inputs[0].clone()
    features[:, features.shape[1] // 2 :] = 0
    return (features,)


def test_every_skip_reaches_the_logits_or_none(notebook):
    model = notebook.UNet(3, width=4).eval()
    image = torch.rand(1, 3, 32, 32)
    before = model(image)
    hooks = []
    for stage in model.decoder:
        hook = stage.register_forward_pre_hook(zero_the_skip)
        assert not torch.allclose(model(image), before)
        hook.remove()
    hooks = [stage.register_forward_pre_hook(zero_the_skip) for stage in model.decoder]
    without = model(image)
    for hook in hooks:
        hook.remove()
    model.skips = False
    torch.testing.assert_close(model(image), without)
    assert not torch.allclose(without, before)


def test_the_jaccard_loss_of_sure_predictions_is_one_minus_the_iou(notebook):
    generator = torch.Generator().manual_seed(1)
    truth = torch.randint(0, 4, (2, 16, 16), generator=generator).repeat_interleave(2, 1).repeat_interleave(2, 2)
    guess = torch.randint(0, 4, (2, 16, 16), generator=generator).repeat_interleave(2, 1).repeat_interleave(2, 2)
    known = torch.rand(2, 16, 16, generator=generator).repeat_interleave(2, 1).repeat_interleave(2, 2) > 0.2
    mask = torch.where(known, truth, 255)
    logits = 100.0 * F.one_hot(guess, 6).movedim(-1, 1).float()  # classes 4 and 5 are nowhere
    iou = [
        ((guess == c) & (truth == c) & known).sum() / (((guess == c) | (truth == c)) & known).sum() for c in range(4)
    ]
    torch.testing.assert_close(notebook.jaccard_loss(logits, mask), 1 - torch.stack(iou).mean())


@pytest.mark.parametrize("size", [(64, 96), (40, 56), (33, 47)])
def test_the_pretrained_network_gives_logits_of_the_images_size(notebook, size):
    model = notebook.PretrainedUNet(11, "tf_efficientnet_lite0").eval()
    with torch.inference_mode():
        assert model(torch.rand(2, 3, *size)).shape == (2, 11, *size)


def test_the_pretrained_network_starts_from_imagenet_and_learns_it_more_slowly(notebook):
    recipe = notebook.pretrained | {"encoder": "tf_efficientnet_lite0"}
    model = notebook.build_network(recipe)
    assert not any(p.requires_grad for p in model.network.encoder.blocks[:2].parameters())
    assert all(p.requires_grad for p in model.network.encoder.blocks[2:].parameters())
    for key, value in create_encoder().state_dict().items():
        assert torch.equal(model.network.encoder.state_dict()[key], value)
    assert (model.mean == 0.5).all() and (model.std == 0.5).all()
    encoder, others = notebook.parameter_groups(model, recipe)
    assert encoder["lr"] < others["lr"]
    both = [*encoder["params"], *others["params"]]
    assert {id(p) for p in both} == {id(p) for p in model.parameters()} and len(both) == len(list(model.parameters()))
    assert {id(p) for p in encoder["params"]} == {id(p) for p in model.network.encoder.parameters()}
    plain = notebook.build_network(notebook.classic)
    assert notebook.parameter_groups(plain, notebook.classic)[0]["params"] == list(plain.parameters())


def test_class_weights_are_one_for_the_median_class(notebook):
    weights = notebook.class_weights(torch.tensor([100, 25, 400, 7]).numpy())  # the last is void
    torch.testing.assert_close(weights, torch.tensor([1.0, 2.0, 0.5]))


@pytest.mark.parametrize("zoom", [None, 0.25])
def test_the_augmentation_gives_crops_of_one_size_and_the_same_ones_again(notebook, zoom):
    notebook.train_data.transform = notebook.augmentation(zoom)
    images = []
    for epoch in (0, 1, 0):
        notebook.train_data.set_epoch(epoch)
        image, mask = notebook.train_data[3]
        assert image.shape[1:] == mask.shape == (48, 64)
        images.append(image)
    assert torch.equal(images[0], images[2]) and not torch.equal(images[0], images[1])


def test_the_zoom_keeps_the_mask_over_its_pixels(notebook):
    ids = torch.randint(0, 11, (9, 12)).repeat_interleave(8, 0).repeat_interleave(8, 1).numpy().astype("uint8")
    geometry = A.Compose(notebook.augmentation(0.25).transforms[:2], seed=0)  # without the colours
    for _ in range(8):
        moved = geometry(image=np.stack([ids] * 3, 2) * 20, mask=ids)
        assert (np.abs(moved["image"][..., 0] - 20.0 * moved["mask"]) < 10).mean() > 0.8  # blurred at borders alone


def test_a_receptive_field_is_what_the_kernels_say(notebook):
    assert notebook.theoretical_field(torch.nn.Conv2d(3, 2, 5, padding=4, dilation=2)) == 9
    strides = (1, 2, 4, 8, 16)
    down = 1 + sum(2 * 2 * stride for stride in strides) + sum(strides[:-1])  # two 3 x 3 per level, and the poolings
    up = sum(2 * 2 * stride for stride in strides[:-1])  # two 3 x 3 per level of the decoder
    field = notebook.theoretical_field(notebook.UNet(3, width=8))
    assert down + up - 16 <= field <= down + up + 16  # up-sampling shifts the grid by less than its coarsest cell


def test_the_effective_field_holds_its_share(notebook):
    point = np.zeros((21, 31))
    point[10, 15] = 1
    assert notebook.effective_field(point) == 1
    flat = np.zeros((41, 41))
    flat[10:31, 10:31] = 1  # 21 x 21 around the centre: of 441 pixels 19 x 19 hold 82 %, 21 x 21 all
    assert notebook.effective_field(flat, share=0.8) == 19 and notebook.effective_field(flat) == 21


def test_the_influence_is_that_of_the_centre(notebook):
    conv = torch.nn.Conv2d(3, 4, 3, padding=1, bias=False)
    torch.nn.init.ones_(conv.weight)
    influence = notebook.influence(conv, torch.rand(2, 3, 12, 16))
    rows, columns = influence.nonzero()
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 7, 7, 9)


def test_colours_halfway_are_a_third_class(notebook):
    assert notebook.nearest_class(notebook.CAMVID_PALETTE).tolist() == list(range(11))


def test_the_ladder_leads_from_the_papers_network_to_the_improved_one(notebook):
    from benchmarks.lists import streets_ladder as ladder

    def network(settings):
        switches = {name: settings.get(name, value) for name, value in ladder.CLASSIC.items()}
        return ladder.Rung(notebook, 11, **switches)

    def shapes(model):
        return sorted(tuple(p.shape) for p in model.parameters())

    assert shapes(network({})) == shapes(notebook.UNet(11, 16))
    assert shapes(network(ladder.LADDER["+ a decoder of half the depth"])) == shapes(notebook.ResidualUNet(11, 32))
    image = torch.rand(2, 3, 48, 64)
    seen = []
    for name, change in ladder.STEPS.items():
        if set(change) <= set(ladder.CLASSIC):
            model = network(ladder.LADDER[name]).eval()
            assert model(image).shape == (2, 11, 48, 64)
            seen.append((shapes(model), notebook.theoretical_field(model), name if "norm" in change else ""))
    assert len({str(what) for what in seen}) == len(seen), "each rung changes something"


def test_a_rung_without_skips_and_the_improved_network_compute_what_the_notebooks_do(notebook):
    from benchmarks.lists import streets_ladder as ladder

    improved = {name: ladder.IMPROVED.get(name, value) for name, value in ladder.CLASSIC.items()}
    for switches, theirs in ((improved, notebook.ResidualUNet(5, 32)), (ladder.CLASSIC, notebook.UNet(5, 16))):
        ours, image = ladder.Rung(notebook, 5, **switches).eval(), torch.rand(1, 3, 32, 48)
        pairs = zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True)
        assert all(value.shape == other.shape for (_, value), other in pairs)
        theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
        torch.testing.assert_close(ours(image), theirs.eval()(image))
