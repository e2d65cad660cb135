"""predict and forward_padded, against the plain definitions at every kind of size."""

import subprocess
import sys
import warnings
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from segmentation_helpers.inference import Normalized, forward_padded, forward_views, predict
from segmentation_helpers.training import evaluate

SIZES = [(1, 1), (1, 40), (33, 2), (31, 32), (64, 64), (50, 97)]


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def seeded(model):
    """Weights of our own choice, so that logits differ between classes and places."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return model.eval()


def pointwise(classes=4):
    return seeded(nn.Conv2d(3, classes, 1))


def with_borders(classes=4):
    """Sees 5 x 5 pixels, so its zero padding shows near a tile's border; takes any size."""
    network = seeded(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, classes, 3, padding=1)))
    return Normalized(network, (0.0,) * 3, (1.0,) * 3, divisor=1)


class Coarse(nn.Module):
    """Logits at an eighth of the size, which insists on multiples of 32 as many encoders do."""

    def __init__(self, classes=4):
        super().__init__()
        self.conv = nn.Conv2d(3, classes, 11, stride=8, padding=3)

    def forward(self, image):
        assert image.shape[-2] % 32 == image.shape[-1] % 32 == 0
        self.seen = image
        return self.conv(image)


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def tensor(image):
    """(1, 3, H, W) in 0..1."""
    return (torch.from_numpy(image.copy()).permute(2, 0, 1) / 255)[None]


def normalised(image):
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (MEAN, STD))
    return (tensor(image) - mean) / std


# forward_padded


def continued(side, length):
    """Which row (or column) of a picture each one of the padded picture shows: reflected, or the last one if it is too small."""
    there = torch.arange(length)
    if length - side < side:
        return torch.where(there < side, there, 2 * (side - 1) - there)
    return there.clamp(max=side - 1)


@pytest.mark.parametrize("height, width", SIZES)
def test_pads_resizes_and_crops(height, width):
    model, image = seeded(Coarse()), torch.randn(2, 3, height, width)
    padded_h, padded_w = -(-height // 32) * 32, -(-width // 32) * 32
    rows, columns = continued(height, padded_h), continued(width, padded_w)
    padded = image[:, :, rows][..., columns]
    expected = nn.functional.interpolate(model(padded), (padded_h, padded_w), mode="bilinear", align_corners=False)
    logits = forward_padded(model, image)
    assert torch.equal(model.seen, padded)
    assert torch.equal(logits, expected[..., :height, :width])


def test_divisor():
    seen = []
    model = pointwise()
    model.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape[-2:])))
    image = torch.randn(1, 3, 30, 50)
    forward_padded(model, image)
    forward_padded(Normalized(model, MEAN, STD, divisor=16), image)
    forward_padded(model, image, divisor=7)
    forward_padded(model, image, divisor=1)
    assert seen == [(32, 64), (32, 64), (35, 56), (30, 50)]


class Returns(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, image):
        return self.output(image)


def test_takes_the_dictionary_of_torchvision_and_half_precision():
    image = torch.randn(1, 3, 32, 32)
    conv = pointwise()
    auxiliary = Returns(lambda x: OrderedDict(out=conv(x), aux=x))
    assert torch.equal(forward_padded(auxiliary, image), conv(image))
    logits = forward_padded(Returns(lambda x: conv(x).bfloat16()), image)
    assert logits.dtype == torch.float32


@pytest.mark.parametrize("output, message", [
    (lambda x: {"logits": x}, r"a dictionary of \['logits'\], but its logits must be under \"out\""),
    (lambda x: (x, x), "a tuple, but a tensor of logits"),
    (lambda x: x[:, 0], r"shape \(1, 32, 32\), but floating-point logits \(1, C, h, w\)"),
    (lambda x: x.long(), "torch.int64 of shape .* no argmax"),
    (lambda x: torch.cat([x, x]), r"shape \(2, 3, 32, 32\)"),
])  # fmt: skip
def test_a_model_that_returns_something_else_is_a_clear_error(output, message):
    with pytest.raises(TypeError, match=message):
        forward_padded(Returns(output), torch.zeros(1, 3, 32, 32))


