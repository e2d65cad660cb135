"""Netpbm files: P1 and P4 (bits), P2 and P5 (grey), P3 and P6 (colour), as text and as bytes."""

import re
from pathlib import Path

import numpy as np

from .raw import Raw

NAME = "a Netpbm file"
SPACE = rb"(?:\s|#[^\n]*\n)"


def load_netpbm(path: Path) -> Raw:
    """The one picture in a file, its values as they are. Raises ValueError in words."""
    data = path.read_bytes()
    numbers = 2 if data[1:2] in b"14" else 3
    header = re.match(rb"P([1-6])" + numbers * (SPACE + rb"+(\d+)") + rb"\s", data)
    if header is None:
        raise ValueError(f"its header is not that of {NAME}")
    kind, width, height, *white = (int(number) for number in header.groups())
    white = white[0] if white else 1
    if not 0 < white < 65536 or not width or not height:
        raise ValueError(f"its header names {width} x {height} pixels of 0 to {white}, which {NAME} cannot hold")
    shape = (height, width, 3) if kind in (3, 6) else (height, width)
    read = _text if kind < 4 else _bytes
    values = read(data, header.end(), kind, shape, white)
    if values.max() > white:
        raise ValueError(f"it holds {values.max():g}, but names {white} as its largest value")
    if kind in (1, 4):
        return Raw(values.reshape(shape) == 0, "1")  # 1 is black there
    values = values.astype(np.uint16 if white > 255 else np.uint8)
    return Raw(values.reshape(shape), "RGB" if len(shape) == 3 else "L", white=white)


def _text(data, place, kind, shape, white):
    body = re.sub(rb"#[^\n]*", b" ", data[place:])
    parts = list(re.sub(rb"\s", b"", body).decode("latin-1")) if kind == 1 else body.decode("latin-1").split()
    if odd := next((part for part in parts if not part.isdecimal() or not part.isascii()), None):
        raise ValueError(f"it holds {odd[:20]!r} where a number from 0 to {white} should be")
    _check_length(len(parts), int(np.prod(shape)), "values")
    return np.array(parts, np.float64)  # no number is too long for it


def _bytes(data, place, kind, shape, white):
    dtype = np.dtype(">u2" if white > 255 else "u1")
    wanted = shape[0] * -(-shape[1] // 8) if kind == 4 else int(np.prod(shape)) * dtype.itemsize
    rest = len(data) - place
    if data[place - 1 : place + 1] == b"\r\n" and rest > wanted:
        place, rest = place + 1, rest - 1  # a line end of Windows
    if rest > wanted and not data[place + wanted :].strip():
        rest = wanted  # an empty line at the end
    _check_length(rest, wanted, "bytes")
    values = np.frombuffer(data, dtype, wanted // dtype.itemsize, place)
    if kind == 4:
        values = np.unpackbits(values.reshape(shape[0], -1), axis=1)[:, : shape[1]]
    return values


def _check_length(there, wanted, what):
    if there < wanted:
        raise ValueError(f"{there} {what} are there where {wanted} should be")
    if there > wanted:
        raise ValueError(f"{there} {what} are there where {wanted} should be: it may hold a second picture")
