"""Write what is derived: badges and bootstrap cells of the notebooks, and the README's tables. `--check` only looks.

The repository's address stands in pyproject.toml and nowhere else by hand.
"""

import json
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BOOTSTRAP = """\
import os
import subprocess
import sys

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # albumentations would look for a newer version on import
if not os.path.isdir("segmentation_helpers"):  # a lone notebook, as on Colab: get the rest, and what is missing
    if not os.path.isdir("{name}"):
        subprocess.run(["git", "clone", "--quiet", "--depth=1", "https://github.com/{repository}"], check=True)
    os.chdir("{name}/notebooks")
    subprocess.run([sys.executable, "../tools/install_missing.py"], check=True)
sys.path.insert(0, os.getcwd())"""


def badges(repository: str, name: str) -> str:
    address = f"github.com/{repository}/blob/main/notebooks/{name}.ipynb"
    links = {
        "Colab": ("F9AB00", "https://colab.research.google.com/" + address.replace(".com", "")),
        "Kaggle": ("20BEFF", f"https://kaggle.com/kernels/welcome?src=https://{address}"),
        "Binder": ("579ACA", f"https://mybinder.org/v2/gh/{repository}/main?labpath=notebooks/{name}.ipynb"),
    }
    return " ".join(f"[![{where}](https://img.shields.io/badge/open_in-{where}-{colour}.svg)]({link})"
                    for where, (colour, link) in links.items())  # fmt: skip


def stamped_notebook(text: str, name: str, repository: str) -> str:
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown" and "[![Colab]" in source:
            source = re.sub(r"^\[!\[Colab\].*$", badges(repository, name), source, flags=re.MULTILINE)
        elif "bootstrap" in cell["metadata"].get("tags", []):
            source = BOOTSTRAP.format(repository=repository, name=repository.split("/")[1])
        cell["source"] = source.splitlines(keepends=True)
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def notebook_table(repository: str) -> str:
    rows = ["| notebook | what it teaches | open |", "|---|---|---|"]
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        title = "".join(json.loads(path.read_text())["cells"][0]["source"])
        promise = next(line for line in title.splitlines()[1:] if line.strip())
        rows.append(f"| [{path.stem}](notebooks/{path.name}) | {promise} | {badges(repository, path.stem)} |")
    return "\n".join(rows)


def results_table() -> str:
    rows = ["| notebook | data | mIoU | pixel accuracy | parameters | training | machine | command |", "|" + "---|" * 8]
    runs = [json.loads(path.read_text()) for path in sorted((ROOT / "results").glob("*.json"))]
    for run in (run for run in runs if "miou" in run):
        drive = f", drive {run['valid']} held out of train" if run.get("valid") else ""
        rows.append(
            f"| {run['notebook']} | {run['dataset']} {run['split']}{drive} | {run['miou']:.3f} | {run['pixel_accuracy']:.3f} "
            f"| {run['parameters'] / 1e6:.1f} M "
            f"| {run['train_seconds'] / 60:.1f} min, {run['steps']:,} steps, {run['precision']}, seed {run['seed']} "
            f"| {run['device']} | `{run['command']}` |"
        )
    return "\n".join(rows)


def comparison(name: str) -> str:
    """The table that `make compare LIST=name` has left, without its title."""
    path = ROOT / f"results/compare/{name}/README.md"
    if not path.is_file():
        return f"Not measured yet: run `make compare LIST={name}`."
    return path.read_text().split("\n", 2)[2].strip()


def rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def speed_table() -> str:
    path = ROOT / "results/benchmarks.json"
    if not path.is_file():
        return "Not measured yet: run `make bench`."
    report = json.loads(path.read_text())
    rows = ["| what | ours | the other | ratio (least to most) |", "|---|---|---|---|"]
    for run in report["rows"] + report.get("peers", {}).get("rows", []):
        rows.append(
            f"| {run['what']}, {run['unit']} | {rate(run['ours_rate'])} {run['ours']} | {rate(run['other_rate'])} {run['other']} "
            f"| **{run['ratio']:.2f}** ({run['least']:.2f} to {run['most']:.2f}) |"
        )
    rows += ["", f"{report['device']}, torch {report['versions']['torch']}."]
    if "minutes_to_goal" in report:
        goal = report["minutes_to_goal"]
        reached = [
            f"{side} {run['minutes']:.1f}" if run["miou"] >= goal["miou"]
            else f"{side} not within {run['minutes']:.0f} (mIoU {run['miou']:.2f})" for side, run in goal["sides"].items()
        ]  # fmt: skip
        rows += ["", f"Minutes of training to a CamVid val mIoU of {goal['miou']:.2f}: {', '.join(reached)}."]
    if "notebooks" in report:
        rows += ["", "| notebook, in smoke mode | seconds | peak memory |", "|---|---|---|"]
        rows += [
            f"| {run['notebook']} | {run['seconds']:.0f} | {run['peak_bytes'] / 1e9:.2f} GB |"
            for run in report["notebooks"]
        ]
    return "\n".join(rows + segmentors_table(report.get("segmentors")))


def segmentors_table(report) -> list[str]:
    if not report:
        return []
    rows = [
        "", f"The ten segmentors against MMSegmentation 1.2.2 (`make bench-segmentors`): one image of {report['size']} x "
        f"{report['size']}, the same weights, medians of {report['rounds']} interleaved rounds on {report['device']}; memory is "
        "what a forward pass adds at its peak.", "",
        "| segmentor | MMSegmentation | ours, fp32 | ours, bf16 | memory, theirs | ours |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for run in report["rows"]:
        seconds, peaks = run["seconds"], run.get("peak_bytes", {})
        cells = [
            f"{seconds['mmseg']:.2f} s",
            *(f"{seconds[s]:.2f} s, **{run[s]['ratio']:.2f}x**" for s in ("ours", "bf16")),
        ]
        cells += [f"{peaks[side] / 1e6:.0f} MB" if side in peaks else "" for side in ("mmseg", "ours")]
        rows.append(f"| {run['segmentor']} | {' | '.join(cells)} |")
    mean = report["geometric_mean"]
    return [*rows, "", f"Geometric mean: {mean['ours']:.2f}x in fp32, {mean['bf16']:.2f}x in bf16."]


def derived() -> dict[Path, str]:
    """Each derived file with the text that it should have."""
    repository = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["segmentation-notebooks"]["repository"]
    notebooks = (ROOT / "notebooks").glob("*.ipynb")
    files = {path: stamped_notebook(path.read_text(), path.stem, repository) for path in notebooks}
    readme = (ROOT / "README.md").read_text()
    for mark, table in (
        ("notebooks", notebook_table(repository)),
        ("results", results_table()),
        ("camvid", comparison("camvid_peers")),
        ("speed", speed_table()),
    ):
        begin, end = f"<!-- {mark} -->\n", "\n<!-- end -->"
        before, rest = readme.split(begin)
        readme = before + begin + table + end + rest.split(end, 1)[1]
    readme = re.sub(r"git\+https://github\.com/[\w.-]+/[\w.-]+", f"git+https://github.com/{repository}", readme)
    return files | {ROOT / "README.md": readme}


if __name__ == "__main__":
    stale = {path: text for path, text in derived().items() if path.read_text() != text}
    if "--check" in sys.argv and stale:
        sys.exit(f"Not up to date, run make stamp: {', '.join(str(path.relative_to(ROOT)) for path in stale)}")
    for path, text in stale.items():
        path.write_text(text)
        print("wrote", path.relative_to(ROOT))
