"""Pictures of every depth, number of bands and kind of file become the right uint8 values, or an error in words."""

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from files_of_all_kinds import png, save, turned
from segmentation_helpers.datasets import DatasetError, FolderDataset, load_dataset, read_image, register_loader
from segmentation_helpers.datasets.known import LOADERS

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (12, 16), dtype=np.uint8)


def wide(*shape, top=65536):
    return RNG.integers(0, top, shape, dtype=np.uint16)


def scaled(array, white):
    return np.rint(array.astype(np.float64) * 255 / white).astype(np.uint8)


def test_ordinary_pictures_are_what_pillow_reads(tmp_path):
    for name in ("p.png", "p.bmp", "p.tif", "p.ppm", "p.webp", "p.gif", "p.jpg", "p.jfif", "p.jp2", "p.TIFF"):
        path = tmp_path / name
        options = {"lossless": True} if name == "p.webp" else {"format": "jpeg"} if name == "p.jfif" else {}
        save(RGB, path, **options)
        image = read_image(path)
        np.testing.assert_array_equal(image, np.array(Image.open(path).convert("RGB")), name)
        assert image.dtype == np.uint8 and image.flags.writeable and image.flags.c_contiguous
        if name not in ("p.jpg", "p.jfif", "p.gif"):
            np.testing.assert_array_equal(image, RGB, name)


@pytest.mark.parametrize("bands", [1, 3])
def test_grey_pictures(tmp_path, bands):
    for name in ("p.png", "p.tif", "p.pgm", "p.bmp"):
        np.testing.assert_array_equal(read_image(save(GREY, tmp_path / name), bands), GREY[..., None].repeat(bands, 2))
    bits = GREY > 99
    for name in ("bits.png", "bits.tif", "bits.pbm"):
        expected = (bits * np.uint8(255))[..., None].repeat(bands, 2)
        np.testing.assert_array_equal(read_image(save(bits, tmp_path / name), bands), expected, name)
    for depth in (1, 2, 4):
        few = (GREY >> (8 - depth)).astype(np.uint8)
        image = read_image(png(few, tmp_path / "few.png", depth), bands)
        np.testing.assert_array_equal(image, scaled(few, 2**depth - 1)[..., None].repeat(bands, 2))


def test_colour_becomes_grey_by_its_luma(tmp_path):
    path = save(RGB, tmp_path / "p.png")
    np.testing.assert_array_equal(read_image(path, bands=1)[..., 0], np.array(Image.open(path).convert("L")))
    same = read_image(save(np.dstack([GREY] * 3), tmp_path / "same.png"), bands=1)
    np.testing.assert_array_equal(same[..., 0], GREY)


@pytest.mark.parametrize("suffix", ["png", "tif", "lzw.tif", "big.tif", "pgm"])
def test_sixteen_bits_are_scaled_by_the_largest_value_of_their_type(tmp_path, suffix):
    values, path = wide(12, 16), tmp_path / f"p.{suffix}"
    values[0, 0], values[0, 1] = 65535, 0
    if suffix == "big.tif":
        tifffile.imwrite(path, values, byteorder=">")
    elif suffix == "lzw.tif":
        cv2.imwrite(str(path), values)
    elif suffix == "pgm":
        path.write_bytes(b"P5 # a comment\n16 12\n65535\n" + values.astype(">u2").tobytes())
    else:
        save(values, path)
    np.testing.assert_array_equal(read_image(path), scaled(values, 65535)[..., None].repeat(3, 2))
    np.testing.assert_array_equal(read_image(path, bands=1, scale=4095)[..., 0], scaled(values.clip(max=4095), 4095))


@pytest.mark.parametrize("suffix", ["png", "tif", "lzw.tif", "planes.tif"])
def test_sixteen_bits_of_colour(tmp_path, suffix):
    values, path = wide(12, 16, 3, top=4096), tmp_path / f"p.{suffix}"
    if suffix == "png":
        png(values, path, 16)
    elif suffix == "lzw.tif":
        cv2.imwrite(str(path), values[..., ::-1])
    else:
        planes = suffix == "planes.tif"
        tifffile.imwrite(path, np.moveaxis(values, 2, 0) if planes else values, photometric="rgb",
                         planarconfig="separate" if planes else "contig")  # fmt: skip
    np.testing.assert_array_equal(read_image(path), scaled(values, 65535))
    np.testing.assert_array_equal(read_image(path, scale=4095), scaled(values, 4095))


