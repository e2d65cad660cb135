"""Pictures as training takes them: uint8, a fixed number of bands."""

from numbers import Integral, Real
from pathlib import Path

import numpy as np
from PIL import Image

from .errors import DatasetError
from .files import load
from .raw import Raw
from .tiff import load_stack


def read_image(path, bands: int = 3, scale: float | None = None) -> np.ndarray:
    """A picture from disk as uint8 (H, W, bands), turned upright by its EXIF tag. Raises DatasetError.

    Args:
        bands: 3 is RGB, and a grey picture is repeated three times; 1 is grey, and a colour picture becomes grey (its
            luma, as Pillow's convert("L")). Any other number must be that of the file: bands or pages, alpha included.
        scale: the value that becomes white (255), 4095 for 12 bits; what is above it is white, too. Default: the largest
            value of the file's integer type (8 bits stay as they are), and 1 for floats, which must lie in 0..1.

    An alpha channel is dropped where everything is opaque; a picture with transparent pixels is refused, since nobody
    knows what colour they should have.
    """
    check_options(bands, scale)
    path = Path(path)
    raw = load(path)
    pixels = _to_8_bits(_of_bands(raw, bands, path), raw, scale, path)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] == 1 and bands == 3:
        pixels = pixels.repeat(3, axis=2)
    elif pixels.shape[2] == 3 and bands == 1:
        pixels = np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("L"))[..., None]
    return np.array(pixels, order="C")


def check_options(bands, scale):
    if not isinstance(bands, Integral) or isinstance(bands, bool) or bands < 1:
        raise DatasetError(f"bands is {bands!r}, but must be how many bands a picture has: 3 for RGB, 1 for grey.")
    if scale is not None and (not isinstance(scale, Real) or isinstance(scale, bool) or not 0 < scale < float("inf")):
        raise DatasetError(f"scale is {scale!r}, but must be the value that becomes white, such as 4095 for 12 bits.")


def _of_bands(raw: Raw, bands: int, path: Path) -> np.ndarray:
    """The pixels with as many bands as wanted, or with 3 for 1, or 1 for 3."""
    if raw.pages > 1:
        return _from_pages(raw, bands, path)
    pixels, alpha = raw.pixels, raw.alpha
    if raw.palette is not None:
        pixels, alpha = raw.palette[pixels], True
    there = 1 if pixels.ndim == 2 else pixels.shape[2]
    if there in (2, 4) and there != bands:
        if (pixels[..., -1] == raw.opaque).all():  # where it is not marked as alpha, too: it says nothing
            pixels, there = pixels[..., :-1], there - 1
        elif alpha:
            y, x = np.argwhere(pixels[..., -1] != raw.opaque)[0]
            keep = "" if raw.palette is not None else f"; bands={there} keeps the alpha channel as a band"
            raise DatasetError(
                f"{path} is transparent in places (row {y}, column {x}), and nobody can say what is seen there. Save it "
                f'without alpha, Image.open(path).convert("RGB"){keep}.'
            )
    if there == bands or (there, bands) in ((1, 3), (3, 1)):
        return pixels
    has = f"{there} band" + "s" * (there > 1)
    raise DatasetError(
        f"{path} has {has}, but bands={bands} {'is' if bands == 1 else 'are'} wanted: say bands={there} to read what it "
        f"has, or save {bands} of them."
    )


def _from_pages(raw, bands, path):
    stack, channels = load_stack(path) if path.suffix.lower() in (".tif", ".tiff") else (None, False)
    if stack is not None:
        if stack.shape[0] == bands and (channels or bands != 3):  # three pages may be anything
            return np.moveaxis(stack, 0, 2)
        if stack.shape[2] == bands:  # tifffile.imwrite makes pages of rows, but notes the shape
            return stack
        number = min(stack.shape[0], stack.shape[2])
        remedy = "save them as the bands of one page" if number == 3 else f"say bands={number} to read them as bands"
        raise DatasetError(
            f"{path} holds {raw.pages} pages, an array of shape {stack.shape}: {remedy}, or save the page that is meant."
        )
    raise DatasetError(f"{path} holds {raw.pages} pages or frames: save the one that is meant as a file of its own.")


def _to_8_bits(pixels, raw, scale, path):
    kind = pixels.dtype.kind
    if pixels.dtype == np.uint8 and scale is None and (raw.white is None or raw.palette is not None):
        return pixels
    if kind not in "buif":
        raise DatasetError(
            f"{path} holds {pixels.dtype} numbers, which are no brightness: save it as integers or floats."
        )
    low, high = pixels.min(), pixels.max()
    if kind == "f" and not (np.isfinite(low) and np.isfinite(high)):
        raise DatasetError(f"{path} holds NaN or infinite values: replace them before the picture is saved.")
    if low < 0 or (kind == "f" and scale is None and high > 1 + 1e-6):
        remedy = "say which value becomes white, such as scale=255" if low >= 0 else "shift them, so that black is 0"
        wanted = "floats must lie in 0..1" if kind == "f" else "a picture has none below 0"
        raise DatasetError(f"{path} holds values from {low:g} to {high:g}, but {wanted}: {remedy}.")
    white = scale or (1.0 if kind == "f" else raw.largest)
    if kind in "bu" and pixels.dtype.itemsize <= 2:  # each value once, then a look-up
        table = np.rint(np.arange(int(high) + 1) * 255.0 / white).clip(0, 255).astype(np.uint8)
        return table[pixels.astype(np.uint16)]
    return np.rint(pixels.astype(np.float64) * 255.0 / white).clip(0, 255).astype(np.uint8)
