"""Notebook 20: the focal loss, and a folder predicted; and the odd sets of VOC that must be read or refused."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torchvision.ops import sigmoid_focal_loss

from notebook_code import definitions
from segmentation_helpers import streets
from segmentation_helpers.datasets import DatasetError, load_dataset, voc_palette


@pytest.fixture(scope="module")
def notebook_20():
    return definitions("20_unet_camvid", palette=np.arange(33, dtype=np.uint8).reshape(11, 3))


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


def test_a_folder_is_predicted_with_ids_and_colours(notebook_20, tmp_path, capsys):
    model = nn.Conv2d(3, 11, 1)
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