# predict: the whole image


@pytest.mark.parametrize("height, width", SIZES)
@pytest.mark.parametrize("flip", [False, True])
def test_whole_image(height, width, flip):
    network, image = seeded(Coarse()), photo(height, width)
    model = Normalized(network, MEAN, STD)
    with torch.no_grad():
        expected = forward_padded(network, normalised(image))
        if flip:
            mirrored = forward_padded(network, normalised(image[:, ::-1]))
            expected = (expected + mirrored.flip(-1)) / 2
    logits = predict(model, image, flip=flip, return_logits=True)
    assert logits.dtype == torch.float32 and logits.device.type == "cpu" and logits.shape == (4, height, width)
    assert torch.equal(logits, expected[0])
    classes = predict(model, image, flip=flip)
    assert classes.dtype == np.uint8 and classes.shape == (height, width)
    assert np.array_equal(classes, expected[0].argmax(0).numpy())


def test_the_picture_is_normalised_once():
    network = seeded(Coarse())
    white = np.full((32, 32, 3), 255, np.uint8)
    predict(Normalized(network, MEAN, STD), white)
    expected = [(1 - m) / s for m, s in zip(MEAN, STD, strict=True)]
    assert network.seen[0, :, 5, 5].tolist() == pytest.approx(expected, abs=1e-6)
    predict(
        Normalized(network, torch.tensor([0.5] * 3).view(1, 3, 1, 1), np.array([0.5] * 3)), white
    )  # in any container
    assert network.seen.eq(1).all()
    predict(network, white)
    assert network.seen.eq(1).all(), "in 0..1 where the network has no statistics"


def test_one_channel_is_binary():
    model = seeded(nn.Conv2d(3, 1, 1))
    image = photo(20, 30)
    logits = predict(model, image, return_logits=True)
    classes = predict(model, image, tile=16)
    assert logits.shape == (1, 20, 30) and set(np.unique(classes)) == {0, 1}
    assert np.array_equal(classes, (logits[0] > 0).numpy())


def test_ties_go_to_the_first_class():
    model = nn.Conv2d(3, 5, 1)
    nn.init.zeros_(model.weight)
    model.bias.data = torch.tensor([0.0, 1, 1, 0, 1])
    assert (predict(model, photo(40, 40), tile=32) == 1).all()


def test_accepts_pictures_and_views():
    image, model = photo(40, 50), with_borders()
    expected = predict(model, image)
    assert np.array_equal(predict(model, Image.fromarray(image)), expected)
    image.flags.writeable = False
    assert np.array_equal(predict(model, image, tile=64), expected)
    bgr = np.ascontiguousarray(image[..., ::-1])
    assert np.array_equal(predict(model, bgr[..., ::-1]), expected)


def test_modes_come_back_and_no_gradients():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.9))
    model.train()
    model[1].eval()  # a frozen normalisation
    image = photo(8, 8)
    logits = predict(model, image, return_logits=True)
    assert [model.training, *(m.training for m in model)] == [True, True, False, True]
    assert model[1].num_batches_tracked == 0
    assert torch.equal(logits, predict(model.eval(), image, return_logits=True)) and not model.training
    logits += 1  # an ordinary tensor
    model.train()
    model.append(Returns(lambda x: x[0]))
    with pytest.raises(TypeError):
        predict(model, image)
    assert model.training, "also after an error"


