"""Every notebook under nbval in smoke mode, on drawn data and on a reader's own; what it leaves; its form; a lone copy."""

import ast
import functools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
import torch
from nbclient import NotebookClient

import own_data
import streets
from notebook_code import run_in_smoke_mode
from segmentation_helpers.environment import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MEMORY = 1.8e9  # bytes, with the CPU build of torch, which Binder gets
CUDA_BUILD = 0.34e9  # that the CUDA build takes besides
TIME_OUT = 300  # seconds; a minute is the aim, a row of `make bench`
USUAL = ("metrics.json", "history.csv", "model.safetensors", "predictions.png")
LEAVES = {"41_kaggle": (*USUAL, "submission.csv")}  # of the 4x series, each what its title promises; the others USUAL
OWN_SETTINGS = {"images", "masks", "classes", "mapping", "image_pattern", "mask_pattern"}

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A data folder with a few streets."""
    folder = tmp_path_factory.mktemp("data")
    streets.write_streets(folder / "streets", counts={"train": 24, "val": 16, "test": 8}, progress=False)
    return folder


@pytest.fixture(scope="session")
def own(tmp_path_factory):
    """A reader's own pictures and masks."""
    return own_data.write(tmp_path_factory.mktemp("own"))


@functools.cache
def smoke_run(path, data):
    """One run of a notebook for all the tests that ask something of it."""
    return run_in_smoke_mode(path, data, timeout=TIME_OUT)


def cells(path, kind="code"):
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == kind and cell.source.strip()]


def tagged(path, tag):
    return [cell for cell in cells(path) if tag in cell.metadata.get("tags", [])]


@each_notebook
def test_it_runs_in_smoke_mode(path, data):
    run = smoke_run(path, data)
    assert run.returncode == 0, run.output


@each_notebook
def test_it_stays_within_the_memory_of_binder(path, data):
    run = smoke_run(path, data)
    if torch.cuda.is_available():
        pytest.skip("a GPU's driver takes gigabytes of its own")
    if not Path("/proc/self/status").is_file():
        pytest.skip("memory is read from /proc")
    assert run.peak_bytes < MEMORY + (CUDA_BUILD if torch.version.cuda else 0)


@each_notebook
def test_it_leaves_its_results(path, data):
    run = smoke_run(path, data)
    assert run.run_dir.is_dir() and ROOT not in run.run_dir.parents, "a smoke test leaves runs/ alone"
    names = LEAVES.get(path.stem, USUAL)
    assert [name for name in names if not (run.run_dir / name).is_file()] == []
    if "metrics.json" in names:
        metrics = json.loads((run.run_dir / "metrics.json").read_text())
        assert metrics["notebook"] == path.stem and 0 <= metrics["miou"] <= 1
        assert len(metrics["iou"]) == len(metrics["classes"])
    shutil.rmtree(run.run_dir)


@each_notebook
def test_it_learns_a_readers_own_classes_by_settings_alone(path, data, own):
    """Two classes, pictures of three sizes, the rarer class on a quarter of the pixels and no brighter than the other."""
    if not OWN_SETTINGS <= set(papermill.inspect_notebook(str(path))):
        assert path.stem[0] == "4", "every training notebook takes the reader's own folders"
        pytest.skip("it has data of its own")
    run = run_in_smoke_mode(path, data, own_data.parameters(own), timeout=TIME_OUT)
    assert run.returncode == 0, run.output
    metrics = json.loads((run.run_dir / "metrics.json").read_text())
    assert metrics["classes"] == ["ground", "field"] and metrics["dataset"] == "own" and metrics["split"] == "val"
    assert metrics["steps"] <= 60 and min(metrics["iou"]) > 0.5
    shutil.rmtree(run.run_dir)


def test_notebook_10_takes_a_pretrained_encoder(data):
    path = ROOT / "notebooks/10_unet_from_scratch.ipynb"
    run = run_in_smoke_mode(path, data, {"encoder": "tf_efficientnet_lite0"}, timeout=TIME_OUT)
    assert run.returncode == 0, run.output
    metrics = json.loads((run.run_dir / "metrics.json").read_text())
    assert metrics["recipe"]["encoder"] == "tf_efficientnet_lite0" and 3.5e6 < metrics["parameters"] < 4.5e6
    shutil.rmtree(run.run_dir)


@each_notebook
def test_it_reads_well(path):
    assert path.stat().st_size < 3_000_000
    code = cells(path)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "a fresh Restart & Run All"
    assert max(cell.source.count("\n") + 1 for cell in code) <= 25
    assert "bootstrap" in code[0].metadata.get("tags", []) and len(tagged(path, "parameters")) == 1
    words = cells(path, "markdown")
    assert len(words) > 0.6 * len(code)
    assert not any(re.search(r"\\\\[a-z,]", cell.source) for cell in words), "a formula's backslash, doubled"
    for number, cell in enumerate(code, 1):
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr", f"cell {number}"
            text = json.dumps(output)
            assert not re.search(r"Warning|/(root|home|work|tmp|Users)/", text), f"cell {number}"


SHOWS = re.compile(r"(print|show|show_\w+|plot_\w+|display|SVG|best_and_worst|contact_sheet)$")


