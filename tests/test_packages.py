"""`pip install .`: the packages work outside the repository, with their data files, and leave nothing there but their runs."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import segmentation_helpers
from segmentation_helpers.environment import ROOT, versions
from test_notebooks import copy_of_the_repository

PROGRAM = """
import json, pathlib, sys
import numpy as np, torch
from torch import nn
import segmentation_helpers, segmentors, streets
from segmentation_helpers import environment
from segmentation_helpers.datasets import load_dataset
from segmentation_helpers.inference import Normalized, predict
from segmentation_helpers.training import evaluate, fit, runs_like, save_metrics

assert all("site-packages" in package.__file__ for package in (segmentation_helpers, segmentors, streets))
assert environment.REPOSITORY is None
picture, _ = streets.draw_street(3, (96, 72))
streets.write_streets("streets", counts={"train": 4, "val": 2}, size=(64, 48), progress=False)
data = load_dataset("streets", "train", root="streets")
loader = torch.utils.data.DataLoader(data, batch_size=2)
model = Normalized(nn.Conv2d(3, 11, 3, padding=1), (0.5,) * 3, (0.25,) * 3)
folder = environment.run_folder("mine")
loss = lambda logits, mask: nn.functional.cross_entropy(logits, mask, ignore_index=255)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
history = fit(model, loader, loader, loss=loss, optimizer=optimizer, steps=2, run_dir=folder, precision="fp32")
metrics = save_metrics(folder, evaluate(model, loader), notebook="mine", dataset="streets", split="train",
                       classes=data.classes, model=model, history=history, seed=0, precision="fp32")
assert runs_like(metrics) == [metrics]
assert predict(model, picture).shape == (72, 96)
assert predict(segmentors.create("unet", 3, width=4), picture).shape == (72, 96)
assert len(segmentors.available()) == 37
print(json.dumps({"version": metrics["versions"]["segmentation_helpers"], "folder": str(folder)}))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of a new environment that has our packages installed, and sees the others through a .pth file."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("environment") / "venv"
    copy_of_the_repository(source)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", target], check=True)
    site = next(target.glob("lib/python*/site-packages"))
    (site / "shared.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n")
    interpreter = target / "bin/python"
    pip = [sys.executable, "-m", "pip", "--python", interpreter, "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--no-index", source], check=True)
    return interpreter


def test_installed_packages_work_outside_the_repository(python, tmp_path):
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "SEGMENTATION"))}
    variables |= {"ACCELERATE_USE_CPU": "true"}
    run = subprocess.run([python, "-c", PROGRAM], cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    last = run.stdout.strip().splitlines()[-1]
    assert segmentation_helpers.__version__ in last and str(tmp_path / "runs/mine") in last
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "streets"]
    left = {path.name for path in (tmp_path / "runs/mine").iterdir()}
    assert left == {"checkpoint.pt", "history.csv", "metrics.json", "model.safetensors"}


def test_dependencies_are_stated_once():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "dependencies" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["dependencies"] == {"file": ["requirements.txt"]}


def test_the_version_is_in_every_result_and_in_the_changelog():
    assert versions()["segmentation_helpers"] == segmentation_helpers.__version__
    first = next(line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## "))
    assert first == f"## {segmentation_helpers.__version__}"


@pytest.mark.parametrize("package", ["segmentation_helpers", "streets", "segmentors"])
def test_imports_go_one_way(package):
    """Helpers import no other package of ours at import time; the others import the helpers."""
    code = (
        f"import sys, {package}; print(sorted({{'segmentation_helpers', 'streets', 'segmentors'}} & set(sys.modules)))"
    )
    if package == "segmentation_helpers":
        code = code.replace("import sys,", "import sys, segmentation_helpers.datasets, segmentation_helpers.training,")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "notebooks")}
    seen = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment, cwd=Path.home())
    assert eval(seen) == sorted({"segmentation_helpers", package})


def test_no_file_of_the_helpers_is_long():
    for topic in ("datasets", "training"):
        for path in (ROOT / "notebooks/segmentation_helpers" / topic).glob("*.py"):
            assert len(path.read_text().splitlines()) <= 320, path
