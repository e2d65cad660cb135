"""`make compare LIST=name`: train networks or recipes against each other, one run at a time, and show mean and range.

A list is a module in tests/benchmarks/lists with

    ROWS    {row: its settings}, the first row being what the others are compared with
    SEEDS   (0, 1, 2)
    SPLITS  {name: a function without arguments that gives the data set}; a real test set is called "test"
    DATASET "camvid"
    train(settings, seed, folder) -> (model, history), by `fit(run_dir=folder)`, so that it goes on where it was stopped

and, if it wants to, `score(model, split) -> ConfusionMatrix`. A row of fewer seeds names them: its setting "seeds". Each run is
a process of its own and leaves results/compare/<list>/<row>-seed<n>.json; what is there already with the same settings is not
trained again. Checkpoints lie outside the checkout, in the user's cache folder or in SEGMENTATION_RUNS.
"""

import importlib
import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout
from torch.utils.data import DataLoader

from segmentation_helpers import environment
from segmentation_helpers.training import evaluate

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import test_uses  # noqa: E402


def runs_folder() -> Path:
    """Where checkpoints lie."""
    given = os.environ.get("SEGMENTATION_RUNS")
    return Path(given) if given else platformdirs.user_cache_path("segmentation-notebooks") / "compare"


def file_name(row: str, seed: int) -> str:
    return f"{re.sub(r'[^a-z0-9]+', '-', row.lower()).strip('-')}-seed{seed}"


def plain_score(model, data):
    """The confusion matrix over a data set, picture by picture, in the precision that suits this machine."""
    return evaluate(model, DataLoader(data), precision=environment.best_precision())


def run_one(listed, name, row, seed, results, runs):
    """Train a row with one seed, evaluate it on each split, and write its JSON."""
    settings = listed.ROWS[row]
    environment.set_threads()
    environment.seed_everything(seed)
    model, history = listed.train(settings, seed, runs / name / file_name(row, seed))
    scores = {}
    for split, data in listed.SPLITS.items():
        confusion = listed.score(model, split) if hasattr(listed, "score") else plain_score(model, data())
        scores[split] = {
            "miou": round(confusion.miou, 6), "pixel_accuracy": round(confusion.pixel_accuracy, 6),
            "iou": [None if v != v else round(v, 6) for v in confusion.iou.tolist()],
        }  # fmt: skip
    result = {
        "row": row, "settings": settings, "seed": seed, "dataset": listed.DATASET, "scores": scores,
        "parameters": sum(p.numel() for p in model.parameters()), "epochs": len(history), "steps": history[-1]["step"],
        "train_seconds": round(sum(line["seconds"] for line in history), 1), "loss": _rounded(history[-1]["loss"]),
        "device": environment.processor(), "versions": environment.versions(), "command": f"make compare LIST={name}",
    }  # fmt: skip
    results.mkdir(parents=True, exist_ok=True)
    draft = results / f".{file_name(row, seed)}.part"
    draft.write_text(json.dumps(result, indent=1) + "\n")
    draft.replace(results / f"{file_name(row, seed)}.json")
    for split, score in scores.items():
        test_uses.record(
            listed.DATASET,
            split,
            miou=score["miou"],
            seed=seed,
            command=f"{result['command']} ({row})",
            file=ROOT / "results/test_uses.json",
        )


def _rounded(loss):
    return None if loss is None else round(loss, 4)


def finished(listed, row, seed, results):
    """The result of a run, where it is there with these settings and splits; else None."""
    path = results / f"{file_name(row, seed)}.json"
    result = json.loads(path.read_text()) if path.is_file() else {}
    same = result.get("settings") == json.loads(json.dumps(listed.ROWS[row]))
    return result if same and result["scores"].keys() == listed.SPLITS.keys() else None


def table(listed, results) -> str:
    """One line per row: on each split the mean mIoU over the seeds, and of several seeds the range.

    Minutes are shown where a row is given some; where steps are counted, they only tell what else the machine was doing.
    """
    timed = any("minutes" in settings for settings in listed.ROWS.values())
    scores = [f"{split} mIoU" for split in listed.SPLITS]
    columns = ["row", "seeds", *scores, "steps", *["minutes"] * timed, "parameters"]
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for row in listed.ROWS:
        done = [result for seed in listed.SEEDS if (result := finished(listed, row, seed, results))]
        if not done:
            continue
        cells = []
        for split in listed.SPLITS:
            scores = [result["scores"][split]["miou"] for result in done]
            extent = f" ({min(scores):.3f} to {max(scores):.3f})" if len(scores) > 1 else ""
            cells.append(f"{statistics.mean(scores):.3f}{extent}")
        steps = sorted({result["steps"] for result in done})
        steps = " to ".join(f"{count:,}" for count in (steps if len(steps) == 1 else (steps[0], steps[-1])))
        cells.append(steps)
        if timed:
            cells.append(f"{statistics.mean(result['train_seconds'] for result in done) / 60:.1f}")
        lines.append(f"| {row} | {len(done)} | {' | '.join(cells)} | {done[0]['parameters'] / 1e6:.1f} M |")
    return "\n".join(lines) + "\n"


def write_table(listed, name, results) -> str:
    """The table, also as results/compare/<list>/README.md, after each run."""
    text, title = table(listed, results), (listed.__doc__ or name).strip().splitlines()[0]
    results.mkdir(parents=True, exist_ok=True)
    (results / "README.md").write_text(f"# {title}\n\nMean over the seeds, and the range.\n\n{text}")
    return text


def main(name="", *arguments):
    there = sorted(path.stem for path in (ROOT / "tests/benchmarks/lists").glob("[a-z]*.py"))
    if name not in there:
        sys.exit(f'There is no list "{name}"; name one of them: make compare LIST=... ({", ".join(there)}).')
    listed, results, runs = (
        importlib.import_module(f"tests.benchmarks.lists.{name}"),
        ROOT / "results/compare" / name,
        runs_folder(),
    )
    if arguments:
        row, seed = arguments
        return run_one(listed, name, row, int(seed), results, runs)
    runs.mkdir(parents=True, exist_ok=True)
    failed = []
    try:
        with FileLock(runs / ".lock", timeout=0):
            for seed in listed.SEEDS:
                for row, settings in listed.ROWS.items():
                    if seed in settings.get("seeds", listed.SEEDS) and not finished(listed, row, seed, results):
                        print(f"{name}: {row}, seed {seed}", flush=True)
                        command = [sys.executable, "-m", "tests.benchmarks.compare", name, row, str(seed)]
                        if subprocess.run(command, cwd=ROOT).returncode:
                            failed.append(f"{row} (seed {seed})")
                        write_table(listed, name, results)
    except Timeout:
        sys.exit(f"Another comparison is running ({runs / '.lock'} is held): one at a time, for both would be slower.")
    print(write_table(listed, name, results))
    if failed:
        sys.exit(f"Stopped with an error: {', '.join(failed)}. Run it again to go on.")


if __name__ == "__main__":
    main(*sys.argv[1:])
