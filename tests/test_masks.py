"""Masks of every kind become the right class ids, or an error whose remedy works."""

import re

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from files_of_all_kinds import png, save, turned
from segmentation_helpers.datasets import (
    DatasetError,
    FolderDataset,
    check_dataset,
    read_colour_mask,
    read_index_mask,
    voc_palette,
)
from segmentation_helpers.datasets.masks import read_threshold_mask

RNG = np.random.default_rng(0)
IDS = np.kron(RNG.integers(0, 3, (5, 7)), np.ones((4, 4), int)).astype(np.uint8)  # (20, 28), classes 0, 1, 2
TWO = (IDS > 0).astype(np.uint8)
ABC = list("abc")


def read(path, mapping=None, num_classes=3):
    return read_index_mask(path, tuple(mapping.items()) if mapping else None, num_classes)


def folder(tmp_path, masks, suffix=".png", write=save):
    """Random pictures and these masks, as images/p00.png and masks/p00.png ..."""
    for number, mask in enumerate(masks):
        save(RNG.integers(0, 256, (*mask.shape[:2], 3), dtype=np.uint8), tmp_path / f"images/p{number:02d}.png")
        (tmp_path / "masks").mkdir(exist_ok=True)
        write(mask, tmp_path / f"masks/p{number:02d}{suffix}")
    return tmp_path


def own(tmp_path, classes=ABC, **options):
    return FolderDataset(tmp_path / "images", tmp_path / "masks", classes, **options)


def said(error, what):
    """The value that a message offers, `mapping={...}` or `threshold=...`, as Python reads it."""
    text = re.search(rf"{what}=(\{{.*?\}}(?: \| \{{.*?\}})?|\[.*?\]|[\d.]*\d)", str(error.value))[1]
    return eval(text)


# Ids of any type -----------------------------------------------------------------------------------------------------

WRITERS = {
    "8 bits": lambda m, p: save(m, p.with_suffix(".png")),
    "4 bits": lambda m, p: png(m, p.with_suffix(".png"), 4),
    "2 bits": lambda m, p: png(m, p.with_suffix(".png"), 2),
    "16 bits": lambda m, p: save(m.astype(np.uint16), p.with_suffix(".png")),
    "32 bits": lambda m, p: tifffile.imwrite(p, m.astype(np.int32)) or p,
    "unsigned 32 bits": lambda m, p: tifffile.imwrite(p, m.astype(np.uint32)) or p,
    "64 bits": lambda m, p: tifffile.imwrite(p, m.astype(np.int64)) or p,
    "big-endian": lambda m, p: tifffile.imwrite(p, m.astype(np.uint16), byteorder=">") or p,
    "big-endian floats": lambda m, p: tifffile.imwrite(p, m.astype(np.float32), byteorder=">") or p,
    "floats": lambda m, p: tifffile.imwrite(p, m.astype(np.float64)) or p,
    "LZW": lambda m, p: cv2.imwrite(str(p), m.astype(np.uint16)) and p,
    "LZW floats": lambda m, p: cv2.imwrite(str(p), m.astype(np.float32)) and p,
    "pgm": lambda m, p: save(m, p.with_suffix(".pgm")),
    "pgm of 2": lambda m, p: p.with_suffix(".pgm").write_bytes(b"P5\n28 20\n2\n" + m.tobytes()) and p.with_suffix(".pgm"),
    "bmp": lambda m, p: save(m, p.with_suffix(".bmp")),
    "RGB": lambda m, p: save(np.dstack([m] * 3), p.with_suffix(".png")),
    "RGB of 16 bits": lambda m, p: png(np.dstack([m] * 3), p.with_suffix(".png"), 16),
    "RGBA": lambda m, p: save(np.dstack([m] * 3 + [m * 0 + 255]), p.with_suffix(".png")),
    "LA": lambda m, p: save(np.dstack([m, m * 0 + 255]), p.with_suffix(".png")),
    "LA of 16 bits": lambda m, p: png(np.dstack([m, m * 0 + 255]), p.with_suffix(".png"), 16),
    "transparent background": lambda m, p: save(np.dstack([m, (m > 0) * np.uint8(255)]), p.with_suffix(".png")),
    "palette": lambda m, p: png(m, p.with_suffix(".png"), 8, [(0, 0, 0), (128, 0, 0), (0, 128, 0)]),
    "palette of 2 bits": lambda m, p: png(m, p.with_suffix(".png"), 2, [(9, 9, 9), (128, 0, 0), (0, 128, 0)]),
    "webp": lambda m, p: save(np.dstack([m] * 3), p.with_suffix(".webp"), lossless=True),
    "jp2": lambda m, p: save(m, p.with_suffix(".jp2")),
    "turned": lambda m, p: turned(m, p.with_suffix(".png"), 6),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRITERS)
