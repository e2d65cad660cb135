"""The files of a run: kept aside together, restored from each other, readable by everybody."""

import json
import math
import os
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from segmentation_helpers.metrics import ConfusionMatrix
from segmentation_helpers.training import fit, load_weights, plan_steps, save_metrics, save_weights
from segmentation_helpers.training.files import keep_aside, plain
from segmentation_helpers.training.identity import checksum
from training_run import Squares, cross_entropy, small_model

pytestmark = pytest.mark.usefixtures("on_the_cpu")


def loader():
    return DataLoader(Squares(12), 4, shuffle=True)


def run(folder, *, model=None, rate=0.05, steps=6, **options):
    model = small_model() if model is None else model
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9)
    options = {"loss": cross_entropy, "precision": "fp32"} | options
    fit(model, loader(), optimizer=optimizer, steps=steps, run_dir=folder, **options)
    return model


def names(folder):
    return {path.name for path in Path(folder).iterdir()}


# Weights --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ema", [None, 0.9])
def test_the_weights_of_a_finished_run_are_written_again_from_its_checkpoint(tmp_path, capsys, ema):
    model = run(tmp_path, ema=ema)
    weights = (tmp_path / "model.safetensors").read_bytes()
    for again in (model, small_model()):
        (tmp_path / "model.safetensors").rename(tmp_path / "mine.safetensors")
        run(tmp_path, model=again, ema=ema)
        printed = capsys.readouterr().out
        assert (
            "model.safetensors was missing: written again from the checkpoint" in printed
            and "nothing to train" in printed
        )
        assert (tmp_path / "model.safetensors").read_bytes() == weights and checksum(again) == checksum(model)


def test_a_finished_run_without_its_weights_is_kept_aside_as_any_other(tmp_path):
    run(tmp_path)
    checkpoint = (tmp_path / "checkpoint.pt").read_bytes()
    (tmp_path / "model.safetensors").rename(tmp_path / "mine.safetensors")
    run(tmp_path, rate=0.2)
    assert (tmp_path / "previous-1/checkpoint.pt").read_bytes() == checkpoint


def test_weights_are_as_readable_as_the_other_files(tmp_path):
    before = os.umask(0o027)
    try:
        run(tmp_path)
    finally:
        os.umask(before)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()}
    assert set(modes.values()) == {"0o640"}, modes


def test_what_could_not_be_written_is_removed(tmp_path, monkeypatch):
    def full(model, path):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    save_weights(small_model(), tmp_path / "model.safetensors")
    before = (tmp_path / "model.safetensors").read_bytes()
    monkeypatch.setattr("safetensors.torch.save_model", full)
    with pytest.raises(OSError, match="No space"):
        save_weights(small_model(), tmp_path / "model.safetensors")
    assert names(tmp_path) == {"model.safetensors"} and (tmp_path / "model.safetensors").read_bytes() == before


class Versioned(nn.Module):
    """A layer that refuses a state without its version, as torchvision's MNASNet does."""

    _version = 2

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.count = 0

    def _load_from_state_dict(self, state, prefix, metadata, *rest):
        if metadata.get("version") != 2:
            raise ValueError(f"version {metadata.get('version')}")
        super()._load_from_state_dict(state, prefix, metadata, *rest)

    def forward(self, image):
        return self.conv(image)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_layer_with_a_version_is_resumed_and_loaded(tmp_path, capsys, ema):
    def make():
        torch.manual_seed(1)
        return nn.Sequential(Versioned())

    whole = run(tmp_path / "whole", model=make(), ema=ema)
    model, steps = make(), []
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)

    def stop(*_):
        steps.append(1)
        if len(steps) == 4:
            raise KeyError("lost")

    handle = optimizer.register_step_pre_hook(stop)
    for said in ("", "Going on after step 3 of 6", "nothing to train"):
        try:
            fit(model, loader(), loss=cross_entropy, optimizer=optimizer, steps=6, run_dir=tmp_path / "cut", precision="fp32",
                ema=ema)  # fmt: skip
        except KeyError:
            handle.remove()
        assert said in capsys.readouterr().out
    assert checksum(model) == checksum(whole)
    other = make()
    nn.init.zeros_(other[0].conv.weight)
    load_weights(other, tmp_path / "cut/model.safetensors")
    assert checksum(other) == checksum(whole)


def test_plain_keeps_what_a_state_dict_says_of_its_versions():
    state = nn.BatchNorm2d(2).state_dict()
    assert plain({"model": state})["model"]._metadata[""]["version"] == 2
    assert plain(OrderedDict(a=1)) == OrderedDict(a=1)


# The plan -------------------------------------------------------------------------------------------------------------


def planned(folder, model=None, **settings):
    """The notebook's two calls: a plan, and the run that keeps to it. The plan is that of a fast machine: 6 steps."""
    steps = plan_steps(
        0.0001, small_model(), loader(), loss=cross_entropy, run_dir=folder, settings=settings, precision="fp32"
    )
    run(folder, model=model, steps=steps, settings=settings)
    return steps


def test_a_plan_goes_aside_with_its_run_and_the_new_runs_own_plan_stays(tmp_path):
    steps = planned(tmp_path, size=1)
    first = (tmp_path / "plan.json").read_bytes()
    run(tmp_path, steps=steps + 1, rate=0.2, settings={"size": 1})  # a length that was not planned
    assert (tmp_path / "previous-1/plan.json").read_bytes() == first and "plan.json" not in names(tmp_path)

    planned(tmp_path, size=2)  # measured anew, before the earlier run is kept aside
    assert "plan.json" not in names(tmp_path / "previous-2") and "plan.json" in names(tmp_path)
    assert json.loads((tmp_path / "plan.json").read_text())["asked"]["settings"] == {"size": 2}

    second = (tmp_path / "plan.json").read_bytes()
    steps = json.loads(second)["steps"]
    run(tmp_path, steps=steps, settings={"size": 2}, seed=1)  # another seed, the same plan: it serves both
    assert (tmp_path / "previous-3/plan.json").read_bytes() == second == (tmp_path / "plan.json").read_bytes()


def test_the_files_of_a_run_are_kept_aside_together(tmp_path):
    for name in ("plan.json", "metrics.json", "predictions.png", "history.csv", "checkpoint.pt", "model.safetensors"):
        (tmp_path / name).write_text(name if name != "plan.json" else '{"steps": 3}')
    keep_aside(tmp_path, ["seed was 0, is 1"])
    assert names(tmp_path) == {"previous-1"} and len(names(tmp_path / "previous-1")) == 6


# Metrics --------------------------------------------------------------------------------------------------------------


def test_metrics_are_json_for_every_reader(tmp_path):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    nothing = ConfusionMatrix(2)
    history = [{"step": 3, "seconds": 1.0, "loss": math.nan}]
    metrics = save_metrics(tmp_path, nothing, notebook="n", dataset="d", split="val", classes=["a", "b"], model=small_model(),
                           history=history, seed=0, precision="fp32", curve=[0.5, math.nan, {"best": math.inf}],
                           top=torch.tensor([0.25]).numpy())  # fmt: skip
    read = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=refuse)
    assert read["miou"] is None and read["pixel_accuracy"] is None and read["iou"] == [None, None]
    assert read["curve"] == [0.5, None, {"best": None}] and read["top"] == [0.25] and read["seed"] == 0
    assert math.isnan(metrics["miou"]) and metrics["steps"] == 3