def test_the_largest_value_that_a_netpbm_file_names_is_white(tmp_path):
    values = wide(12, 16, top=4096)
    (tmp_path / "p.pgm").write_bytes(b"P5\n16 12\n4095\n" + values.astype(">u2").tobytes())
    np.testing.assert_array_equal(read_image(tmp_path / "p.pgm", 1)[..., 0], scaled(values, 4095))
    (tmp_path / "p.ppm").write_text("P3\n2 1\n7\n0 7 3  1 2 7\n")
    np.testing.assert_array_equal(read_image(tmp_path / "p.ppm"), scaled(np.array([[[0, 7, 3], [1, 2, 7]]]), 7))
    (tmp_path / "short.pgm").write_bytes(b"P5\n16 12\n255\n" + b"\0" * 99)
    with pytest.raises(DatasetError, match=r"short\.pgm cannot be read.*damaged"):
        read_image(tmp_path / "short.pgm")


@pytest.mark.parametrize("dtype, white", [(np.uint32, 2**32 - 1), (np.int32, 2**31 - 1), (np.int16, 2**15 - 1)])
def test_other_integers(tmp_path, dtype, white):
    values = (RNG.random((12, 16)) * white).astype(dtype)
    tifffile.imwrite(tmp_path / "p.tif", values)
    np.testing.assert_array_equal(read_image(tmp_path / "p.tif", 1)[..., 0], scaled(values, white))
    if dtype != np.uint32:
        tifffile.imwrite(tmp_path / "p.tif", values - 5 * (values > white // 2).astype(dtype) - values.max())
        with pytest.raises(DatasetError, match=r"p\.tif holds values from -\d.* none below 0"):
            read_image(tmp_path / "p.tif")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_lie_in_0_to_1_or_say_what_is_white(tmp_path, dtype):
    values, path = RNG.random((12, 16)).astype(dtype), tmp_path / "p.tif"
    tifffile.imwrite(path, values)
    np.testing.assert_array_equal(read_image(path, 1)[..., 0], scaled(values, 1))
    tifffile.imwrite(path, (values * 200).astype(dtype))
    with pytest.raises(DatasetError, match=r"p\.tif holds values from .* floats must lie in 0\.\.1: .*scale=255"):
        read_image(path)
    np.testing.assert_array_equal(
        read_image(path, 1, scale=255)[..., 0], np.rint((values * 200).astype(dtype).astype(float))
    )
    for wrong, words in ((-1, "none below 0|0..1: shift"), (np.nan, "NaN"), (np.inf, "NaN or infinite")):
        values[3, 4] = wrong
        tifffile.imwrite(path, values)
        with pytest.raises(DatasetError, match=words):
            read_image(path)


def test_alpha_is_dropped_only_where_everything_is_opaque(tmp_path):
    solid = np.dstack([RGB, np.full((12, 16), 255, np.uint8)])
    holed = solid.copy()
    holed[2, 5, 3] = 254
    for name, options in (("p.png", {}), ("p.webp", {"lossless": True, "exact": True}), ("p.tif", {})):
        np.testing.assert_array_equal(read_image(save(solid, tmp_path / name, **options)), RGB)
        path = save(holed, tmp_path / name, **options)
        with pytest.raises(
            DatasetError, match=r"is transparent in places \(row 2, column 5\).*convert\(\"RGB\"\); bands=4"
        ):
            read_image(path)
        np.testing.assert_array_equal(read_image(path, bands=4), holed)
        Image.open(path).convert("RGB").save(tmp_path / "again.png")
        np.testing.assert_array_equal(read_image(tmp_path / "again.png"), RGB, "the remedy")
    with pytest.raises(DatasetError, match="transparent in places"):
        read_image(save(np.dstack([GREY, GREY]), tmp_path / "grey.png"))
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png", bands=2), np.dstack([GREY, GREY]))
    np.testing.assert_array_equal(
        read_image(save(np.dstack([GREY, GREY * 0 + 255]), tmp_path / "grey.png"), bands=1)[..., 0], GREY
    )


def test_a_colour_that_stands_for_transparent(tmp_path):
    black = RGB.copy()
    black[4:6] = 0
    Image.fromarray(black).save(tmp_path / "p.png", transparency=(0, 0, 0))
    with pytest.raises(DatasetError, match=r"transparent in places \(row 4, column 0\)"):
        read_image(tmp_path / "p.png")
    image = Image.fromarray(RGB).quantize(8)
    image.save(tmp_path / "q.png", transparency=image.getpixel((3, 1)))
    with pytest.raises(DatasetError, match="transparent in places"):
        read_image(tmp_path / "q.png")
    image.save(tmp_path / "q.png")
    np.testing.assert_array_equal(read_image(tmp_path / "q.png"), np.array(image.convert("RGB")))


@pytest.mark.parametrize(
    "way", ["bands", "bands of 16 bits", "pages", "rows", "planes", "big-endian", "deflate", "float"]
)
@pytest.mark.parametrize("bands", [2, 4, 5, 13])
def test_any_number_of_bands_where_asked(tmp_path, way, bands):
    values, path, options = RNG.integers(0, 256, (24, 32, bands), dtype=np.uint8), tmp_path / "p.tif", {}
    expected = values
    if way == "bands of 16 bits":
        values = wide(24, 32, bands)
        expected = scaled(values, 65535)
    elif way == "float":
        values = RNG.random((24, 32, bands)).astype(np.float32)
        expected = scaled(values, 1)
    kind = dict(photometric="minisblack", planarconfig="contig")
    options = {"pages": {}, "rows": {}, "planes": kind | {"planarconfig": "separate"}, "deflate": kind | {"compression": "zlib"},
               "big-endian": kind | {"byteorder": ">"}}.get(way, kind)  # fmt: skip
    if way == "pages":
        values = np.moveaxis(values, 2, 0)
        options = {"photometric": "minisblack", "metadata": None}
    if way == "planes":
        values = np.moveaxis(values, 2, 0)
    if way == "rows" and bands == 4:
        options = {"photometric": "minisblack"}
    tifffile.imwrite(path, values, **options)
    np.testing.assert_array_equal(read_image(path, bands), expected)
    number = r"\d+ pages" if way in ("pages", "rows") else f"{bands} bands"
    with pytest.raises(DatasetError, match=rf"p\.tif (has|holds) {number}.*bands={bands}"):
        read_image(path)


def test_infrared_beside_red_green_and_blue_is_not_dropped(tmp_path):
    four = np.dstack([RGB, GREY])
    cv2.imwrite(str(tmp_path / "p.tif"), four[..., [2, 1, 0, 3]])
    np.testing.assert_array_equal(read_image(tmp_path / "p.tif", bands=4), four)
    with pytest.raises(DatasetError, match=r"p\.tif has 4 bands, but bands=3 are wanted: say bands=4"):
        read_image(tmp_path / "p.tif")
    with pytest.raises(DatasetError, match=r"has 3 bands, but bands=4"):
        read_image(save(RGB, tmp_path / "three.png"), bands=4)
    with pytest.raises(DatasetError, match=r"has 1 band, but bands=5"):
        read_image(save(GREY, tmp_path / "one.png"), bands=5)
    four[..., 3] = 255
    cv2.imwrite(str(tmp_path / "p.tif"), four[..., [2, 1, 0, 3]])
    np.testing.assert_array_equal(read_image(tmp_path / "p.tif"), RGB, "a fourth band that says nothing")


def test_pages_and_frames_are_not_chosen_in_silence(tmp_path):
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    for name in ("p.gif", "p.webp", "p.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with pytest.raises(DatasetError, match="holds 2 pages or frames"):
            read_image(tmp_path / name)
    frames[0].save(tmp_path / "p.jpg", format="MPO", save_all=True, append_images=frames[1:], quality=95)
    first = np.array(Image.open(tmp_path / "p.jpg").convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / "p.jpg"), first, "a phone's second picture is no page")
    stack = np.stack([GREY, 255 - GREY, GREY // 2])
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    with pytest.raises(DatasetError, match="holds 3 pages"):
        read_image(tmp_path / "stack.tif")
    tifffile.imwrite(tmp_path / "imagej.tif", stack, imagej=True, metadata={"axes": "CYX"})
    np.testing.assert_array_equal(read_image(tmp_path / "imagej.tif"), np.moveaxis(stack, 0, 2), "channels, it says")
    with tifffile.TiffWriter(tmp_path / "overview.tif") as tiff:
        tiff.write(RGB, subifds=0)
        tiff.write(RGB[::2, ::2], subfiletype=1)
    np.testing.assert_array_equal(read_image(tmp_path / "overview.tif"), RGB, "an overview is no page")


def test_a_picture_that_is_too_large_for_pillow(tmp_path, monkeypatch):
    path = save(RGB, tmp_path / "p.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 90)
    with pytest.raises(DatasetError, match=r"p\.png has .* PIL.Image.MAX_IMAGE_PIXELS = 192, or cut"):
        read_image(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 192)
    np.testing.assert_array_equal(read_image(path), RGB, "the remedy")


@pytest.mark.parametrize(
    "name", ["p.jpg", "p.png", "p.tif", "deflate.tif", "lzw.tif", "p.gif", "p.bmp", "p.ppm", "p.webp"]
)
def test_half_a_file_is_damaged(tmp_path, name):
    path = tmp_path / name
    options = {"deflate.tif": {"compression": "tiff_adobe_deflate"}, "lzw.tif": {"compression": "tiff_lzw"}}.get(
        name, {}
    )
    save(RNG.integers(0, 256, (90, 120, 3), dtype=np.uint8), path, **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DatasetError, match=rf"{name} cannot be read.*damaged or no picture. Replace or remove it"):
        read_image(path)


def test_a_compression_without_a_decoder_names_the_package(tmp_path):
    tifffile.imwrite(tmp_path / "p.tif", RNG.integers(0, 9, (12, 16, 5), dtype=np.uint8), planarconfig="contig")
    data = bytearray((tmp_path / "p.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "p.tif") as tiff:
        place = tiff.pages[0].tags["Compression"].valueoffset
    data[place] = 5  # LZW
    (tmp_path / "p.tif").write_bytes(data)
    with pytest.raises(DatasetError, match=r"p\.tif is compressed by LZW.*pip install imagecodecs, or save"):
        read_image(tmp_path / "p.tif", bands=5)


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_every_orientation(tmp_path, orientation):
    for name in ("p.png", "p.tif"):
        np.testing.assert_array_equal(read_image(turned(RGB, tmp_path / name, orientation)), RGB)
    tifffile.imwrite(tmp_path / "q.tif", wide(12, 16), extratags=[(274, "H", 1, orientation, True)])
    assert read_image(tmp_path / "q.tif").shape[:2] == ((16, 12) if orientation > 4 else (12, 16))


@pytest.mark.parametrize("options, words", [
    ({"bands": 0}, "bands is 0"), ({"bands": "3"}, "bands is '3'"), ({"bands": True}, "bands is True"),
    ({"scale": 0}, "scale is 0"), ({"scale": "4095"}, "scale is '4095'"), ({"scale": float("nan")}, "scale is nan"),
])  # fmt: skip
def test_options_that_make_no_sense(tmp_path, folder_of_pairs, options, words):
    with pytest.raises(DatasetError, match=words):
        read_image(save(RGB, tmp_path / "p.png"), **options)
    with pytest.raises(DatasetError, match=words):
        FolderDataset(folder_of_pairs / "images", folder_of_pairs / "masks", list("abc"), **options)


def test_data_sets_pass_bands_and_scale_on(tmp_path, monkeypatch):
    values, mask = wide(12, 16, 5, top=4096), RNG.integers(0, 2, (12, 16), dtype=np.uint8)
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images/p.tif", values, planarconfig="contig")
    save(mask, tmp_path / "masks/p.png")
    data = FolderDataset(tmp_path / "images", tmp_path / "masks", ["a", "b"], bands=5, scale=4095)
    image, ids = data[0]
    assert data.bands == 5 and data.read(0)[0].shape == (12, 16, 5) and tuple(image.shape) == (5, 12, 16)
    np.testing.assert_array_equal((image.numpy() * 255).round(), np.moveaxis(scaled(values, 4095), 2, 0))
    np.testing.assert_array_equal(ids, mask)
    own = {"images": tmp_path / "images", "masks": tmp_path / "masks", "classes": ["a", "b"]}
    np.testing.assert_array_equal(load_dataset("own", None, own=own, bands=5, scale=4095).read(0)[0], data.read(0)[0])
    monkeypatch.setitem(LOADERS, "mine", None)
    register_loader("mine", lambda *_: (data.pairs, ["a", "b"], None, data.decode))
    np.testing.assert_array_equal(load_dataset("mine", "train", bands=5, scale=4095).read(0)[0], data.read(0)[0])
