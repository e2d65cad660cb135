"""Transforms of every kind, what they return, and padding that would become a class."""

import functools
import pickle
import random
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
RNG = np.random.default_rng(0)


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


# Ids that were not in the mask -----------------------------------------------------------------------------------------

ABSENT = ["sky", "road", "car", "tree"]


def one_mask(root, mask, classes=ABSENT, **options):
    """A data set of one random picture and this mask."""
    for folder, array in (("i", RNG.integers(0, 256, (*mask.shape, 3), dtype=np.uint8)), ("m", mask)):
        (root / folder).mkdir(exist_ok=True)
        Image.fromarray(array).save(root / folder / "p.png")
    return FolderDataset(root / "i", root / "m", classes, **options)


def square(low, high):
    mask = np.full((30, 30), low, np.uint8)
    mask[10:20, 10:20] = high
    return mask


def by_pillow(image, mask):
    return tuple(np.array(Image.fromarray(array).resize((16, 16), 2)) for array in (image, mask))


def by_torch(image, mask):
    resize = v2.functional.resize
    return resize(torch.from_numpy(image.transpose(2, 0, 1).copy()), [16, 16]), resize(
        torch.tensor(mask)[None], [16, 16]
    )


SMOOTH = {
    "cv2": lambda image, mask: (cv2.resize(image, (16, 16)), cv2.resize(mask, (16, 16))),
    "Pillow": by_pillow,
    "v2 on plain tensors": by_torch,
    "albumentations": A.Resize(16, 16, mask_interpolation=cv2.INTER_LINEAR),
    "rotated": A.Affine(rotate=(30, 30), border_mode=4, mask_interpolation=cv2.INTER_LINEAR, p=1),
    "in place": lambda image, mask: (image, cv2.GaussianBlur(mask, (5, 5), 0, dst=mask)),
}
NEAREST = {
    "cv2": lambda image, mask: (cv2.resize(image, (16, 16)), cv2.resize(mask, (16, 16), interpolation=cv2.INTER_NEAREST)),
    "v2": v2.Resize(16),
    "albumentations": A.Compose([A.Resize(16, 16), A.Affine(rotate=(30, 30), fill_mask=255, p=1)]),
    "fewer ids": lambda image, mask: (image[:5, :5], mask[:5, :5]),
    "void": lambda image, mask: (image, np.full_like(mask, 255)),
}  # fmt: skip


@pytest.mark.parametrize("kind", SMOOTH)
def test_a_transform_that_invents_classes_is_told_of_once(tmp_path, kind):
    for low, high, new in ((1, 3, "id 2, 'car'"), (3, 1, "id 2, 'car'"), (0, 2, "id 1, 'road'")):
        data = one_mask(tmp_path, square(low, high), transform=SMOOTH[kind])
        words = rf"puts the {new}, into the mask of .*p\.png, which holds only {min(low, high)}, {max(low, high)}: .*NEAREST"
        with pytest.warns(UserWarning, match=words) as told:
            for _ in range(3):
                data[0]
        assert len(told) == 1 and told[0].filename == __file__


