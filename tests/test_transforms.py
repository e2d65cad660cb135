"""Transforms of every kind, what they return, and padding that would become a class."""

import warnings

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import v2

from segmentation_helpers.datasets import DatasetError, FolderDataset

ABC = list("abc")


@pytest.fixture
def data(folder_of_pairs):
    return FolderDataset(folder_of_pairs / "images", folder_of_pairs / "masks", ABC)


def test_torchvision_v2_changes_image_and_mask_alike(data):
    image, mask = data[3]
    flip, floats = v2.RandomHorizontalFlip(1), v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True)
    for transform in (flip, v2.Compose([flip]), nn.Sequential(flip), v2.Compose([flip, floats])):
        data.transform = transform
        flipped, ids = data[3]
        torch.testing.assert_close(flipped, image.flip(-1))
        assert (
            torch.equal(ids, mask.flip(-1)) and ids.dtype == torch.int64 and type(flipped) is type(ids) is torch.Tensor
        )
    data.transform = v2.RandomCrop(16)
    data.set_epoch(0)
    crops = [data[3] for _ in range(2)]
    assert crops[0][0].shape == (3, 16, 16) and all(torch.equal(*pair) for pair in zip(*crops, strict=True)), "seeded"
    places = [
        (y, x) for y in range(17) for x in range(25) if torch.equal(image[:, y : y + 16, x : x + 16], crops[0][0])
    ]
    assert any(torch.equal(mask[y : y + 16, x : x + 16], crops[0][1]) for y, x in places)
    data.set_epoch(1)
    assert not torch.equal(data[3][0], crops[0][0])


def as_tensors(image, mask):
    return torch.from_numpy(image[:, ::-1].transpose(2, 0, 1).copy()), torch.from_numpy(mask[:, ::-1].copy())[None]


@pytest.mark.parametrize("transform", [
    lambda image, mask: (image[:, ::-1], mask[:, ::-1]), lambda image, mask: {"image": image[:, ::-1], "mask": mask[:, ::-1]},
    lambda x, y: [x[:, ::-1], y[:, ::-1]], lambda **both: {key: value[:, ::-1] for key, value in both.items()},
    as_tensors, lambda image, mask: (Image.fromarray(image[:, ::-1].copy()), Image.fromarray(mask[:, ::-1].copy())),
    A.HorizontalFlip(p=1), A.Compose([A.HorizontalFlip(p=1), A.ToFloat()]), A.Compose([A.HorizontalFlip(p=1), A.ToTensorV2()]),
])  # fmt: skip
def test_functions_and_albumentations(data, transform):
    image, mask = data[3]
    data.transform = transform
    flipped, ids = data[3]
    torch.testing.assert_close(flipped, image.flip(-1))
    assert torch.equal(ids, mask.flip(-1)) and flipped.dtype == torch.float32 and ids.dtype == torch.int64