def test_ids_are_read_whatever_their_type(tmp_path, kind):
    path = WRITERS[kind](IDS, tmp_path / "m.tif")
    for mapping in (None, {0: 0, 1: 1, 2: 2}):
        mask = read(path, mapping)
        np.testing.assert_array_equal(mask, IDS)
        assert mask.dtype == np.uint8
    np.testing.assert_array_equal(read(path, {0: 2, 1: 255, 2: 0}), np.array([2, 255, 0], np.uint8)[IDS])
    with pytest.raises(DatasetError, match=r"holds the id 2 at row \d+, column \d+, but the data set has 2 classes"):
        read(path, None, 2)


def test_one_bit_is_0_and_1(tmp_path):
    for name in ("m.png", "m.tif", "m.pbm", "m.bmp"):
        np.testing.assert_array_equal(read(save(TWO > 0, tmp_path / name), None, 2), TWO)
    tifffile.imwrite(tmp_path / "w.tif", TWO == 0, photometric="miniswhite")
    np.testing.assert_array_equal(read(tmp_path / "w.tif", None, 2), TWO, "white is 0 there, and is read as 1")
    save(TWO > 0, tmp_path / "fax.tif", compression="group4")
    np.testing.assert_array_equal(read(tmp_path / "fax.tif", None, 2), TWO)