@pytest.mark.parametrize("kind", NEAREST)
def test_the_nearest_pixel_invents_no_class(tmp_path, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = one_mask(tmp_path, square(1, 3), transform=NEAREST[kind])
        assert set(data[0][1].unique().tolist()) <= {1, 3, 255}
        one_mask(tmp_path, square(1, 3), transform=None)[0]


def test_class_0_that_was_not_there_is_told_of_as_filling(tmp_path):
    def shifted(image, mask):
        return np.roll(image, 3, 0), np.vstack([np.zeros((3, 30), np.uint8), mask[:-3]])

    with pytest.warns(UserWarning, match="puts the id 0, 'sky', into .* fills something with 0. Make it void") as told:
        one_mask(tmp_path, square(1, 3), transform=shifted)[0]
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one_mask(tmp_path, square(1, 3), ["background", "b", "c", "d"], transform=shifted)[0]
    with pytest.warns(UserWarning, match="PadIfNeeded fills") as told:  # said already
        one_mask(tmp_path, square(1, 3), transform=A.PadIfNeeded(64, 64))[0]
    assert len(told) == 1
    both = A.Compose([A.PadIfNeeded(64, 64), A.Resize(128, 128, mask_interpolation=cv2.INTER_LINEAR)])
    with pytest.warns(UserWarning, match="puts the id 2"):
        one_mask(tmp_path, square(1, 3), transform=both)[0]


@pytest.mark.parametrize("low", [0, 1])
def test_a_crop_that_is_larger_than_the_picture_is_told_of(tmp_path, low):
    for transform in (
        v2.CenterCrop(48),
        v2.CenterCrop((10, 31)),
        v2.Compose([v2.RandomHorizontalFlip(), v2.CenterCrop(48)]),
    ):
        with pytest.warns(
            UserWarning, match="CenterCrop fills .* 0 is the class 'sky'.*of 30 x 30.*pad_if_needed"
        ) as told:
            data = one_mask(tmp_path, square(low, 3), transform=transform)
            data[0], data[0]
        assert len(told) == 1 and told[0].filename == __file__
    fill = {tv_tensors.Image: 0, tv_tensors.Mask: 255}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for transform in (v2.CenterCrop(30), v2.Compose([v2.Resize(64), v2.CenterCrop(48)])):
            one_mask(tmp_path, square(low, 3), transform=transform)[0]
        data = one_mask(tmp_path, square(low, 3), transform=v2.RandomCrop(48, pad_if_needed=True, fill=fill))
        assert (data[0][1] == 255).any(), "the remedy"


@pytest.mark.parametrize("low", [0, 1])
def test_a_deformation_without_an_option_for_the_filling_is_told_of(tmp_path, low):
    with pytest.warns(UserWarning, match="GridElasticDeform fills .*take A.ElasticTransform") as told:
        one_mask(tmp_path, square(low, 3), transform=A.GridElasticDeform((4, 4), 10, p=1))[0]
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one_mask(tmp_path, square(low, 3), transform=A.ElasticTransform(fill_mask=255, alpha=300, p=1))[0]


@pytest.mark.parametrize("step", [
    v2.RandomHorizontalFlip(1), v2.Resize(16), v2.RandomApply([v2.RandomRotation(9)]), v2.RandomCrop(16), v2.Pad(3, fill=255),
], ids=lambda step: type(step).__name__)  # fmt: skip
def test_steps_that_would_move_the_image_alone_are_refused(data, step):
    for container in (v2.Compose, lambda steps: nn.Sequential(*steps)):
        with pytest.raises(DatasetError, match=r"comes after ToPureTensor, .*Put ToPureTensor at the end"):
            data.transform = container([v2.ToPureTensor(), v2.ColorJitter(), step])
    data.transform = v2.Compose([v2.RandomHorizontalFlip(1), v2.ToPureTensor(), v2.ColorJitter(0.1)])
    flipped = data[3][1]
    data.transform = None
    assert torch.equal(flipped, data[3][1].flip(-1))


# Seeds -----------------------------------------------------------------------------------------------------------------

AUGMENT = A.Compose([A.RandomCrop(8, 8), A.HorizontalFlip()])
GENERATOR = np.random.default_rng(0)


def by_global(image, mask):
    return AUGMENT(image=image, mask=mask)


def through_a_function(image, mask):
    return by_global(image=image, mask=mask)


def through_a_list(image, mask):
    return [step(image=image, mask=mask) for step in [AUGMENT]][0]


def by_closure():
    augment = A.RandomCrop(8, 8)
    return lambda image, mask: augment(image=image, mask=mask)


def crop(image, mask, y, x):
    return image[y : y + 8, x : x + 8], mask[y : y + 8, x : x + 8]


def by_numpy(image, mask):
    return crop(image, mask, np.random.randint(20), np.random.randint(30))  # noqa: NPY002


def by_random(image, mask):
    return crop(image, mask, random.randrange(20), random.randrange(30))


def by_torch_random(image, mask):
    return crop(image, mask, int(torch.randint(20, ())), int(torch.randint(30, ())))


def by_generator(image, mask):
    return crop(image, mask, *GENERATOR.integers(20, size=2))


def partly(augment, image, mask):
    return augment(image=image, mask=mask)


def by_default(image, mask, augment=AUGMENT):  # the signature is (image, mask) for callers
    return augment(image=image, mask=mask)


class Augment:
    def __init__(self, source):
        self.steps = {"first": [source]}

    def __call__(self, image, mask):
        source = self.steps["first"][0]
        if isinstance(source, A.Compose):
            return source(image=image, mask=mask)
        draw = source.integers if isinstance(source, np.random.Generator) else source.randint
        return crop(image, mask, int(draw(0, 20)), int(draw(0, 30)))

    def method(self, image, mask):
        return self(image, mask)


SEEDED = {
    "albumentations": AUGMENT, "a global name": by_global, "a function in a function": through_a_function,
    "a comprehension": through_a_list, "a closure": by_closure(), "np.random": by_numpy, "random": by_random,
    "torch": by_torch_random, "a generator": by_generator, "a partial": functools.partial(partly, AUGMENT),

    "a partial of a keyword": functools.partial(lambda image, mask, how: how(image=image, mask=mask), how=AUGMENT),
    "a default": by_default, "attributes": Augment(AUGMENT),
    "a method": Augment(AUGMENT).method, "a generator in an attribute": Augment(np.random.default_rng()),
    "RandomState": Augment(np.random.RandomState()), "Random": Augment(random.Random()),
    "a function in albumentations": A.Compose([A.Lambda(image=lambda image, **_: image + np.uint8(random.randrange(99)))]),
}  # fmt: skip


@pytest.mark.parametrize("kind", SEEDED)
def test_every_sample_is_seeded_anew(data, kind):
    data.transform = SEEDED[kind]
    data.set_epoch(0)
    states = random.getstate(), np.random.get_state()[1].tolist(), GENERATOR.bit_generator.state, torch.get_rng_state()  # noqa: NPY002
    first = [data[index][0] for index in range(10)]
    again = [data[index][0] for index in reversed(range(10))][::-1]
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True)), "from (seed, epoch, index) alone"
    after = random.getstate(), np.random.get_state()[1].tolist(), GENERATOR.bit_generator.state, torch.get_rng_state()  # noqa: NPY002
    assert after[:3] == states[:3] and torch.equal(after[3], states[3]), "the caller's random numbers stay"
    copy = pickle.loads(pickle.dumps(data)) if kind in ("a global name", "attributes", "albumentations") else data
    assert torch.equal(copy[3][0], first[3])
    data.set_epoch(1)
    assert any(not torch.equal(data[index][0], first[index]) for index in range(10))
    torch.manual_seed(5)
    plain = FolderDataset(data.pairs[0][0].parent, data.pairs[0][1].parent, ABC, transform=data.transform)
    some = [plain[index][0] for index in range(10)]
    torch.manual_seed(5)
    assert all(torch.equal(plain[index][0], some[index]) for index in range(10)), (
        "without an epoch from torch's generator"
    )