ODD = {
    "grey": (A.ToGray(num_output_channels=1, p=1), "shape \\(32, 40\\).*bands=3 here; for grey pictures.*bands=1"),
    "one band": (lambda image, mask: (image[..., :1], mask), "an image with 1 bands, but pictures have bands=3"),
    "bands first": (lambda image, mask: (image.transpose(2, 0, 1), mask), "an image with 40 bands"),
    "mask of floats": (lambda image, mask: (image, mask / 255), "a mask of torch.float64, but class ids are whole"),
    "mask of one-hot": (lambda image, mask: (image, np.eye(256, dtype=int)[mask]), r"mask of shape \(32, 40, 256\)"),
    "sizes": (lambda image, mask: (image[:9], mask), r"image of 9 x 40 and a mask of 32 x 40 \(height x width\)"),
    "an id": (lambda image, mask: (image, mask * 0 + 7), "puts the id 7 into the mask.*fill_mask=255"),
    "a negative id": (lambda image, mask: (image, np.where(mask == 0, -1, mask.astype(int))), "puts the id -1"),
    "None": (lambda image, mask: None, "returns a NoneType, but must return image and mask"),
    "three": (lambda image, mask: (image, mask, 0), "returns a tuple"),
    "image alone": (lambda image, mask: {"image": image}, "a dict without 'mask'"),
    "a list": (lambda image, mask: (image.tolist(), mask), "returns a list as image"),
    "masks of text": (lambda image, mask: (image, "mask"), "returns a str as mask"),
    "integers": (lambda image, mask: (image.astype(int), mask), "an image of torch.int64, but must return uint8"),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_results_are_refused_in_one_sentence(data, kind):
    data.transform, words = ODD[kind]
    with pytest.raises(DatasetError, match=words) as error:
        data[0]
    assert str(error.value).startswith("The transform") and str(error.value).count(". ") == 0


@pytest.mark.parametrize("transform, words", [
    (v1.RandomHorizontalFlip(), "torchvision.transforms changes the image and leaves the mask behind.*v2"),
    (v1.Compose([v1.ToTensor()]), "transforms.v2"), (lambda image: image, "takes image, but must take the image and the mask"),
    ("flip", "must be callable"), ([A.HorizontalFlip()], "must be callable"),
])  # fmt: skip
def test_what_is_no_transform_is_refused_when_it_is_set(data, folder_of_pairs, transform, words):
    with pytest.raises(DatasetError, match=words):
        data.transform = transform
    with pytest.raises(DatasetError, match=words):
        FolderDataset(folder_of_pairs / "images", folder_of_pairs / "masks", ABC, transform=transform)
    assert data.transform is None and data[0][0].shape == (3, 32, 40)


def test_normalised_images_are_told_of_once(data):
    data.transform = A.Compose([A.HorizontalFlip(), A.Normalize()])
    with pytest.warns(UserWarning, match="values from -.* should lie in 0..1: take A.Normalize out") as told:
        for index in range(3):
            data[index]
    assert len(told) == 1 and told[0].filename == __file__
    data.transform = A.Compose([A.Resize(50, 50, interpolation=cv2.INTER_CUBIC), A.ToFloat()])
    data[0]


PADS = [
    A.PadIfNeeded(64, 64), A.Rotate(), A.Affine(), A.ShiftScaleRotate(), A.SafeRotate(), A.Perspective(), A.ElasticTransform(),
    A.GridDistortion(), A.OpticalDistortion(), A.RandomCrop(64, 64, pad_if_needed=True), A.CenterCrop(64, 64, pad_if_needed=True),
    A.Pad(4), A.CropAndPad(px=4), A.Compose([A.HorizontalFlip(), A.OneOf([A.Blur(), A.Rotate()])]), v2.RandomRotation(9),
    v2.Compose([v2.RandomHorizontalFlip(), v2.RandomCrop(64, pad_if_needed=True)]), v2.Pad(3), v2.RandomAffine(9, fill=0),
    nn.Sequential(v2.RandomPerspective()), v2.RandomApply([v2.RandomRotation(9)]),
    v2.RandomAffine(9, fill={tv_tensors.Image: 9, "others": 0}),
]  # fmt: skip
NO_PADS = [
    A.PadIfNeeded(64, 64, fill_mask=255), A.Rotate(border_mode=cv2.BORDER_REFLECT_101), A.RandomCrop(16, 16), A.CropAndPad(px=-4),
    A.Affine(fill_mask=255), A.Rotate(p=0), A.HorizontalFlip(), A.RandomBrightnessContrast(), A.CoarseDropout(), A.Resize(9, 9),
    v2.RandomCrop(16), v2.RandomRotation(9, fill={tv_tensors.Image: 0, tv_tensors.Mask: 255}), v2.Pad(3, padding_mode="reflect"),
    v2.RandomHorizontalFlip(), lambda image, mask: (image, mask),
]  # fmt: skip


@pytest.mark.parametrize("transform", PADS, ids=lambda t: type(t).__name__)
def test_padding_that_would_become_a_class_is_told_of(data, folder_of_pairs, transform):
    with pytest.warns(
        UserWarning, match=r"fills what lies outside .* 0 is the class 'a'.*(fill_mask=255|tv_tensors.Mask: 255)"
    ) as told:
        data.transform = transform
    assert len(told) == 1 and told[0].filename == __file__
    with pytest.warns(UserWarning, match="fills what lies outside") as told:
        FolderDataset(folder_of_pairs / "images", folder_of_pairs / "masks", ABC, transform=transform)
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # class 0 is what padding may be
        FolderDataset(
            folder_of_pairs / "images", folder_of_pairs / "masks", ["background", "b", "c"], transform=transform
        )


@pytest.mark.parametrize("transform", NO_PADS, ids=lambda t: type(t).__name__)
def test_transforms_that_make_no_class_are_quiet(data, transform):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.transform = transform


@pytest.mark.parametrize("transform", [
    A.PadIfNeeded(64, 64, fill_mask=255),
    v2.RandomCrop(64, pad_if_needed=True, fill={tv_tensors.Image: 0, tv_tensors.Mask: 255}),
])  # fmt: skip
def test_the_remedy_for_padding_works(data, transform):
    before = np.bincount(data[0][1].flatten(), minlength=256)
    data.transform = transform
    after = np.bincount(data[0][1].flatten(), minlength=256)
    if isinstance(transform, A.PadIfNeeded):
        assert (after[:3] == before[:3]).all()
    assert after[255] >= 64 * 64 - 32 * 40 and after.sum() == 64 * 64


def test_grey_and_multi_band_pictures_pass_through_transforms(folder_of_pairs):
    data = FolderDataset(folder_of_pairs / "images", folder_of_pairs / "masks", ABC, bands=1)
    plain = data[0][0]
    assert plain.shape == (1, 32, 40)
    for transform in (
        A.HorizontalFlip(p=1),
        v2.RandomHorizontalFlip(1),
        lambda image, mask: (image[:, ::-1, 0], mask[:, ::-1]),
    ):
        data.transform = transform
        torch.testing.assert_close(data[0][0], plain.flip(-1))
    data.transform = A.Compose(
        [A.PadIfNeeded(64, 64, fill_mask=255), A.RandomCrop(48, 48), A.RandomBrightnessContrast()]
    )
    assert data[0][0].shape == (1, 48, 48)