def test_indices_are_the_ids_of_a_palette(tmp_path):
    indices = np.where(IDS == 2, 255, IDS).astype(np.uint8)
    image = Image.fromarray(indices)
    image.putpalette([value for i in range(256) for value in (255 - i, i // 2, 7)])
    for name in ("m.png", "m.tif", "m.bmp"):
        image.save(tmp_path / name)
        np.testing.assert_array_equal(read(tmp_path / name, None, 2), indices)
    image.save(tmp_path / "m.png", transparency=0)
    np.testing.assert_array_equal(read(tmp_path / "m.png", None, 2), indices)


@pytest.mark.parametrize("name", ["m.png", "m.gif", "m.tif"])
@pytest.mark.parametrize(
    "mapping, classes", [({0: 0, 255: 1}, ["bg", "cat"]), (None, ["bg"] + [str(i) for i in range(199)])]
)
def test_a_palette_of_greys_whose_levels_alone_fit(tmp_path, name, mapping, classes):
    levels = [0, 255 if mapping else 100, 77]
    indices = TWO if mapping else np.where(TWO, 201, 0).astype(np.uint8)
    image = Image.fromarray(indices, "L").convert("P")
    image.putpalette(
        [level for i in range(256) for level in [levels[1] if i in (1, 201) else (levels[2] if i else 0)] * 3]
    )
    folder(tmp_path, [TWO, TWO])
    for place in (0, 1):
        (tmp_path / f"masks/p{place:02d}.png").unlink()
        image.save(tmp_path / f"masks/p{place:02d}.{name[2:]}", optimize=False)
    stored = np.array(Image.open(tmp_path / f"masks/p00.{name[2:]}"))
    if set(np.unique(stored)) == {0, levels[1]}:
        pytest.skip("this Pillow writes the levels")
    with pytest.raises(
        DatasetError, match=r"its indices are 0, \d+, its grey levels 0, \d+.*grey levels alone"
    ) as error:
        own(tmp_path, classes, mapping=mapping).read(0)
    mask = own(tmp_path, classes, mapping=said(error, "mapping")).read(0)[1]
    np.testing.assert_array_equal(mask, TWO * (1 if mapping else 100))


GREYS = {  # indices, the grey level of each, mapping, number of classes
    "Pillow's GIF": ([0, 1, 1], [0, 5], None, 10),
    "in reverse": ([0, 1, 2], [2, 1, 0], None, 3),
    "white first": ([0, 1, 1], [255, 0], None, 2),
    "void": ([0, 1, 2], [0, 1, 255], None, 3),
    "a mapping of both": ([0, 1, 1], [0, 5], {0: 0, 1: 1, 5: 2}, 3),
    "a class as void": ([0, 1, 1], [0, 255], {0: 0, 1: 1, 255: 0}, 2),
}  # fmt: skip


@pytest.mark.parametrize("kind", GREYS)
def test_greys_that_fit_as_indices_and_as_levels_are_refused(tmp_path, kind):
    indices, levels, mapping, classes = GREYS[kind]
    names = [f"c{i}" for i in range(classes)]
    mask = np.array(indices, np.uint8)[IDS]
    folder(tmp_path, [mask, mask], write=lambda m, p: png(m, p, 8, [(level,) * 3 for level in levels]))
    with pytest.raises(
        DatasetError, match=r"p00\.png has a palette: its indices are 0, 1.* its grey levels .*Both fit"
    ) as error:
        own(tmp_path, names, mapping=mapping)
    with pytest.raises(DatasetError, match="Both fit"):
        read(tmp_path / "masks/p00.png", mapping, classes)
    expected = np.array(levels)[mask]
    if kind == "white first":
        expected = expected // 255  # as void, white would leave nothing to tell apart
    expected = np.vectorize((mapping or {}).get)(expected, expected)
    data = own(tmp_path, names, mapping=said(error, "mapping"))
    np.testing.assert_array_equal(data.read(0)[1], expected, "the remedy for levels")
    for path in (tmp_path / "masks").iterdir():
        remedy = re.search(r"Image\.fromarray\(.*?\)\)\)", str(error.value))[0]
        eval(remedy, {"Image": Image, "np": np, "path": path}).save(path)
    if set(np.unique(mask)) <= set(mapping or range(classes)):
        expected = np.vectorize((mapping or {}).get)(mask, mask)
        np.testing.assert_array_equal(own(tmp_path, names, mapping=mapping).read(1)[1], expected, "the one for indices")


def test_a_gif_of_one_id_is_not_read_as_class_0(tmp_path):
    folder(tmp_path, [np.full_like(IDS, 2)], ".gif")
    assert not np.array(Image.open(tmp_path / "masks/p00.gif")).any(), "Pillow numbers the ids anew"
    with pytest.raises(DatasetError, match="its indices are 0, its grey levels 2. Both fit"):
        own(tmp_path)


def test_palettes_that_can_be_read_in_one_way_only_are_quiet(tmp_path):
    black_and_white = png(TWO, tmp_path / "m.png", 1, [(0, 0, 0), (255, 255, 255)])
    np.testing.assert_array_equal(read(black_and_white, None, 2), TWO)
    seven = (TWO * 7).astype(np.uint8)
    path = png(seven, tmp_path / "voc.png", 8, voc_palette().tolist())
    np.testing.assert_array_equal(read(path, None, 150), seven, "VOC's index 7 is grey 128")
    same = png(IDS, tmp_path / "same.png", 8, [(i, i, i) for i in range(200)])
    np.testing.assert_array_equal(read(same, None, 3), IDS)
    alike = {0: 0, 1: 1, 2: 1, 5: 1}
    path = png(TWO * 2, tmp_path / "alike.png", 8, [(0, 0, 0), (5, 5, 5), (5, 5, 5)])
    np.testing.assert_array_equal(read(path, alike, 2), TWO, "both readings give the same classes")


# Palettes of several files -----------------------------------------------------------------------------------------------

RED, GREEN, BLACK, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 0), (0, 0, 255)
DIFFERENT = {  # palettes of two masks and the indices for the ids 0, 1, 2 in each
    "a class is another index": ([BLACK, RED, GREEN], [0, 1, 2], [RED, BLACK, GREEN], [1, 0, 2]),
    "two swapped": ([BLACK, RED, GREEN], [0, 1, 2], [BLACK, GREEN, RED], [0, 2, 1]),
    "no index in common": ([BLACK, RED, GREEN, BLUE], [0, 1, 1], [BLUE, GREEN, BLACK, RED], [2, 3, 3]),
    "other colours": ([BLACK, RED, GREEN], [0, 1, 2], [BLACK, RED, BLUE], [0, 1, 2]),
}


def coloured(root, kind, count=2, at=1, suffix=".png"):
    """`count` masks with the first palette of a kind, the one `at` with the second."""
    folder(root, [IDS] * count)
    for number in range(count):
        colours, indices = DIFFERENT[kind][2:] if number == at else DIFFERENT[kind][:2]
        image = Image.fromarray(np.array(indices, np.uint8)[IDS]).convert("P")
        image.putpalette([value for colour in colours for value in colour])
        (root / f"masks/p{number:02d}.png").unlink()
        image.save(root / f"masks/p{number:02d}{suffix}")
    return root


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
@pytest.mark.parametrize("kind", DIFFERENT)
def test_palettes_that_differ_are_refused(tmp_path, kind, suffix):
    data = coloured(tmp_path, kind, suffix=suffix)
    words = r"different palettes: .*\(\d+, \d+, \d+\).*p00\.\w+, but .*p01\.\w+.*mapping=\{\(\d+, \d+, \d+\): 0, "
    for mapping in (None, {0: 0, 1: 1, 2: 2, 3: 3}):
        with pytest.raises(DatasetError, match=words):
            own(data, list("abcd"), mapping=mapping)
    colours = {tuple(colour): number for number, colour in enumerate([BLACK, RED, GREEN, BLUE])}
    fixed = own(data, list("abcd"), mapping=colours)
    expected = [
        np.array([colours[DIFFERENT[kind][place][index]] for index in DIFFERENT[kind][place + 1]])[IDS]
        for place in (0, 2)
    ]
    for index, mask in enumerate(expected):
        np.testing.assert_array_equal(fixed.read(index)[1], mask, "by colour they are one thing")


def test_one_palette_of_many_that_differs_is_found_by_check_dataset(tmp_path):
    data = own(coloured(tmp_path, "two swapped", 40, 1))  # the second mask is not looked at when the data set is made
    with pytest.raises(DatasetError, match=r"index 1 is \(255, 0, 0\) in .*p00\.png, but \(0, 255, 0\) in .*p01\.png"):
        check_dataset(data)
    with pytest.raises(DatasetError, match="different palettes"):
        own(coloured(tmp_path, "two swapped", 40, 20))


def test_palettes_that_differ_in_what_no_mask_uses_are_quiet(tmp_path):
    folder(tmp_path, [IDS, IDS, TWO, TWO])
    for number, colours in enumerate(
        ([BLACK, RED, GREEN, BLUE], [BLACK, RED, GREEN], [BLACK, RED, BLUE], [BLACK, RED])
    ):
        png(IDS if number < 2 else TWO, tmp_path / f"masks/p{number:02d}.png", 8, colours)
    assert check_dataset(own(tmp_path))[2] == 2 * (IDS == 2).sum()
    double = [BLACK, RED, GREEN, BLACK]
    for number, index in enumerate((0, 3)):
        png(np.where(IDS == 0, index, IDS), tmp_path / f"masks/p{number:02d}.png", 8, double)
    own(tmp_path, mapping={0: 0, 1: 1, 2: 2, 3: 0})


def test_floats_with_fractions_and_nan(tmp_path):
    for value, words in (
        (0.5, "holds 0.5 at row 3, column 4, but ids are whole"),
        (np.nan, "holds nan at row 3, column 4"),
    ):
        mask = IDS.astype(np.float32)
        mask[3, 4] = value
        tifffile.imwrite(tmp_path / "m.tif", mask)
        with pytest.raises(DatasetError, match=words):
            read(tmp_path / "m.tif")
    share = RNG.random((20, 28)).astype(np.float32)
    folder(tmp_path / "f", [share, share], ".tif", lambda m, p: tifffile.imwrite(p, m))
    with pytest.raises(DatasetError, match="threshold=0.5") as error:
        own(tmp_path / "f", ["bg", "cat"]).read(0)
    mask = own(tmp_path / "f", ["bg", "cat"], threshold=said(error, "threshold")).read(0)[1]
    np.testing.assert_array_equal(mask, share >= 0.5)


# Alpha, pages, compression, turned -------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", [0, 255])
@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("mapping", [None, {0: 0, 255: 1}, {(0, 0, 0): 0, (255, 255, 255): 1}])
def test_what_only_alpha_shows_is_no_mask(tmp_path, colour, bands, mapping):
    mask = np.dstack([np.full_like(TWO, colour)] * bands + [TWO * 255])
    with pytest.raises(DatasetError, match=r'has one colour everywhere, \(.*\).*getchannel\("A"\)') as error:
        own(folder(tmp_path, [mask, mask]), ["bg", "cat"], mapping=mapping).read(0)
    for path in (tmp_path / "masks").iterdir():
        Image.open(path).getchannel("A").save(path)
    np.testing.assert_array_equal(own(tmp_path, ["bg", "cat"], mapping=said(error, "mapping")).read(0)[1], TWO)


def test_alpha_that_tells_pixels_of_one_colour_apart(tmp_path):
    red = np.zeros((20, 28, 4), np.uint8)
    red[IDS == 1] = (255, 0, 0, 255)
    red[IDS == 2] = (0, 0, 0, 255)
    mapping = (((0, 0, 0), 0), ((255, 0, 0), 1))
    with pytest.raises(DatasetError, match=r"pixels of one colour, \(0, 0, 0\), that are opaque and others"):
        read_colour_mask(save(red, tmp_path / "m.png"), mapping)
    red[IDS == 2] = (0, 255, 0, 255)
    mask = read_colour_mask(save(red, tmp_path / "m.png"), (*mapping, ((0, 255, 0), 2)))
    np.testing.assert_array_equal(mask, IDS)


@pytest.mark.parametrize("name", ["m.tif", "m.gif", "m.webp", "m.png"])
def test_several_pages_are_no_mask(tmp_path, name):
    pages = [Image.fromarray((IDS == k) * np.uint8(k)) for k in range(3)]
    pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:], lossless=True)
    with pytest.raises(DatasetError, match="m.* holds 3 pages or frames, but a mask is one: save the one"):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["m.jpg", "m.webp", "m.jp2", "jpeg.tif", "MPO"])
