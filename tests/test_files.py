"""What single files say of themselves: depth, which value is white, transparency, compression, headers."""

import struct
import zlib

import numpy as np
import pytest
import tifffile

from files_of_all_kinds import png, save
from segmentation_helpers.datasets import DatasetError, read_colour_mask, read_image, read_index_mask
from segmentation_helpers.datasets.masks import read_threshold_mask

RNG = np.random.default_rng(0)


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

CELL = np.zeros((4, 5), np.uint8)
CELL[1:3, 1:3] = 1


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
