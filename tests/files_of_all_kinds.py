"""Picture files of every depth and kind, as other programs write them, for tests."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def save(array, path, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def png(array, path, depth=8, palette=None) -> Path:
    """A PNG of 1, 2, 4, 8 or 16 bits; (H, W), (H, W, 2), (H, W, 3) or (H, W, 4). `palette`: colours of indices."""
    height, width = array.shape[:2]
    kind = 3 if palette is not None else {1: 0, 2: 4, 3: 2, 4: 6}[1 if array.ndim == 2 else array.shape[2]]
    if depth < 8:
        bits = ["".join(f"{value:0{depth}b}" for value in row) for row in array.tolist()]
        rows = [int(row.ljust(-(-len(row) // 8) * 8, "0"), 2).to_bytes(-(-len(row) // 8), "big") for row in bits]
    else:
        rows = [row.astype(">u2" if depth == 16 else np.uint8).tobytes() for row in array]

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    colours = chunk(b"PLTE", bytes(value for colour in palette for value in colour)) if palette is not None else b""
    data = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)) + colours
    data += chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))) + chunk(b"IEND", b"")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


def turned(array, path, orientation, **options) -> Path:
    """The picture with an EXIF orientation, stored so that it is upright once the tag is obeyed."""
    back = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90,
            8: Image.Transpose.ROTATE_270}  # fmt: skip
    image = Image.fromarray(array)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.transpose(back[orientation]).save(path, exif=exif, **options)
    return path