def test_lossy_compression_is_refused_but_for_a_threshold(tmp_path, name):
    options = {"m.jp2": {"irreversible": True, "quality_layers": [20]}, "m.webp": {"quality": 80},
               "jpeg.tif": {"compression": "jpeg"},
               "MPO": {"format": "MPO", "save_all": True}}.get(name, {})  # fmt: skip
    path = tmp_path / (name if "." in name else "m.jpg")
    two = np.kron(TWO, np.ones((4, 4), np.uint8))
    save(two * 255, path, **options)
    for mapping in (((0, 0), (255, 1)), None):
        with pytest.raises(DatasetError, match=rf"{path.name} is a (lossy )?(JPEG|WebP).*PNG.*threshold=128"):
            read_index_mask(path, mapping, 2)
    with pytest.raises(DatasetError, match="compression has changed"):
        read_colour_mask(path, (((0, 0, 0), 0), ((255, 255, 255), 1)))
    np.testing.assert_array_equal(read_threshold_mask(path, 128), two)


def test_a_mask_made_without_the_exif_orientation(tmp_path):
    image = RNG.integers(0, 256, (20, 28, 3), dtype=np.uint8)
    (tmp_path / "images").mkdir()
    turned(image, tmp_path / "images/p.png", 6)
    stored = Image.fromarray(IDS).transpose(Image.Transpose.ROTATE_90)  # as the picture lies on disk
    save(np.array(stored), tmp_path / "masks/p.png")
    with pytest.raises(
        DatasetError, match=r"p\.png is 20 x 28, but its picture p\.png is 28 x 20 once it is turned as its EXIF"
    ):
        own(tmp_path).read(0)
    stored.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "masks/p.png")
    np.testing.assert_array_equal(own(tmp_path).read(0)[1], IDS, "the first remedy")
    stored.save(tmp_path / "masks/p.png")
    Image.open(tmp_path / "images/p.png").save(tmp_path / "again.png")
    plain = Image.fromarray(np.array(Image.open(tmp_path / "images/p.png")))
    plain.save(tmp_path / "images/p.png")
    np.testing.assert_array_equal(own(tmp_path).read(0)[1], np.array(stored), "the second")
    turned(IDS, tmp_path / "masks/p.png", 6)
    with pytest.raises(DatasetError, match="the mask is turned by an EXIF orientation"):
        own(tmp_path).read(0)


