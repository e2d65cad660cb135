"""What is wrong with a data set, in words: as an error, or as a warning that points at the reader's own line."""

import sys
import warnings


class DatasetError(ValueError):
    """A file or folder is not what a data set needs. The message names it and the remedy."""


def warn(text: str) -> None:
    """A UserWarning at the line outside of these helpers from which the call came."""
    package, frame, level = __name__.split(".")[0], sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == package:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, stacklevel=level)
