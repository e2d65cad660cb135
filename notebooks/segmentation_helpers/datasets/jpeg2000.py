"""Whether a JPEG 2000 file has lost anything: its wavelet, and whether all of its bits were kept."""

import io
import struct
from pathlib import Path

from PIL import Image

SIZ, COD, SOD = b"\xff\x51", b"\xff\x52", b"\xff\x93"
PROGRESSIONS = ["LRCP", "RLCP", "RPCL", "PCRL", "CPRL"]


def loss(path: Path) -> str | None:
    """What was lost, in words for "is a ..."; None where all is there.

    The 9-7 wavelet rounds. The 5-3 wavelet does not, but a file may leave out its last bits, and no header says so. Where
    its pixels, saved again in the same way and with all bits, make the same bytes, it has left out none.
    """
    data = path.read_bytes()
    data = data[max(data.find(b"\xff\x4f" + SIZ), 0) :]
    place = data.find(COD)
    _, order, _, transform, levels, width, height, _, wavelet = struct.unpack(
        ">BBHBBBBBB", data[place + 4 : place + 14]
    )
    if wavelet == 0:
        return "lossy JPEG 2000"
    doubt = "possibly lossy JPEG 2000"
    if order >= len(PROGRESSIONS):
        return doubt
    size = struct.unpack(">8I", data[8:40])
    tiles = {} if size[4] >= size[0] and size[5] >= size[1] else {"tile_size": size[4:6]}
    again = io.BytesIO()
    try:
        with Image.open(path) as image:
            image.load()
            image.save(again, "JPEG2000", no_jp2=True, irreversible=False, num_resolutions=levels + 1, mct=transform,
                       codeblock_size=(4 << width, 4 << height), progression=PROGRESSIONS[order], **tiles)  # fmt: skip
    except (OSError, ValueError):  # Pillow writes fewer kinds than it reads
        return doubt
    return None if _packets(data) == _packets(again.getvalue()) else doubt


def _packets(data):
    """What the tiles hold, without their headers."""
    place, found = data.find(b"\xff\x90"), []
    while place >= 0 and data[place : place + 2] == b"\xff\x90":  # SOT, the start of a part of a tile
        (size,) = struct.unpack(">I", data[place + 6 : place + 10])
        end = place + size if size else len(data) - 2
        found.append(data[data.find(SOD, place) + 2 : end])
        place = end
    return b"".join(found)