# Values that no class claims, and remedies that work -------------------------------------------------------------------

UNKNOWN = {
    "16 bits": ({0: 0, 1: 1000, 2: 2000}, np.uint16, ABC, {0: 0, 1: 1, 2: 2}),
    "large": ({0: 0, 1: 70000, 2: 2**30}, np.int32, ABC, {0: 0, 1: 1, 2: 2}),
    "-1 is void": ({0: 0, 1: 1, 2: -1}, np.int32, ABC, {0: 0, 1: 1, 2: 255}),
    "void of 16 bits": ({0: 0, 1: 1, 2: 65535}, np.uint16, ABC, {0: 0, 1: 1, 2: 255}),
    "0 and 65535": ({0: 0, 1: 65535, 2: 65535}, np.uint16, ["bg", "cat"], {0: 0, 1: 1, 2: 1}),
    "void 0, classes from 1": ({0: 1, 1: 2, 2: 3}, np.uint8, ABC, {0: 1, 1: 2, 2: 255}),
    "many classes": ({0: 0, 1: 199, 2: 1000}, np.uint16, [str(i) for i in range(200)], {0: 0, 1: 199, 2: 255}),
    "floats": ({0: 0, 1: 1, 2: 300}, np.float32, ABC, {0: 0, 1: 1, 2: 255}),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNKNOWN)
def test_the_remedy_for_an_unknown_id_works(tmp_path, kind):
    values, dtype, classes, expected = UNKNOWN[kind]
    mask = np.vectorize(values.get)(IDS).astype(dtype)
    folder(tmp_path, [mask, mask], ".tif", lambda m, p: tifffile.imwrite(p, m))
    with pytest.raises(
        DatasetError, match=r"p00\.tif holds the id -?\d+(\.0)? at row \d+, column \d+.*mapping="
    ) as error:
        own(tmp_path, classes).read(0)
    fixed = own(tmp_path, classes, mapping=said(error, "mapping"))
    np.testing.assert_array_equal(fixed.read(1)[1], np.vectorize(expected.get)(IDS))


def test_a_mapping_that_lacks_a_value_is_completed(tmp_path):
    folder(tmp_path, [IDS, IDS])
    with pytest.raises(DatasetError, match=r"holds the id 2 .*mapping=\{0: 0, 1: 1, 2: 255\}") as error:
        own(tmp_path, mapping={0: 0, 1: 1}).read(0)
    np.testing.assert_array_equal(
        own(tmp_path, mapping=said(error, "mapping")).read(0)[1], np.where(IDS == 2, 255, IDS)
    )


def test_255_stays_void_beside_other_keys(tmp_path):
    mask = np.where(IDS == 2, 255, IDS).astype(np.uint8)
    data = own(folder(tmp_path, [mask]), mapping={0: 0, 1: 1, -1: 0})
    np.testing.assert_array_equal(data.read(0)[1], mask)
    np.testing.assert_array_equal(own(tmp_path, mapping={0: 0, 1: 1, 255: 2}).read(0)[1], IDS)


COLOURS = np.array([(0, 0, 0), (128, 0, 0), (0, 0, 77)], np.uint8)


