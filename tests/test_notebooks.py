"""Every notebook under nbval in smoke mode, in a process of its own; what it leaves; its form; a lone copy, as on Colab."""

import ast
import json
import os
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

import streets
from notebook_code import run_in_smoke_mode
from segmentation_helpers.environment import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MEMORY = 1.8e9 + 0.34e9  # bytes; the CUDA build of torch takes 0.34 GB more than the CPU build that Binder gets

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A data folder with a few streets."""
    folder = tmp_path_factory.mktemp("data")
    streets.write_streets(folder / "streets", counts={"train": 24, "val": 16, "test": 8}, progress=False)
    return folder


def cells(path, kind="code"):
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == kind and cell.source.strip()]


def tagged(path, tag):
    return [cell for cell in cells(path) if tag in cell.metadata.get("tags", [])]


@each_notebook
def test_it_runs_in_smoke_mode(path, data):
    environment = os.environ | {"SMOKE_TEST": "1", "SEGMENTATION_DATA": str(data), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "-x", "-q", "-p", "no:cacheprovider", str(path)]
    run = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]


@each_notebook
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from /proc")
def test_it_leaves_its_results_within_the_memory_of_binder(path, data):
    _, peak, run_dir = run_in_smoke_mode(path, data)
    if not torch.cuda.is_available():  # whose driver takes gigabytes of its own
        assert peak < MEMORY
    assert run_dir.is_dir() and ROOT not in run_dir.parents, "a smoke test leaves runs/ alone"
    names = ("metrics.json", "history.csv", "model.safetensors", "predictions.png")
    assert [name for name in names if not (run_dir / name).is_file()] == []
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert (
        metrics["notebook"] == path.stem
        and 0 <= metrics["miou"] <= 1
        and len(metrics["iou"]) == len(metrics["classes"])
    )
    shutil.rmtree(run_dir)


@each_notebook
def test_it_reads_well(path):
    assert path.stat().st_size < 1_000_000
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


@each_notebook
def test_papermill_knows_every_setting(path):
    """It reads `name = value`, one a line, and warns of a `-p` that it does not find."""
    assigned = [node.targets for node in ast.parse(tagged(path, "parameters")[0].source).body]
    names = {target.id for targets in assigned for target in targets}
    assert set(papermill.inspect_notebook(str(path))) == names >= {"smoke_test", "seed", "run_dir", "evaluate_on"}


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
