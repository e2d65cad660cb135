"""Run one notebook headless and leave it, as notebook and as HTML, beside its results: `run.py NOTEBOOK [papermill options]`."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import test_uses

ROOT = Path(__file__).resolve().parents[1]
WORDS = {
    "true": "True",
    "false": "False",
    "none": "None",
}  # papermill knows Python's alone; "false" would be a text, and true


def settings_of(source) -> list[str]:
    """The names in a notebook's cell of settings."""
    for cell in json.loads(source.read_text())["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            lines = "".join(cell["source"]).splitlines()
            return [line.split("=")[0].strip() for line in lines if "=" in line.split("#")[0]]
    return []


def main(name="", *options):
    source = ROOT / "notebooks" / f"{name}.ipynb"
    if not source.is_file():
        there = ", ".join(sorted(path.stem for path in source.parent.glob("*.ipynb")))
        sys.exit(f'There is no notebook "{name}"; name one of them: make run NOTEBOOK=... ({there}).')
    options, known = list(options), settings_of(source)
    places = [place for place, option in enumerate(options) if option in ("-p", "--parameters")]
    for place in places:
        if len(options) < place + 3:
            sys.exit(f"{options[place]} wants a name and a value, as in -p {known[0]} VALUE.")
        if options[place + 1] not in known:
            sys.exit(f'{name} has no setting "{options[place + 1]}"; it has {", ".join(known)}.')
        options[place + 2] = WORDS.get(options[place + 2].lower(), options[place + 2])
    given = {options[place + 1]: options[place + 2] for place in places}
    start = Path.cwd()  # where relative paths begin
    folder = start / Path(given["run_dir"]).expanduser() if "run_dir" in given else ROOT / "runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    command = f'make run NOTEBOOK={name} ARGS="{shlex.join(options)}"' if options else f"make run NOTEBOOK={name}"
    environment = os.environ | {
        "SEGMENTATION_COMMAND": command, "SEGMENTATION_START": str(start), "PYTHONWARNINGS": "ignore",
    }  # fmt: skip
    executed = folder / f"{name}.ipynb"
    papermill = [sys.executable, "-m", "papermill", source, executed, "--cwd", source.parent, "--kernel", "python3"]
    print(f"{name}: training and its results appear as they come.", flush=True)
    run = subprocess.run([*papermill, "--stdout-file", "/dev/stdout", *options], env=environment)
    subprocess.run([sys.executable, "-m", "nbconvert", "--to", "html", executed, "--log-level", "ERROR"], check=True)
    if run.returncode:
        sys.exit(f"{name} stopped with an error: see the end of {executed.with_suffix('.html')}.")
    print(f"\nnotebook  {executed.with_suffix('.html')}")
    if (folder / "predictions.png").is_file():
        print(f"picture   {folder / 'predictions.png'}")
    if (folder / "metrics.json").is_file():
        metrics = json.loads((folder / "metrics.json").read_text())
        print(f"mIoU      {metrics['miou']:.4f} on {metrics['dataset']} {metrics['split']}")
        test_uses.record(
            metrics["dataset"], metrics["split"], miou=metrics["miou"], seed=metrics["seed"], command=command
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
