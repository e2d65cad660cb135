"""Count how often a real test set was looked at: every evaluation on one is a line of results/test_uses.json.

A test set that is evaluated again and again becomes one more validation set; the count shows how far that has gone.
"""

import json
import os
from datetime import date
from pathlib import Path

FILE = Path(__file__).resolve().parents[1] / "results/test_uses.json"
DRAWN = ("streets", "own")  # anybody can draw new streets; your own data are yours to count


def record(dataset, split, *, miou, seed, command, file=FILE) -> None:
    """Append one evaluation, if it was on the test split of a data set of photographs and is not there yet."""
    if split != "test" or dataset in DRAWN:
        return
    uses = json.loads(file.read_text()) if file.is_file() else []
    use = {"dataset": dataset, "command": command, "seed": seed, "miou": round(miou, 6)}
    if any(use.items() <= known.items() for known in uses):
        return  # the same result, told again
    uses.append({"date": date.today().isoformat()} | use)
    draft = file.with_name(f".{file.name}.part")
    draft.write_text("[\n" + ",\n".join(json.dumps(line) for line in uses) + "\n]\n")
    os.replace(draft, file)