@pytest.mark.parametrize("mapping", [
    {"#000000": "a", "#800000": "b", "#00004D": "c"}, {(0, 0, 0): 0, (128, 0, 0): 1, (0, 0, 77): 2},
    {(0, 0, 0, 255): "0", (128, 0, 0, 255): "1", (0, 0, 77, 255): 2.0}, "#000000:0,#800000:b,#00004d:2",
    {tuple(colour): np.int64(i) for i, colour in enumerate(COLOURS)},
])  # fmt: skip
def test_colours_are_written_in_many_ways(tmp_path, mapping):
    folder(tmp_path, [COLOURS[IDS]])
    np.testing.assert_array_equal(own(tmp_path, mapping=mapping).read(0)[1], IDS)
    image = Image.fromarray(COLOURS[IDS]).quantize(3)
    image.save(tmp_path / "masks/p00.png")
    np.testing.assert_array_equal(own(tmp_path, mapping=mapping).read(0)[1], IDS, "by the colours of a palette")


@pytest.mark.parametrize("mapping", [
    {"0": 0, "1": "1", "2": "c"}, {np.uint8(0): np.int64(0), np.int16(1): 1, 2: 2}, "0:a,1:b,2:c", {0.0: 0, 1.0: 1.0, 2: 2},
    [(0, 0), (1, 1), (2, 2)],
])  # fmt: skip
def test_ids_are_written_in_many_ways(tmp_path, mapping):
    np.testing.assert_array_equal(own(folder(tmp_path, [IDS]), mapping=mapping).read(0)[1], IDS)


@pytest.mark.parametrize("mapping, words", [
    ({(0, 0, 0): 0, 1: 1}, "numbers or colours, not both"), ({(0, 0, 0, 0): 0}, "transparent"), ({(0, 0, 300): 0}, "300"),
    ({"red": 0}, "the value 'red'"), ({0: "dog"}, "sends 0 to 'dog', but the classes are 0 to 2"), ({0: 3}, "sends 0 to 3"),
    ({0: -1}, "sends 0 to -1"), ({0: None}, "sends 0 to None"), ({0: 0, "0": 1}, "stands there twice"), (5, "must be a dict"),
    ({0.5: 0}, "the value 0.5"), ({(0, 0): 0}, r"the value \(0, 0\)"), ("0;0", "value:class with commas"), ({0: 1.5}, "to 1.5"),
])  # fmt: skip
def test_mappings_that_make_no_sense_are_refused_at_once(folder_of_pairs, mapping, words):
    with pytest.raises(DatasetError, match=words):
        own(folder_of_pairs, mapping=mapping)


def test_ids_against_colours(tmp_path):
    folder(tmp_path, [COLOURS[IDS]])
    for mapping in (None, {0: 0, 1: 1, 2: 2}):
        with pytest.raises(DatasetError, match=r"p00\.png is a colour picture \(RGB\).*mapping=") as error:
            own(tmp_path, mapping=mapping).read(0)
    assert set(said(error, "mapping")) == {tuple(colour) for colour in COLOURS.tolist()}
    assert set(np.unique(own(tmp_path, mapping=said(error, "mapping")).read(0)[1])) == {0, 1, 2}
    tifffile.imwrite(tmp_path / "m.tif", IDS.astype(np.uint16) * 1000)
    with pytest.raises(DatasetError, match="uint16 values, but the mapping names colours of 8 bits"):
        read_colour_mask(tmp_path / "m.tif", (((0, 0, 0), 0),))
    np.testing.assert_array_equal(
        read_colour_mask(save(TWO > 0, tmp_path / "b.png"), (((0, 0, 0), 0), ((255,) * 3, 1))), TWO
    )


# 255 is void: a class or not? -----------------------------------------------------------------------------------------

KINDS_OF_255 = {
    "grey": lambda m, p: save(m, p), "RGB": lambda m, p: save(np.dstack([m] * 3), p),
    "RGBA": lambda m, p: save(np.dstack([m] * 3 + [m * 0 + 255]), p), "16 bits": lambda m, p: save(m.astype(np.uint16), p),
    "floats": lambda m, p: tifffile.imwrite(p.with_suffix(".tif"), m.astype(np.float32)),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS_OF_255)
