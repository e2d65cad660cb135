"""Settings as text: what `-p NAME VALUE` gives on the command line, turned into what a notebook works with.

Every function takes the real thing, too, as one writes it in the settings cell. SettingError says what would be right.
"""

import math
import operator
import os
import re
from collections.abc import Iterable
from numbers import Integral

from .datasets.errors import DatasetError
from .datasets.meanings import meanings as parsed_meanings
from .environment import given_path


class SettingError(ValueError):
    """A setting makes no sense. The message names it, its value, and what would be right."""


def size(value, name="image_size") -> tuple[int, int] | None:
    """(height, width) from "240x320", (240, 320) or 240 (a square); None stays None. Height comes first."""
    if value is None:
        return None
    if isinstance(value, str):
        match = re.fullmatch(r"\(?\s*(\d+)(?:\s*[x,]\s*(\d+))?\s*\)?", value)
        sides = [int(side) for side in match.groups() if side] if match else []
    else:
        sides = list(value) if isinstance(value, (tuple, list)) else [value]
    if len(sides) not in (1, 2) or not all(_is_side(side) for side in sides):
        raise SettingError(f"{name} is {value!r}: give height x width in pixels, such as 240x320.")
    return sides[0], sides[-1]


def _is_side(value):
    return isinstance(value, Integral) and not isinstance(value, bool) and value > 0


def names(value, name="classes") -> list[str] | None:
    """["a", "b"] from "a, b" or a list; None stays None."""
    if value is None:
        return None
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    parts = list(parts) if isinstance(parts, Iterable) else [parts]
    if not parts or not all(isinstance(part, str) and part for part in parts):
        raise SettingError(f'{name} is {value!r}: give names with commas between them, such as "background,cat".')
    if twice := sorted({part for part in parts if parts.count(part) > 1}):
        raise SettingError(f"{name} names {', '.join(twice)} twice: every name may stand there once.")
    return parts


def numbers(value, name) -> tuple[float, ...] | None:
    """(2, 4, 6) from "2,4,6", one number or a list of them; None stays None. Whole numbers stay whole."""
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, (tuple, list)) else [value]
    try:
        return tuple(_number(part) for part in parts)
    except (TypeError, ValueError, OverflowError):
        raise SettingError(f'{name} is {value!r}: give numbers with commas between them, such as "2,4,6".') from None


def number(value, name) -> float | None:
    """128 from "128" or "128.0", 0.5 from "0.5", or the number itself; None stays None. A comma is an error."""
    if value is None:
        return None
    try:
        return _number(value)
    except (TypeError, ValueError, OverflowError):
        comma = isinstance(value, str) and "," in value
        remedy = " without a comma, such as 4095, or 0.5 with a point" if comma else ", such as 128"
        raise SettingError(f"{name} is {value!r}: give one number{remedy}.") from None


def _number(value):
    """A finite number; whole ones are integers. Raises ValueError or TypeError for anything else."""
    if isinstance(value, bool):
        raise ValueError
    try:
        return int(value) if isinstance(value, str) else operator.index(value)
    except (TypeError, ValueError):
        value = float(value)
        return int(value) if value.is_integer() else value if math.isfinite(value) else int(value)  # int() raises


def meanings(value, classes=(), name="mapping") -> dict | None:
    """What the values in masks mean: {0: 0, 255: 1} from "0:0,255:1", {(128, 0, 0): 1} from "#800000:1"; None stays None.

    On the left ids of any size, also negative, or colours; on the right a class, its id or its name among `classes`, or
    255 or "void". As FolderDataset reads its `mapping`.
    """
    try:
        return parsed_meanings(value, classes, name)
    except DatasetError as error:
        raise SettingError(str(error)) from None


def choice(value, choices, name):
    """The value, if it is one of the choices. SettingError lists them."""
    if value not in choices:
        raise SettingError(f"{name} is {value!r}, but must be one of {', '.join(map(str, choices))}.")
    return value


def own_data(images, masks, classes, mapping=None, image_pattern=None, mask_pattern=None, **more) -> dict | None:
    """The reader's own data from a notebook's settings, as FolderDataset takes them; None where `images` is None.

    `more`: threshold, bands and scale, numbers or text, and unpaired; what is None is left out. Relative folders start
    where the command was given, see `environment.given_path`.
    """
    if unknown := set(more) - {"threshold", "bands", "scale", "unpaired"}:
        raise TypeError(f"own_data has no setting {sorted(unknown)[0]}")
    others = {"masks": masks, "classes": classes, "mapping": mapping, "image_pattern": image_pattern,
              "mask_pattern": mask_pattern, **more}  # fmt: skip
    if images is None:
        if given := [key for key, value in others.items() if value is not None]:
            raise SettingError(f"{given[0]} is given, but not images, the folder of your pictures.")
        return None
    images = _folder(images, "images")
    for key in ("masks", "classes"):
        if others[key] is None:
            what = (
                "the folder of their masks" if key == "masks" else 'the names of the classes, such as "background,cat"'
            )
            raise SettingError(f"images is given, but not {key}, {what}.")
    for key, pattern in (("image_pattern", image_pattern), ("mask_pattern", mask_pattern)):
        if pattern is not None and not isinstance(pattern, str):
            raise SettingError(f'{key} is {pattern!r}: give how files are called, such as "{{name}}_mask.png".')
    classes = names(classes)
    more = {key: value if key == "unpaired" else number(value, key) for key, value in more.items() if value is not None}
    return {
        "images": images, "masks": _folder(masks, "masks"), "classes": classes,
        "mapping": meanings(mapping, classes), "image_pattern": image_pattern, "mask_pattern": mask_pattern, **more,
    }  # fmt: skip


def _folder(value, name):
    """A folder as `given_path` finds it; nothing is not the current folder."""
    if not isinstance(value, (str, os.PathLike)) or not str(value).strip():
        what = "pictures" if name == "images" else "masks"
        raise SettingError(
            f'{name} is {value!r}: give the folder of your {what}, such as "{name}", or "." for this one.'
        )
    return given_path(value)
