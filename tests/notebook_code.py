"""Notebooks from outside, for tests and benchmarks: what one defines, and a run of it in smoke mode."""

import ast
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import nbformat

from segmentation_helpers.environment import ROOT

REPORT = """
import json, pathlib, re
status = pathlib.Path("/proc/self/status")
peak = re.search(r"VmHWM:\\s+(\\d+)", status.read_text()) if status.is_file() else None
report = {"run_dir": str(run_dir), "peak_bytes": 1024 * int(peak[1]) if peak else None}
_ = pathlib.Path(os.environ["SMOKE_REPORT"]).write_text(json.dumps(report))
"""


@dataclass
class SmokeRun:
    """A run of a notebook in smoke mode: what nbval said, and what the last cell saw."""

    returncode: int
    output: str
    seconds: float
    peak_bytes: int | None = None
    run_dir: Path | None = None


def run_in_smoke_mode(path, data, parameters=None, timeout=300) -> SmokeRun:
    """Run a notebook under nbval with data sets from `data`.

    `parameters` are set as papermill does it; committed outputs are compared only where there are none.
    """
    notebook = nbformat.read(path, 4)
    if parameters:
        for cell in notebook.cells:
            cell.metadata["tags"] = [tag for tag in cell.metadata.get("tags", []) if not tag.startswith("nbval")]
        place = next(n for n, cell in enumerate(notebook.cells, 1) if "parameters" in cell.metadata["tags"])
        source = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
        notebook.cells.insert(place, nbformat.v4.new_code_cell(source))
    notebook.cells.append(nbformat.v4.new_code_cell(REPORT))
    with tempfile.TemporaryDirectory(prefix="smoke-") as folder:
        root = Path(folder)
        (root / "notebooks").mkdir()
        for name in ("imgs", "results", "tools"):
            (root / name).symlink_to(ROOT / name)
        for package in (item for item in (ROOT / "notebooks").iterdir() if item.is_dir()):
            (root / "notebooks" / package.name).symlink_to(package)
        copy, report = root / "notebooks" / path.name, root / "report.json"
        nbformat.write(notebook, copy)
        variables = os.environ | {
            "SMOKE_TEST": "1", "SEGMENTATION_DATA": str(data), "SMOKE_REPORT": str(report), "PYTHONHASHSEED": "0",
            "PYTHONWARNINGS": "ignore",
        }  # fmt: skip
        command = [
            sys.executable,
            "-m",
            "pytest",
            "--nbval-lax",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            copy,
        ]
        begun = time.perf_counter()
        try:
            run = subprocess.run(command, env=variables, cwd=root, capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired as late:
            return SmokeRun(-1, f"not done after {timeout} s\n{(late.stdout or b'')[-2000:]}", timeout)
        result = SmokeRun(run.returncode, run.stdout[-5000:] + run.stderr[-2000:], time.perf_counter() - begun)
        if report.is_file():
            seen = json.loads(report.read_text())
            result.peak_bytes, result.run_dir = seen["peak_bytes"], Path(seen["run_dir"])
        return result


def definitions(name, **settings) -> ModuleType:
    """notebooks/`name`.ipynb as a module: its imports, classes, functions and literal constants.

    `settings` stand for the other variables that its functions use, and go before constants of the same name.
    """
    body = []
    for cell in nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells:
        if cell.cell_type == "code" and "bootstrap" not in cell.metadata.get("tags", []):
            body += [node for node in ast.parse(cell.source).body if _defines(node)]
    module = ModuleType(name)
    exec(compile(ast.Module(body, []), f"{name}.ipynb", "exec"), module.__dict__)
    module.__dict__.update(settings)
    return module


def _defines(node):
    if isinstance(node, ast.Assign):
        try:
            ast.literal_eval(node.value)
        except ValueError:
            return False
        return all(isinstance(target, ast.Name) for target in node.targets)
    return isinstance(node, (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef))
