"""Notebooks 20 to 22: layers and parameters as in the papers, sizes, losses, and the odd data sets that they must read."""

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torchvision.ops import sigmoid_focal_loss

import streets
from notebook_code import definitions
from segmentation_helpers.datasets import DatasetError, FolderDataset, load_dataset, voc_palette
from segmentation_helpers.inference import Normalized, input_spec


@pytest.fixture(scope="module")
def notebook_20():
    return definitions("20_unet_camvid", palette=np.arange(33, dtype=np.uint8).reshape(11, 3))


@pytest.fixture(scope="module")
def notebook_21():
    return definitions("21_unet_voc2007", seed=0, own=None)


@pytest.fixture(scope="module")
def notebook_22():
    return definitions("22_fcn_vgg16_road", seed=0, encoder_width=4, classifier_width=8, batch_norm=True)


# The focal loss -------------------------------------------------------------------------------------------------------


def test_focal_loss_with_gamma_0_is_cross_entropy(notebook_20):
    logits, mask = torch.randn(2, 5, 8, 8), torch.randint(5, (2, 8, 8))
    mask[0, :2] = 255
    torch.testing.assert_close(
        notebook_20.focal_loss(logits, mask, 0.0), F.cross_entropy(logits, mask, ignore_index=255)
    )


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_focal_loss_of_two_classes_is_torchvisions(notebook_20, gamma):
    logit, mask = torch.randn(2, 8, 8), torch.randint(2, (2, 8, 8))
    two = torch.stack([torch.zeros_like(logit), logit], 1)
    expected = sigmoid_focal_loss(logit, mask.float(), alpha=-1, gamma=gamma, reduction="mean")
    torch.testing.assert_close(notebook_20.focal_loss(two, mask, gamma), expected)


def test_focal_loss_of_nothing_but_void_is_zero_with_a_gradient(notebook_20):
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = notebook_20.focal_loss(logits, torch.full((1, 4, 4), 255))
    loss.backward()
    assert loss.item() == 0 and torch.isfinite(logits.grad).all()


def test_the_unet_is_normalised_and_says_what_its_levels_can_halve(notebook_20):
    model, image = notebook_20.unet(5, width=2).eval(), torch.rand(1, 3, 32, 48)
    assert input_spec(model).divisor == 16
    torch.testing.assert_close(model(image), model.network((image - 0.5) / 0.25))


def test_a_folder_is_predicted_with_ids_and_colours(notebook_20, tmp_path, capsys):
    model = Normalized(nn.Conv2d(3, 11, 1), [0.4, 0.5, 0.6], [0.2, 0.3, 0.1], divisor=1)
    with pytest.raises(FileNotFoundError, match="holds no pictures"):
        notebook_20.predict_folder(model, tmp_path, tmp_path / "out")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("no picture")
    notebook_20.predict_folder(model, tmp_path, tmp_path / "out")
    assert capsys.readouterr().out == "1 predicted - left out, no pictures: notes.txt\n"
    mask, colours = Image.open(tmp_path / "out/masks/a.png"), np.array(Image.open(tmp_path / "out/colours/a.png"))
    assert mask.mode == "P"
    assert np.array_equal(notebook_20.palette[np.array(mask)], colours)
    assert np.array_equal(np.array(mask.convert("RGB")), colours)
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="several pictures of the name a: rename"):
        notebook_20.predict_folder(model, tmp_path, tmp_path / "out")
    (tmp_path / "a.jpg").unlink()
    (tmp_path / "b.png").write_bytes(b"not a picture")
    with pytest.raises(DatasetError, match="b.png cannot be read"):
        notebook_20.predict_folder(model, tmp_path, tmp_path / "out")


# The U-Net of the paper -----------------------------------------------------------------------------------------------


def test_the_papers_unet_has_its_layers_parameters_and_sizes(notebook_21):
    with torch.device("meta"):
        network = notebook_21.PaperUNet(21)
        sizes = {size: network(torch.empty(1, 3, size, size)).shape[-1] for size in (572, 284, 188)}
    assert sizes == {572: 388, 284: 100, 188: 4}
    convolutions = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))]
    assert len(convolutions) == 23
    assert sum(p.numel() for p in network.parameters()) == 31_033_045


