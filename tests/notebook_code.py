"""What a notebook defines, for tests and benchmarks, without running the rest of it."""

import ast
from types import ModuleType

import nbformat

from segmentation_helpers.environment import ROOT


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
