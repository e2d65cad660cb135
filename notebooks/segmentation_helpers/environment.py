"""Where a notebook runs: device and precision, seeds, threads, folders, versions."""

import contextlib
import ctypes
import functools
import gc
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np
import platformdirs
import torch
from tqdm import tqdm

from . import __version__


def _repository() -> Path | None:
    """The repository's root, above notebooks/, where this file lies in a checkout; None where it was installed."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "notebooks" / __package__).is_dir() and (root / "pyproject.toml").is_file() else None


REPOSITORY = _repository()
ROOT = REPOSITORY or Path.cwd()
PACKAGES = "torch torchvision fastai segmentation-models-pytorch timm albumentations accelerate numpy pillow".split()


def host() -> str:
    """The hosted service this runs on: "colab", "kaggle", "binder", or "local"."""
    if "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
        return "kaggle"
    if "COLAB_RELEASE_TAG" in os.environ or "google.colab" in sys.modules:
        return "colab"
    return "binder" if "BINDER_SERVICE_HOST" in os.environ else "local"


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this code, so that a cell can show and replace its output."""
    ipython = sys.modules.get("IPython")
    return getattr(ipython and ipython.get_ipython(), "kernel", None) is not None


class _NotebookLine:
    """A file for tqdm to write on: one line of a notebook that is replaced each time and empty at the end."""

    def __init__(self):
        from IPython.display import display

        self.handle = display({"text/plain": ""}, raw=True, display_id=True)

    def write(self, text):
        self.handle.update({"text/plain": text.strip()}, raw=True)

    def flush(self):
        pass


@functools.cache
def _notebook_line(cell: int) -> _NotebookLine:
    return _NotebookLine()


def progress_bar(shown=True, **options) -> tqdm:
    """A tqdm bar that leaves nothing behind: one line in a notebook, stderr in a terminal, silence in a log file."""
    if shown and in_notebook():
        line = _notebook_line(sys.modules["IPython"].get_ipython().execution_count)  # one a cell
        return tqdm(leave=False, mininterval=0.5, ncols=80, file=line, **options)
    return tqdm(leave=False, mininterval=0.5, disable=None if shown else True, **options)


def device() -> torch.device:
    """The accelerator if there is one that this build of torch can use, else the CPU.

    The CPU, too, where ACCELERATE_USE_CPU asks for it. Says in one sentence why a card is not used.
    """
    if os.environ.get("ACCELERATE_USE_CPU", "false").lower() in ("1", "true", "yes"):
        return torch.device("cpu")
    if torch.cuda.is_available() and not _has_kernels():
        os.environ["ACCELERATE_USE_CPU"] = "true"  # and accelerate trains there
        return torch.device("cpu")
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")


@functools.cache
def _has_kernels() -> bool:
    """Whether this build of torch has kernels for the current card: of its generation, or to be compiled for it."""
    if torch.version.hip is not None:
        return True
    major, minor = torch.cuda.get_device_capability()
    built = torch.cuda.get_arch_list()
    for kind, digits in re.findall(r"(sm|compute)_(\d+)", " ".join(built)):
        generation, version = int(digits[:-1]), int(digits[-1])
        if (kind == "sm" and generation == major and version <= minor) or (
            kind == "compute" and (generation, version) <= (major, minor)
        ):
            return True
    print(f"{torch.cuda.get_device_name()} (sm_{major}{minor}) has no kernels in this build of torch, which has "
          f"{', '.join(built) or 'none'}: everything runs on the CPU. An older build of torch may have them.")  # fmt: skip
    return False