@each_notebook
def test_what_a_cell_shows_is_there(path):
    """A cell that prints or draws, or ends in a value, has its output: none was lost when cells were moved or edited."""
    for number, cell in enumerate(cells(path), 1):
        *statements, last = ast.parse(cell.source.replace("%", "#", cell.source.startswith("%"))).body
        calls = [node.value for node in [*statements, last] if isinstance(node, ast.Expr)]
        names = [ast.unparse(call.func).split(".")[-1] for call in calls if isinstance(call, ast.Call)]
        ends_in_value = isinstance(last, ast.Expr) and isinstance(last.value, ast.Name)
        if ends_in_value or any(map(SHOWS.fullmatch, names)):
            assert cell.outputs, f"cell {number} shows nothing: {cell.source.splitlines()[-1]}"


@each_notebook
def test_papermill_knows_every_setting(path):
    """It reads `name = value`, one a line, and warns of a `-p` that it does not find."""
    assigned = [node.targets for node in ast.parse(tagged(path, "parameters")[0].source).body]
    names = {target.id for targets in assigned for target in targets}
    assert set(papermill.inspect_notebook(str(path))) == names >= {"smoke_test", "seed", "run_dir"}
    if path.stem[0] in "0123":
        assert names >= {"evaluate_on", "dataset"} | OWN_SETTINGS


@each_notebook
def test_settings_mean_the_same_everywhere(path):
    """And no cell after the settings turns one of them into something else."""
    settings = set(papermill.inspect_notebook(str(path)))
    assert not settings & {"encoder_weights", "weights", "backbone"}, "encoder is timm's name, pretrained a switch"
    source = "\n".join(cell.source for cell in cells(path))
    assert not re.search(r"A\.Normalize|\.divisor\b|\.mean, \w+\.std = ", source), (
        "normalisation is part of the network"
    )
    code = cells(path)
    place = next(n for n, cell in enumerate(code) if "parameters" in cell.metadata.get("tags", []))
    stored = {name for cell in code[place + 2 :] for node in ast.parse(cell.source).body for name in _stored(node)}
    assert not stored & settings & {"images", "masks", "mapping", "image_pattern", "mask_pattern", "own", "settings"}


@each_notebook
def test_no_function_is_overwritten_by_a_variable(path):
    """A loop that borrows a function's name breaks the cells after it, or worse, the cells run once more."""
    defined, stored = set(), set()
    for cell in cells(path):
        for node in ast.parse(cell.source).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                defined.add(node.name)
            else:
                stored |= set(_stored(node))
    assert not defined & stored


def _stored(node):
    """Names that a statement binds in the notebook itself; comprehensions and lambdas have scopes of their own."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    scopes = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda, ast.FunctionDef, ast.ClassDef)
    if not isinstance(node, scopes):
        for child in ast.iter_child_nodes(node):
            yield from _stored(child)


def test_badges_bootstrap_cells_and_tables_are_up_to_date():
    run = subprocess.run([sys.executable, ROOT / "tools/stamp.py", "--check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def copy_of_the_repository(target):
    """A git repository with the working tree's files, as somebody would clone it."""
    listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, text=True)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], [*identity, "commit", "-qm", "copy"]):
        subprocess.run(["git", *command], cwd=target, check=True)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    target = tmp_path_factory.mktemp("repository")
    copy_of_the_repository(target)
    return target


CHECK = """
import importlib, json, os, segmentation_helpers
print(json.dumps([os.getcwd(), segmentation_helpers.__file__, os.path.isdir("../imgs")]))
"""


def test_a_lone_notebook_fetches_the_rest(repository, tmp_path, monkeypatch):
    """As Colab opens it: nothing beside the notebook. Its bootstrap cell, unchanged, clones what git is told to clone."""
    source = tagged(NOTEBOOKS[0], "bootstrap")[0].source
    address = re.search(r"https://github\.com/[\w.-]+/[\w.-]+", source)[0]
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.file://{repository}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", address)
    shutil.copy(NOTEBOOKS[0], tmp_path / "lone.ipynb")
    for _ in range(2):  # and once more after the kernel was restarted
        lone = nbformat.v4.new_notebook(
            cells=[*tagged(tmp_path / "lone.ipynb", "bootstrap"), nbformat.v4.new_code_cell(CHECK)]
        )
        NotebookClient(lone, resources={"metadata": {"path": tmp_path}}, timeout=120).execute()
        folder, helpers, images = json.loads(lone.cells[1].outputs[0].text)
        name = address.rpartition("/")[2]
        assert Path(folder) == tmp_path / name / "notebooks" and images
        assert Path(helpers).is_relative_to(tmp_path / name)
    assert not (tmp_path / name / "notebooks" / name).exists()


def test_beside_its_helpers_the_bootstrap_cell_does_nothing(monkeypatch):
    """git and pip would fail: there is no such program on this PATH."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(ROOT / "notebooks")
    monkeypatch.setattr(sys, "path", [*sys.path])
    exec(tagged(NOTEBOOKS[0], "bootstrap")[0].source, {})
    assert Path.cwd() == ROOT / "notebooks"
