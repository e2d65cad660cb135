"""Normalisation as part of the network: whatever wraps it, trains it, saves it or exports it, the pixels stay the same."""

import copy
import warnings

import fastai.vision.all as fastai
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.v2 as transforms
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from segmentation_helpers import environment
from segmentation_helpers.inference import Normalized, input_spec, predict
from segmentation_helpers.learner import fit_learner
from segmentation_helpers.training import evaluate, fit, load_weights, plan_steps, save_weights
from training_run import Squares, cross_entropy

MEAN, STD = (0.2, 0.5, 0.7), (0.1, 0.3, 0.2)  # neither 0 and 1, nor alike, nor anybody's default
GEOMETRY = {"divisor": 4, "tile": (24, 32), "stride": (16, 20), "window": "flat"}


class Network(nn.Module):
    """Takes multiples of 4; its logits depend on the statistics and on every pixel around."""

    def __init__(self, classes=5, bands=3):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(bands, classes, 3, padding=1), nn.BatchNorm2d(classes)

    def forward(self, image):
        image = F.pixel_shuffle(F.pixel_unshuffle(image, 4), 4)  # as it was, or an error
        return self.norm(self.conv(image))


def photo(height=42, width=50, bands=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, bands), dtype=np.uint8)


def model(**geometry):
    torch.manual_seed(0)
    return Normalized(Network(), MEAN, STD, **(geometry or GEOMETRY)).eval()


def traced(plain, image):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch: tracing is deprecated
        return torch.jit.trace(plain, image)