def test_sources_of_random_numbers_are_found_beside_much_else(data):
    class Much:
        def __init__(self):
            self.paths = [path for pair in data.pairs for path in pair] * 1000
            self.table = {number: (number, [number]) for number in range(5000)}
            self.deep = {"steps": [[[[AUGMENT]]]]}
            self.more = [object() for _ in range(5000)]
            self.self = self

        def __call__(self, image, mask):
            return self.deep["steps"][0][0][0][0](image=image, mask=mask)

    data.transform = Much()
    data.set_epoch(0)
    assert torch.equal(data[0][0], data[0][0]) and torch.equal(data[1][0], data[1][0])


# Odd transforms in words -------------------------------------------------------------------------------------------------


class Two(nn.Module):
    def forward(self, img, target):
        return img[:, ::-1], target[:, ::-1]


class Named(nn.Module):
    def forward(self, image, mask):
        return image[:, ::-1], mask[:, ::-1]


class OnTensors(nn.Module):
    def forward(self, image, mask):
        return v2.functional.horizontal_flip(image), v2.functional.horizontal_flip(mask)


@pytest.mark.parametrize("transform", [Two(), Named(), v2.Compose([OnTensors()])])
def test_modules_are_called_as_they_want_it(data, transform):
    image, mask = data[3]
    data.transform = transform
    assert torch.equal(data[3][0], image.flip(-1)) and torch.equal(data[3][1], mask.flip(-1))


def test_a_sequence_of_modules_of_ones_own_is_refused_in_words(data):
    with pytest.raises(DatasetError, match=r"nn\.Sequential hands one value.*v2\.Compose"):
        data.transform = nn.Sequential(OnTensors(), v2.RandomHorizontalFlip())
    with pytest.raises(DatasetError, match="must be callable.*A.Compose or v2.Compose makes one of several"):
        data.transform = [A.HorizontalFlip()]


@pytest.mark.parametrize("transform, words", [
    (v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}), r"v2\.ToDtype keeps 0\.\.255 unless .*scale=True\)"),
    (v2.Compose([v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True), v2.Normalize([0.1], [0.2])]),
     "take v2.Normalize out"),
    (A.FromFloat(), "take A.FromFloat out"), (A.Normalize(), "take A.Normalize out, normalisation is part of the network"),
    (lambda image, mask: (image.astype(np.float32), mask), "divide floats by 255, or return uint8"),
    (lambda image, mask: (image.astype(np.float32) / 32 - 2, mask), "take the normalisation out, it is part of the network"),
    (lambda image, mask: (image * np.float32("nan"), mask), "look for a division by zero"),
])  # fmt: skip
def test_what_makes_images_leave_0_to_1_is_named(data, transform, words):
    data.transform = transform
    with pytest.warns(UserWarning, match=f"should lie in 0..1: {words}"):
        data[0]


@pytest.mark.parametrize("limit", ["1", 0.5, True, -1, [3]])
def test_limits_that_make_no_sense(folder_of_pairs, limit):
    with pytest.raises(
        DatasetError, match="limit(=-1 leaves no pictures| is .*, but must be how many pictures to take)"
    ):
        FolderDataset(folder_of_pairs / "images", folder_of_pairs / "masks", ABC, limit=limit)


@pytest.mark.parametrize(
    "index, written", [(slice(0, 1), "0:1"), (slice(None, None, 2), "::2"), ([1, 2], r"\[1, 2\]"), ("a", "'a'")]
)
def test_a_data_set_gives_one_sample_at_a_time(data, index, written):
    with pytest.raises(DatasetError, match=rf"asked for data\[{written}\]\. .*Subset\(data, range\(0, 10\)\)"):
        data[index]
    assert torch.equal(data[np.int64(-1)][1], data[9][1]) and torch.equal(data[torch.tensor(2)][1], data[2][1])


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
