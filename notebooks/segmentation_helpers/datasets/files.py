"""Reading one file: pictures, and masks as ids, as colours and as text."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from .classes import IGNORE_INDEX, STANFORD_CLASSES

INVALID = 254  # internal: a raw value that no class claims
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"}


class DatasetError(ValueError):
    """A file or folder is not what a data set needs. The message names it and the remedy."""


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing.") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(
            f"{path} cannot be read ({error}): it is damaged or no picture. Replace or remove it."
        ) from None
    return image


def read_image(path) -> np.ndarray:
    """A picture from disk as uint8 H x W x 3 in RGB, turned upright by its EXIF tag. Raises DatasetError."""
    return np.array(ImageOps.exif_transpose(_open(Path(path))).convert("RGB"))


def _through_table(raw: np.ndarray, table: np.ndarray, path: Path, num_classes: int) -> np.ndarray:
    """Raw ids to class ids by a table of 256 entries; an id that no class claims is an error that names the place."""
    if raw.min() < 0 or raw.max() > 255 or (table[raw] == INVALID).any():
        known = np.flatnonzero(table != INVALID)
        y, x = np.argwhere(~np.isin(raw, known))[0]
        raise DatasetError(
            f"{path} holds the id {raw[y, x]} at row {y}, column {x}, but the data set has {num_classes} classes "
            f"(0-{num_classes - 1}) and {IGNORE_INDEX} for void. Correct the mask, or say what the id means: "
            f"mapping={{{raw[y, x]}: class or {IGNORE_INDEX}, ...}}."
        )
    return table[raw]


def read_index_mask(path: Path, mapping: tuple[tuple[int, int], ...] | None, num_classes: int) -> np.ndarray:
    """A mask whose pixels are ids, as uint8 H x W; `mapping` holds (raw id, class) pairs. Raises DatasetError."""
    image = _open(path)
    if image.format == "JPEG":
        raise DatasetError(f"{path} is a JPEG: compression has changed its ids. Export the masks as PNG.")
    if image.mode not in {"L", "P", "1", "I;16", "I"}:
        raise DatasetError(
            f"{path} is a colour picture ({image.mode}), but a mask of class ids is expected. "
            "Say which colour is which class: mapping={(128, 0, 0): 1, ...}; or export one channel of ids."
        )
    table = np.full(256, INVALID, np.uint8)
    table[IGNORE_INDEX] = IGNORE_INDEX
    for raw, target in mapping or ((i, i) for i in range(num_classes)):
        table[raw] = target
    return _through_table(np.asarray(image).astype(np.int32, copy=False), table, path, num_classes)


def read_colour_mask(path: Path, mapping: tuple[tuple[tuple[int, int, int], int], ...]) -> np.ndarray:
    """A mask in RGB, as uint8 class ids H x W; `mapping` holds (colour, class) pairs. Raises DatasetError."""
    image = _open(path)
    if image.format == "JPEG":
        raise DatasetError(f"{path} is a JPEG: compression has changed its colours. Export the masks as PNG.")
    pixels = np.asarray(image.convert("RGB")).astype(np.int32)
    pixels = (pixels[..., 0] << 16) | (pixels[..., 1] << 8) | pixels[..., 2]  # a colour as one number
    colours, targets = zip(*sorted(((r << 16) | (g << 8) | b, target) for (r, g, b), target in mapping), strict=True)
    place = np.searchsorted(colours, pixels).clip(max=len(colours) - 1)
    wrong = np.asarray(colours)[place] != pixels
    if wrong.any():
        y, x = np.argwhere(wrong)[0]
        colour = tuple(int(pixels[y, x]) >> shift & 255 for shift in (16, 8, 0))
        raise DatasetError(
            f"{path} holds the colour {colour} at row {y}, column {x}, which is no class's. "
            "Was the mask resized smoothly or saved as JPEG? Else add the colour to the mapping."
        )
    return np.asarray(targets, np.uint8)[place]


def read_regions_mask(path: Path) -> np.ndarray:
    """Stanford Background's text labels (-1 unknown), as uint8 H x W. Raises DatasetError for ragged or odd rows."""
    if not path.is_file():
        raise DatasetError(f"{path} is missing.")
    try:
        rows = [np.array(line.split(), np.int32) for line in path.read_text().splitlines() if line.strip()]
    except (ValueError, OverflowError) as error:
        raise DatasetError(
            f"{path} holds something other than whole numbers ({error}). Unpack the archive again."
        ) from None
    ragged = [number for number, row in enumerate(rows, 1) if len(row) != len(rows[0])]
    if not rows or ragged:
        what = (
            f"row {ragged[0]} has {len(rows[ragged[0] - 1])} ids, row 1 has {len(rows[0])}" if rows else "it is empty"
        )
        raise DatasetError(f"{path} is damaged: {what}. Unpack the archive again.")
    raw = np.stack(rows)
    table = np.full(256, INVALID, np.uint8)
    table[: len(STANFORD_CLASSES)] = np.arange(len(STANFORD_CLASSES))
    table[IGNORE_INDEX] = IGNORE_INDEX
    return _through_table(np.where(raw == -1, IGNORE_INDEX, raw), table, path, len(STANFORD_CLASSES))