def test_masks_of_0_and_255_are_refused_when_the_data_set_is_made(tmp_path, kind):
    masks = [np.zeros_like(TWO), TWO * 255, np.full_like(TWO, 255), TWO * 255]
    folder(tmp_path, masks, write=KINDS_OF_255[kind])
    with pytest.raises(
        DatasetError, match=r"p01\.\w+ and all other masks hold only 0 and 255, and 255 means void.*mapping="
    ) as error:
        own(tmp_path, ["bg", "cat"])
    data = own(tmp_path, ["bg", "cat"], mapping=said(error, "mapping"))
    for index, mask in enumerate(masks):
        np.testing.assert_array_equal(data.read(index)[1], mask // 255)
    assert check_dataset(data).tolist() == [sum((m == 0).sum() for m in masks), sum((m == 255).sum() for m in masks), 0]


def test_with_one_name_the_remedy_names_two(tmp_path):
    folder(tmp_path, [TWO * 255, TWO * 255])
    with pytest.raises(DatasetError, match="give two names, background first") as error:
        own(tmp_path, ["cell"])
    classes, mapping = said(error, "classes"), said(error, "mapping")
    np.testing.assert_array_equal(own(tmp_path, classes, mapping=mapping).read(0)[1], TWO)
    with pytest.raises(DatasetError, match=r'one name, "cell".*classes=\["background", "cell"\]'):
        own(tmp_path, ["cell"], mapping=mapping)
    with pytest.raises(DatasetError, match=r'1 class \(0\).*classes=\["background", ...\]'):
        own(folder(tmp_path / "ids", [TWO]), ["cell"]).read(0)


@pytest.mark.parametrize("place", [0, 20, 39])
def test_255_is_void_where_one_mask_of_many_holds_another_id(tmp_path, place):
    masks = [TWO * 255] * 40
    masks[place] = np.where(IDS == 1, 255, IDS // 2).astype(np.uint8)
    data = own(folder(tmp_path, masks), ["bg", "cat"])
    np.testing.assert_array_equal(data.read(place)[1], masks[place])
    assert len(own(tmp_path, ["bg", "cat"], split="val")) == 8, "the other split decides, too"


def bits(mask, path):
    save(mask > 0, path)


def two_colours(mask, path):
    png((mask > 0).astype(np.uint8), path, 1, [(0, 0, 0), (255, 255, 255)])


@pytest.mark.parametrize("write", [bits, two_colours])
def test_masks_of_one_bit_beside_masks_of_0_and_255_are_refused(tmp_path, write):
    folder(tmp_path, [TWO * 255] * 40)
    write(TWO, tmp_path / "masks/p20.png")
    with pytest.raises(
        DatasetError, match=r"in two ways: .*p20\.png is black and white.*p00\.png holds 0 and 255"
    ) as error:
        own(tmp_path, ["bg", "cat"])
    data = own(tmp_path, ["bg", "cat"], mapping=said(error, "mapping"))
    assert all((data.read(index)[1] == TWO).all() for index in (0, 20))
    for number in range(40):  # the other way round, and one that is looked at by check_dataset alone
        write(TWO, tmp_path / f"masks/p{number:02d}.png")
    save(TWO * 255, tmp_path / "masks/p21.png")
    with pytest.raises(DatasetError, match=r"in two ways: .*p00\.png .*p21\.png"):
        check_dataset(own(tmp_path, ["bg", "cat"]))
    mask = np.where(IDS == 2, 255, IDS).astype(np.uint8)
    save(mask, tmp_path / "masks/p30.png")
    check_dataset(own(tmp_path, ["bg", "cat"]))  # 255 is void beside 1


def test_masks_of_0_and_1_beside_masks_of_0_and_255_are_told_of(tmp_path):
    folder(tmp_path, [TWO, TWO * 255, TWO])
    with pytest.warns(UserWarning, match=r"0 and 1, as .*p00\.png does, others 0 and 255, as .*p01\.png does") as told:
        own(tmp_path, ["bg", "cat"])
    assert len(told) == 1 and told[0].filename == __file__
    data = own(tmp_path, ["bg", "cat"], mapping=eval(str(told[0].message).split("mapping=")[1].rstrip(".")))
    assert all((data.read(index)[1] == TWO).all() for index in range(3))
    folder(tmp_path, [TWO] * 40)
    data = own(tmp_path, ["bg", "cat"])
    save(TWO * 255, tmp_path / "masks/p01.png")
    with pytest.warns(UserWarning, match="others 0 and 255"):
        check_dataset(data)


@pytest.mark.parametrize("small, large, cut", [(1, 255, 128), (1, 255, 2), (255, 65535, 30000), (1, 65535, 256)])
def test_a_threshold_that_only_some_masks_reach(tmp_path, small, large, cut):
    masks = [TWO.astype(np.uint16) * large] * 40
    dark = TWO * np.uint8(small)
    folder(tmp_path, masks)
    save(dark, tmp_path / "masks/p01.png")
    data = own(tmp_path, ["bg", "cat"], threshold=cut)  # not looked at here
    words = rf"in two ways: .*p01\.png holds 0 and {small}, but .*p00\.png values up to {large}"
    with pytest.raises(DatasetError, match=words) as error:
        check_dataset(data)
    save(dark, tmp_path / "masks/p20.png")
    with pytest.raises(DatasetError, match=r"in two ways: .*p20\.png"):
        own(tmp_path, ["bg", "cat"], threshold=cut)
    if (small, large) == (1, 255):
        save(TWO * 255, tmp_path / "masks/p00.png")
        assert (own(tmp_path, ["bg", "cat"], mapping=said(error, "mapping")).read(1)[1] == TWO).all()


def test_dark_masks_without_a_second_value_are_quiet_for_a_threshold(tmp_path):
    noise = RNG.integers(0, 9, TWO.shape, dtype=np.uint8)
    folder(tmp_path, [TWO * 255, TWO * 0, noise, TWO * 100])
    assert check_dataset(own(tmp_path, ["bg", "cat"], threshold=128))[1] == TWO.sum()


def test_masks_of_one_value_each_say_nothing_of_255(tmp_path):
    masks = [np.zeros_like(TWO), np.full_like(TWO, 255)]
    data = own(folder(tmp_path, masks), ["bg", "cat"])
    with pytest.raises(DatasetError, match="hold only 0 and 255"):
        check_dataset(data)


def test_an_rgb_mask_of_one_colour_among_grey_ones_is_a_colour(tmp_path):
    folder(tmp_path, [IDS, IDS, np.zeros((20, 28, 3), np.uint8)])
    with pytest.raises(DatasetError, match=r"p02\.png is a colour picture \(RGB\)"):
        own(tmp_path).read(2)
    folder(tmp_path, [np.dstack([IDS] * 3)] * 2 + [np.zeros((20, 28, 3), np.uint8)])
    assert not own(tmp_path).read(2)[1].any(), "but not where all masks of ids are RGB"


# Smooth edges and thresholds ------------------------------------------------------------------------------------------


def smooth(mask):
    return np.array(Image.fromarray(mask).resize((42, 30), 2).resize((28, 20), 2))


@pytest.mark.parametrize("mapping", [None, {0: 0, 255: 1}])
def test_smooth_edges_are_named_and_a_threshold_cuts_them(tmp_path, mapping):
    masks = [smooth(TWO * 255), smooth(TWO * 255)]
    with pytest.raises(DatasetError, match=r"look like smooth edges.*nearest neighbour.*threshold=") as error:
        own(folder(tmp_path, masks), ["bg", "cat"], mapping=mapping).read(0)
    assert said(error, "threshold") == 128
    data = own(tmp_path, ["bg", "cat"], threshold=128)
    np.testing.assert_array_equal(data.read(0)[1], masks[0] >= 128)
    with pytest.raises(DatasetError, match="look like smooth edges") as error:
        own(tmp_path, ABC, mapping={0: 0, 255: 1}).read(0)
    assert "threshold" not in str(error.value), "only for two classes"


def test_areas_of_values_in_between_are_classes_and_no_edges(tmp_path):
    mask = np.kron(IDS, np.ones((2, 2), np.uint8)) * 100
    mask[:, :5] = 0
    with pytest.raises(DatasetError, match=r"say what its values mean: mapping=\{0: 0, 200: 1, 100: 255\}"):
        own(folder(tmp_path, [mask]), ["bg", "cat"], mapping={0: 0, 200: 1}).read(0)


def test_few_rare_values_between_the_main_ones(tmp_path):
    mask = np.kron(TWO, np.ones((8, 8), np.uint8)) * 255
    mask[5:7, 5:9] = 127
    with pytest.raises(DatasetError, match=r"1 value between 0 and 255 on 0\.\d% of its pixels"):
        own(folder(tmp_path, [mask]), ["bg", "cat"], mapping={0: 0, 255: 1}).read(0)


def test_threshold_takes_the_stored_value_and_the_brightness_of_what_has_fewer_bits(tmp_path):
    grey = RNG.integers(0, 256, (20, 28), dtype=np.uint8)
    deep = grey.astype(np.uint16) * 257
    for array, name, cut in ((grey, "m.png", 99), (deep, "d.png", 30000), (np.dstack([grey] * 3), "c.png", 99)):
        values = array if array.ndim == 2 else array[..., 0]
        np.testing.assert_array_equal(read_threshold_mask(save(array, tmp_path / name), cut), values >= cut)
    for cut in (1, 128, 255):
        np.testing.assert_array_equal(read_threshold_mask(save(TWO > 0, tmp_path / "b.png"), cut), TWO)
        path = png(TWO, tmp_path / "p.png", 1, [(0, 0, 0), (255, 255, 255)])
        np.testing.assert_array_equal(read_threshold_mask(path, cut), TWO)
    with pytest.raises(DatasetError, match="colour picture.*compares brightness"):
        read_threshold_mask(save(COLOURS[IDS], tmp_path / "rgb.png"), 128)


@pytest.mark.parametrize("options, words", [
    ({"threshold": 128, "mapping": {0: 0}}, "give one of them"), ({"threshold": 128, "classes": ABC}, "parts two classes"),
    ({"threshold": "128"}, "must be a number"), ({"threshold": True}, "must be a number"),
    ({"threshold": 128}, "values run from 0 to 1"), ({"threshold": 0}, "values run from 0 to 1"),
])  # fmt: skip
def test_thresholds_that_make_no_sense(tmp_path, options, words):
    with pytest.raises(DatasetError, match=words):
        own(folder(tmp_path, [TWO, TWO]), **{"classes": ["bg", "cat"], **options})
    assert own(tmp_path, ["bg", "cat"], threshold=1).read(0)[1].tolist() == TWO.tolist()
