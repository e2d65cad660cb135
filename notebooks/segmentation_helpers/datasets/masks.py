"""Masks as training takes them: uint8 (H, W) of class ids and 255, from ids, colours, brightness or text."""

from pathlib import Path

import numpy as np
from PIL import Image

from . import jpeg2000
from .classes import IGNORE_INDEX, STANFORD_CLASSES
from .errors import DatasetError
from .files import load
from .raw import Raw
from .values import classes_of

JPEG_REMEDY = (
    "Export the masks as PNG, or for two classes say from which brightness on a pixel is class 1: threshold=128."
)


def read_index_mask(path, mapping, num_classes: int, grey_colours: bool = True) -> np.ndarray:
    """A mask whose pixels are ids, as uint8 (H, W); `mapping` holds (raw id, class) pairs or is None. Raises DatasetError.

    Ids are whole numbers of any type: 8, 16 or 32 bits, floats that are whole; 0 and 1 in masks of one bit; indices in
    masks with a palette; the one value of a pixel whose colour channels are equal. `grey_colours=False`: except where
    such a mask has one colour alone, which may as well be a colour.
    """
    path = Path(path)
    raw = _mask(path)
    ids, colours = _ids_or_colours(raw, path)
    if ids is None or (not grey_colours and mapping is None and raw.bands >= 3 and (ids == ids.flat[0]).all()):
        pixels = np.stack([ids] * 3, -1) if colours is None else colours
        raise DatasetError(
            f"{path} is a colour picture ({raw.mode}), but a mask of class ids is expected. "
            f"Say which colour is which class: {_example(pixels, num_classes)}; or export one channel of ids."
        )
    return classes_of(_whole(ids, path), mapping, num_classes, path, palette=raw.palette)


def read_colour_mask(path, mapping) -> np.ndarray:
    """A mask in RGB, as uint8 class ids (H, W); `mapping` holds (colour, class) pairs. Raises DatasetError."""
    path = Path(path)
    raw = _mask(path)
    pixels = _colours_of(raw, path).astype(np.int32)
    pixels = (pixels[..., 0] << 16) | (pixels[..., 1] << 8) | pixels[..., 2]  # a colour as one number
    colours, targets = zip(*sorted(((r << 16) | (g << 8) | b, target) for (r, g, b), target in mapping), strict=True)
    place = np.searchsorted(colours, pixels).clip(max=len(colours) - 1)
    wrong = np.asarray(colours)[place] != pixels
    if wrong.any():
        y, x = np.argwhere(wrong)[0]
        colour = tuple(int(pixels[y, x]) >> shift & 255 for shift in (16, 8, 0))
        raise DatasetError(
            f"{path} holds the colour {colour} at row {y}, column {x}, which is no class's. Was the mask resized smoothly "
            f"or saved as JPEG? Else add the colour to the mapping, {colour}: {IGNORE_INDEX} for one that means nothing."
        )
    return np.asarray(targets, np.uint8)[place]


def read_threshold_mask(path, threshold: float) -> np.ndarray:
    """A mask of two classes by its brightness, as uint8 (H, W): 1 where it is `threshold` or more. Raises DatasetError.

    The brightness is the stored value; of masks of 1, 2 or 4 bits and of palettes of greys that on the scale of 0 to 255.
    JPEG masks will do.
    """
    return (brightness(Path(path)) >= threshold).astype(np.uint8)


def brightness(path: Path) -> np.ndarray:
    """The values of a mask that are compared with a threshold, (H, W). Raises DatasetError for colours."""
    raw = _mask(path, lossy=True)
    if raw.palette is not None:
        raw.pixels, raw.palette = raw.palette[raw.pixels, :3], None
    ids, colours = _ids_or_colours(raw, path)
    if ids is None:
        spread = int((colours.max(2).astype(np.int64) - colours.min(2)).max())
        if spread > (48 if raw.lossy else 0):
            raise DatasetError(
                f"{path} is a colour picture ({raw.mode}): threshold= compares brightness. Say which colour is which "
                "class: mapping={(128, 0, 0): 1, ...}."
            )
        ids = np.asarray(Image.fromarray(np.ascontiguousarray(colours)).convert("L"))
    if ids.dtype.kind != "f" and raw.largest < 255:
        return ids.astype(np.float64) * 255 / raw.largest
    return ids


def read_regions_mask(path) -> np.ndarray:
    """Stanford Background's text labels (-1 unknown), as uint8 H x W. Raises DatasetError for ragged or odd rows."""
    path = Path(path)
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
    mapping = [(i, i) for i in range(len(STANFORD_CLASSES))] + [(-1, IGNORE_INDEX)]
    return classes_of(np.stack(rows), mapping, len(STANFORD_CLASSES), path)


def _example(pixels, num_classes):
    """A mapping of the colours that are there, as text; which is which class is left to the reader."""
    found = np.unique(pixels.reshape(-1, 3), axis=0).tolist() if pixels.size < 1e7 else []
    if not 0 < len(found) <= num_classes:
        return "mapping={(128, 0, 0): 1, ...}"
    return f"mapping={ ({tuple(colour): place for place, colour in enumerate(found)}) }"