def saved_and_loaded(plain, image, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(traced(plain, image), folder / "program.pt")
        return torch.jit.load(folder / "program.pt")


WRAPPERS = {
    "DataParallel": lambda plain, image, folder: nn.DataParallel(plain),
    "average": lambda plain, image, folder: AveragedModel(plain, use_buffers=True),
    "compile": lambda plain, image, folder: torch.compile(plain, backend="eager"),
    "trace": lambda plain, image, folder: traced(plain, image),
    "trace, saved and loaded": saved_and_loaded,
    "export": lambda plain, image, folder: torch.export.export(plain, (image,)).module(),
    "Sequential": lambda plain, image, folder: nn.Sequential(plain),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapper_keeps_statistics_and_geometry(wrapper, tmp_path):
    plain, image = model(), photo()
    expected = predict(plain, image, return_logits=True)
    wrapped = WRAPPERS[wrapper](plain, torch.rand(1, 3, 24, 32), tmp_path)
    assert input_spec(wrapped) == input_spec(plain)
    assert input_spec(wrapped).tile == (24, 32) and input_spec(wrapped).divisor == 4 and input_spec(wrapped).bands == 3
    torch.testing.assert_close(predict(wrapped, image, return_logits=True), expected, rtol=0, atol=1e-6)
    assert np.array_equal(predict(wrapped, image), predict(plain, image))
    without = predict(plain.network, image, **{k: v for k, v in GEOMETRY.items() if k != "divisor"})
    assert (without != predict(plain, image)).mean() > 0.1, "the statistics matter"


def test_the_average_of_the_weights_leaves_the_buffers_exact():
    plain = model()
    average = AveragedModel(plain, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9), use_buffers=True)
    for _ in range(50):
        average.update_parameters(plain)
    assert input_spec(average) == input_spec(plain) and torch.equal(average.module.mean, plain.mean)


@pytest.mark.parametrize("cast", ["half", "bfloat16", "double"])
def test_a_cast_network_keeps_exact_statistics(cast):
    plain = Normalized(Network(), MEAN, STD, divisor=4, scale=(2049, 1023), tile=769, stride=(513, 511)).eval()
    before = copy.deepcopy(plain)
    getattr(plain, cast)()
    assert torch.equal(plain.mean, before.mean) and plain.mean.dtype == torch.float32
    assert input_spec(plain) == input_spec(before)
    logits = predict(plain, photo(), tile=64, return_logits=True)
    exact = predict(before, photo(), tile=64, return_logits=True)
    assert (logits - exact).abs().max() < 0.03 * exact.std()
    state = {name: value.bfloat16() for name, value in before.state_dict().items()}  # weights somebody cast by hand
    before.load_state_dict(state)
    assert input_spec(before).scale == (2049, 1023) and input_spec(before).stride == (513, 511)


def test_a_program_that_cannot_change_its_mode_is_used_as_it_is():
    plain = model(divisor=4)
    program = torch.export.export(plain, (torch.rand(1, 3, 44, 52),)).module()
    with pytest.raises(NotImplementedError):
        program.eval()
    assert np.array_equal(predict(program, photo()), predict(plain, photo()))


def test_evaluate_and_predict_say_the_same_of_the_same_pictures():
    plain, images = model(divisor=4), [photo(seed=n) for n in range(3)]
    masks = [predict(plain, image) for image in images]
    pairs = [(torch.from_numpy(image).permute(2, 0, 1) / 255, torch.from_numpy(mask).long())
             for image, mask in zip(images, masks, strict=True)]  # fmt: skip
    loader = DataLoader(pairs, batch_size=2)
    assert evaluate(plain, loader).pixel_accuracy == 1
    assert evaluate(nn.DataParallel(plain), loader).pixel_accuracy == 1
    assert evaluate(plain.network, loader).pixel_accuracy < 0.9


def train(network, **options):
    torch.manual_seed(0)
    loader = DataLoader(Squares(), batch_size=4, shuffle=True)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    return fit(network, loader, loss=cross_entropy, optimizer=optimizer, epochs=1, precision="fp32", **options)


def test_training_sees_the_normalised_image_and_weights_on_disk_hold_the_statistics(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    trained, seen = Normalized(Network(classes=3), MEAN, STD, divisor=4), []
    trained.network.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    train(trained, run_dir=tmp_path, ema=0.5)
    images = torch.stack([image for image, _ in Squares()])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    low, high = ((images - mean) / std).amin((0, 2, 3)), ((images - mean) / std).amax((0, 2, 3))
    batches = torch.cat(seen)
    torch.testing.assert_close((batches.amin((0, 2, 3)), batches.amax((0, 2, 3))), (low, high), rtol=1e-4, atol=1e-4)

    other = Normalized(Network(classes=3), (0.5,) * 3, (0.5,) * 3, divisor=32)
    load_weights(other, tmp_path / "model.safetensors")
    assert torch.equal(other.mean, trained.mean) and input_spec(other) == input_spec(trained)
    assert np.array_equal(predict(other, photo()), predict(trained, photo()))
    save_weights(trained, tmp_path / "again.safetensors")
    load_weights(other, tmp_path / "again.safetensors")


def test_other_statistics_are_another_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    train(Normalized(Network(classes=3), MEAN, STD), run_dir=tmp_path)
    train(Normalized(Network(classes=3), MEAN, (0.2,) * 3), run_dir=tmp_path)
    assert "starting anew" in capsys.readouterr().out


@pytest.mark.parametrize("bands", [1, 2, 4, 7])
def test_other_numbers_of_bands(bands):
    mean, std = np.linspace(0.2, 0.6, bands), np.linspace(0.1, 0.3, bands)
    plain, image = Normalized(Network(bands=bands), mean, std, divisor=4).eval(), photo(bands=bands)
    scaled = torch.from_numpy(((image / 255 - mean) / std).astype(np.float32)).permute(2, 0, 1)[None]
    padded = F.pad(scaled, (0, 2, 0, 2), mode="reflect")
    with torch.inference_mode():
        expected = plain.network(padded)[0, :, :42, :50]
    torch.testing.assert_close(predict(plain, image, return_logits=True), expected)
    with pytest.raises(ValueError, match=rf"\(42, 50, 3\), but \(height, width, {bands}\) is wanted"):
        predict(plain, photo())
    with pytest.raises(ValueError, match=f"the image has 3 bands, but the network is made for {bands}"):
        plain(torch.rand(1, 3, 8, 8))
    if bands == 1:
        assert np.array_equal(predict(plain, image[..., 0]), predict(plain, image))


@pytest.mark.parametrize("size", [(30, 40), (100, 40), (64, 200), (128, 64)])
def test_a_picture_is_resized_to_the_scale_of_the_network_and_the_logits_back(size):
    plain, image = model(divisor=4, scale=(128, 64)), photo(*size)
    factor = min(128 / max(size), 64 / min(size))
    small = [int(side * factor + 0.5) for side in size]
    seen = []
    plain.network.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[-2:]))
    logits = predict(plain, image, return_logits=True)
    assert seen == [tuple(-(-side // 4) * 4 for side in small)]
    import cv2

    resized = cv2.resize(image, small[::-1], interpolation=cv2.INTER_LINEAR)
    expected = predict(Normalized(plain.network, MEAN, STD, divisor=4), resized, return_logits=True)
    expected = F.interpolate(expected[None], size=size, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    assert np.array_equal(predict(plain, image), logits.argmax(0).numpy())


# fastai ----------------------------------------------------------------------------------------------------------------


def unet_learner(folder, batch_tfms=()):
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for number in range(6):
        fastai.PILImage.create(photo(32, 32, seed=number)).save(folder / f"images/{number}.png")
        fastai.PILMask.create(np.tile([0, 1], (32, 16)).astype(np.uint8)).save(folder / f"masks/{number}.png")
    dls = fastai.SegmentationDataLoaders.from_label_func(
        folder, sorted((folder / "images").iterdir()), lambda path: folder / "masks" / path.name, codes=["a", "b"], bs=2,
        seed=0, batch_tfms=list(batch_tfms), num_workers=0,
    )  # fmt: skip
    learn = fastai.unet_learner(dls, fastai.resnet18, n_out=2, pretrained=False, normalize=False, path=folder)
    return learn


def test_fastais_splitter_looks_inside(tmp_path):
    learn = unet_learner(tmp_path)
    groups = [len(group) for group in learn.splitter(learn.model)]
    learn.model = Normalized(learn.model, MEAN, STD, divisor=1)
    assert [len(group) for group in learn.splitter(learn.model)] == groups and len(groups) == 3
    learn.freeze()
    frozen = [not p.requires_grad for p in learn.model[0].parameters()]
    assert any(frozen) and all(p.requires_grad for p in learn.model[1:].parameters())


def test_fastai_trains_on_images_that_the_network_normalises(tmp_path):
    learn = unet_learner(tmp_path)
    assert not [t for t in learn.dls.after_batch if isinstance(t, fastai.Normalize)], "normalize=False"
    learn.model, seen = Normalized(learn.model, MEAN, STD, divisor=1), []
    learn.model.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    learn.model.network.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    with learn.no_bar(), learn.no_logging():
        fit_learner(learn, 1, 1e-3, run_dir=tmp_path / "run")
    before, after = (x.as_subclass(torch.Tensor) for x in seen[:2])
    mean, std = (torch.tensor(values, device=before.device).view(3, 1, 1) for values in (MEAN, STD))
    assert 0 <= before.min() and before.max() <= 1
    torch.testing.assert_close(after, (before - mean) / std)


def test_fastais_own_normalisation_is_refused(tmp_path):
    learn = unet_learner(tmp_path, [fastai.Normalize.from_stats(*fastai.imagenet_stats)])
    with pytest.raises(ValueError, match="fastai's Normalize is among the batch transforms.*normalize=False"):
        fit_learner(learn, 1, 1e-3, run_dir=tmp_path / "run")


# What is refused -------------------------------------------------------------------------------------------------------


class Old(Network):
    mean, std = MEAN, STD


def test_a_model_with_the_old_attributes_is_told_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    instance = Network(classes=3)
    instance.mean, instance.std = torch.tensor(MEAN), np.array(STD)
    loader = DataLoader(Squares(), batch_size=4)
    for old in (Old(), instance, nn.Sequential(instance), nn.DataParallel(Old()), AveragedModel(instance)):
        for use in (
            lambda m: predict(m, photo()), lambda m: evaluate(m, loader), train,
            lambda m: plan_steps(1, m, loader, loss=cross_entropy),
        ):  # fmt: skip
            with pytest.raises(ValueError, match="attributes mean and std.*Normalized\\(network, mean, std\\)"):
                use(old)
    learn = unet_learner(tmp_path)
    learn.model.mean, learn.model.std = fastai.imagenet_stats
    with pytest.raises(ValueError, match="attributes mean and std"):
        fit_learner(learn, 1, 1e-3, run_dir=tmp_path / "run")


def test_torchvisions_transform_inside_a_network_is_no_old_attribute():
    plain = nn.Sequential(transforms.Normalize(MEAN, STD), Network()).eval()
    expected = predict(Normalized(plain[1], MEAN, STD), photo(), return_logits=True)
    torch.testing.assert_close(predict(plain, photo(), return_logits=True), expected, rtol=1e-4, atol=1e-4)


class Shifted(torch.utils.data.Dataset):
    """Squares whose images a transform has normalised already."""

    def __init__(self, scale, shift):
        self.data, self.scale, self.shift = Squares(), scale, shift

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        image, mask = self.data[index]
        return self.scale * image + self.shift, mask


@pytest.mark.parametrize(("scale", "shift"), [(1 / 0.225, -0.45 / 0.225), (2, -1), (255, 0)])
def test_images_outside_0_to_1_are_refused(monkeypatch, scale, shift):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    loader, plain = DataLoader(Shifted(scale, shift), batch_size=4), Normalized(Network(classes=3), MEAN, STD)
    optimizer = torch.optim.SGD(plain.parameters(), 0.1)
    with pytest.raises(ValueError, match="should lie in 0..1.*take A.Normalize out"):
        fit(plain, loader, loss=cross_entropy, optimizer=optimizer, epochs=1, precision="fp32")
    with pytest.raises(ValueError, match="should lie in 0..1"):
        evaluate(plain, loader)
    with pytest.warns(UserWarning, match="should lie in 0..1.*predict will show the network images in 0..1"):
        evaluate(plain.network, loader)


@pytest.mark.parametrize(
    ("arguments", "geometry", "message"),
    [
        (((123.7, 116.3, 103.5), (58.4, 57.1, 57.4)), {}, "divide those for 0-255 by 255"),
        ((MEAN, (0.2, 0, 0.2)), {}, "on the 0-1 scale"),
        ((MEAN, (0.2, 0.2)), {}, "one number each per band"),
        ((0.5, 0.5), {}, "one number per band is wanted"),
        ((MEAN, STD), {"divisor": 0}, "divisor is 0"),
        ((MEAN, STD), {"tile": 2.5}, "tile is 2.5"),
        ((MEAN, STD), {"stride": 8}, "stride is given without tile"),
        ((MEAN, STD), {"tile": 8, "stride": 16}, "pixels would be skipped"),
        ((MEAN, STD), {"window": "hann"}, "window is 'hann'"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, geometry, message):
    with pytest.raises(ValueError, match=message):
        Normalized(Network(), *arguments, **geometry)


def test_nothing_is_normalised_twice():
    with pytest.raises(ValueError, match="normalises its images already"):
        Normalized(nn.DataParallel(model()), MEAN, STD)


def test_it_is_shown_with_its_statistics():
    text = repr(model())
    assert "mean=[0.2, 0.5, 0.7]" in text and "tile=(24, 32)" in text and "window=flat" in text
    assert environment  # keeps the import that sets up the data folder


def test_whole_numbers_and_statistics_that_are_not_finite_are_refused():
    model = Normalized(nn.Conv2d(3, 2, 1), MEAN, STD)
    with pytest.raises(TypeError, match="the image is torch.uint8, but floats in 0..1 are wanted: divide it by 255"):
        model(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    for mean, std in (([float("nan")] * 3, STD), (MEAN, [float("inf")] * 3)):
        with pytest.raises(ValueError, match="must be finite"):
            Normalized(nn.Conv2d(3, 2, 1), mean, std)
