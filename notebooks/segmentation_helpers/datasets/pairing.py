"""Which mask belongs to which picture, and splits for data that come without."""

import re
from pathlib import Path

from .files import IMAGE_SUFFIXES, DatasetError


def files_of(folder: Path, pattern: str | None = None) -> dict[str, Path]:
    """Pictures of a folder by name, in order of their paths.

    Without a pattern, the pictures right in the folder by their stem. "{name}_mask.png" takes the files that look so, in
    sub-folders, too; what stands in the place of `{name}`, folders included, is the name, and `*` stands for anything.
    """
    if not folder.is_dir():
        raise DatasetError(f"The folder {folder} does not exist.")
    shape = _shape(pattern) if pattern is not None else None
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir() if shape is None else folder.rglob("*")):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
            continue
        match = shape.fullmatch(path.relative_to(folder).as_posix()) if shape else None
        if shape and not match:
            continue
        name = match["name"] if match else path.stem
        if name in found:
            what = f"both look like {pattern}" if shape else "have the same stem"
            raise DatasetError(f"{found[name]} and {path.name} {what}: which one is meant? Remove one.")
        found[name] = path
    return found


def _shape(pattern: str) -> re.Pattern:
    if pattern.count("{name}") != 1:
        raise DatasetError(f'The pattern "{pattern}" must hold {{name}} once, as in "{{name}}_mask.png".')
    before, after = (re.escape(part).replace(r"\*", "[^/]*") for part in pattern.split("{name}"))
    return re.compile(f"{before}(?P<name>.+){after}")


def paired(
    images: dict[str, Path], masks: dict[str, Path], image_pattern: str = "{name}.*", mask_pattern: str = "{name}.*"
) -> list[tuple[Path, Path]]:
    """Picture and mask of the same name; what lacks a partner is an error that names the first of them."""
    for have, lack, what, pattern in (
        (images, masks, "mask", mask_pattern), (masks, images, "picture", image_pattern),
    ):  # fmt: skip
        alone = {name: path for name, path in have.items() if name not in lack}
        if alone:
            name, path = next(iter(alone.items()))
            more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
            raise DatasetError(
                f"{path} has no {what}{more}: add the {what} ({pattern.replace('{name}', name)}), remove the file, or say how "
                f"the names go together: image_pattern={image_pattern!r}, mask_pattern={mask_pattern!r} now."
            )
    return [(images[name], masks[name]) for name in images]


def every_fifth(names, split: str) -> list:
    """A split for data that come without one: of the sorted names, the fifth, tenth ... are "val", the rest "train"."""
    if split not in ("train", "val"):
        raise DatasetError(f'There is no split "{split}" here, only "train" and "val" (every fifth name).')
    return [name for i, name in enumerate(sorted(names)) if (i % 5 == 4) == (split == "val")]