def test_runs_in_the_precision_of_the_parameters():
    model, image = with_borders(), photo(40, 50)
    expected = predict(model, image, return_logits=True)
    seen = []
    model.network.register_forward_pre_hook(lambda _, args: seen.append(args[0].dtype))
    double = predict(model.double(), image, return_logits=True)
    half = predict(model.bfloat16(), image, return_logits=True, tile=32)
    assert seen[0] == torch.float64 and set(seen[1:]) == {torch.bfloat16}
    assert double.dtype == half.dtype == torch.float32
    assert torch.allclose(double, expected, atol=1e-4)
    assert predict(Returns(lambda x: x), image).shape == (40, 50), "a model without parameters"


# predict: tiles


def sliding_window(model, image, tile, stride):
    """mmsegmentation's slide_inference, in its own steps: sums over the whole image and a map of counts."""
    image = tensor(image)
    height, width = image.shape[-2:]
    rows = max(height - tile[0] + stride[0] - 1, 0) // stride[0] + 1
    columns = max(width - tile[1] + stride[1] - 1, 0) // stride[1] + 1
    total, count = 0, torch.zeros(height, width)
    for row in range(rows):
        for column in range(columns):
            y2, x2 = min(row * stride[0] + tile[0], height), min(column * stride[1] + tile[1], width)
            y1, x1 = max(y2 - tile[0], 0), max(x2 - tile[1], 0)
            with torch.no_grad():
                logits = model(image[:, :, y1:y2, x1:x2])
            total = total + nn.functional.pad(logits, (x1, width - x2, y1, height - y2))
            count[y1:y2, x1:x2] += 1
    assert count.min() > 0
    return (total / count)[0]


@pytest.mark.parametrize("height, width", [(1, 1), (17, 16), (16, 49), (41, 67), (64, 64), (5, 80)])
@pytest.mark.parametrize("tile, stride", [
    (16, 16), (16, 11), (16, None), (16, 3), (17, (5, 17)), ((8, 33), (8, 20)), ((33, 8), 1), (1, 1),
])  # fmt: skip
def test_flat_tiles_are_those_of_mmsegmentation(height, width, tile, stride):
    if (height, width) != (5, 80) and (tile == 1 or stride == 1):
        height, width = min(height, 20), min(width, 20)
    model, image = with_borders(), photo(height, width)
    tile_pair = (tile, tile) if isinstance(tile, int) else tile
    stride_pair = (stride, stride) if isinstance(stride, int) else stride or (8, 8)
    expected = sliding_window(model, image, tile_pair, stride_pair)
    logits = predict(model, image, tile=tile, stride=stride, window="flat", return_logits=True)
    assert torch.allclose(logits, expected, atol=1e-5)
    classes = predict(model, image, tile=tile, stride=stride, window="flat")
    assert np.array_equal(classes, logits.argmax(0).numpy())


def test_a_model_may_say_how_it_wants_its_tiles():
    model, image = with_borders(), photo(41, 67)
    expected = predict(model, image, tile=(16, 32), stride=11, return_logits=True)
    whole = predict(model, image, return_logits=True)
    flat = predict(model, image, tile=(16, 32), stride=11, window="flat", return_logits=True)
    tiled = Normalized(model.network, model.mean, model.std, divisor=1, tile=(16, 32), stride=11)
    assert torch.equal(predict(tiled, image, return_logits=True), expected)
    assert torch.equal(predict(tiled, image, window="flat", return_logits=True), flat)
    assert torch.equal(predict(tiled, image, tile=100, return_logits=True), whole)
    tiled = Normalized(model.network, model.mean, model.std, divisor=1, tile=(16, 32), stride=11, window="flat")
    assert torch.equal(predict(tiled, image, return_logits=True), flat) and not torch.equal(flat, expected)


@pytest.mark.parametrize("window", ["smooth", "flat"])
@pytest.mark.parametrize("flip", [False, True])
def test_tiles_change_nothing_for_a_model_without_borders(window, flip):
    model = pointwise()
    for height, width in [(1, 1), (1, 50), (33, 20), (16, 16), (61, 47)]:
        image = photo(height, width)
        whole = predict(model, image, return_logits=True)
        for tile, stride in [(16, None), (16, 16), (16, 5), ((7, 40), None), (1, None), (3, 2)]:
            tiled = predict(model, image, tile=tile, stride=stride, window=window, flip=flip, return_logits=True)
            assert torch.allclose(tiled, whole, atol=2e-6), (height, width, tile, stride)


