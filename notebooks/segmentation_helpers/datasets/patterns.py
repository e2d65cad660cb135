"""What to say where pictures and masks do not pair: which patterns would, and which files are of a kind not read here."""

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from .files import IMAGE_SUFFIXES

REMEDIES = {  # kinds of files that lie where masks or pictures are expected
    ".npy": 'save each array as PNG, Image.fromarray(np.load("{file}").astype(np.uint8)).save("{stem}.png")',
    ".npz": "save each array as PNG with Image.fromarray",
    ".json": "they describe shapes (labelme, COCO): draw these into PNG files of class ids first",
    ".txt": "they list polygons or boxes (YOLO): draw these into PNG files of class ids first",
    ".xml": "they describe boxes or shapes (PASCAL VOC, CVAT): draw these into PNG files of class ids first",
    ".csv": "draw what they describe into PNG files of class ids first",
    ".mat": 'save each array as PNG, scipy.io.loadmat("{file}") reads them',
}
OTHER_KINDS = set(REMEDIES) | {".heic", ".heif", ".avif", ".nii", ".gz", ".dcm", ".svg", ".psd", ".xcf", ".raw", ".dng", ".cr2",
                               ".nef", ".exr", ".hdr", ".h5", ".pkl", ".pt", ".zip", ".pdf", ".eps", ".tga", ".j2k", ".jxl",
                               ".img", ".nrrd", ".mha", ".czi", ".svs", ".ndpi", ".fits"}  # fmt: skip
MASK_WORDS = re.compile(r"mask|label|lbl|gt|seg|annot|manual|truth|ground|matte|class|target", re.IGNORECASE)
PICTURE_WORDS = re.compile(r"imag|img|sat|photo|pict|rgb|frame|train|input|leftImg", re.IGNORECASE)
UNLIKELY = re.compile(r"colou?r|instance|polygon|overlay|vis|edge|depth|bound", re.IGNORECASE)


def unreadable(folder: Path, wanted: str | None, what: str) -> str:
    """A sentence if the file of a missing partner is there, but of a kind that is not read here; else "".

    `wanted`: what the file would be called, with any suffix; None: any file of such a kind in the folder.
    """
    if not folder.is_dir():
        return ""
    stem = None if wanted is None else _inside(wanted).rpartition(".")[0] or wanted
    for path in sorted(folder.iterdir() if stem is None or "/" not in stem else folder.rglob("*")):
        suffix = path.suffix.lower()
        if path.name.startswith(".") or suffix in IMAGE_SUFFIXES or not suffix or path.is_dir():
            continue
        here = _inside(path.relative_to(folder).as_posix())
        if (suffix in OTHER_KINDS) if stem is None else (here[: -len(path.suffix)] == stem):
            remedy = REMEDIES.get(suffix, "convert them to PNG" if what == "mask" else "convert them to PNG or JPEG")
            if what == "picture" and suffix not in (".npy", ".npz", ".mat"):
                remedy = "convert them to PNG or JPEG"
            remedy = remedy.replace("{file}", path.name).replace("{stem}", path.stem)
            return f"{path.name} is there, but {what}s of {suffix} cannot be read here: {remedy}."
    return ""


@dataclass(frozen=True)
class _Kind:
    """Files called `before` + name + `after`, with this suffix (None: any)."""

    before: str
    after: str
    suffix: str | None

    def names(self, files):
        """{name: file} of those that are of this kind; `files`: {inside without suffix, suffix}."""
        least = len(self.before) + len(self.after)
        return {
            stem[len(self.before) : len(stem) - len(self.after)]: (stem, suffix)
            for stem, suffix in files
            if len(stem) > least and stem.startswith(self.before) and stem.endswith(self.after)
            and self.suffix in (None, suffix.lower())
        }  # fmt: skip

    def pattern(self, files):
        suffixes = {suffix.lower() for _, suffix in self.names(files).values()}
        return f"{self.before}{{name}}{self.after}{suffixes.pop() if len(suffixes) == 1 else '.*'}"

    @property
    def text(self):
        return f"{self.before} {self.after}"


