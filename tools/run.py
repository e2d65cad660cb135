"""Run one notebook headless and leave it, as notebook and as HTML, beside its results: `run.py NOTEBOOK [papermill options]`."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(name="", *options):
    source = ROOT / "notebooks" / f"{name}.ipynb"
    if not source.is_file():
        there = ", ".join(sorted(path.stem for path in source.parent.glob("*.ipynb")))
        sys.exit(f'There is no notebook "{name}"; name one of them: make run NOTEBOOK=... ({there}).')
    given = dict(zip(options[1::3], options[2::3], strict=False))  # -p NAME VALUE, repeated
    folder = Path(ROOT / given.get("run_dir", f"runs/{name}"))
    folder.mkdir(parents=True, exist_ok=True)
    command = f'make run NOTEBOOK={name} ARGS="{shlex.join(options)}"' if options else f"make run NOTEBOOK={name}"
    environment = os.environ | {"SEGMENTATION_COMMAND": command, "PYTHONWARNINGS": "ignore"}
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


if __name__ == "__main__":
    main(*sys.argv[1:])
