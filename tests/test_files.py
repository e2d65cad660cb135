"""What single files say of themselves: depth, which value is white, transparency, compression, headers."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from files_of_all_kinds import png, save
from segmentation_helpers.datasets import DatasetError, FolderDataset, read_colour_mask, read_image, read_index_mask
from segmentation_helpers.datasets.masks import read_threshold_mask

RNG = np.random.default_rng(0)
CELL = np.zeros((4, 5), np.uint8)
CELL[1:3, 1:3] = 1


def ids(path, num_classes=250, mapping=None):
    return read_index_mask(path, mapping or tuple((i, i) for i in range(num_classes)), num_classes)


# TIFF ------------------------------------------------------------------------------------------------------------------


def lzw(data):
    """Bytes in LZW codes of 9 bits that stand for themselves; short rows alone need no longer ones."""
    bits = "".join(f"{code:09b}" for code in (256, *data, 257))
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))


def tiff(path, values, bits, *, compression=5, white_is_zero=False, floats=False, samples=1, extra=()):
    """A little-endian TIFF of one row; `values` of fewer than 8 bits are packed."""
    width = len(values) // samples
    if bits < 8:
        text = "".join(f"{value:0{bits}b}" for value in values)
        text += "0" * (-len(text) % 8)
        data = bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))
    else:
        data = np.asarray(values, f"<{'f' if floats else 'u'}{bits // 8}").tobytes()
    data = lzw(data) if compression == 5 else data
    data += b"\0" * (len(data) % 2)
    tags = [(256, width), (257, 1), (258, bits), (259, compression), (262, 0 if white_is_zero else 1), (273, 8), (277, samples),
            (278, 1), (279, len(data)), (339, 3 if floats else 1), *extra]  # fmt: skip
    if samples == 2:
        tags = [(tag, value) if tag not in (258, 339) else (tag, value | value << 16) for tag, value in tags]
    rows = b""
    for tag, value in sorted(tags):
        count = samples if tag in (258, 339) else 1
        rows += struct.pack("<HHII", tag, 4 if tag in (256, 257, 273, 278, 279) else 3, count, value)
    path.write_bytes(
        b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + rows + b"\0" * 4
    )
    return path


@pytest.mark.parametrize("compression", [1, 5])
@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("bits, values", [
    (1, [0, 1, 1, 0, 1]), (2, [0, 1, 2, 3]), (4, [0, 1, 8, 15, 7]), (8, [0, 1, 128, 255]), (16, [0, 1000, 30000, 65535]),
    (32, [0, 1000, 3 * 10**9, 2**32 - 1]),
])  # fmt: skip
def test_whole_numbers_of_every_depth_in_tiff_files(tmp_path, compression, white_is_zero, bits, values):
    if (compression, white_is_zero, bits) == (5, True, 32):
        pytest.skip("needs imagecodecs, as the message says")
    path = tiff(tmp_path / "p.tif", values, bits, compression=compression, white_is_zero=white_is_zero)
    white = 2**bits - 1
    stored = np.array([white - value if white_is_zero else value for value in values], np.int64)
    np.testing.assert_array_equal(read_image(path, bands=1).ravel(), np.rint(stored * 255 / white))
    if bits < 16:
        mapping = tuple((i, min(i, 249)) for i in range(256))
        np.testing.assert_array_equal(ids(path, 250, mapping).ravel(), np.minimum(stored, 249))
    bright = stored * 255 / white if bits < 8 else stored
    np.testing.assert_array_equal(read_threshold_mask(path, 128).ravel(), bright >= 128)
    if bits <= 8:
        colours = tuple(((grey,) * 3, 1 if grey > 127 else 0) for grey in range(256))
        np.testing.assert_array_equal(read_colour_mask(path, colours).ravel(), stored * 255 // white > 127)


@pytest.mark.parametrize("compression", [1, 5])
def test_floats_where_0_is_white(tmp_path, compression):
    path = tiff(tmp_path / "p.tif", [0, 0.25, 0.5, 1], 32, compression=compression, white_is_zero=True, floats=True)
    assert read_image(path, bands=1).ravel().tolist() == [255, 191, 128, 0]
    path = tiff(tmp_path / "p.tif", [0, 1, 1, 0], 32, compression=compression, white_is_zero=True, floats=True)
    assert ids(path).ravel().tolist() == [1, 0, 0, 1]
    path = tiff(tmp_path / "p.tif", [0, 7, 200], 32, compression=compression, white_is_zero=True, floats=True)
    with pytest.raises(DatasetError, match=r"p\.tif says that 0 is white and holds floats from 0 to 200.*MINISBLACK"):
        read_image(path, scale=255)


def test_a_palette_of_one_bit_in_a_tiff_file(tmp_path):
    tags = [(256, 3, 1, 4), (257, 3, 1, 1), (258, 3, 1, 1), (259, 3, 1, 1), (262, 3, 1, 3), (273, 4, 1, 8), (277, 3, 1, 1),
            (278, 3, 1, 1), (279, 4, 1, 1), (320, 3, 6, 10)]  # fmt: skip
    rows = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    colours = struct.pack("<6H", 0, 65535, 0, 257, 0, 0)  # red, green and blue of both indices
    start = b"II*\0" + struct.pack("<I", 22) + b"\x50\0" + colours
    (tmp_path / "m.tif").write_bytes(start + struct.pack("<H", len(tags)) + rows + b"\0" * 4)
    assert ids(tmp_path / "m.tif", 2).tolist() == [[0, 1, 0, 1]]
    assert read_image(tmp_path / "m.tif")[0].tolist() == [[0, 0, 0], [255, 1, 0]] * 2


@pytest.mark.parametrize("dtype, indices", [(np.uint8, [0, 200]), (np.uint16, [0, 1000]), (np.uint16, [3, 65535])])
def test_palettes_of_every_depth_in_tiff_files(tmp_path, dtype, indices):
    colours = np.zeros((3, 2 ** (8 * np.dtype(dtype).itemsize)), np.uint16)
    colours[:, indices[1]] = 65535, 257, 0
    mask = np.array(indices, dtype)[CELL]
    tifffile.imwrite(tmp_path / "m.tif", mask, photometric="palette", colormap=colours)
    np.testing.assert_array_equal(read_image(tmp_path / "m.tif"), np.array([(0, 0, 0), (255, 1, 0)], np.uint8)[CELL])
    np.testing.assert_array_equal(ids(tmp_path / "m.tif", 3, ((indices[0], 0), (indices[1], 1))), CELL)
    np.testing.assert_array_equal(read_colour_mask(tmp_path / "m.tif", (((0, 0, 0), 0), ((255, 1, 0), 1))), CELL)
    save(np.zeros((4, 5, 3), np.uint8), tmp_path / "images/m.tif")
    data = FolderDataset(tmp_path / "images", tmp_path, ["a", "b"], mapping={indices[0]: 0, indices[1]: 1})
    np.testing.assert_array_equal(data.read(0)[1], CELL)


# Transparency by one value or colour ------------------------------------------------------------------------------------


def with_clear(path, *clear):
    """The PNG with a chunk that names one grey level or colour as transparent."""
    data = path.read_bytes()
    chunk = b"tRNS" + struct.pack(f">{len(clear)}H", *clear)
    place = data.index(b"IDAT") - 4
    path.write_bytes(
        data[:place] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[place:]
    )
    return path


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_grey_level_is_alpha_in_every_depth(tmp_path, depth):
    white = 2**depth - 1
    grey = np.array([[0, white, white // 2 if depth > 1 else 0, white]], np.uint16)
    path = with_clear(png(grey, tmp_path / "p.png", depth), white)
    with pytest.raises(DatasetError, match=r"p\.png is transparent in places \(row 0, column 1\)"):
        read_image(path)
    expected = np.stack([np.rint(grey * 255.0 / white), np.where(grey == white, 0, 255)], -1)
    np.testing.assert_array_equal(read_image(path, bands=2), expected)
    if depth > 2:  # the level does not occur: all is opaque
        path = with_clear(png(grey, tmp_path / "p.png", depth), 1)
        np.testing.assert_array_equal(read_image(path, bands=1), expected[..., :1])
    if depth <= 8:
        few = np.minimum(grey, 3).astype(np.uint8)
        few = few if depth > 1 else grey.astype(np.uint8)
        path = with_clear(png(few, tmp_path / "m.png", depth), 0)  # a transparent background
        np.testing.assert_array_equal(ids(path), few)
        colours = tuple(((value * 255 // white,) * 3, int(value)) for value in np.unique(few).tolist())
        np.testing.assert_array_equal(read_colour_mask(path, colours), few)
        np.testing.assert_array_equal(
            read_threshold_mask(path, 128), (few.astype(float) * 255 / white if depth < 8 else few) >= 128
        )


@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_colour_is_alpha_in_every_depth(tmp_path, depth):
    white = 2**depth - 1
    colours = np.array([[(0, 0, white), (white, 0, 0), (0, 0, 0), (white, white, 0)]], np.uint16)
    path = with_clear(png(colours, tmp_path / "p.png", depth), white, 0, 0)
    with pytest.raises(DatasetError, match=r"p\.png is transparent in places \(row 0, column 1\)"):
        read_image(path)
    four = read_image(path, bands=4)
    np.testing.assert_array_equal(four[..., :3], colours // (white // 255))
    assert four[0, :, 3].tolist() == [255, 0, 255, 255]
    path = with_clear(png(colours, tmp_path / "p.png", depth), white, 0, 1)
    np.testing.assert_array_equal(read_image(path), colours // (white // 255))


# A last band that is alpha, or is not -----------------------------------------------------------------------------------


def bands_tiff(path, bands, **options):
    tifffile.imwrite(path, np.stack(bands, -1), photometric="minisblack", planarconfig="contig", **options)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(
    "bands", [[1 - CELL, CELL], [CELL * 2, CELL], [CELL, CELL, CELL, CELL], [CELL == 0, CELL, CELL, CELL * 0]]
)
def test_a_band_that_is_not_marked_as_alpha_is_not_dropped(tmp_path, bands, dtype):
    path = bands_tiff(tmp_path / "m.tif", [band.astype(dtype) for band in bands])
    words = rf"m\.tif has {len(bands)} bands and calls none of them alpha, .*argmax"
    with pytest.raises(DatasetError, match=words):
        ids(path, 3)
    with pytest.raises(DatasetError, match=words):
        read_threshold_mask(path, 1)
    if dtype == np.uint8:
        with pytest.raises(DatasetError, match=words):
            read_colour_mask(path, (((0, 0, 0), 0), ((1, 1, 1), 1)))
    if len(bands) == 2 and bands[0].max() == 1:
        classes = np.argmax(tifffile.imread(path), axis=-1).astype(np.uint8)  # the remedy
        np.testing.assert_array_equal(ids(save(classes, tmp_path / "m.png"), 2), CELL)


@pytest.mark.parametrize("dtype, opaque", [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_a_band_that_is_marked_or_opaque_is_dropped(tmp_path, dtype, opaque):
    solid = np.full(CELL.shape, opaque, dtype)
    np.testing.assert_array_equal(ids(bands_tiff(tmp_path / "m.tif", [CELL.astype(dtype), solid])), CELL)
    if dtype != np.float32:
        marked = bands_tiff(
            tmp_path / "m.tif", [CELL.astype(dtype), CELL.astype(dtype) * dtype(opaque)], extrasamples=["unassalpha"]
        )
        np.testing.assert_array_equal(ids(marked), CELL, "the background is transparent")


# Compression that may lose something ------------------------------------------------------------------------------------

SIXTY = np.kron(RNG.integers(0, 60, (8, 8)), np.ones((8, 8))).astype(np.uint8)
KEEPS = [{}, {"num_resolutions": 3}, {"progression": "RPCL"}, {"tile_size": (32, 32)}, {"codeblock_size": (32, 32)},
         {"quality_layers": [1]}]  # fmt: skip


@pytest.mark.parametrize("options", KEEPS)
def test_jpeg_2000_that_keeps_all_bits_is_read(tmp_path, options):
    for mask, mapping in ((SIXTY, None), (SIXTY.astype(np.uint16) * 900, tuple((i * 900, i) for i in range(60))),
                          (np.stack([SIXTY] * 3, -1), None)):  # fmt: skip
        path = save(mask, tmp_path / "m.jp2", irreversible=False, **options)
        if "tile_size" not in options or mask.dtype == np.uint8:  # Pillow mixes up tiles of 16 bits
            np.testing.assert_array_equal(ids(path, 60, mapping), SIXTY)


@pytest.mark.parametrize("options", [
    *({"quality_mode": "rates", "quality_layers": [rate]} for rate in (4, 6, 10, 40)),
    *({"quality_mode": "dB", "quality_layers": [quality]} for quality in (20, 30, 40, 50)), {"irreversible": True},
])  # fmt: skip
@pytest.mark.parametrize("kind", ["many", "few", "colours"])
def test_jpeg_2000_that_lost_something_is_refused(tmp_path, kind, options):
    mask = {"many": SIXTY, "few": SIXTY % 3, "colours": np.stack([SIXTY] * 3, -1)}[kind]
    path = save(mask, tmp_path / "m.jp2", **{"irreversible": False, **options})
    if np.array_equal(np.array(Image.open(path)), mask) and "irreversible" not in options:
        pytest.skip("nothing was lost")
    with pytest.raises(
        DatasetError, match=r"m\.jp2 is a (possibly )?lossy JPEG 2000: compression (has|may have) changed"
    ):
        ids(path)
    with pytest.raises(DatasetError, match="lossy JPEG 2000"):
        read_colour_mask(path, (((0, 0, 0), 0),))
    assert read_image(path).shape == (64, 64, 3), "as a picture it will do"


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
@pytest.mark.parametrize("quality", [60, 100])
def test_avif_under_another_name_is_no_mask(tmp_path, suffix, quality):
    path = tmp_path / f"m.{suffix}"
    Image.fromarray(SIXTY).save(path, format="AVIF", quality=quality)
    with pytest.raises(DatasetError, match=rf"m\.{suffix} is a possibly lossy AVIF: compression may have changed.*PNG"):
        ids(path)
    np.testing.assert_array_equal(read_threshold_mask(path, 100).shape, SIXTY.shape)
    assert read_image(path).shape == (64, 64, 3)


OPTIONS = {"webp": {"lossless": True}, "gif": {"optimize": False}, "tif": {"compression": "tiff_lzw"}}


@pytest.mark.parametrize("suffix", ["png", "gif", "bmp", "tif", "webp", "pgm"])
def test_formats_that_lose_nothing_are_read(tmp_path, suffix):
    path = save(np.stack([SIXTY] * 3, -1) if suffix == "webp" else SIXTY, tmp_path / f"m.{suffix}",
                **OPTIONS.get(suffix, {}))  # fmt: skip
    np.testing.assert_array_equal(ids(path), SIXTY)


# Netpbm ----------------------------------------------------------------------------------------------------------------

ONE_PICTURE = {
    "P2": (b"P2\n2 1\n3\n1 2\n", [1, 2]), "P2 comments": (b"P2 # a\n2 # b\n1\n3\n# c\n1 # d\n2", [1, 2]),
    "P5": (b"P5\n2 1\n255\n\x01\x02", [1, 2]), "P5 in one line": (b"P5 2 1 255 \x01\x02", [1, 2]),
    "P5 CRLF": (b"P5\r\n2 1\r\n255\r\n\x01\x02", [1, 2]), "P5 CRLF at the end alone": (b"P5\n2 1\n# c\n255\r\n\x01\x02", [1, 2]),
    "P5 that begins with a line end": (b"P5\n2 1\n255\n\n\x02", [10, 2]), "P5 CR": (b"P5\n2 1\n255\r\n\x02", [10, 2]),
    "P5 and an empty line": (b"P5\n2 1\n255\n\x01\x02\n", [1, 2]), "P5 of 16 bits": (b"P5\n2 1\n300\n\0\x01\0\x02", [1, 2]),
    "P5 of 16 bits, CRLF": (b"P5\n2 1\n300\r\n\0\x01\0\x02", [1, 2]), "P1": (b"P1\n2 1\n0 1\n", [1, 0]),
    "P1 close": (b"P1\n2 1\n01", [1, 0]), "P4": (b"P4\n2 1\n\x40", [1, 0]), "P4 CRLF": (b"P4\n2 1\r\n\x40", [1, 0]),
}  # fmt: skip
SEVERAL = {
    "P2 too many": (b"P2\n2 1\n3\n1 2 3 3\n", "4 values are there where 2 should be: it may hold a second picture"),
    "P2 negative": (b"P2\n3 1\n3\n1 -1 -2\n", "it holds '-1' where a number from 0 to 3 should be"),
    "P2 two": (b"P2\n2 1\n3\n1 2\nP2\n2 1\n3\n1 2\n", "it holds 'P2' where a number"),
    "P2 fraction": (b"P2\n2 1\n3\n1 1.5\n", "it holds '1.5' where"),
    "P2 too few": (b"P2\n2 1\n3\n1\n", "1 values are there where 2"),
    "P2 too large": (b"P2\n2 1\n3\n1 4\n", "it holds 4, but names 3 as its largest"),
    "P2 huge": (b"P2\n2 1\n3\n1 99999999999999999999999\n", "names 3 as its largest"),
    "P5 two": (b"P5\n2 1\n255\n\0\x01P5\n2 1\n255\n\x01\0", "may hold a second picture"),
    "P5 and more": (b"P5 2 1 255\n\x01\x02trailing", "10 bytes are there where 2 should be"),
    "P5 short": (b"P5\n2 1\n255\n\x01", "1 bytes are there where 2"), "P5 white": (b"P5\n2 1\n99999\n\x01\x02", "cannot hold"),
    "P6 two": (b"P6\n1 1\n255\n\0\0\0P6\n1 1\n255\n\0\0\0", "may hold a second picture"),
    "P1 two": (b"P1\n2 1\n0 1 1\n", "3 values"),
    "P4 two": (b"P4\n2 1\n\x40P4\n2 1\n\x40", "second picture"), "P1 of 2": (b"P1\n2 1\n0 2\n", "it holds 2, but names 1"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ONE_PICTURE)
def test_netpbm_files_are_read_to_the_byte(tmp_path, kind):
    data, expected = ONE_PICTURE[kind]
    (tmp_path / "m.pgm").write_bytes(data)
    assert ids(tmp_path / "m.pgm").tolist() == [expected]
    white = {"2": 3, "1": 1, "4": 1}.get(kind[1], 300 if "16 bits" in kind else 255)
    assert (
        read_image(tmp_path / "m.pgm", bands=1).ravel().tolist() == np.rint(np.array(expected) * 255 / white).tolist()
    )


@pytest.mark.parametrize("kind", SEVERAL)
def test_netpbm_files_that_do_not_hold_one_picture_are_refused(tmp_path, kind):
    data, words = SEVERAL[kind]
    (tmp_path / "m.pgm").write_bytes(data)
    for read in (ids, read_image):
        with pytest.raises(DatasetError, match=rf"m\.pgm cannot be read \(.*{words}"):
            read(tmp_path / "m.pgm")


# What is no picture ------------------------------------------------------------------------------------------------------

NO_PICTURES = {
    b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 10\n": r"a pointer of Git LFS.*git lfs pull",
    b"<html>404</html>": "a web page.*Download", b"\n <!DOCTYPE HTML PUBLIC>": "a web page",
    b"\xef\xbb\xbf<!doctype html>": "a web page",
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic": "a HEIC picture. Convert it", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic": "a HEIC picture",
    b"\0\0\0\x18ftypisom\0\0\2\0": "a video", b"\xff\x0a\0\0": "a JPEG XL picture", b"%PDF-1.4": "a PDF",
    b"8BPS\0\1": "a Photoshop",
    b"PK\x03\x04\0": "a ZIP archive. Unpack", b"\x1f\x8b\x08": "a packed file", b"\x93NUMPY\x01\0": "a NumPy array",
    b'<?xml version="1.0"?><svg>': "an SVG drawing", b"<svg xmlns=": "an SVG drawing",
    b'<?xml version="1.0"?><annotation>': "an XML file",
    b'{"shapes": []}': "a JSON file", b"": "is empty", b"\0" * 2000: "holds zeros alone", b"\x89HDF\r\n": "an HDF5 file",
    b"\0" * 128 + b"DICM": "a DICOM file",
}  # fmt: skip


@pytest.mark.parametrize("start", NO_PICTURES)
@pytest.mark.parametrize("name", ["p.png", "p.jpg", "p.tif"])
def test_what_a_file_is_that_is_no_picture(tmp_path, start, name):
    (tmp_path / name).write_bytes(start)
    with pytest.raises(DatasetError, match=rf"p\.\w+ cannot be read: it .*{NO_PICTURES[start]}"):
        read_image(tmp_path / name)
    with pytest.raises(DatasetError, match=NO_PICTURES[start]):
        ids(tmp_path / name)


def test_a_folder_named_like_a_picture(tmp_path):
    (tmp_path / "p.png").mkdir()
    with pytest.raises(DatasetError, match=r"p\.png cannot be read: it is a folder, not a picture"):
        read_image(tmp_path / "p.png")
    (tmp_path / "q.png").write_bytes(b"some words that are no picture")
    with pytest.raises(DatasetError, match=r"q\.png cannot be read \(.*it is damaged or no picture"):
        read_image(tmp_path / "q.png")


def test_a_compression_that_pillow_lacks_names_the_package(tmp_path):
    path = tiff(tmp_path / "p.tif", [1, 2, 3, 4], 8, compression=1)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        place = file.pages[0].tags["Compression"].valueoffset
    data[place : place + 2] = struct.pack("<H", 50001)  # WebP
    path.write_bytes(data)
    with pytest.raises(
        DatasetError, match=r"p\.tif is compressed by WEBP, which needs one more package here: pip install"
    ):
        read_image(path)