def suggestion(images: Path, masks: Path, found_images, found_masks, image_pattern, mask_pattern) -> str:
    """A sentence that names the two patterns which pair all pictures, or more of them than now; "" if there are none."""
    one_folder = images.resolve() == masks.resolve()
    together = one_folder and not (image_pattern or mask_pattern)
    a = _files(images, found_images if not together else None)
    b = a if together else _files(masks, found_masks if mask_pattern or one_folder else None)
    ways = list(_candidates(a, b, together)) if a and b else []
    if not ways:
        return ""
    (common, *_), first, second, count, others = max(ways, key=lambda way: way[0])
    now = 0 if together else len({name for name, _ in found_images} & {name for name, _ in found_masks})
    if common <= now:
        return ""
    where = ""
    if together:
        where = " Pictures and masks lie in one folder."
    elif not image_pattern and not found_images:
        where = f" {count} lie in sub-folders."
    skip = "" if common == count == others else ', unpaired="skip"'
    what = f"All {count} pictures pair" if common == count else f"{common} of {count} pictures pair"
    more = {way[2].pattern(b) for way in ways if way[1] == first and way[0][0] == common and way[2].text != second.text}
    more = f" Other files would pair, too: {', '.join(sorted(more)[:3])}." if more else ""
    return f'{where} {what} with image_pattern="{first.pattern(a)}", mask_pattern="{second.pattern(b)}"{skip}.{more}'


def _files(folder, found):
    """(path inside the folder without suffix, suffix) of the pictures found, or of all in it and below."""
    paths = folder.rglob("*") if found is None or not found else (path for _, path in found)
    files = []
    for path in sorted(paths):
        inside = path.relative_to(folder)
        if path.suffix.lower() in IMAGE_SUFFIXES and not any(p.startswith((".", "__MACOSX")) for p in inside.parts):
            files.append((_inside(inside.as_posix())[: -len(path.suffix)], path.suffix))
    return files


def _candidates(a, b, together):
    """(score, kind of pictures, kind of masks, number of each) for all ways to split the names that the first file allows."""
    start, start_suffix = a[0]
    by_length = sorted(b, key=lambda file: (len(file[0]), file[0]))
    ends_a, ends_b = ((0, 0), (0, 0)) if together else (_common_ends(a), _common_ends(b))
    for before, after in _splits(start, ends_a):
        core = start[len(before) : len(start) - len(after)]
        first, seen = _Kind(before, after, start_suffix.lower() if together else None), set()
        if not together and len(first.names(a)) < len(a):
            continue
        for stem, suffix in by_length:
            if core not in stem or len(seen) > 12 or (together and (stem, suffix) == a[0]):
                continue
            seen |= {_Kind(*ends, suffix.lower() if together else None) for ends in _splits(stem, ends_b)
                     if stem[len(ends[0]) : len(stem) - len(ends[1])] == core}  # fmt: skip
        for kind in seen:
            if len(kind.names(b)) < sum(bool(kind.names([file])) for file in b):
                continue  # two files of one name
            pictures, masks = _which_is_which(first, kind) if together else (first, kind)
            names, others = pictures.names(a), masks.names(b)
            if together:  # as `pairing` does it: what fits both belongs to the pattern that says more
                small, large = sorted((names, others), key=lambda n: len(pictures.text if n is names else masks.text))
                for name in [name for name, file in small.items() if file in large.values()]:
                    del small[name]
            common = len(names.keys() & others.keys())
            if common < min(len(names), len(others)) or (common < 2 and len(a) > 2):
                continue
            extra = len(before) + len(after) + len(kind.before) + len(kind.after)
            likely = bool(MASK_WORDS.search(masks.text)) - 2 * bool(UNLIKELY.search(masks.text))
            yield (common, names.keys() == others.keys(), likely, -extra), pictures, masks, len(names), len(others)


def _which_is_which(first, second):
    """(kind of pictures, kind of masks) of two kinds in one folder."""

    def like_a_mask(kind):
        png = kind.suffix not in (".jpg", ".jpeg", ".jfif")
        return bool(MASK_WORDS.search(kind.text)) - bool(PICTURE_WORDS.search(kind.text)), png, len(kind.text)

    return (first, second) if like_a_mask(first) <= like_a_mask(second) else (second, first)


def _splits(stem, ends=(0, 0)):
    """(before, after) of every part of a stem that begins and ends with a letter or digit, at the ends of words.

    `ends`: how many letters at its start and at its end all stems share, where a part may begin or end, too.
    """
    edges = {0, *(m.end() for m in re.finditer(r"[^\W\d_]+|\d+|[\W_]", stem)), ends[0], len(stem) - ends[1]}
    edges = sorted(edge for edge in edges if 0 <= edge <= len(stem))
    return [(stem[:i], stem[j:]) for n, i in enumerate(edges) for j in edges[n + 1 :]
            if stem[i].isalnum() and stem[j - 1].isalnum()]  # fmt: skip


def _common_ends(files):
    """How many letters the stems share at their start and at their end."""
    stems = [stem for stem, _ in files]
    return tuple(len(os.path.commonprefix(way)) for way in (stems, [stem[::-1] for stem in stems]))


def _inside(text):
    return unicodedata.normalize("NFC", text)
