"""Make .venv and install a requirements file into it, unless nothing has changed. Standard library only.

Says in one sentence what is wrong: Python too old, disk too full, a package that fails. Runs on old Pythons to say so.
"""

import hashlib
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CPU_BUILDS = os.environ.get("PIP_EXTRA_INDEX_URL", "").rstrip("/").endswith("/whl/cpu")  # as the README says
GIGABYTES = 4 if CPU_BUILDS else 10  # torch with CUDA and all else take 7, and pip needs room to unpack


def fail(sentence):
    sys.exit("\n" + sentence)


def main(requirements):
    if sys.version_info < (3, 11):
        fail("Python 3.11 or newer is needed, and %s is %s: install a newer one, or name it with make PYTHON=python3.12."
             % (sys.executable, sys.version.split()[0]))  # fmt: skip
    os.chdir(ROOT)
    digest = hashlib.sha256(sys.version.encode())
    for name in ("requirements.txt", requirements, "constraints.txt"):
        with open(name, "rb") as file:
            digest.update(file.read())
    stamp = os.path.join(".venv", "." + requirements)
    if os.path.isfile(stamp):
        with open(stamp) as file:
            if file.read() == digest.hexdigest():
                return
    python = os.path.join(".venv", "bin", "python")
    first = not os.path.exists(python)
    free = shutil.disk_usage(ROOT).free / 1e9
    if first and free < GIGABYTES:
        fail(f"The disk has {free:.1f} GB free, and the installation needs {GIGABYTES} GB: make room, or use the much "
             "smaller CPU builds of torch, as the README says.")  # fmt: skip
    if first:
        print("Making .venv and installing the packages (some minutes, once) ...", flush=True)
        made = subprocess.run([sys.executable, "-m", "venv", ".venv"], capture_output=True, text=True)
        if made.returncode:
            shutil.rmtree(".venv", ignore_errors=True)
            why = (made.stdout + made.stderr).strip().splitlines()
            fail(f"{sys.executable} cannot make a virtual environment ({why[-1] if why else 'no reason given'}): on Debian "
                 "and Ubuntu, apt install python3-venv.")  # fmt: skip
    command = [python, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    pip = subprocess.Popen([*command, "-r", requirements, "-c", "constraints.txt"], text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    error = ""
    for line in pip.stdout:
        if line.lstrip().startswith(("Downloading", "Installing collected")):
            print(line.strip()[:100], flush=True)
        if "ERROR" in line or "No space left" in line:
            error = error or line.strip()
    if pip.wait():
        fail(f"Installing {requirements} failed: {error or 'pip gave no reason'}. Correct it and run make again.")
    with open(stamp, "w") as file:
        file.write(digest.hexdigest())


if __name__ == "__main__":
    main(sys.argv[1])
