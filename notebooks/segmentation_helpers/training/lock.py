"""One training at a time in a run's folder."""

import contextlib
import functools
import os
from pathlib import Path

from filelock import FileLock, Timeout

from .. import environment
from .files import TrainingError

LOCK, PATIENCE = ".lock", 10  # seconds: the workers of a run that was killed hold its lock for a moment


def alone_in_its_folder(fit):
    """A decorator: `fit(..., run_dir=...)` raises TrainingError where another fit trains in the same folder.

    Of several processes that train together, the first holds the lock. A folder that nobody can write to needs none.
    """

    @functools.wraps(fit)
    def locked(*args, run_dir=None, **options):
        with held(run_dir):
            return fit(*args, run_dir=run_dir, **options)

    return locked


@contextlib.contextmanager
def held(folder):
    """Hold the lock of a run's folder, which is made where it is missing and removed again where it stays empty.

    Raises TrainingError where another process holds it. Without a folder (None) there is nothing to hold.
    """
    if folder is None or os.environ.get("RANK", "0") != "0":
        yield
        return
    folder = Path(folder)
    new, lock = not folder.is_dir(), None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise TrainingError(
            f"Another fit is training in {environment.shown(folder)}: wait for it, or choose another run_dir."
        ) from None
    except (OSError, NotImplementedError):  # read-only, or a file system without locks
        lock = None
    try:
        yield
    finally:
        if lock is not None:
            with contextlib.suppress(OSError):  # Windows keeps what is open
                (folder / LOCK).unlink()  # while it is held: nobody else's
            lock.release()
            if new:
                with contextlib.suppress(OSError):  # not empty: what was trained lies there
                    folder.rmdir()
