"""For a hosted notebook: install the requirements that cannot be imported, and change no package that is there."""

import importlib.util
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements.txt"
MODULES = {  # others are called like the package
    "segmentation-models-pytorch": "segmentation_models_pytorch", "pillow": "PIL", "opencv-python-headless": "cv2",
    "ipython": "IPython",
}  # fmt: skip


def missing(requirements: str) -> list[str]:
    """The requirement lines whose module cannot be found."""
    lines = [line.split("#")[0].strip() for line in requirements.splitlines()]
    names = {line: line.split(">")[0].split("=")[0].strip() for line in lines if line}
    return [line for line, name in names.items() if importlib.util.find_spec(MODULES.get(name, name)) is None]


def main():
    wanted = missing(REQUIREMENTS.read_text())
    if not wanted:
        return
    print("Installing", ", ".join(wanted), flush=True)
    here = {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"]}
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as kept:  # pip must work around what the host has
        kept.write("".join(f"{name}=={version}\n" for name, version in here.items()))
        kept.flush()
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "-c", kept.name, *wanted], check=True)


if __name__ == "__main__":
    main()
