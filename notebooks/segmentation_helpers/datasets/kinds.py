"""What a file is that no picture reader opens, by its first bytes, and what to do about it."""

import re
from pathlib import Path

STARTS = (  # pattern of the first bytes, what the file is, remedy
    (rb"version https://git-lfs", "is a pointer of Git LFS, not the picture itself", "Fetch the pictures: git lfs pull"),
    (rb"\s*<(!doctype html|html|head|body)", "is a web page, not a picture", "Download the picture itself"),
    (rb"\s*(<\?xml[^>]*>\s*|<!--.*?-->\s*|<!doctype svg[^>]*>\s*)*<svg", "is an SVG drawing", "Export it as PNG"),
    (rb"\s*<\?xml", "is an XML file, not a picture", "Draw what it describes into a PNG file"),
    (rb"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)", "is a HEIC picture", "Convert it to PNG or JPEG"),
    (rb"....ftyp(avif|avis)", "is an AVIF picture", "Convert it to PNG"),
    (rb"....ftyp(crx)", "is a raw picture of a camera", "Convert it to TIFF or PNG"),
    (rb"....ftyp", "is a video", "Save its frames as PNG"),
    (rb"\0\0\0\x0cJXL |\xff\x0a", "is a JPEG XL picture", "Convert it to PNG"),
    (rb"%PDF", "is a PDF file", "Export its pages as PNG"),
    (rb"8BPS", "is a Photoshop file", "Export it as PNG"),
    (rb"gimp xcf", "is a GIMP file", "Export it as PNG"),
    (rb"PK\x03\x04", "is a ZIP archive", "Unpack it"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!", "is a packed file or archive", "Unpack it"),
    (rb"\x93NUMPY", "is a NumPy array", 'Save it as PNG: Image.fromarray(np.load(path).astype(np.uint8)).save("mask.png")'),
    (rb"\x89HDF", "is an HDF5 file", "Save its arrays as PNG"),
    (rb"SIMPLE  =", "is a FITS file", "Save its arrays as TIFF"),
    (rb"#\?RADIANCE|v/1\x01", "is an HDR picture", "Save it as TIFF"),
    (rb".{128}DICM", "is a DICOM file", "Convert it to PNG or TIFF"),
    (rb"\s*[{\[]\s*[\"{\[\d]", "is a JSON file, not a picture", "Draw what it describes into a PNG file"),
)  # fmt: skip


def what_it_is(path: Path) -> str | None:
    """Words for "it ..." and the remedy; None for what may be a picture."""
    if path.is_dir():
        return "is a folder, not a picture. Name the pictures in it, or take it away."
    with path.open("rb") as file:
        start = file.read(1024)
    if not start:
        return "is empty. Copy or download it again, or remove it."
    if not start.strip(b"\0"):
        return "holds zeros alone: it was not copied to its end. Copy or download it again."
    for pattern, what, remedy in STARTS:
        if re.match(pattern, start.removeprefix(b"\xef\xbb\xbf"), re.DOTALL | re.IGNORECASE):
            return f"{what}. {remedy}."
    return None