def reach(network, image, row):
    """First and last row of the input that the output's `row` depends on; all weights positive, so nothing cancels."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
            nn.init.zeros_(layer.bias)
    network(image)[0, 0, row, row].backward()
    rows = image.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    return int(rows.min()), int(rows.max())


@pytest.mark.parametrize("row", [112, 117, 122, 127])
def test_the_papers_receptive_field_is_what_a_tile_of_16_pixels_needs(notebook_21, row, monkeypatch):
    monkeypatch.setattr(F, "max_pool2d", F.avg_pool2d)  # a mean hears all four pixels, a maximum one of them
    image = torch.rand(1, 3, 412, 412, dtype=torch.float64, requires_grad=True)
    first, last = reach(notebook_21.PaperUNet(2, width=1).double().eval(), image, row)
    assert 188 <= last - first + 1 <= 204
    assert 112 <= first and last < 112 + 16 + 188  # of the tile whose output begins at row 112


def test_he_initialisation(notebook_21):
    layer = notebook_21.double_conv(64, 128)[0]
    assert float(layer.weight.detach().std()) == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.03)
    assert not layer.bias.any()


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("size", [(110, 131), (128, 160), (84, 140), (20, 33)])
def test_whole_pictures_of_any_size(notebook_21, padding, size):
    network = notebook_21.paper_unet(3, width=2, padding=padding).eval()
    assert network(torch.rand(1, 3, *size)).shape == (1, 3, *size)
    assert input_spec(network).divisor == 1


@pytest.mark.parametrize("size", [(93, 120), (92, 40), (1, 7)])
def test_pictures_narrower_than_the_border_are_mirrored_several_times(notebook_21, size):
    image = torch.rand(2, 3, *size)
    expected = np.pad(image.numpy(), [(0, 0), (0, 0), (92, 92), (92, 92)], mode="reflect")
    assert np.array_equal(notebook_21.mirror(image, 92), expected)


def test_the_papers_unet_gets_pixels_from_minus_2_to_2(notebook_21):
    model, image = notebook_21.paper_unet(3, width=2).train(), torch.rand(1, 3, 220, 220)
    torch.manual_seed(0)  # of its dropout
    expected = model.network.network(4 * image - 2)
    torch.manual_seed(0)
    torch.testing.assert_close(model(image), expected)


@pytest.mark.parametrize("size", [32, 64])
def test_tiles_fit_without_a_seam(notebook_21, size):
    model, image = notebook_21.paper_unet(3, width=2).eval(), torch.rand(1, 3, 120, 150)
    paper = model.network.network
    tiles = notebook_21.tiled(paper, model.normalise(image), size)
    torch.testing.assert_close(tiles, model(image), rtol=1e-4, atol=1e-5)


def test_border_weights_are_the_formula(notebook_21):
    objects = np.zeros((9, 20), np.uint8)
    objects[:, :5], objects[:, 15:], objects[0, 10] = 1, 2, 255
    weights = notebook_21.border_weights(objects)
    column = np.arange(20)
    to_first, to_second = np.maximum(column - 4, 0), np.maximum(15 - column, 0)
    expected = 10 * np.exp(-((to_first + to_second) ** 2) / 50)
    np.testing.assert_allclose(weights[4], expected, atol=0.05)
    assert not notebook_21.border_weights(np.zeros((4, 4), np.uint8)).any()


def test_border_weights_of_many_objects_depend_on_the_two_nearest(notebook_21):
    rng = np.random.default_rng(0)
    objects = np.where(rng.random((40, 50)) < 0.02, rng.integers(1, 30, (40, 50)), 0)
    distances = np.stack([
        cv2.distanceTransform((objects != number).astype(np.uint8), cv2.DIST_L2, 5)
        for number in np.unique(objects)[1:]
    ])  # fmt: skip
    first, second = np.sort(distances, axis=0)[:2]
    expected = 10 * np.exp(-((first + second) ** 2) / 50)
    np.testing.assert_allclose(notebook_21.border_weights(objects), expected, rtol=1e-5)


def test_objects_of_your_own_data_are_the_patches_of_each_class_but_the_first(notebook_21, tmp_path, monkeypatch):
    mask = np.zeros((30, 40), np.uint8)
    mask[2:6, 2:6], mask[2:6, 20:24], mask[2:6, 24:30], mask[20:, :] = 1, 1, 2, 255
    for folder, picture in (("images", np.zeros((30, 40, 3), np.uint8)), ("masks", mask)):
        (tmp_path / folder).mkdir()
        Image.fromarray(picture).save(tmp_path / folder / "a.png")
    data = FolderDataset(tmp_path / "images", tmp_path / "masks", ["ground", "cell", "rod"])
    monkeypatch.setattr(notebook_21, "own", {"classes": data.classes})
    objects = notebook_21.objects_of(data, 0)
    patches = [objects[2:6, 2:6], objects[2:6, 20:24], objects[2:6, 24:30]]
    numbers = [int(patch[0, 0]) for patch in patches]
    assert len({*numbers, 0, 255}) == 5 and all((patch == patch[0, 0]).all() for patch in patches)
    assert (objects[20:] == 255).all() and ((objects == 0) == (mask == 0)).all()
    assert notebook_21.border_weights(objects)[4, 10] == pytest.approx(10 * np.exp(-((5 + 10) ** 2) / 50), abs=0.1)


def test_three_hundred_objects_are_kept_apart(notebook_21, monkeypatch):
    mask = np.zeros((60, 80), np.uint8)
    mask[::3, ::3], mask[1, 1] = 1, 255  # 20 x 27 single pixels

    class Data:
        classes = ("ground", "cell")

        def read(self, _):
            return None, mask

    monkeypatch.setattr(notebook_21, "own", {})
    objects = notebook_21.objects_of(Data(), 0)
    assert len(np.unique(objects)) == 2 + 20 * 27 and (objects == 255).sum() == 1


def test_class_weights_are_one_in_the_mean_and_go_with_the_root_of_rarity(notebook_21):
    counts = np.array([900, 100, 0, 25])
    weights = notebook_21.class_weights(counts)
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1)
    assert weights[1] / weights[0] == pytest.approx(3) and weights[3] / weights[1] == pytest.approx(2)


def test_image_mask_and_weights_are_augmented_together(notebook_21, tmp_path):
    streets.write_voc(tmp_path, counts={"train": 3}, size=(96, 72))
    data = load_dataset("voc2007", "train", root=tmp_path, cache=True)
    flip = A.Compose([A.HorizontalFlip(p=1.0)], additional_targets={"weights": "mask"})
    balance = np.arange(1, 22, dtype=np.float32)
    weighted = notebook_21.Weighted(data, balance, flip)
    for i in range(3):
        image, target = weighted[i]
        raw, mask = data.read(i)
        assert np.array_equal((255 * image).round().byte().permute(1, 2, 0), raw[:, ::-1])
        assert np.array_equal(target[0].numpy(), mask[:, ::-1])
        weights = balance[np.where(mask == 255, 0, mask)] + notebook_21.border_weights(notebook_21.objects_of(data, i))
        assert np.array_equal(target[1].numpy(), weights[:, ::-1])


def test_the_loss_crops_weighs_and_leaves_void_out(notebook_21):
    logits, ids = torch.randn(1, 4, 6, 6), torch.randint(4, (1, 10, 10)).float()
    weights = torch.ones(1, 10, 10)
    middle = ids[:, 2:8, 2:8].long()
    loss = notebook_21.weighted_cross_entropy(logits, torch.stack([ids, weights], 1))
    torch.testing.assert_close(loss, F.cross_entropy(logits, middle))
    weights[:, 2:5], ids[:, 5:] = 3.0, 255
    loss = notebook_21.weighted_cross_entropy(logits, torch.stack([ids, weights], 1))
    torch.testing.assert_close(loss, F.cross_entropy(logits[:, :, :3], middle[:, :3]))


# VOC, the odd ones too ------------------------------------------------------------------------------------------------


@pytest.fixture
def voc(tmp_path):
    return streets.write_voc(tmp_path, counts={"train": 3, "val": 2}, size=(48, 36))


def test_a_listed_image_that_is_absent_is_named(voc):
    name = (voc / "ImageSets/Segmentation/train.txt").read_text().split()[1]
    (voc / f"JPEGImages/{name}.jpg").unlink()
    with pytest.raises(DatasetError, match=f"names {name}"):
        load_dataset("voc2007", "train", root=voc.parent.parent)


def test_a_missing_mask_is_named(voc):
    name = (voc / "ImageSets/Segmentation/train.txt").read_text().split()[2]
    (voc / f"SegmentationClass/{name}.png").unlink()
    with pytest.raises(DatasetError, match=f"{name}.*is missing"):
        load_dataset("voc2007", "train", root=voc.parent.parent)


def test_a_mask_of_255_everywhere_and_a_palette_with_holes(voc):
    names = (voc / "ImageSets/Segmentation/train.txt").read_text().split()
    void = Image.new("P", (48, 36), 255)
    void.putpalette(voc_palette().ravel().tolist())
    void.save(voc / f"SegmentationClass/{names[0]}.png")
    ids = np.array(Image.open(voc / f"SegmentationClass/{names[1]}.png"))
    short = Image.fromarray(ids).convert("L")
    short.putpalette(voc_palette(21).ravel().tolist())  # 255 has no colour
    short.save(voc / f"SegmentationClass/{names[1]}.png")
    data = load_dataset("voc2007", "train", root=voc.parent.parent)
    assert (data.read(0)[1] == 255).all()
    assert np.array_equal(data.read(1)[1], ids)


# FCN ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stride", "parameters"), [(32, 136_152_917), (16, 134_815_994), (8, 134_489_759)])
def test_fcn_has_the_papers_parameters(notebook_22, stride, parameters):
    with torch.device("meta"):
        network = notebook_22.FCN(21, stride)
        assert sum(p.numel() for p in network.parameters()) == parameters
        assert network(torch.empty(1, 3, 64, 96)).shape == (1, 21, 64, 96)


def test_a_score_of_fcn_sees_404_pixels(notebook_22):
    network = notebook_22.FCN(1, 32, width=1, classifier_width=1)
    means = [nn.AvgPool2d(2) if isinstance(layer, nn.MaxPool2d) else layer for layer in network.features]
    scores = nn.Sequential(*means, network.classifier).double().eval()  # a maximum hears one pixel only
    image = torch.rand(1, 3, 640, 640, dtype=torch.float64, requires_grad=True)
    first, last = reach(scores, image, row=10)
    assert last - first + 1 == 404


@pytest.mark.parametrize("factor", [2, 8, 16, 32])
def test_transposed_convolutions_begin_as_bilinear_interpolation(notebook_22, factor):
    scores = torch.rand(1, 3, 5, 6)
    enlarged = notebook_22.bilinear(3, factor)(scores)
    expected = F.interpolate(scores, scale_factor=factor, mode="bilinear")
    assert enlarged.shape == expected.shape
    inside = (..., slice(factor // 2, -factor // 2), slice(factor // 2, -factor // 2))
    torch.testing.assert_close(enlarged[inside], expected[inside])


def test_a_16s_begins_as_the_32s_that_it_came_from_and_an_8s_as_the_16s(notebook_22):
    image = torch.rand(1, 3, 96, 128)
    networks = [notebook_22.build(4, 32).eval()]
    for stride in (16, 8):
        networks.append(notebook_22.build(4, stride, start=networks[-1]).eval())
    scores = [network(image)[..., 40:-40, 40:-40] for network in networks]
    for finer, coarser in zip(scores[1:], scores, strict=False):
        torch.testing.assert_close(finer, coarser, rtol=0.05, atol=0.05 * coarser.std().item())


def test_fcn_is_normalised_as_vgg16_was_and_hands_its_weights_on(notebook_22):
    coarse, image = notebook_22.build(1, 32).eval(), torch.rand(1, 3, 64, 96)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(coarse(image), coarse.network((image - mean) / std))
    assert input_spec(coarse).divisor == 32
    nn.init.normal_(coarse.network.features[0].weight)
    fine, others = notebook_22.build(1, 8, start=coarse).network, notebook_22.build(5, 8, start=coarse).network
    for network in (fine, others):
        assert torch.equal(network.features[0].weight, coarse.network.features[0].weight)
        assert torch.equal(network.classifier[0].weight, coarse.network.classifier[0].weight)
    assert torch.equal(fine.classifier[-1].weight, coarse.network.classifier[-1].weight)
    assert others.classifier[-1].weight.shape[0] == 5


def test_carlas_folders_are_read_by_the_red_channel(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("CameraRGB", "CameraSeg"):
        (tmp_path / folder).mkdir()
    for number in range(5):
        ids = rng.integers(0, 13, (12, 16), dtype=np.uint8)
        Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(tmp_path / f"CameraRGB/{number}.png")
        Image.fromarray(np.stack([ids, 0 * ids, 0 * ids], -1)).save(tmp_path / f"CameraSeg/{number}.png")
    notebook = definitions("22_fcn_vgg16_road", dataset="carla", root=tmp_path, few=None, seed=0)
    train, valid = notebook.load("train"), notebook.load("val")
    assert [len(train), len(valid)] == [4, 1]
    ids = np.array(Image.open(tmp_path / "CameraSeg/4.png"))[..., 0]
    assert np.array_equal(valid.read(0)[1], np.isin(ids, (6, 7)))
