"""The files of a run: weights, metrics, history, checkpoint."""

import contextlib
import csv
import io
import json
import math
import os
import re
import shutil
from collections import OrderedDict
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from .. import environment
from .digest import in_short

CHECKPOINT, WEIGHTS, HISTORY, METRICS, PLAN = (
    "checkpoint.pt", "model.safetensors", "history.csv", "metrics.json", "plan.json")  # fmt: skip


class TrainingError(RuntimeError):
    """Training cannot go on. The message says what happened, what to change, and which checkpoint is kept."""


def save_weights(model, path) -> None:
    """Write a model's parameters and buffers as safetensors, atomically (no pickle, nothing that runs on loading).

    Folders on the way are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.part")
    try:
        draft.unlink(missing_ok=True)
        draft.touch()
        mode = draft.stat().st_mode  # which the other files have, too: safetensors makes its own for the user alone
        safetensors.torch.save_model(model, str(draft))
        draft.chmod(mode)
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def load_weights(model, path) -> None:
    """Load what `save_weights` wrote; every key must fit. Raises TrainingError naming the file and the remedy."""
    try:
        safetensors.torch.load_model(_Versioned(model), str(path), device=str(next(model.parameters()).device))
    except FileNotFoundError:
        raise TrainingError(f"{path} is missing: train first, or correct the path.") from None
    except (RuntimeError, safetensors.SafetensorError) as error:
        with open(path, "rb") as file:
            start = file.read(8)
        if start[:2] in (b"PK", b"\x80\x02"):  # torch.save's zip, or its older pickle
            raise TrainingError(
                f"{path} was written by torch.save and is not safetensors: load it with "
                f'model.load_state_dict(torch.load("{Path(path).name}", weights_only=True)), and keep it with save_weights.'
            ) from None
        raise TrainingError(f"{path} does not fit this model: {str(error).strip()[:500]}") from None


class _Versioned:
    """A model that loads a plain dict of tensors as its own version: layers such as MNASNet's refuse one without."""

    def __init__(self, model):
        self.model, self.state_dict = model, model.state_dict

    def load_state_dict(self, state, strict):
        versioned = OrderedDict(state)
        versioned._metadata = getattr(self.state_dict(), "_metadata", None)
        return self.model.load_state_dict(versioned, strict)


