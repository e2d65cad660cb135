"""The commands: set-up that says what is wrong in one sentence, headless runs, stamping."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from segmentation_helpers.environment import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import install  # noqa: E402
import install_missing  # noqa: E402
import run  # noqa: E402
import stamp  # noqa: E402


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder that can be installed: one requirement, and a pip that is a shell script."""
    (tmp_path / "requirements.txt").write_text("torch\n")
    (tmp_path / "constraints.txt").write_text("")
    monkeypatch.setattr(install, "ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pip_that(project, says, code=0):
    (project / ".venv/bin").mkdir(parents=True, exist_ok=True)
    python = project / ".venv/bin/python"
    python.write_text(f"#!/bin/sh\necho called >> {project}/calls\necho '{says}'\nexit {code}\n")
    python.chmod(0o755)


def sentence(call):
    with pytest.raises(SystemExit) as stopped:
        call()
    message = str(stopped.value).strip()
    assert "\n" not in message and message.endswith(".")
    return message


def test_an_old_python_is_named(project, monkeypatch):
    monkeypatch.setattr(install.sys, "version_info", (3, 9, 1))
    assert re.match(r"Python 3\.11 or newer is needed", sentence(lambda: install.main("requirements.txt")))


def test_a_full_disk_is_named(project, monkeypatch):
    monkeypatch.setattr(install.shutil, "disk_usage", lambda _: SimpleNamespace(free=3e9))
    assert "3.0 GB free, and the installation needs 10 GB" in sentence(lambda: install.main("requirements.txt"))


def test_a_failing_package_is_named_and_tried_again(project):
    pip_that(project, "ERROR: No matching distribution found for torch", code=1)
    message = sentence(lambda: install.main("requirements.txt"))
    assert "Installing requirements.txt failed: ERROR: No matching distribution found for torch" in message
    pip_that(project, "Successfully installed")
    install.main("requirements.txt")
    assert (project / "calls").read_text().count("called") == 2


def test_nothing_is_installed_again_until_the_requirements_change(project):
    pip_that(project, "Successfully installed")
    install.main("requirements.txt")
    install.main("requirements.txt")
    assert (project / "calls").read_text().count("called") == 1
    (project / "constraints.txt").write_text("torch==2.15.0\n")
    install.main("requirements.txt")
    assert (project / "calls").read_text().count("called") == 2


def test_a_hosted_notebook_installs_only_what_cannot_be_imported():
    wanted = (ROOT / "requirements.txt").read_text()
    assert install_missing.missing(wanted) == [], "everything is here"
    assert install_missing.missing("# comment\nnumpy>=1\nno-such-package>=2.1,<3  # why\n") == [
        "no-such-package>=2.1,<3"
    ]


def test_a_hosted_notebook_replaces_what_is_too_old_but_not_torch(monkeypatch, capsys, tmp_path):
    wanted = (
        "numpy>=1.26\nalbumentations>=2.0.8,<2.1   # the last MIT release\ntorch>=2.10\nopencv-python-headless>=4.9\n"
    )
    (tmp_path / "requirements.txt").write_text(wanted)
    here = {"numpy": "2.4.6", "albumentations": "1.4.24", "torch": "2.6.0+cu124", "opencv-python": "4.12.0.88"}
    monkeypatch.setattr(install_missing, "version_of", here.get)
    assert install_missing.unfit(wanted) == {"albumentations>=2.0.8,<2.1": "1.4.24", "torch>=2.10": "2.6.0+cu124"}
    monkeypatch.setattr(install_missing, "REQUIREMENTS", tmp_path / "requirements.txt")
    calls = []

    def pip(command, check):
        calls.append((command, Path(command[command.index("-c") + 1]).read_text().lower().splitlines()))

    monkeypatch.setattr(install_missing.subprocess, "run", pip)
    install_missing.main()
    (command, kept), said = calls[0], capsys.readouterr().out.splitlines()
    assert command[-1] == "albumentations>=2.0.8,<2.1" and "torch>=2.10" not in command
    names = {line.split("==")[0] for line in kept}
    assert {"torch", "numpy", "timm"} <= names, "what fits stays"
    assert not {"albumentations", "albucore", "simsimd"} & names, "a newer one may need newer ones"
    assert said[:2] == [
        "albumentations is 1.4.24, but albumentations>=2.0.8,<2.1 is wanted: it is replaced. Restart if it was imported already.",
        "torch is 2.6.0+cu124, but torch>=2.10 is wanted: choose a newer image of this host, or expect errors.",
    ]
    here |= {"albumentations": "2.0.8", "torch": "2.15.0"}
    install_missing.main()
    assert len(calls) == 1, "everything fits"


@pytest.mark.parametrize("packaging", ["packaging", "pip's copy", "neither"])
def test_bounds_of_versions(monkeypatch, packaging):
    if packaging != "packaging":
        monkeypatch.setitem(sys.modules, "packaging.specifiers", None)
    if packaging == "neither":
        monkeypatch.setitem(sys.modules, "pip._vendor.packaging.specifiers", None)
    cases = [
        (">=2.0.8,<2.1", "2.0.10", True), (">=2.0.8,<2.1", "2.1", False), (">=2.0.8,<2.1", "1.4.24", False), ("", "0.1", True),
        (">=2.10", "2.9.1", False), (">=2.10", "2.10.0+cu128", True), (">=1.0", "1.0.31", True), ("==2.0", "2.0.0", True),
        (">1, <=3", "3.0", True), (">3", "3.0", False),
    ]  # fmt: skip
    for bounds, version, expected in cases:
        assert install_missing.allows(bounds, version) is expected, (bounds, version)


def test_stamping_puts_one_address_everywhere():
    path = ROOT / "notebooks/00_start_here.ipynb"
    stamped = stamp.stamped_notebook(path.read_text(), path.stem, "ada/engine")
    assert stamped.count("ada/engine") == 4 and "OWNER" not in stamped
    cells = json.loads(stamped)["cells"]
    assert 'os.chdir("engine/notebooks")' in "".join(cells[1]["source"])
    assert stamp.stamped_notebook(stamped, path.stem, "ada/engine") == stamped


def test_make_alone_lists_the_targets():
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    listed = subprocess.check_output([make], cwd=ROOT, text=True)
    described = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make (\S+) ", listed, re.MULTILINE)) == described
    assert {"quickstart", "test", "lab", "run", "lint", "bench", "bench-segmentors"} <= described
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets - described == {"install", "install-dev"}, "every other target says what it does"


def test_a_run_of_an_unknown_notebook_names_those_there_are():
    failed = subprocess.run([sys.executable, ROOT / "tools/run.py", "99_nothing"], capture_output=True, text=True)
    assert failed.returncode and "00_start_here" in failed.stderr and len(failed.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [(["-p", "image_sizes", "3"], 'has no setting "image_sizes"; it has smoke_test, dataset, images'),
     (["-p", "seed"], "-p wants a name and a value, as in -p smoke_test VALUE.")],
)  # fmt: skip
def test_a_run_with_an_unknown_setting_names_those_there_are(options, words):
    command = [sys.executable, ROOT / "tools/run.py", "00_start_here", *options]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode and words in run.stderr and len(run.stderr.strip().splitlines()) == 1


def test_a_run_hands_on_where_it_was_started_and_pythons_words(tmp_path, monkeypatch):
    calls = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        run.subprocess, "run", lambda command, **how: calls.append((command, how)) or SimpleNamespace(returncode=0)
    )
    run.main("12_unet_smp", "-p", "pretrained", "false", "-p", "run_dir", "here", "-p", "image_size", "96x128")
    command, how = calls[0]
    assert command[-9:] == ["-p", "pretrained", "False", "-p", "run_dir", "here", "-p", "image_size", "96x128"]
    assert how["env"]["SEGMENTATION_START"] == str(tmp_path) and (tmp_path / "here").is_dir()
    assert "pretrained False" in how["env"]["SEGMENTATION_COMMAND"]


def test_the_readmes_lines_for_your_own_data_work(folder_of_pairs):
    code = re.search(r"## Use your own data.*?```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    run = subprocess.run([sys.executable, "-c", code], cwd=folder_of_pairs, capture_output=True, text=True,
                         env=os.environ | {"PYTHONPATH": str(ROOT / "notebooks")})  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert re.match(r"\[(\s*\d+){4}\]", run.stdout)


def test_every_requirement_has_a_tested_version():
    pinned = {
        line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = [line for line in (ROOT / name).read_text().splitlines() if line and line[0] not in "#-"]
        assert {re.split(r"[>=<\s#]", line)[0].lower() for line in lines} <= pinned
