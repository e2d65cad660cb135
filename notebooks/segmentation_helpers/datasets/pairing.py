"""Which mask belongs to which picture, and splits for data that come without."""

from pathlib import Path

from .files import IMAGE_SUFFIXES, DatasetError


def files_of(folder: Path) -> dict[str, Path]:
    """Pictures in a folder by stem, in order of their names."""
    if not folder.is_dir():
        raise DatasetError(f"The folder {folder} does not exist.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            if path.stem in found:
                raise DatasetError(
                    f"{found[path.stem]} and {path.name} have the same stem: which one is meant? Remove one."
                )
            found[path.stem] = path
    return found


def paired(images: dict[str, Path], masks: dict[str, Path], suffix: str) -> list[tuple[Path, Path]]:
    """Picture and mask of the same name; what lacks a partner is an error that names the first of them."""
    masks = {stem.removesuffix(suffix): path for stem, path in masks.items()}
    for have, lack, what in ((images, masks, "mask"), (masks, images, "picture")):
        alone = [path for stem, path in have.items() if stem not in lack]
        if alone:
            more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
            expect = f"NAME{suffix if what == 'mask' else ''}"
            raise DatasetError(
                f"{alone[0]} has no {what}{more}. Picture NAME and mask NAME{suffix} make a pair: "
                f"add the {what} ({expect}.*), remove the file, or set mask_suffix."
            )
    return [(images[stem], masks[stem]) for stem in images]


def every_fifth(names, split: str) -> list:
    """A split for data that come without one: of the sorted names, the fifth, tenth ... are "val", the rest "train"."""
    if split not in ("train", "val"):
        raise DatasetError(f'There is no split "{split}" here, only "train" and "val" (every fifth name).')
    return [name for i, name in enumerate(sorted(names)) if (i % 5 == 4) == (split == "val")]