def save_metrics(run_dir, confusion, *, notebook, dataset, split, classes, model, history, seed, precision, **more):
    """Write `metrics.json`: scores (0..1), what was run, on what, how long; `more` adds to it. Returns all of it.

    A score that is no number (no labelled pixel) stands in the file as null.
    """
    metrics = {
        "notebook": notebook, "dataset": dataset, "split": split, "classes": list(classes),
        "iou": [None if v != v else round(v, 6) for v in confusion.iou.tolist()], "miou": round(confusion.miou, 6),
        "pixel_accuracy": round(confusion.pixel_accuracy, 6), "parameters": sum(p.numel() for p in model.parameters()),
        "epochs": len(history), "steps": history[-1].get("step") if history else None,
        "train_seconds": round(sum(row.get("seconds", 0) for row in history), 1), "seed": seed,
        "device": environment.processor(), "precision": precision, "versions": environment.versions(),
        "command": os.environ.get("SEGMENTATION_COMMAND", f"Run All in {notebook}.ipynb"),
    } | more  # fmt: skip
    run_dir = Path(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(run_dir / METRICS, (json.dumps(_without_nan(plain(metrics)), indent=1) + "\n").encode())
    if not (run_dir / HISTORY).is_file():
        write_atomically(run_dir / HISTORY, to_csv(history))
    return metrics


def _without_nan(value):
    """The same with None for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def runs_like(metrics) -> list[dict]:
    """The runs kept in `results/` on the same data set, split and classes, one of each other notebook's, then this.

    Of a notebook's runs, the one that trained for about as long as this one. Outside the repository there are none.
    """
    if environment.REPOSITORY is None:
        return [metrics]
    others = {}
    for path in sorted((environment.ROOT / "results").glob("*.json")):
        run = json.loads(path.read_text())
        if "notebook" not in run:  # benchmarks, and the list of looks at test sets
            continue
        alike = all(run.get(key) == metrics.get(key) for key in ("dataset", "split", "classes", "valid"))
        if alike and run["notebook"] != metrics["notebook"]:
            others.setdefault(run["notebook"], []).append(run)

    def distance(run):
        return abs(math.log((run["train_seconds"] + 1) / (metrics["train_seconds"] + 1)))

    return [*(min(runs, key=distance) for runs in others.values()), metrics]


def compared(name, split="test", rows=None, score="miou") -> dict[str, list]:
    """The score of each seed by row, {row: [score, ...]}, that `make compare LIST=name` has left in `results/compare/name`.

    Args: `split` is one of the list's; `rows` names the rows wanted, in their order (default: all, by name); `score` is
    "miou", "pixel_accuracy" or "iou", a list with one number per class (None where the class does not occur).

    Raises ValueError, in words, where there is no such comparison, split or row.
    """
    folder = environment.ROOT / "results/compare" / name
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    if not runs:
        raise ValueError(f"results/compare/{name} holds no results: make compare LIST={name} measures them")
    scores = {}
    for run in sorted(runs, key=lambda run: run["seed"]):
        if split not in run["scores"]:
            raise ValueError(f'the comparison {name} has the splits {", ".join(run["scores"])}, not "{split}"')
        scores.setdefault(run["row"], []).append(run["scores"][split][score])
    missing = [row for row in rows or () if row not in scores]
    if missing:
        raise ValueError(f"the comparison {name} has no row {missing[0]!r}; it has {', '.join(scores)}")
    return {row: scores[row] for row in rows or sorted(scores)}


def write_atomically(path, content) -> None:
    """Write a file so that it holds the old content or the new at any moment, even if the power fails.

    `content` is bytes, or a function that writes them to the open file it is given. What could not be finished is removed.
    """
    path = Path(path)
    draft = path.with_name(f".{path.name}.part")
    try:
        with draft.open("wb") as file:
            content(file) if callable(content) else file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def plain(value):
    """The same with numpy's numbers and arrays as Python's: a checkpoint holds nothing that reading would refuse."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if type(value) in (dict, OrderedDict):
        copy = type(value)((key, plain(item)) for key, item in value.items())
        if isinstance(value, OrderedDict):
            vars(copy).update(vars(value))  # a state dict's _metadata: the versions of its layers
        return copy
    if type(value) in (list, tuple):
        return type(value)(plain(item) for item in value)
    return value


def to_csv(history) -> bytes:
    columns = list(dict.fromkeys(key for row in history for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue().encode()


def as_json(settings):
    """Settings as JSON gives them back, the same in every process: sets sorted, and as text whatever JSON does not know."""
    settings = plain(settings)
    if isinstance(settings, dict):
        return {str(as_json(key)) if isinstance(key, (set, frozenset)) else in_short(key): as_json(value)
                for key, value in settings.items()}  # fmt: skip
    if isinstance(settings, (list, tuple)):
        return [as_json(value) for value in settings]
    if isinstance(settings, (set, frozenset)):
        return sorted(map(as_json, settings), key=json.dumps)
    if isinstance(settings, float) and not math.isfinite(settings):
        return str(settings)  # JSON has no NaN, and NaN is never equal to itself
    if settings is None or type(settings) in (bool, int, float, str):
        return settings
    return in_short(settings)


def read_checkpoint(run_dir):
    """The run's checkpoint, or None. Raises TrainingError."""
    path = run_dir / CHECKPOINT if run_dir is not None else None
    if path is None or not path.is_file():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        why = re.search(r"Unsupported \w+: GLOBAL (\S+)|WeightsUnpickler error: (.{1,80})", str(error))
        why = f": it holds {why[1] or why[2]}" if why else ""
        raise TrainingError(
            f"{path} cannot be read ({type(error).__name__}{why}): delete it to start anew. Where it was just written, the "
            "state of the scheduler or the optimizer holds something other than numbers and tensors."
        ) from error


def load_finished(model, saved, run_dir) -> None:
    """Give a model the weights of a finished run; where their file is gone, from the checkpoint, and write it again."""
    path = run_dir / WEIGHTS
    if not path.is_file():
        average = saved.get("average")
        state = saved["model"] if average is None else {
            key.removeprefix("module."): value for key, value in average.items() if key != "n_averaged"}  # fmt: skip
        _Versioned(model).load_state_dict(state, strict=True)
        if os.environ.get("RANK", "0") == "0":
            save_weights(model, path)
            print(f"{environment.shown(path)} was missing: written again from the checkpoint.")
        return
    load_weights(model, path)


def read_plan(run_dir) -> dict:
    """What `plan_steps` wrote into a run's folder; an empty dict where it did not."""
    path = run_dir / PLAN if run_dir is not None else None
    return json.loads(path.read_text()) if path is not None and path.is_file() else {}


def keep_aside(run_dir, words, carried_on=False, steps=None):
    """Move the files of another run to previous-1, previous-2, ...; say so, with how it differs.

    `carried_on`: the new run begins with the weights that the old one left, which may be a surprise.
    `steps`: (least, most) of the new run: a plan for so many steps is its own, too, and a copy is kept aside.
    """
    numbers = [int(match[1]) for path in run_dir.iterdir() if (match := re.fullmatch(r"previous-(\d+)", path.name))]
    folder = run_dir / f"previous-{1 + max(numbers, default=0)}"
    folder.mkdir()
    plan = run_dir / PLAN
    if plan.is_file() and plan.stat().st_mtime <= (run_dir / CHECKPOINT).stat().st_mtime:  # else made for the new run
        shutil.copy2(plan, folder / PLAN)
        if steps is None or not steps[0] <= read_plan(run_dir).get("steps", 0) <= steps[1]:
            plan.unlink()
    for name in (WEIGHTS, HISTORY, METRICS, "predictions.png", CHECKPOINT):  # the checkpoint last: nothing is lost
        with contextlib.suppress(FileNotFoundError):
            os.replace(run_dir / name, folder / name)
    print(f"Other settings than before ({'; '.join(words)}): starting anew; the earlier run is in "
          f"{environment.shown(folder)}.")  # fmt: skip
    if carried_on:
        print(
            "Note that it begins with the weights which that run left in the model: build the model anew for fresh ones."
        )


def kept(run_dir):
    if run_dir is None:
        return " No run_dir was given, so no checkpoint was kept."
    if not (run_dir / CHECKPOINT).is_file():
        return " There is no checkpoint yet."
    return f" The last checkpoint is kept: {environment.shown(run_dir / CHECKPOINT)}."