@pytest.mark.parametrize("window", ["smooth", "flat"])
def test_a_tile_that_covers_the_image_changes_nothing_at_all(window):
    model, image = seeded(Coarse()), photo(45, 70)
    whole = predict(model, image, return_logits=True)
    for tile in [(45, 70), 70, 512, (45, 100)]:
        tiled = predict(model, image, tile=tile, window=window, return_logits=True)
        assert torch.equal(tiled.view(torch.int32), whole.view(torch.int32))


def test_smooth_tiles_are_the_weighted_mean():
    model, image = with_borders(), photo(40, 30)
    window = np.sin(np.pi * (np.arange(16) + 0.5) / 16) ** 2
    total, weights = np.zeros((4, 40, 30)), np.zeros((40, 30))
    for y in (0, 10, 20, 24):
        for x in (0, 10, 14):
            with torch.no_grad():
                logits = model(tensor(image[y : y + 16, x : x + 16]))[0].double().numpy()
            total[:, y : y + 16, x : x + 16] += logits * np.outer(window, window)
            weights[y : y + 16, x : x + 16] += np.outer(window, window)
    actual = predict(model, image, tile=16, stride=10, return_logits=True)
    assert np.allclose(actual, total / weights, atol=1e-5)


def test_smooth_tiles_hide_their_seams():
    """A blur that looks up and left, on a grey picture: its zero padding dims the top and left of every tile."""
    blur = nn.Conv2d(3, 1, 31, padding=15, bias=False)
    nn.init.zeros_(blur.weight)
    nn.init.constant_(blur.weight[..., :16, :16], 1 / (3 * 16 * 16))
    blur = Normalized(blur, (0.0,) * 3, (1.0,) * 3, divisor=1)
    grey = np.full((200, 230, 3), 128, np.uint8)

    def largest_jump(**settings):
        logits = predict(blur, grey, tile=64, return_logits=True, **settings)[0, 20:, 20:]  # the image's own border off
        return max(logits.diff(dim=0).abs().max().item(), logits.diff(dim=1).abs().max().item())

    no_overlap = largest_jump(window="flat", stride=64)
    assert no_overlap > 0.4, "of a logit of 0.5"
    assert largest_jump(window="flat") > no_overlap / 3, "half-overlapping plain averages still jump"
    assert largest_jump() < no_overlap / 20
    assert largest_jump(stride=48) < no_overlap / 10


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    model, image = with_borders(), photo(100, 130)
    here = predict(model, image, tile=32, flip=True, return_logits=True)
    there = predict(model.cuda(), image, tile=32, flip=True, return_logits=True)
    assert there.device.type == "cpu" and torch.allclose(here, there, atol=0.05)
    assert predict(model, image, tile=32).shape == (100, 130)


