"""TIFF files: any number of bands and pages, any depth, either byte order."""

from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image

from .errors import DatasetError
from .raw import ORIENTATION, Raw, upright

LOSSLESS = {"NONE", "CCITTRLE", "CCITTFAX3", "CCITTFAX4", "CCIRLEW", "LZW", "ADOBE_DEFLATE", "DEFLATE", "PACKBITS", "LZMA",
            "ZSTD", "ZSTD_DEPRECATED", "PNG"}  # fmt: skip
OPAQUE_OR_NOT = (1, 2)  # of the tag ExtraSamples: the last band is alpha


def load_tiff(path: Path) -> Raw:
    """The first page of a TIFF file; overviews and masks of transparency, which GIS programs add, are no pages."""
    with tifffile.TiffFile(path) as tiff:
        page, count = _pages(tiff)
        orientation = page.tags[ORIENTATION].value if ORIENTATION in page.tags else 1
        kind, compression, samples = page.photometric.name, page.compression.name, page.samplesperpixel
        raw = Raw(None, _mode(page), pages=count, orientation=int(orientation))
        if "JPEG" in compression and "LOSSLESS" not in compression:
            raw.lossy = "JPEG"
        if raw.lossy or kind not in ("MINISBLACK", "MINISWHITE", "RGB", "PALETTE"):
            with Image.open(path) as image:  # turned already
                raw.pixels = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
            return raw
        if page.compression.name not in LOSSLESS:
            raw.lossy = f"possibly lossy {page.compression.name}"
        pixels, turned, inverted = _pixels(path, page, raw.orientation)
        if page.bitspersample not in (1, 8, 16, 32, 64):
            raw.white = 2**page.bitspersample - 1
        if kind == "MINISWHITE" and not inverted:
            pixels = _inverted(pixels, raw.white, path)
        pixels = pixels if turned else upright(pixels, raw.orientation)
        raw.pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        raw.alpha = samples in (2, 4) and tuple(page.extrasamples)[-1:] in [(value,) for value in OPAQUE_OR_NOT]
        if kind == "PALETTE":
            colours = page.colormap.T  # (n, 3), of 16 bits, in some files of 8
            colours = (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)
            raw.palette = np.full((max(256, len(colours)), 4), 255, np.uint8)
            raw.palette[: len(colours), :3] = colours
            raw.pixels = raw.pixels.astype(np.uint8) if raw.pixels.dtype == bool else raw.pixels  # indices, not bits
    return raw


def glance_tiff(path: Path) -> tuple[int, int, int]:
    """Bands (without alpha), bits and orientation."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        samples = page.samplesperpixel - (tuple(page.extrasamples)[-1:] in [(value,) for value in OPAQUE_OR_NOT])
        bands = 3 if page.photometric.name == "PALETTE" else samples
        return bands, page.bitspersample, page.tags[ORIENTATION].value if ORIENTATION in page.tags else 1


def indexed_tiff(path: Path) -> bool:
    """Whether the pixels are indices into a palette, or one bit each."""
    with tifffile.TiffFile(path) as tiff:
        return tiff.pages[0].photometric.name == "PALETTE" or tiff.pages[0].bitspersample == 1


def load_stack(path: Path) -> tuple[np.ndarray | None, bool]:
    """All pages of a file as (pages, H, W), or as the (H, W, bands) that its description says; None if they differ.

    And whether the file calls its pages channels.
    """
    with tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        if len(tiff.series) != 1 or len([size for size in series.shape if size > 1]) != 3:
            return None, False
        stack = series.asarray().squeeze()
        channels = "C" in series.axes and series.shape[series.axes.index("C")] > 1
    return stack.astype(stack.dtype.newbyteorder("="), copy=False), channels


def _pages(tiff):
    """The first page, and how many there are."""
    pages = [page for page in tiff.pages if not (page.is_reduced or page.is_mask)] or [tiff.pages[0]]
    first = pages[0]
    series = tiff.series[0]  # ImageJ may hide a stack behind one page
    hidden = int(np.prod(series.shape)) // int(np.prod(first.shape)) if len(pages) == 1 else 1
    return first, max(len(pages), hidden)


def _mode(page):
    if page.photometric.name == "PALETTE":
        return "P"
    samples = page.samplesperpixel
    names = {1: "L" if page.bitspersample == 8 else f"{page.bitspersample} bits", 3: "RGB", 4: "RGBA"}
    return names.get(samples if page.photometric.name == "RGB" or samples == 1 else None, f"{samples} bands")


def _inverted(pixels, white, path):
    """Brightness, where 0 is white."""
    if pixels.dtype == bool:
        return ~pixels
    if pixels.dtype.kind != "f":
        return (white or np.iinfo(pixels.dtype).max) - pixels
    if not (pixels.min() >= 0 and pixels.max() <= 1):
        raise DatasetError(
            f"{path} says that 0 is white and holds floats from {pixels.min():g} to {pixels.max():g}, so that nobody knows "
            "what is black: save it with 0 as black (MINISBLACK)."
        )
    return 1 - pixels


def _pixels(path, page, orientation):
    """The pixels (H, W) or (H, W, bands), whether they are turned already, and whether 0 is made black already."""
    try:
        pixels = page.asarray()
    except (ValueError, ImportError, NotImplementedError) as error:
        if "imagecodecs" not in str(error) and not isinstance(error, ImportError):
            raise
    else:
        if page.axes == "SYX":
            return np.moveaxis(pixels, 0, 2), False, False
        if page.axes not in ("YX", "YXS"):
            raise DatasetError(
                f"{path} holds an array of shape {page.shape}, but no picture: save it as pages or bands."
            )
        return pixels, False, False
    height, width, samples, dtype = page.imagelength, page.imagewidth, page.samplesperpixel, page.dtype
    shape = (height, width, samples) if samples > 1 else (height, width)
    (pixels, inverted), turned = (
        _by_pillow(path, page.compression.name),
        shape if orientation < 5 else (width, height, *shape[2:]),
    )
    if pixels is not None and pixels.shape == turned and pixels.dtype.itemsize == dtype.itemsize:
        return pixels.astype(pixels.dtype if pixels.dtype == bool else dtype), True, inverted
    if samples in (3, 4) and orientation == 1:
        pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is not None and pixels.shape == shape and pixels.dtype == dtype:
            return pixels[..., [2, 1, 0, 3][:samples]], False, False
    how = (
        f"is compressed by {page.compression.name}"
        if page.compression != 1
        else f"has {page.bitspersample} bits a value"
    )
    raise DatasetError(
        f"{path} {how}, which needs one more package here: pip install imagecodecs, or save the file without compression"
        f"{'' if page.compression != 1 else ' and with 8 or 16 bits'}."
    )


def _by_pillow(path, compression):
    """The pixels as Pillow reads them, but not stretched, and whether 0 is made black; None where it does not know the kind."""
    try:
        with Image.open(path) as image:
            stored = image.tile[0][3] if image.tile else ""  # Pillow's name of the pixels on disk: "L;4I" is inverted
            stored = stored[0] if isinstance(stored, tuple) else stored
            mode, _, details = str(stored).partition(";")
            pixels = np.asarray(image)
            if mode == "L" and details[:1] in ("2", "4"):
                pixels = pixels // (85 if details[0] == "2" else 17)
            return pixels, mode in ("1", "L") and "I" in details
    except Image.UnidentifiedImageError:
        return None, False
    except OSError:
        if compression in LOSSLESS:
            raise
        return None, False  # Pillow is built without it
