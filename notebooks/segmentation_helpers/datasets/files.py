"""Opening one picture file: its pixels as they are stored, and what the file says about them.

Pillow reads most files, `tiff` the TIFF files, which may hold any number of bands and pages. OpenCV keeps the 16 bits of
colour PNG files, which Pillow cuts down to 8.
"""

import re
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from .errors import DatasetError
from .kinds import what_it_is
from .netpbm import load_netpbm
from .raw import ORIENTATION, Raw, upright
from .tiff import glance_tiff, indexed_tiff, load_tiff

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm", ".pbm", ".pnm",
                  ".jp2"}  # fmt: skip
LOSSLESS = (
    "PNG",
    "GIF",
    "BMP",
    "DIB",
    "PPM",
    "WEBP",
    "TGA",
    "PCX",
    "ICO",
    "QOI",
    "SGI",
    "XBM",
    "MSP",
    "IM",
    "JPEG2000",
)  # fmt: skip  or looked at elsewhere
GREY_STEPS = {"L;2": 85, "L;4": 17}  # Pillow stretches grey levels of 2 and 4 bits to 0..255


def load(path) -> Raw:
    """Read a file. Raises DatasetError where it is missing, too large, damaged or of no known kind."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return load_tiff(path)
        return load_netpbm(path) if re.match(rb"P[1-6]\s|P[1-6]#", start) else _pillow(path)
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing.") from None
    except Image.DecompressionBombError as error:
        pixels = int(re.search(r"\d+", str(error))[0])
        raise DatasetError(
            f"{path} has {pixels / 1e6:.0f} million pixels, more than Pillow opens unless told to. Raise the limit, "
            f"PIL.Image.MAX_IMAGE_PIXELS = {pixels:_}, or cut the picture up."
        ) from None
    except (DatasetError, MemoryError):
        raise
    except Exception as error:  # decoders raise anything on a damaged file
        if words := what_it_is(path):
            raise DatasetError(f"{path} cannot be read: it {words}") from None
        raise DatasetError(
            f"{path} cannot be read ({error}): it is damaged or no picture. Replace or remove it."
        ) from None


def glance(path: Path) -> tuple[int, int, int]:
    """Bands (without alpha), bits and orientation of a readable file, by its header alone."""
    with path.open("rb") as file:
        if file.read(2) in (b"II", b"MM"):
            return glance_tiff(path)
    with Image.open(path) as image:
        stored = image.tile[0][3] if image.tile else ""
        deep = str(stored).endswith(";16B") or image.mode.startswith("I;16")
        tagged = image.format != "PNG" or "exif" in image.info  # else Pillow reads the whole file to look for it
        orientation = image.getexif().get(ORIENTATION, 1) if tagged else 1
        bands = 1 if image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;16") else 3
        return bands, 16 if deep else 32 if image.mode in ("I", "F") else 8, orientation


def has_palette_or_bits(path: Path) -> bool:
    """Whether the pixels of a readable file are indices into a palette, or one bit each, by its header alone."""
    with path.open("rb") as file:
        if file.read(2) in (b"II", b"MM"):
            return indexed_tiff(path)
    with Image.open(path) as image:
        return image.mode in ("P", "1")


def _pillow(path: Path) -> Raw:
    with Image.open(path) as image:
        pages = image.n_frames if getattr(image, "is_animated", False) and image.format != "MPO" else 1
        stored = image.tile[0][3] if image.tile else ""  # Pillow's name of the pixels on disk: "RGB", "L;2", "RGB;16B"
        stored = stored if isinstance(stored, str) else ""
        image.load()
        raw = Raw(None, image.mode, pages=pages, lossy=_lossy(image, path), kind=image.format)
        raw.orientation = image.getexif().get(ORIENTATION, 1)
        if image.format == "PNG" and stored.endswith(";16B"):
            raw.pixels = _png_of_16_bits(image, path, stored)
            raw.alpha = stored in ("LA;16B", "RGBA;16B")
        elif image.mode == "P":
            image.apply_transparency()
            colours = np.array(image.getpalette("RGBA"), np.uint8).reshape(-1, 4)
            raw.palette = np.zeros((256, 4), np.uint8)
            raw.palette[: len(colours)] = colours
            raw.pixels = np.asarray(image)
        else:
            if image.mode not in ("1", "L", "LA", "RGB", "RGBA", "I", "F") and not image.mode.startswith("I;16"):
                image = image.convert({"La": "LA", "PA": "RGBA", "RGBa": "RGBA"}.get(image.mode, "RGB"))
            raw.pixels, raw.alpha = np.asarray(image), image.mode in ("LA", "RGBA")
            if stored in GREY_STEPS:
                raw.pixels, raw.white = raw.pixels // GREY_STEPS[stored], 255 // GREY_STEPS[stored]
        if raw.palette is None and not raw.alpha and isinstance(image.info.get("transparency"), (int, tuple)):
            _add_alpha(raw, image.info["transparency"])
    raw.pixels = upright(raw.pixels, raw.orientation)
    if not raw.pixels.dtype.isnative:
        raw.pixels = raw.pixels.astype(raw.pixels.dtype.newbyteorder("="))
    return raw


def _png_of_16_bits(image, path, stored):
    if stored == "I;16B":
        return np.asarray(image).astype(np.uint16)
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    return pixels[..., {"LA;16B": [0, 3], "RGB;16B": [2, 1, 0], "RGBA;16B": [2, 1, 0, 3]}[stored]]


def _add_alpha(raw, clear):
    """One grey level or colour that stands for transparent, as a band of alpha."""
    if raw.pixels.dtype == bool:
        raw.pixels, raw.white = raw.pixels.astype(np.uint8), 1
    pixels = raw.pixels.reshape(*raw.pixels.shape[:2], -1)
    there = (pixels == np.bitwise_and(clear, raw.largest)).all(-1, keepdims=True)
    raw.pixels = np.concatenate([pixels, np.where(there, 0, raw.largest).astype(pixels.dtype)], -1)
    raw.alpha = True


def _lossy(image, path):
    if image.format in ("JPEG", "MPO"):
        return "JPEG"
    if image.format == "WEBP" and b"VP8 " in _webp_chunks(path.read_bytes()):
        return "lossy WebP"
    return None if image.format in LOSSLESS else f"possibly lossy {image.format}"


def _webp_chunks(data):
    place, names = 12, set()
    while place + 8 <= len(data):
        names.add(data[place : place + 4])
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        place += 8 + size + size % 2
    return names