MEMORY_SCRIPT = """
import re, time
import numpy as np, torch
from segmentation_helpers.inference import predict
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 2**20
torch.set_num_threads(1)
torch.manual_seed(0)
imported = peak()
image = np.random.default_rng(0).integers(0, 256, (8000, 8000, 3), dtype=np.uint8)
start = time.perf_counter()
classes = predict(torch.nn.Conv2d(3, 21, 1), image, tile=512)
assert classes.shape == (8000, 8000) and len(np.unique(classes)) > 1
print(imported, peak(), time.perf_counter() - start)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc; ru_maxrss would hold the parent's peak")
def test_memory_does_not_grow_with_classes_times_image():
    """8000 x 8000 in 21 classes: the logits alone would take 5.4 GB."""
    notebooks = Path(__file__).parents[1] / "notebooks"
    command = [sys.executable, "-c", MEMORY_SCRIPT]
    done = subprocess.run(command, cwd=notebooks, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    imported, peak, seconds = map(float, done.stdout.split())
    print(f"after imports {imported:.2f} GiB, peak {peak:.2f} GiB, {seconds:.1f} s")
    assert peak * 2**30 < 2e9
    assert (peak - imported) * 2**30 < 1.2e9


# Several views


def test_views_are_the_mean_of_scales_and_mirror_images():
    model, image = with_borders(), photo(30, 44)
    expected = []
    for scale in (0.5, 1, 1.5):
        size = (round(30 * scale), round(44 * scale))
        view = tensor(image) if scale == 1 else F.interpolate(tensor(image), size, mode="bilinear", antialias=True)
        for mirrored in (view, view.flip(-1)):
            logits = F.interpolate(model(mirrored), (30, 44), mode="bilinear")
            expected.append(logits if mirrored is view else logits.flip(-1))
    expected = torch.stack(expected).mean(0)
    actual = forward_views(model, tensor(image), flip=True, scales=(0.5, 1, 1.5))
    torch.testing.assert_close(actual, expected)
    logits = predict(model, image, flip=True, scales=(0.5, 1, 1.5), return_logits=True)
    torch.testing.assert_close(logits, expected[0], rtol=1e-4, atol=1e-4)
    mask = expected.argmax(1)
    confusion = evaluate(model, DataLoader([(tensor(image)[0], mask[0])]), flip=True, scales=[0.5, 1, 1.5])
    assert confusion.pixel_accuracy == 1
    assert evaluate(model, DataLoader([(tensor(image)[0], mask[0])])).pixel_accuracy < 1
    assert torch.equal(forward_views(model, tensor(image)), forward_padded(model, tensor(image)))


@pytest.mark.parametrize("scales", [(), 0, (1, -1), "1", (1, float("nan")), None])
def test_scales_that_make_no_sense_are_named(scales):
    with pytest.raises(
        ValueError, match=r"scales is .*, but factors from 0.1 to 10 are wanted, such as \(0.75, 1, 1.25\)"
    ):
        predict(pointwise(), photo(8, 8), scales=scales)


# predict: bad input


@pytest.mark.parametrize("image, settings, error, message", [
    (photo(8, 8) / 255, {}, TypeError, "image is float64, but uint8"),
    (photo(8, 8)[..., 0], {}, ValueError, r"shape \(8, 8\), but RGB .*convert\(\"RGB\"\)"),
    (np.zeros((9, 8, 4), np.uint8), {}, ValueError, r"shape \(9, 8, 4\), but RGB .*convert\(\"RGB\"\)"),
    (Image.new("RGBA", (8, 9)), {}, ValueError, r"image is transparent in places.*convert\(\"RGB\"\)"),
    (Image.new("LAB", (8, 9)), {}, TypeError, "image has the mode LAB, which Pillow cannot convert: save it as RGB"),
    (Image.new("I;16", (8, 9)), {}, ValueError, r"shape \(9, 8\), but RGB"),
    ("street.jpg", {}, TypeError, r"image is the name 'street.jpg', but pixels are wanted: predict\(model, read_image\(name\)\)"),
    (photo(8, 9).transpose(2, 0, 1), {}, ValueError, r"\(3, 8, 9\), but RGB .* image.transpose\(1, 2, 0\)"),
    (photo(0, 8), {}, ValueError, r"image is empty: its shape is \(0, 8, 3\)"),
    (photo(8, 8), {"tile": 4, "stride": 5}, ValueError, r"stride \(5, 5\) is larger than tile \(4, 4\): pixels would"),
    (photo(8, 8), {"tile": (4, 8), "stride": (4, 9)}, ValueError, "is larger than tile"),
    (photo(8, 8), {"tile": (4, 8), "stride": (5, 8)}, ValueError, "is larger than tile"),
    (photo(8, 8), {"stride": 5}, ValueError, "stride is given without tile"),
    (photo(8, 8), {"tile": 0}, ValueError, "tile is 0, but it must be a positive whole number"),
    (photo(8, 8), {"tile": 8.0}, ValueError, "tile is 8.0, but it must be a positive whole number"),
    (photo(8, 8), {"tile": (4, 4, 4)}, ValueError, r"tile is \(4, 4, 4\), but"),
    (photo(8, 8), {"tile": 4, "stride": -1}, ValueError, "stride is -1, but"),
    (photo(8, 8), {"window": "hann"}, ValueError, "window is 'hann', but it must be \"smooth\" or \"flat\""),
])  # fmt: skip
def test_bad_input_is_a_clear_error(image, settings, error, message):
    with pytest.raises(error, match=message):
        predict(pointwise(), image, **settings)


def test_bad_models_are_clear_errors():
    assert predict(pointwise(255), photo(8, 8)).dtype == np.uint8
    with pytest.raises(ValueError, match="256 classes do not fit into a uint8 class map .*return_logits=True"):
        predict(pointwise(256), photo(8, 8))
    assert predict(pointwise(256), photo(8, 8), return_logits=True).shape == (256, 8, 8)


# Several pictures, PIL's pictures, other numbers of bands --------------------------------------------------------------


def test_several_pictures_of_one_size_at_once():
    model, images = with_borders(), [photo(20, 30, seed) for seed in range(3)]
    expected = np.stack([predict(model, image) for image in images])
    assert np.array_equal(predict(model, np.stack(images)), expected)
    assert np.array_equal(
        predict(model, images, tile=16), np.stack([predict(model, image, tile=16) for image in images])
    )
    logits = predict(model, images, return_logits=True, flip=True)
    assert logits.shape == (3, 4, 20, 30) and torch.equal(
        logits[1], predict(model, images[1], return_logits=True, flip=True)
    )
    with pytest.raises(ValueError, match="one size, but these have 20 x 30, 30 x 20: predict them one by one"):
        predict(model, [images[0], photo(30, 20)])
    with pytest.raises(ValueError, match="no pictures"):
        predict(model, [])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_pil_picture_is_turned_upright_as_read_image_does(tmp_path, orientation):
    from segmentation_helpers.datasets import read_image

    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(photo(20, 30)).save(tmp_path / "p.png", exif=exif)
    model = with_borders()
    expected = predict(model, read_image(tmp_path / "p.png"))
    assert expected.shape == ((30, 20) if orientation > 4 else (20, 30))
    with Image.open(tmp_path / "p.png") as picture:
        assert np.array_equal(predict(model, picture), expected)


class DecoderFirst(nn.Module):
    """A network whose modules stand in another order than they run."""

    def __init__(self, bands):
        super().__init__()
        self.up, self.down = nn.Conv2d(16, 2, 1), nn.Conv2d(bands, 16, 1)

    def forward(self, image):
        return self.up(self.down(image))


@pytest.mark.parametrize("bands", [1, 3, 4])
def test_the_decoder_may_stand_before_the_encoder(bands):
    picture = np.dstack([photo(16, 9), photo(16, 9)])[..., :bands]
    assert predict(seeded(DecoderFirst(bands)), picture).shape == (16, 9)


def test_pil_pictures_of_every_mode_are_taken_as_read_image_takes_them():
    shades = Image.fromarray(np.array([[0, 255, 200, 10]] * 4, np.uint8))
    colours = Image.fromarray(photo(4, 4))
    palette = colours.quantize(16)
    for model, pictures in (
        (pointwise(), (colours, colours.convert("HSV").convert("RGB"), palette.convert("RGB"), shades.convert("RGB"))),
        (seeded(nn.Conv2d(1, 2, 1)), (shades, colours.convert("L"))),
    ):
        grey = pictures[0] is shades
        others = (
            (shades.convert("LA"), colours)
            if grey
            else (colours.convert("RGBA"), colours.convert("HSV"), palette, shades)
        )
        expected = [predict(model, picture) for picture in pictures]
        expected = [expected[0], *expected[1:]]
        for other, wanted in zip(others, expected, strict=True):
            assert np.array_equal(predict(model, other), wanted), other.mode
    assert np.array_equal(
        predict(seeded(nn.Conv2d(1, 2, 1)), shades.quantize(4)), predict(seeded(nn.Conv2d(1, 2, 1)), shades)
    )
    see_through = colours.convert("RGBA")
    see_through.putpixel((1, 2), (9, 9, 9, 0))
    for picture in (see_through, see_through.quantize(8)):
        with pytest.raises(ValueError, match="transparent in places"):
            predict(pointwise(), picture)
    assert predict(seeded(nn.Conv2d(4, 2, 1)), see_through).shape == (4, 4), "four bands, if four are wanted"


# predict and evaluate: outputs that are no logits


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_an_error(value):
    model = pointwise()
    model.bias.data[1] = value
    loader = DataLoader([(torch.rand(3, 8, 8), torch.zeros(8, 8).long())] * 2)
    for run in (lambda: predict(model, photo(8, 8)), lambda: evaluate(model, loader)):
        with pytest.raises(
            ValueError, match="logits are NaN or infinite: its weights are no longer finite, or numbers over"
        ):
            run()


def test_probabilities_of_one_channel_are_told_of():
    logits = seeded(nn.Conv2d(3, 1, 1))
    sigmoid = nn.Sequential(logits, nn.Sigmoid())
    loader = DataLoader([(torch.rand(3, 8, 8), torch.randint(2, (8, 8))) for _ in range(2)])
    for run in (lambda model: predict(model, photo(8, 8)), lambda model: evaluate(model, loader)):
        with pytest.warns(UserWarning, match="look like probabilities, but logits are wanted.*take the sigmoid out"):
            run(sigmoid)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run(logits)
            run(pointwise(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predict(sigmoid, photo(8, 8), return_logits=True)


def test_channels_last_logits_are_refused():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 1)

        def forward(self, image):
            return self.conv(image).permute(0, 2, 3, 1)

    with pytest.raises(
        TypeError, match=r"\(1, 32, 32, 2\) for an image of 32 x 32 pixels.*channels before height and width"
    ):
        predict(Last(), photo(32, 32))
    for size in ((1, 97), (40, 33), (320, 20)):  # rounding is not another shape
        coarse = Normalized(nn.Conv2d(3, 2, 32, stride=32, padding=16), (0.0,) * 3, (1.0,) * 3, divisor=1)
        assert predict(coarse, photo(*size)).shape == size


def test_the_bands_of_a_plain_model_are_those_that_a_convolution_takes():
    grey, four = seeded(nn.Sequential(nn.Conv2d(1, 2, 1))), seeded(nn.Conv2d(4, 2, 1))
    picture = photo(8, 8)
    assert np.array_equal(predict(grey, picture[..., 0]), predict(grey, picture[..., :1]))
    assert np.array_equal(predict(grey, Image.fromarray(picture[..., 0])), predict(grey, picture[..., 0]))
    assert predict(four, np.dstack([picture, picture[..., :1]])).shape == (8, 8)
    for model, image, words in [
        (grey, picture, r'takes grey pictures: open it with PIL.Image.open\(path\).convert\("L"\)'),
        (four, picture, "the model takes 4 bands"), (pointwise(), picture[..., 0], r'convert\("RGB"\)'),
        (pointwise(), np.dstack([picture, picture[..., :1]]), r'convert\("RGB"\)'),
        (pointwise(), photo(8, 8, 0)[:, :, [0, 1, 2, 0, 1]], "the model takes 3 bands"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=words):
            predict(model, image)
