"""Shared by all tests: no network look-ups, a data folder of their own, small data sets."""

import gc
import os
import tempfile

import numpy as np
import pytest
import torch
from accelerate.state import PartialState
from PIL import Image

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
_data = tempfile.TemporaryDirectory(prefix="segmentation-tests-")
REAL_DATA = os.environ.get("SEGMENTATION_DATA")  # a machine that has data sets tests them, too
os.environ["SEGMENTATION_DATA"] = _data.name


@pytest.fixture(scope="session")
def real_data():
    """The folder of real data sets that the caller's SEGMENTATION_DATA names, or a skip."""
    if not REAL_DATA:
        pytest.skip("SEGMENTATION_DATA names no real data")
    from segmentation_helpers.environment import ROOT

    return (ROOT / REAL_DATA).resolve()


@pytest.fixture
def folder_of_pairs(tmp_path):
    """Ten 40 x 32 pictures and masks of three classes: `images/p0.jpg` ... and `masks/p0.png` ..."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for i in range(10):
        mask = np.kron(rng.integers(0, 3, (8, 10)), np.ones((4, 4))).astype(np.uint8)
        mask[0, 0] = 255
        image = np.stack([mask % 3 * 80, 255 - mask % 3 * 80, rng.integers(0, 99, mask.shape)], -1).astype(np.uint8)
        Image.fromarray(image).save(tmp_path / f"images/p{i}.jpg", quality=95)
        Image.fromarray(mask).save(tmp_path / f"masks/p{i}.png")
    return tmp_path


@pytest.fixture
def on_the_cpu(monkeypatch):
    """One thread of the CPU, even where there is a GPU: exactness is promised there."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    PartialState._reset_state()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()  # fit collects garbage when it ends: not among all that torch has imported
    yield
    gc.unfreeze()
    torch.set_num_threads(threads)
    PartialState._reset_state()