def available_cpus() -> int:
    """Cores this process may use: its affinity, cut down to the container's quota (cgroup v1 and v2), at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    v2, v1 = Path("/sys/fs/cgroup/cpu.max"), Path("/sys/fs/cgroup/cpu")
    if v2.is_file():
        quota, period = v2.read_text().split()
    elif (v1 / "cpu.cfs_quota_us").is_file():
        quota, period = ((v1 / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
    else:
        return cores
    return cores if quota in ("max", "-1") else max(1, min(cores, int(quota) // int(period)))


def set_threads(count: int | None = None) -> int:
    """Let torch use `count` threads (default: `available_cpus()`; Binder shows 16 cores and grants one). Returns it.

    Where the C library is glibc, also have it keep freed memory for the next step: it would hand each large tensor back
    to the system and get it anew, page by page, which cost a third of the time of a training step on a CPU.
    """
    if platform.libc_ver()[0] == "glibc":
        allocator = ctypes.CDLL(None)
        allocator.mallopt(-3, 2**30)  # M_MMAP_THRESHOLD: bytes from which an allocation is mapped, and unmapped, alone
        allocator.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: free bytes at the top of the heap that are handed back
    torch.set_num_threads(count or available_cpus())
    return torch.get_num_threads()


def release_memory() -> None:
    """Give the memory of what is no longer used back to the system: between the trainings of several networks.

    Networks and optimizers may hold each other in cycles (fastai's Learners do), and glibc keeps freed memory, all the
    more after `set_threads`.
    """
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and torch's generators (CPU and GPU)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  fastai and others draw from the legacy generator
    torch.manual_seed(seed)


def best_precision() -> str:
    """ "fp32", "bf16" or "fp16": what `fit` should train in on this device. See `precision.decide`."""
    from .precision import decide  # which imports this module

    return decide()


def user_cache() -> Path:
    """The folder for data in the user's cache, where `SEGMENTATION_DATA` names no other."""
    return Path(platformdirs.user_cache_dir("segmentation-notebooks"))


def data_root() -> Path:
    """The folder that holds the data sets, as CamVid/, VOCdevkit/VOC2007/, iccv09Data/, streets/ ...

    `SEGMENTATION_DATA` names it (a relative path starts at the repository's root, outside of it in the current folder);
    default: the user's cache folder.
    """
    named = os.environ.get("SEGMENTATION_DATA")
    return (ROOT / Path(named).expanduser()).resolve() if named else user_cache()


def data_roots() -> list[Path]:
    """Every folder to look in for a data set: `data_root()`, then the inputs attached to a Kaggle notebook.

    Kaggle mounts them at input/SLUG (until 2025), input/datasets/OWNER/SLUG and input/competitions/SLUG.
    """
    attached = Path("/kaggle/input")
    mounts = [path for way in ("*", "datasets/*/*", "competitions/*") for path in sorted(attached.glob(way))]
    return [data_root()] + [path for path in mounts if path.is_dir()]


def given_path(path) -> Path:
    """A path that somebody gave: `~` is the home folder, and a relative one starts where the command was given.

    `make run` passes that folder on as `SEGMENTATION_START`; in a notebook and in a program it is the current folder.
    """
    return (Path(os.environ.get("SEGMENTATION_START") or Path.cwd()) / Path(path).expanduser()).resolve()


def run_folder(notebook: str, given=None, *, smoke_test: bool = False) -> Path:
    """The folder `given`, see `given_path`; else `runs/<notebook>`, in smoke mode a fresh temporary one.

    `runs/` lies in the repository, or in the current folder where the package was installed.
    """
    if smoke_test and given is None:
        return Path(tempfile.mkdtemp(prefix=f"{notebook}-"))
    folder = (ROOT if REPOSITORY else Path.cwd()) / "runs" / notebook if given is None else given_path(given)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def shown(path) -> str:
    """A path as a reader should see it: from the repository's root or the home folder (~), never anybody's own."""
    path = Path(path).resolve()
    for base, prefix in ((ROOT, ""), (Path(tempfile.gettempdir()).resolve(), "<temporary>/"), (Path.home(), "~/")):
        if path.is_relative_to(base):
            return prefix + path.relative_to(base).as_posix()
    return str(path)


def processor() -> str:
    """The GPU's name, or the CPU's with the number of cores in use and the matrix instructions that it has."""
    if device().type == "cuda":
        return torch.cuda.get_device_name()
    name, features = platform.processor() or platform.machine(), ""
    if Path("/proc/cpuinfo").is_file():
        lines = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
        lines = {key.strip(): value.strip() for key, value in lines.items()}
        name = lines.get("model name", name)
        flags = lines.get("flags", "").split()
        features = "AMX" if "amx_bf16" in flags else "AVX512-BF16" if "avx512_bf16" in flags else ""
    elif sys.platform == "darwin":
        name = subprocess.check_output(["sysctl", "-n", "machdep.cpu.brand_string"], text=True).strip()
    return f"{name} ({', '.join(filter(None, [f'{available_cpus()} cores', features]))})"


def versions() -> dict[str, str]:
    """Versions of Python, of these helpers and of the packages that a result depends on (those that are installed)."""
    found = {"python": platform.python_version(), "segmentation_helpers": __version__}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def describe() -> str:
    """One line for the top of a notebook: host, processor, precision, torch."""
    return f"{host()} · {processor()} · {best_precision()} · torch {torch.__version__}"
