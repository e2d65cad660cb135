"""Notebooks from outside, for tests and benchmarks: what one defines, and a run of it in smoke mode."""

import ast
import os
import re
import time
from pathlib import Path
from types import ModuleType
from unittest import mock

import nbformat
from nbclient import NotebookClient

from segmentation_helpers.environment import ROOT

PEAK = """
import pathlib, re
print("PEAK", re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
print("RUN", run_dir)
"""


def run_in_smoke_mode(path, data) -> tuple[float, int, Path]:
    """Run a notebook with data sets from `data`; seconds, peak memory of its kernel in bytes (Linux), and its run_dir."""
    notebook = nbformat.read(path, 4)
    notebook.cells.append(nbformat.v4.new_code_cell(PEAK))
    variables = {"SMOKE_TEST": "1", "SEGMENTATION_DATA": str(data), "PYTHONWARNINGS": "ignore"}
    begun = time.perf_counter()
    with mock.patch.dict(os.environ, variables):
        NotebookClient(notebook, resources={"metadata": {"path": path.parent}}, timeout=300).execute()
    seconds, printed = time.perf_counter() - begun, notebook.cells[-1].outputs[0].text
    return seconds, 1024 * int(re.search(r"PEAK (\d+)", printed)[1]), Path(re.search(r"RUN (.+)", printed)[1])


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
