"""Notebooks 11 to 14: what fastai, smp and torchvision build there, the data they are fed, and the scores they show."""

import json
import sys

import fastai.vision.all as fastai
import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision.models import segmentation

import streets
from notebook_code import definitions
from segmentation_helpers.datasets import CAMVID32_CLASSES, CAMVID_SPLITS, FolderDataset, check_dataset, load_dataset
from segmentation_helpers.encoders import create_encoder
from segmentation_helpers.inference import Normalized, forward_padded
from segmentation_helpers.learner import MatrixMetric
from segmentation_helpers.training import evaluate

STATISTICS = (0.3, 0.45, 0.6), (0.2, 0.25, 0.3)  # of no data set: what is forgotten shows


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    streets.write_streets(root / "streets", counts={"train": 6, "val": 4}, size=(96, 64), progress=False)
    return [load_dataset("streets", split, root=root) for split in ("train", "val")]


def definitions_of_11(train, valid):
    return definitions(
        "11_unet_fastai", train_data=train, mask_files=dict(train.pairs + valid.pairs),
        valid_files={image for image, _ in valid.pairs}, classes=train.classes, workers=0, precision="fp32", run_dir=None,
        encoder="tf_efficientnet_lite0", metrics=[], class_weights=torch.ones(len(train.classes)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def notebook_11(data):
    return definitions_of_11(*data)


def test_fastais_data_block_gives_the_pictures_and_masks_of_load_dataset(data, notebook_11):
    dls = notebook_11.data_loaders((64, 96), batch_size=2)
    assert [len(dls.train_ds), len(dls.valid_ds)] == [6, 4]
    by_file = {image: dataset[i] for dataset in data for i, (image, _) in enumerate(dataset.pairs)}
    for subset in (dls.train_ds, dls.valid_ds):
        for path, (image, mask) in zip(subset.items, subset, strict=True):
            expected_image, expected_mask = by_file[path]
            assert np.array_equal(np.array(mask), expected_mask)
            assert np.array_equal(np.array(image), (255 * expected_image).round().byte().permute(1, 2, 0))
    image, mask = dls.valid.one_batch()  # after the item and batch transforms
    image, mask = (x.as_subclass(torch.Tensor).cpu() for x in (image, mask))
    assert torch.equal(mask, torch.stack([by_file[f][1] for f in dls.valid.items[:2]]))
    torch.testing.assert_close(image, torch.stack([by_file[f][0] for f in dls.valid.items[:2]]))  # in 0..1
    assert (mask == 255).any()


def test_fastais_data_block_turns_pictures_upright(tmp_path):
    """A phone stores a picture lying down, and says so in its EXIF; masks are drawn on the upright one."""
    (tmp_path / "images").mkdir(), (tmp_path / "masks").mkdir()
    upright = np.random.default_rng(0).integers(256, size=(32, 48, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it by 90 degrees clockwise
    for number in range(5):
        Image.fromarray(np.rot90(upright)).save(tmp_path / f"images/{number}.png", exif=exif)
        Image.fromarray(upright[..., 0] // 128).save(tmp_path / f"masks/{number}.png")
    train, valid = (
        FolderDataset(tmp_path / "images", tmp_path / "masks", ["a", "b"], split=s) for s in ("train", "val")
    )
    dls = definitions_of_11(train, valid).data_loaders((32, 48), batch_size=1)
    image, mask = dls.valid.one_batch()
    assert np.array_equal((255 * image[0].cpu()).round().byte().permute(1, 2, 0), upright)
    assert np.array_equal(mask[0].cpu(), upright[..., 0] // 128)


def test_what_fastai_shows_is_what_the_confusion_matrix_says(data, notebook_11):
    learn = notebook_11.build_learner(notebook_11.data_loaders((64, 96), batch_size=4), pretrained=True)
    learn.metrics = [MatrixMetric(11, "pixel_accuracy"), MatrixMetric(11), fastai.DiceMulti()]
    with learn.no_bar():
        _, accuracy, miou, dice = learn.validate()
    confusion = evaluate(learn.model, DataLoader(data[1], batch_size=3))
    assert miou == pytest.approx(confusion.miou, abs=1e-5)
    assert accuracy == pytest.approx(confusion.pixel_accuracy, abs=1e-5)
    without_void = np.nanmean(2 * confusion.iou.numpy() / (1 + confusion.iou.numpy()))
    assert dice < without_void, "fastai counts what is predicted on void as wrong"


def test_fastais_unet_has_the_classes_asked_for(notebook_11):
    notebook_11.class_weights = torch.ones(5)
    notebook_11.classes, classes = list("abcde"), notebook_11.classes
    learn = notebook_11.build_learner(notebook_11.data_loaders((64, 96), batch_size=2), pretrained=False)
    notebook_11.classes, notebook_11.class_weights = classes, torch.ones(len(classes))
    image = torch.rand(2, 3, 50, 70)
    assert learn.model.eval()(image).shape == (2, 5, 50, 70)
    torch.testing.assert_close(learn.model(image), learn.model.network((image - 0.5) / 0.5))
    encoder, decoder = learn.splitter(learn.model)
    assert len(encoder) == len(list(learn.model[0].parameters())), "two groups, for discriminative rates"
    assert len(encoder) + len(decoder) == len(list(learn.model.parameters()))


def test_the_pretrained_encoder_is_frozen_and_has_its_weights(notebook_11):
    learn = notebook_11.build_learner(notebook_11.data_loaders((64, 96), batch_size=2), pretrained=True)
    encoder = create_encoder("tf_efficientnet_lite0").state_dict()
    ours = learn.model.network[0].state_dict()
    assert all(a.equal(b) for a, b in zip(ours.values(), encoder.values(), strict=True))
    frozen = [p for p in learn.model.network[0].parameters() if not p.requires_grad]
    assert sum(p.numel() for p in frozen) > 0.9 * sum(p.numel() for p in learn.model.network[0].parameters())
    assert all(p.requires_grad for p in learn.model.network.layers[4].parameters())


def test_the_decoder_is_described_as_it_computes(notebook_11):
    """The channels that the table names are those that each block concatenates."""
    learn = notebook_11.build_learner(notebook_11.data_loaders((64, 96), batch_size=2), pretrained=False)
    blocks = [layer for layer in learn.model.network.layers if isinstance(layer, fastai.UnetBlock)]
    assert [notebook_11.joined(block) for block in blocks] == [
        "160 upsampled + 112 skip", "136 upsampled + 40 skip", "88 upsampled + 24 skip", "56 upsampled + 16 skip"]  # fmt: skip
    for block in blocks:
        upsampled, skip = (int(word) for word in notebook_11.joined(block).split() if word.isdigit())
        assert block.conv1[0].in_channels == upsampled + skip


def test_an_exported_learner_predicts_the_same(data, notebook_11, tmp_path):
    notebook_11.run_dir = tmp_path
    learn = notebook_11.build_learner(notebook_11.data_loaders((64, 96), batch_size=2), pretrained=True)
    learn.export("export.pkl")
    sys.modules["11_unet_fastai"] = notebook_11  # where pickle looks for its functions; a notebook's go into the file
    try:
        with pytest.warns(UserWarning, match="insecure pickle"):
            again = fastai.load_learner(tmp_path / "export.pkl")
    finally:
        del sys.modules["11_unet_fastai"]
    picture = data[1].pairs[0][0]
    with learn.no_bar(), again.no_bar():
        (_, ids, probabilities), (_, loaded_ids, _) = learn.predict(picture), again.predict(picture)
    assert ids.shape == (64, 96) and probabilities.shape == (11, 64, 96)
    assert (ids.cpu() == loaded_ids).float().mean() > 0.95


def test_fastais_tta_does_not_mirror_back(data, notebook_11):
    """As the notebook says: for masks its views do not lie on top of each other."""
    block = fastai.DataBlock(
        blocks=(fastai.ImageBlock, fastai.MaskBlock(codes=data[0].classes)), get_x=notebook_11.read_image,
        get_y=notebook_11.mask_of, splitter=fastai.FuncSplitter(notebook_11.is_valid), batch_tfms=fastai.Flip(p=1.0),
    )  # fmt: skip
    learn = notebook_11.build_learner(
        block.dataloaders(list(notebook_11.mask_files), bs=4, num_workers=0), pretrained=True
    )
    image = torch.stack([data[1][i][0] for i in range(4)])
    with learn.no_bar(), torch.inference_mode():
        flipped, _ = learn.tta(n=1, beta=0)
        mirrored = learn.model.eval()(image.flip(-1)).softmax(1)
    torch.testing.assert_close(flipped.as_subclass(torch.Tensor), mirrored, rtol=1e-3, atol=1e-3)


def test_camvid_in_fastais_own_layout_reaches_the_loaders(tmp_path):
    """codes.txt, images/ and labels/NAME_P.png: 32 classes, Void 255, and the official split instead of valid.txt."""
    frames = json.loads(CAMVID_SPLITS.read_text())
    (tmp_path / "images").mkdir(), (tmp_path / "labels").mkdir()
    ids = np.arange(32, dtype=np.uint8).repeat(24).reshape(24, 32)
    for split in ("train", "val"):
        for frame in frames[split]:
            Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(tmp_path / f"images/{frame}.png")
            Image.fromarray(ids).save(tmp_path / f"labels/{frame}_P.png")
    (tmp_path / "codes.txt").write_text("\n".join(CAMVID32_CLASSES))
    (tmp_path / "valid.txt").write_text("\n".join(f"{frame}.png" for frame in frames["test"]))
    train, valid = (load_dataset("camvid32", split, root=tmp_path) for split in ("train", "val"))
    dls = definitions_of_11(train, valid).data_loaders((24, 32), batch_size=2)
    assert [len(dls.train_ds), len(dls.valid_ds)] == [367, 101] and train.classes == CAMVID32_CLASSES
    _, mask = dls.valid.one_batch()
    void = CAMVID32_CLASSES.index("Void")
    assert mask.unique().tolist() == [*(i for i in range(32) if i != void), 255]


def test_one_against_rest_changes_the_masks_and_nothing_else(data):
    notebook = definitions("12_unet_smp")
    train, _ = data
    binary = notebook.one_against_rest(train, "Car")
    assert binary.classes == ["rest", "Car"] and check_dataset(binary)[1] > 0
    for i in range(len(train)):
        (image, mask), (same, ids) = train.read(i), binary.read(i)
        assert np.array_equal(image, same)
        assert np.array_equal(ids == 1, mask == train.classes.index("Car"))
        assert np.array_equal(ids == 255, mask == 255)


def test_cross_entropy_of_one_channel_is_that_of_two():
    loss = definitions("12_unet_smp").CrossEntropy()
    logit, mask = torch.randn(2, 1, 8, 8), torch.randint(2, (2, 8, 8))
    mask[0, 0] = 255
    two = torch.cat([torch.zeros_like(logit), logit], 1)
    torch.testing.assert_close(loss(logit, mask), F.cross_entropy(two, mask, ignore_index=255))
    torch.testing.assert_close(loss(two, mask), loss(logit, mask))


@pytest.mark.parametrize("name", ["FocalLoss", "DiceLoss", "LovaszLoss"])
def test_smps_losses_leave_void_out(name):
    loss = getattr(smp.losses, name)("multiclass", ignore_index=255)
    logits, mask = torch.randn(2, 4, 16, 16), torch.randint(4, (2, 16, 16))
    mask[:, :4] = 255
    other = logits.clone()
    other[:, :, :4] += torch.randn_like(other[:, :, :4])
    torch.testing.assert_close(loss(logits, mask), loss(other, mask))


def test_the_pyramid_by_hand_and_one_vote_alone():
    notebook = definitions("13_fpn_smp", num_classes=7, mode="multiclass")
    fpn = notebook.build("FPN")
    model = Normalized(notebook.Padded(fpn), *STATISTICS, divisor=1).eval()
    pixels = torch.rand(1, 3, 50, 70)
    assert model(pixels).shape == (1, 7, 50, 70)
    torch.testing.assert_close(model(pixels), forward_padded(Normalized(fpn, *STATISTICS, divisor=32), pixels))
    image = (255 * np.random.default_rng(0).random((50, 70, 3))).astype(np.uint8)
    maps = [notebook.vote_of(model, image, level) for level in range(4)]
    assert all(ids.shape == (50, 70) for ids in maps)
    assert len({ids.tobytes() for ids in maps}) == 4
    assert not fpn.decoder.merge._forward_pre_hooks


@pytest.fixture(scope="module")
def notebook_14():
    return definitions(
        "14_deeplabv3_fastai", factories={"mobilenetv3_large_100": segmentation.deeplabv3_mobilenet_v3_large},
        encoder="mobilenetv3_large_100", mobile=True, num_classes=5, rates=(2, 4, 6), class_weights=torch.ones(5),
    )  # fmt: skip


def test_deeplab_gives_two_outputs_in_training_and_one_else(notebook_14):
    model = notebook_14.prepared(16)
    image, mask = torch.rand(2, 3, 64, 96), torch.randint(5, (2, 64, 96))
    out, auxiliary = model.train()(image)
    assert out.shape == auxiliary.shape == (2, 5, 64, 96)
    torch.testing.assert_close(
        notebook_14.loss((out, auxiliary), mask), F.cross_entropy(out, mask) + 0.5 * F.cross_entropy(auxiliary, mask)
    )
    assert model.eval()(image).shape == (2, 5, 64, 96)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in fastai.imagenet_stats)
    torch.testing.assert_close(model(image), model.network.deeplab((image - mean) / std)["out"])
    encoder, heads = notebook_14.groups(model)
    assert len(encoder) + len(heads) == len(list(model.parameters()))


def test_the_classifier_is_replaced_and_the_rest_stays(notebook_14):
    network = notebook_14.build(21)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    notebook_14.replace_classifier(network, 4)
    after = network.state_dict()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed == {f"{head}.4.{kind}" for head in ("classifier", "aux_classifier") for kind in ("weight", "bias")}
    assert network.eval()(torch.rand(1, 3, 64, 64))["out"].shape[1] == 4


def test_halving_the_output_stride_keeps_weights_and_centre(notebook_14):
    network = notebook_14.set_rates(notebook_14.build(5), (2, 4, 6)).eval()
    image = torch.rand(1, 3, 128, 128)
    coarse = network.backbone(image)["out"]
    notebook_14.halve_output_stride(network)
    fine = network.backbone(image)["out"]
    assert [2 * side for side in coarse.shape[-2:]] == list(fine.shape[-2:])
    assert [view[0].dilation for view in network.classifier[0].convs[1:4]] == [(4, 4), (8, 8), (12, 12)]
    # every second position sees the same pixels with the same weights; the means of squeeze-and-excitation differ a bit
    torch.testing.assert_close(fine[..., ::2, ::2], coarse, rtol=0.2, atol=0.2 * float(coarse.detach().std()))


@pytest.mark.parametrize(("rate", "side"), [(1, 8), (3, 8), (8, 8), (20, 8)])
def test_share_of_weights_that_touch(notebook_14, rate, side):
    counted = F.conv2d(torch.ones(1, 1, side, 2 * side), torch.ones(1, 1, 3, 3), padding=rate, dilation=rate).mean() / 9
    assert notebook_14.touching(rate, side, 2 * side) == pytest.approx(float(counted))


def test_influence_is_the_receptive_field(notebook_14):
    moved = notebook_14.influence(nn.Conv2d(3, 2, 3, padding=4, dilation=4), size=(32, 40))
    rows, columns = moved.nonzero()
    assert np.ptp(rows) == np.ptp(columns) == 8 + 8, "the kernel's, and 9 x 9 for the smoothing"
