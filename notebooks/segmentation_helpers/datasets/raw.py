"""What is read from one picture file, before anybody says what it means."""

from dataclasses import dataclass

import numpy as np

ORIENTATION = 0x0112  # the tag of EXIF and TIFF that says how a picture is to be turned


@dataclass
class Raw:
    """A file's pixels, (H, W) or (H, W, bands) as stored but turned upright, and what it says about them."""

    pixels: np.ndarray
    mode: str  # for messages: "RGB", "I;16B", "5 bands"
    palette: np.ndarray | None = None  # (256 or more, 4) uint8, RGBA; the pixels are indices into it
    alpha: bool = False  # the last band is transparency
    white: int | None = None  # the largest value that the file may hold, where it is not that of the type
    pages: int = 1
    lossy: str | None = None  # the compression that changed the pixels, or may have: "JPEG"
    orientation: int = 1
    kind: str | None = None  # Pillow's name of the format, where Pillow has read it

    @property
    def bands(self) -> int:
        return 1 if self.pixels.ndim == 2 else self.pixels.shape[2]

    @property
    def opaque(self) -> float:
        """The value of an alpha channel where nothing is transparent."""
        return 255 if self.palette is not None else 1.0 if self.pixels.dtype.kind == "f" else self.largest

    @property
    def largest(self) -> int:
        """The value of white for whole numbers."""
        return self.white or (1 if self.pixels.dtype == bool else int(np.iinfo(self.pixels.dtype).max))


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels (H, W, ...) turned as the tag `orientation` (1 to 8) asks for."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
