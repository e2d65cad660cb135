"""The drawn streets as a data set: drawn on first use, then read from the folder of the data sets."""

import functools
import tempfile
from pathlib import Path

from filelock import FileLock

from segmentation_helpers import environment
from segmentation_helpers.datasets.classes import CAMVID_CLASSES, CAMVID_PALETTE, IGNORE_INDEX
from segmentation_helpers.datasets.errors import DatasetError
from segmentation_helpers.datasets.masks import read_index_mask
from segmentation_helpers.datasets.pairing import files_of, paired

from .writers import write_streets

VERSION = "1"  # of the pictures: raise it when a seed no longer gives the same bytes, and data sets are drawn anew


def _drawn_streets(folder: Path) -> Path:
    """Draw the streets unless this version of them is there; beside the user's cache where `folder` is read-only."""
    version = folder / "version.txt"
    if (folder / "trainannot").is_dir() and (not version.is_file() or version.read_text() == VERSION):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(".streets.lock")).acquire()
    except OSError:
        if folder.parent == environment.user_cache():
            raise
        print(f"{environment.shown(folder.parent)} cannot be written to: the streets are drawn in the user's cache.")
        return _drawn_streets(environment.user_cache() / folder.name)
    with lock:
        if version.is_file() and version.read_text() == VERSION:
            return folder  # another notebook drew them in the meantime
        print(f"Drawing the streets into {environment.shown(folder)}, once (about half a minute).", flush=True)
        with tempfile.TemporaryDirectory(prefix=".streets-", dir=folder.parent) as draft:
            write_streets(Path(draft) / "streets")
            (Path(draft) / "streets" / version.name).write_text(VERSION)
            if folder.exists():
                folder.rename(Path(draft) / "older")
            (Path(draft) / "streets").rename(folder)
    return folder


def load_streets(name, split, root, download):
    """Pairs of files, classes, palette and the reader of masks, for `load_dataset("streets", split)`."""
    base = Path(root) if root is not None else environment.data_root()
    base = base if (base / "trainannot").is_dir() else base / "streets"
    if root is None:
        base = _drawn_streets(base)
    if not (base / split).is_dir():
        raise DatasetError(
            f"{base / split} does not exist: write the set with write_streets, or use train, val or test."
        )
    mapping = tuple((i, i) for i in range(11)) + ((11, IGNORE_INDEX),)
    decode = functools.partial(read_index_mask, mapping=mapping, num_classes=11)
    return paired(files_of(base / split), files_of(base / f"{split}annot")), CAMVID_CLASSES, CAMVID_PALETTE, decode
