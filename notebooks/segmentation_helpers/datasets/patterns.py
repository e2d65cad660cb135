"""What to say where pictures and masks do not pair: which patterns would, and which files are of a kind not read here."""

import functools
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
STARTS, PROBE = 5, 64  # files whose names are split in all ways, and files for which each way is tried
ENOUGH = 0.9  # the share of them after which no more names are split
EVALUATED = 100_000  # ways times files that are looked at in full
FEW = 0.3  # ways that pair a smaller share of the files are not suggested
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

    def of(self, files):
        """(name, file) of those that are of this kind; `files`: (path inside without suffix, suffix)."""
        start, end, least = len(self.before), len(self.after), len(self.before) + len(self.after)
        return [
            (file[0][start : len(file[0]) - end], file)
            for file in files
            if len(file[0]) > least and file[0].startswith(self.before) and file[0].endswith(self.after)
            and (self.suffix is None or self.suffix == file[1].lower())
        ]  # fmt: skip

    def names(self, files):
        """{name: file} of those that are of this kind."""
        return dict(self.of(files))

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
    if common <= now or common < FEW * (len(a) / 2 if together else min(len(a), len(b))):
        return ""
    where = ""
    if together:
        where = " Pictures and masks lie in one folder."
    elif not image_pattern and not found_images:
        where = f" {count} lie in sub-folders."
    skip = "" if common == count == others else ', unpaired="skip"'
    what = f"All {count} pictures pair" if common == count else f"{common} of {count} pictures pair"
    if together and count + others < len(a) / 2:
        what = f"{2 * common} of its {len(a)} files pair"
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
    """(score, kind of pictures, kind of masks, number of each) for the best ways to split the names that some files allow."""
    for first, kind in _promising(a, b, together):
        if together and _but_for_numbers(first) == _but_for_numbers(kind):
            continue  # pictures of two numbers
        of_first, of_kind = first.of(a), kind.of(b)
        names, others = dict(of_first), dict(of_kind)
        if (not together and len(names) < len(a)) or len(others) < len(of_kind):
            continue  # some are called otherwise, or two files have one name
        pictures, masks = _which_is_which(first, kind) if together else (first, kind)
        if pictures != first:
            names, others = others, names
        if together:  # as `pairing` does it: what fits both belongs to the pattern that says more
            small, large = sorted((names, others), key=lambda n: len(pictures.text if n is names else masks.text))
            taken = set(large.values())
            for name in [name for name, file in small.items() if file in taken]:
                del small[name]
        common = len(names.keys() & others.keys())
        if common < min(len(names), len(others)) - common // 10 or (common < 2 and len(a) > 2):
            continue
        yield (
            (common, names.keys() == others.keys(), *_likely(first, kind, masks)),
            pictures,
            masks,
            len(names),
            len(others),
        )


def _but_for_numbers(kind):
    return re.sub(r"\d+", "0", f"{kind.before}/{kind.after}{kind.suffix}")


def _likely(first, kind, masks):
    """How much a way looks like one, and how little of the names it leaves out."""
    extra = len(first.before) + len(first.after) + len(kind.before) + len(kind.after)
    return bool(MASK_WORDS.search(masks.text)) - 2 * bool(UNLIKELY.search(masks.text)), -extra


def _promising(a, b, together):
    """(kind of the first file, kind of its partner), those first that find a partner for most of some files."""
    by_length = sorted(b, key=lambda file: (len(file[0]), file[0]))
    ends_a, ends_b = ((0, 0), (0, 0)) if together else (_common_ends(a), _common_ends(b))
    there = {(stem, suffix.lower()) if together else stem for stem, suffix in b}
    probe, found = _spread(a, PROBE), {}
    for start, start_suffix in _spread(a, STARTS):
        for before, after in _splits(start, ends_a):
            first = _Kind(before, after, start_suffix.lower() if together else None)
            names = first.names(probe)
            if not together and len(names) < len(probe):
                continue
            for kind in _partners(start, start_suffix, before, after, by_length, ends_b, together):
                if (first, kind) not in found:
                    stems = (f"{kind.before}{name}{kind.after}" for name in names)
                    hits = sum(((stem, kind.suffix) if together else stem) in there for stem in stems)
                    found[first, kind] = (hits, *_likely(first, kind, kind))
        if max((hits for hits, *_ in found.values()), default=0) > ENOUGH * len(probe) / (1 + together):
            break
    most = max(24, EVALUATED // max(len(a), len(b)))
    return sorted(found, key=found.get, reverse=True)[:most]


def _partners(start, start_suffix, before, after, by_length, ends, together):
    """The kinds of files that hold the same part of the name as `start` does between `before` and `after`."""
    core, seen = start[len(before) : len(start) - len(after)], {}  # a dict keeps the order
    for stem, suffix in by_length:
        if len(seen) > 12:
            break
        if core in stem and not (together and (stem, suffix) == (start, start_suffix)):
            for one, other in _splits(stem, ends):
                if stem[len(one) : len(stem) - len(other)] == core:
                    seen[_Kind(one, other, suffix.lower() if together else None)] = None
    return seen


def _spread(files, count):
    """So many of the files, evenly spread, the first among them."""
    count = min(count, len(files))
    return [files[i * len(files) // count] for i in range(count)]


def _which_is_which(first, second):
    """(kind of pictures, kind of masks) of two kinds in one folder."""

    def like_a_mask(kind):
        png = kind.suffix not in (".jpg", ".jpeg", ".jfif")
        return bool(MASK_WORDS.search(kind.text)) - bool(PICTURE_WORDS.search(kind.text)), png, len(kind.text)

    return (first, second) if like_a_mask(first) <= like_a_mask(second) else (second, first)


@functools.lru_cache(4096)
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
