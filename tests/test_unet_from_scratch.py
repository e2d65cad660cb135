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


def test_every_skip_reaches_the_scores(notebook):
    model = notebook.UNet(3, width=4).eval()
    image = torch.rand(1, 3, 32, 32)
    before = model(image)
    for stage in model.decoder:
        hook = stage.register_forward_pre_hook(notebook.silent_skip)
        assert not torch.allclose(model(image), before)
        hook.remove()
    torch.testing.assert_close(model(image), before)


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
    recipe = {"network": "pretrained", "encoder": "tf_efficientnet_lite0"}
    model = notebook.build_network(recipe)
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
    network = torch.nn.Conv2d(3, 2, 5, padding=4, dilation=2)
    rows, columns = notebook.receptive_field(network).nonzero()
    assert rows.min() == 176 - 4 and rows.max() == 176 + 4 and columns.min() == 240 - 4 and columns.max() == 240 + 4
