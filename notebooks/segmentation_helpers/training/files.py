"""The files of a run: weights, metrics, history, checkpoint."""

import contextlib
import csv
import io
import json
import math
import os
from pathlib import Path

import safetensors.torch
import torch

from .. import environment

CHECKPOINT, WEIGHTS, HISTORY, METRICS, PLAN = (
    "checkpoint.pt", "model.safetensors", "history.csv", "metrics.json", "plan.json")  # fmt: skip


class TrainingError(RuntimeError):
    """Training cannot go on. The message says what happened, what to change, and which checkpoint is kept."""


def save_weights(model, path) -> None:
    """Write a model's parameters and buffers as safetensors, atomically (no pickle, nothing that runs on loading)."""
    path = Path(path)
    draft = path.with_name(f".{path.name}.part")
    safetensors.torch.save_model(model, str(draft))
    os.replace(draft, path)


def load_weights(model, path) -> None:
    """Load what `save_weights` wrote; every key must fit. Raises TrainingError naming the file."""
    try:
        safetensors.torch.load_model(model, str(path), device=str(next(model.parameters()).device))
    except FileNotFoundError:
        raise TrainingError(f"{path} is missing: train first, or correct the path.") from None
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise TrainingError(f"{path} does not fit this model: {str(error).strip()[:500]}") from None


def save_metrics(run_dir, confusion, *, notebook, dataset, split, classes, model, history, seed, precision, **more):
    """Write `metrics.json`: scores (0..1), what was run, on what, how long; `more` adds to it. Returns all of it."""
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
    write_atomically(run_dir / METRICS, (json.dumps(metrics, indent=1) + "\n").encode())
    if not (run_dir / HISTORY).is_file():
        write_atomically(run_dir / HISTORY, to_csv(history))
    return metrics


def runs_like(metrics) -> list[dict]:
    """The runs kept in `results/` on the same data set, split and classes, one of each other notebook's, then this.

    Of a notebook's runs, the one that trained for about as long as this one. Outside the repository there are none.
    """
    if environment.REPOSITORY is None:
        return [metrics]
    others = {}
    for path in sorted((environment.ROOT / "results").glob("*.json")):
        run = json.loads(path.read_text())
        alike = all(run.get(key) == metrics.get(key) for key in ("dataset", "split", "classes", "valid"))
        if alike and run["notebook"] != metrics["notebook"]:
            others.setdefault(run["notebook"], []).append(run)

    def distance(run):
        return abs(math.log((run["train_seconds"] + 1) / (metrics["train_seconds"] + 1)))

    return [*(min(runs, key=distance) for runs in others.values()), metrics]


def write_atomically(path, content) -> None:
    """Write a file so that it holds the old content or the new at any moment, even if the power fails.

    `content` is bytes, or a function that writes them to the open file it is given.
    """
    path = Path(path)
    draft = path.with_name(f".{path.name}.part")
    with draft.open("wb") as file:
        content(file) if callable(content) else file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def to_csv(history) -> bytes:
    columns = list(dict.fromkeys(key for row in history for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue().encode()


def read_checkpoint(run_dir):
    """The run's checkpoint, or None. A finished run without its weights counts as none."""
    path = run_dir / CHECKPOINT if run_dir is not None else None
    if path is None or not path.is_file():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TrainingError(f"{path} cannot be read ({type(error).__name__}): delete it to start anew.") from error
    return saved if not saved["finished"] or (run_dir / WEIGHTS).is_file() else None


def keep_aside(run_dir, old, new):
    """Move the files of a run with other settings to previous-1, previous-2, ...; say so."""
    number = 1 + max([int(p.name.rpartition("-")[2]) for p in run_dir.glob("previous-*")], default=0)
    folder = run_dir / f"previous-{number}"
    folder.mkdir()
    changed = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    for name in (WEIGHTS, HISTORY, METRICS, "predictions.png", CHECKPOINT):  # the checkpoint last: nothing is lost
        with contextlib.suppress(FileNotFoundError):
            os.replace(run_dir / name, folder / name)
    words = [f"{key} was {old.get(key)!s:.60}, is {new.get(key)!s:.60}" for key in changed]
    print(f"Other settings than before ({'; '.join(words)}): starting anew; the earlier run is in "
          f"{environment.shown(folder)}.")  # fmt: skip


def kept(run_dir):
    if run_dir is None:
        return " No run_dir was given, so no checkpoint was kept."
    if not (run_dir / CHECKPOINT).is_file():
        return " There is no checkpoint yet."
    return f" The last checkpoint is kept: {environment.shown(run_dir / CHECKPOINT)}."
