"""Which mask belongs to which picture, and splits for data that come without."""

import os
import re
import unicodedata
from pathlib import Path

from .errors import DatasetError, warn
from .files import IMAGE_SUFFIXES
from .patterns import suggestion, unreadable

SAME_STEM = "{name}.*"


def files_of(folder: Path, pattern: str | None = None) -> dict[str, Path]:
    """Pictures of a folder by name, in order of their paths.

    Without a pattern, the pictures right in the folder by their stem. "{name}_mask.png" takes the files that look so, in
    sub-folders, too; what stands in the place of `{name}`, folders included, is the name, and `*` stands for anything.
    """
    return _by_name(listed(folder, pattern), pattern)


def listed(folder: Path, pattern: str | None = None) -> list[tuple[str, Path]]:
    """(name, path) of every picture that `files_of` takes, two of one name included. Hidden files stay out."""
    if not folder.is_dir():
        raise DatasetError(f"The folder {folder} does not exist.")
    shape = _shape(pattern) if pattern is not None else None
    found = []
    for path in sorted(folder.iterdir() if shape is None else folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.suffix.lower() not in IMAGE_SUFFIXES or any(p.startswith((".", "__MACOSX")) for p in inside.parts):
            continue
        match = shape.fullmatch(unicodedata.normalize("NFC", inside.as_posix())) if shape else None
        if shape is None or match:
            found.append((match["name"] if match else unicodedata.normalize("NFC", path.stem), path))
    return found


def pairs_of(
    images: Path, masks: Path, image_pattern=None, mask_pattern=None, unpaired="error"
) -> list[tuple[Path, Path]]:
    """Picture and mask of the same name out of two folders, or out of one; see FolderDataset. Raises DatasetError."""
    if unpaired not in ("error", "skip"):
        raise DatasetError(f'unpaired is {unpaired!r}, but must be "error" or "skip".')
    found = _apart(
        listed(images, image_pattern), listed(masks, mask_pattern), images, masks, image_pattern, mask_pattern
    )
    hint = suggestion(images, masks, *found, image_pattern, mask_pattern) if _fails(*found, unpaired) else ""
    if not found[0]:
        raise DatasetError(_no_pictures(images, image_pattern, hint))
    by_name = (
        _by_name(found[0], image_pattern, "image_pattern", hint),
        _by_name(found[1], mask_pattern, "mask_pattern", hint),
    )
    own = next((path for name, path in by_name[0].items() if _one_file(path, by_name[1].get(name))), None)
    if own is not None:
        raise DatasetError(
            f"{own} would be picture and mask at once.{hint or ' Say how each is called: image_pattern=, mask_pattern=.'}"
        )
    if unpaired == "skip":
        by_name = _skip(*by_name)
    if image_pattern is None and (words := _deeper(images, masks, len(found[0]))):
        warn(words)
    return paired(*by_name, image_pattern or SAME_STEM, mask_pattern or SAME_STEM, hint=hint, folders=(images, masks))


def paired(images: dict[str, Path], masks: dict[str, Path], image_pattern: str = SAME_STEM, mask_pattern: str = SAME_STEM,
           *, hint: str = "", folders=(None, None)) -> list[tuple[Path, Path]]:  # fmt: skip
    """Picture and mask of the same name; what lacks a partner is an error that names the first of them.

    `hint`: what to say of patterns that would pair them; `folders`: where files of other kinds may lie.
    """
    for have, lack, what, pattern, folder in (
        (images, masks, "mask", mask_pattern, folders[1]), (masks, images, "picture", image_pattern, folders[0]),
    ):  # fmt: skip
        alone = {name: path for name, path in have.items() if name not in lack}
        if alone:
            name, path = next(iter(alone.items()))
            more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
            start = f"{path} has no {what}{more}"
            if folder is not None and (other := unreadable(folder, pattern.replace("{name}", name), what)):
                raise DatasetError(f"{start}: {other}")
            if hint:
                raise DatasetError(f"{start}.{hint}")
            skip = (
                ', leave out what has no partner with unpaired="skip",' if any(name in lack for name in have) else ","
            )
            raise DatasetError(
                f"{start}: add the {what} ({pattern.replace('{name}', name)}), remove the file{skip} or say how "
                f"the names go together: image_pattern={image_pattern!r}, mask_pattern={mask_pattern!r} now."
            )
    return [(images[name], masks[name]) for name in images]


def every_fifth(names, split: str) -> list:
    """A split for data that come without one: of the sorted names, the fifth, tenth ... are "val", the rest "train"."""
    if split not in ("train", "val"):
        raise DatasetError(f'There is no split "{split}" here, only "train" and "val" (every fifth name).')
    names = sorted(names)
    chosen = [name for i, name in enumerate(names) if (i % 5 == 4) == (split == "val")]
    if names and not chosen:
        raise DatasetError(
            f'split="val" takes every fifth picture, and there {"is" if len(names) == 1 else "are"} only {len(names)}. Put '
            "the pictures for validation and their masks into folders of their own, and leave split out."
        )
    return chosen


def _shape(pattern: str) -> re.Pattern:
    """A pattern as a regular expression; upper and lower case of the suffix are one."""
    if pattern.count("{name}") != 1:
        raise DatasetError(f'The pattern "{pattern}" must hold {{name}} once, as in "{{name}}_mask.png".')
    before, after = unicodedata.normalize("NFC", pattern).split("{name}")
    if before.endswith("*") or after.startswith("*"):
        where = "before" if before.endswith("*") else "after"
        better = pattern.replace("*{name}", "*_{name}").replace("{name}*", "{name}_*")
        raise DatasetError(
            f'The pattern "{pattern}" has * right {where} {{name}}, so that nobody can say where the name '
            f'{"begins" if where == "before" else "ends"}. Put what stands between the two, as in "{better}".'
        )
    before, after = (
        re.escape(before).replace(r"\*", "[^/]*?"),
        re.escape(after).replace(r"\*", "[^/]*"),
    )  # the longest name
    stem, dot, suffix = after.rpartition(r"\.")
    return re.compile(f"{before}(?P<name>.+){stem}(?i:{dot}{suffix})")


def _no_pictures(folder, pattern, hint):
    """What to say of a folder without pictures, by what is in it instead."""
    there = f" called {pattern}" if pattern else f" ({', '.join(sorted(IMAGE_SUFFIXES))})"
    text = f"{folder} holds no pictures{there}."
    if hint:
        return text + hint
    if other := unreadable(folder, None, "picture"):
        return f"{text} {other}"
    inside = listed(folder, SAME_STEM)
    if not inside:
        return text
    first = inside[0][1].relative_to(folder).as_posix()
    if pattern:
        return f'{text} {first} is there: give a pattern that fits, "{{name}}.*" fits all.'
    return (
        f'{text} {len(inside)} lie in sub-folders, {first} the first: say image_pattern="{{name}}.*", which fits them.'
    )


def _by_name(found, pattern, option="mask_pattern", hint="") -> dict[str, Path]:
    """One file for each name; two of one name are an error."""
    by_name: dict[str, Path] = {}
    for name, path in found:
        if name in by_name:
            first = by_name[name]
            if hint:
                what = f"both look like {pattern}" if pattern else "have the same stem"
                raise DatasetError(f"{first} and {path.name} {what}.{hint}")
            if pattern:
                remedy = (
                    "Remove one, or give a pattern that fits one alone; parts of one mask must be merged into one file"
                )
                raise DatasetError(f"{first} and {path.name} both look like {pattern}: which one is meant? {remedy}.")
            raise DatasetError(
                f"{first} and {path.name} have the same stem: which one is meant? Remove one, or name the kind that is "
                f'meant: {option}="{{name}}{first.suffix}".'
            )
        by_name[name] = path
    return by_name


def _apart(images, masks, image_folder, mask_folder, image_pattern, mask_pattern):
    """Where both lists hold a file, it belongs to the inner folder, else to the pattern that says more; else it stays in both."""
    folders = image_folder.resolve(), mask_folder.resolve()
    if not (folders[0].is_relative_to(folders[1]) or folders[1].is_relative_to(folders[0])):
        return images, masks
    own = [{_identity(path) for _, path in found} for found in (images, masks)]
    both = own[0] & own[1]
    says = [len(re.sub(r"\{name\}|\*", "", pattern or "")) for pattern in (image_pattern, mask_pattern)]
    depth = [len(folder.parts) for folder in folders]
    first, second = (depth[0], says[0]), (depth[1], says[1])
    if both and first != second:
        if first < second:
            images = [(name, path) for name, path in images if _identity(path) not in both]
        else:
            masks = [(name, path) for name, path in masks if _identity(path) not in both]
    return images, masks


def _fails(images, masks, unpaired):
    """Whether the lists do not go together as they are: two files of one name, none, one file in both, no partner."""
    names = [[name for name, _ in found] for found in (images, masks)]
    if any(len(set(n)) < len(n) for n in names) or not names[0]:
        return True
    if {_identity(path) for _, path in images} & {_identity(path) for _, path in masks}:
        return True
    common = set(names[0]) & set(names[1])
    return not common if unpaired == "skip" else not (set(names[0]) == set(names[1]))


def _identity(path):
    """What two paths of one file have in common, whatever links lead there."""
    try:
        found = path.stat()
    except OSError:
        return path  # a link that leads nowhere; reading it will say so
    return found.st_dev, found.st_ino


def _one_file(path, other):
    return other is not None and (path == other or _identity(path) == _identity(other))


def _deeper(folder, masks, count):
    """Words about pictures in sub-folders that are left out, since others lie right in the folder; "" for none."""
    top, masks, found = folder.resolve(), masks.resolve(), []
    for here, folders, files in os.walk(folder):
        place = Path(here)
        folders[:] = sorted(
            name for name in folders if not name.startswith((".", "__MACOSX")) and (place / name).resolve() != masks
        )
        if place != folder:
            found += [
                place / name for name in sorted(files) if Path(name).suffix.lower() in IMAGE_SUFFIXES and name[0] != "."
            ]
    if not found or top == masks:
        return ""
    first = found[0].relative_to(folder).as_posix()
    return (
        f"{folder} holds {count} pictures, and {len(found)} more in sub-folders ({first} the first), which are left out. To take "
        'them all, say image_pattern="{name}.*", mask_pattern="{name}.*"; if they are not meant, move them elsewhere.'
    )


def _skip(images, masks):
    """Only what has a partner; one line says what is left out."""
    common = {name: path for name, path in images.items() if name in masks}
    if not common:
        return images, masks  # nothing goes together: `paired` says so
    left = []
    for have, what in ((images, "picture"), (masks, "mask")):
        alone = [path for name, path in have.items() if name not in common]
        if alone:
            other = "mask" if what == "picture" else "picture"
            left.append(f"{len(alone)} {what}{'s' * (len(alone) > 1)} without a {other} ({alone[0].name} the first)")
    if left:
        print(f"Left out: {' and '.join(left)}. {len(common)} pairs stay.")
    return common, {name: masks[name] for name in common}