def stored_ids(path: Path) -> tuple[np.ndarray | None, Raw]:
    """The ids of a mask as they are stored, (H, W), None where it holds colours; and the file. Raises DatasetError."""
    raw = _mask(path)
    return _ids_or_colours(raw, path)[0], raw


def _mask(path, lossy=False) -> Raw:
    """The file, if it is one picture that no compression has changed (or, `lossy`, may have)."""
    raw = load(path)
    if raw.pages > 1:
        raise DatasetError(
            f"{path} holds {raw.pages} pages or frames, but a mask is one: save the one that is meant, or merge them into "
            "one mask of ids."
        )
    if raw.kind == "JPEG2000":
        raw.lossy = jpeg2000.loss(path)
    if raw.lossy and not lossy:
        has = "may have" if raw.lossy.startswith("possibly") else "has"
        raise DatasetError(f"{path} is a {raw.lossy}: compression {has} changed its values. {JPEG_REMEDY}")
    return raw


def _ids_or_colours(raw, path):
    """(ids (H, W), None), or (None, colours (H, W, 3)) where the colour channels differ."""
    pixels, bands = raw.pixels, raw.bands
    if bands > 4:
        raise DatasetError(f"{path} has {bands} bands, but a mask has one: export the band of ids.")
    if bands in (2, 4):
        _check_alpha(raw, path)
        pixels = pixels[..., :-1]
    if pixels.ndim == 2:
        return pixels, None
    first = pixels[..., 0]
    if all(np.array_equal(first, pixels[..., i]) for i in range(1, pixels.shape[2])):
        return first, None
    return None, pixels


def _check_alpha(raw, path):
    """Refuse a mask whose last band may not be dropped: it is no alpha channel, or tells pixels of one colour apart."""
    pixels, alpha = raw.pixels, raw.pixels[..., -1]
    if not raw.alpha and (alpha != raw.opaque).any():
        raise DatasetError(
            f"{path} has {raw.bands} bands and calls none of them alpha, but a mask has one: save the band of ids. Of one band "
            "per class, argmax makes ids: np.argmax(bands, axis=-1).astype(np.uint8)."
        )
    if (alpha == alpha.flat[0]).all():
        return
    colours = pixels[..., :-1].reshape(-1, pixels.shape[2] - 1)
    if (colours == colours[0]).all():
        raise DatasetError(
            f"{path} has one colour everywhere, {tuple(colours[0].tolist())}: what it shows is in its alpha channel. Save "
            'that as the mask, Image.open(path).getchannel("A"), and say mapping={0: 0, 255: 1}.'
        )
    found, where = np.unique(colours, axis=0, return_inverse=True)
    low, high = np.full(len(found), np.inf), np.full(len(found), -np.inf)
    np.minimum.at(low, where.ravel(), alpha.ravel())
    np.maximum.at(high, where.ravel(), alpha.ravel())
    if (low < high).any():
        colour = tuple(found[np.argmax(low < high)].tolist())
        raise DatasetError(
            f"{path} has pixels of one colour, {colour}, that are opaque and others that are transparent: its alpha channel "
            'tells them apart, and a mask has none. Give transparent pixels a colour of their own, then convert("RGB").'
        )


def _colours_of(raw, path):
    """(H, W, 3) of 8 bits."""
    pixels = raw.pixels
    if raw.palette is not None:
        pixels = raw.palette[pixels]
    elif raw.bands in (2, 4):
        _check_alpha(raw, path)
        pixels = pixels[..., :-1]
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        pixels = pixels.reshape(*pixels.shape[:2], 1).repeat(3, 2)
        if pixels.dtype == bool or raw.white is not None:
            pixels = (pixels.astype(np.int64) * 255 // raw.largest).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise DatasetError(
            f"{path} holds {pixels.dtype} values, but the mapping names colours of 8 bits. Map its values, "
            f"mapping={{{pixels.flat[0]:g}: 0, ...}}, or export the mask with 8 bits."
        )
    if raw.palette is None and pixels.shape[2] != 3:
        raise DatasetError(f"{path} has {pixels.shape[2]} bands, but the mapping names colours of three.")
    return pixels[..., :3]


def _whole(ids, path):
    """Ids as whole numbers."""
    if ids.dtype == bool:
        return ids.astype(np.uint8)
    if ids.dtype.kind == "f":
        wrong = ~(np.isfinite(ids) & (ids == np.rint(ids)))
        if wrong.any():
            y, x = np.argwhere(wrong)[0]
            raise DatasetError(
                f"{path} holds {ids[y, x]:g} at row {y}, column {x}, but ids are whole numbers. Export ids; for two classes "
                "of a map from 0 to 1 say threshold=0.5."
            )
        return ids.astype(np.int64)
    return ids
