"""What a reader says about classes: their names, their colours, and what the values in masks mean."""

import re
from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np

from .classes import IGNORE_INDEX, voc_palette
from .errors import DatasetError

EXAMPLE = 'classes=["background", "cat"]'


def class_names(classes) -> list[str]:
    """Names in the order of their ids, from a list of them, or from a dict {id: name} or {name: id}. Raises DatasetError."""
    if isinstance(classes, (str, bytes)):
        parts = [part.strip() for part in str(classes).split(",")] if isinstance(classes, str) else ["cat"]
        raise DatasetError(f"classes is the text {classes!r}: give a list, classes={parts}.".replace("'", '"'))
    if isinstance(classes, Mapping):
        return class_names(_by_id(classes))
    if isinstance(classes, Integral):
        names = ", ".join(f'"class {i}"' for i in range(min(int(classes), 3))) + (", ..." if classes > 3 else "")
        raise DatasetError(f"classes is {classes}, but must be names in the order of their ids: classes=[{names}].")
    if isinstance(classes, (set, frozenset)):
        raise DatasetError(f"classes is a set, which has no order: give a list in the order of the ids, {EXAMPLE}.")
    try:
        names = [str(name) if isinstance(name, str) else name for name in classes]
    except TypeError:
        raise DatasetError(f"classes is {classes!r}, but must be a list of names, {EXAMPLE}.") from None
    if not names:
        raise DatasetError(f"classes is empty: name every class, {EXAMPLE}.")
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise DatasetError(f"classes holds {name!r}, which is no name: give a text for every class, {EXAMPLE}.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DatasetError(f'classes holds "{twice[0]}" twice: every class needs a name of its own.')
    return names


def _by_id(classes):
    """The names of a dict in the order of their ids, which must run from 0 without a gap."""
    pairs = list(classes.items()) if all(map(_is_id, classes)) else [(key, name) for name, key in classes.items()]
    ids = {int(key): name for key, name in pairs if _is_id(key)}
    if len(ids) < len(pairs):
        raise DatasetError(f'classes is {classes!r}, but as a dict it must be {{0: "background", 1: "cat"}}.')
    gaps = sorted(set(range(len(ids))) - set(ids))
    if gaps:
        raise DatasetError(
            f"classes has no name for the id {gaps[0]}, but its ids are {', '.join(map(str, sorted(ids)))}: ids run from 0 "
            "without a gap. Name every one, or number the classes anew and say what masks hold by mapping=."
        )
    return [ids[i] for i in range(len(ids))]


def _is_id(value):
    return (isinstance(value, Integral) and value >= 0) or (isinstance(value, str) and value.strip().isdecimal())


def palette_of(palette, num_classes: int) -> np.ndarray:
    """Colours as uint8 (num_classes, 3). Raises DatasetError.

    None: colours that the colour-blind can tell apart for up to 32 classes; for more those of PASCAL VOC's colour map,
    which differ from each other but not for everybody.
    """
    if palette is None:
        if num_classes > 32:
            return voc_palette(num_classes)
        from ..pictures import colour_blind_palette  # late: it imports matplotlib

        return colour_blind_palette(num_classes)
    try:
        rows = [bytes.fromhex(c.removeprefix("#")) if isinstance(c, str) else c for c in palette]
        colours = np.array([list(row) if isinstance(row, bytes) else row for row in rows])
    except (TypeError, ValueError):
        raise DatasetError("palette must be a colour (red, green, blue) for each class, from 0 to 255.") from None
    if colours.ndim == 1 and colours.size % 3 == 0:
        colours = colours.reshape(-1, 3)  # as Pillow's getpalette gives them
    if colours.ndim != 2 or colours.shape[1] != 3 or colours.dtype.kind not in "uif":
        raise DatasetError(
            f"palette has the shape {colours.shape}, but must be a colour (red, green, blue) for each class, from 0 to 255."
        )
    if len(colours) != num_classes:
        raise DatasetError(f"{num_classes} classes and {len(colours)} colours: one each, at most 253.")
    if colours.dtype.kind == "f" and colours.max() <= 1:
        raise DatasetError("palette holds colours of 0 to 1, but they are 0 to 255 here: multiply them by 255.")
    wrong = ~((colours >= 0) & (colours <= 255) & (colours == np.rint(colours)))
    if wrong.any():
        row = np.argwhere(wrong)[0][0]
        raise DatasetError(
            f"palette holds {tuple(colours[row].tolist())}, but colours are whole numbers from 0 to 255."
        )
    return colours.astype(np.uint8)


def meanings(value, classes=(), name="mapping") -> dict | None:
    """What the values in masks mean, {255: 1} or {(128, 0, 0): 1}: from a dict, or text such as "0:0,255:1,#800000:cat".

    On the left an id of any size, also negative, or a colour; on the right a class, its id or its name among `classes`,
    or 255 or "void". None stays None. Raises DatasetError.
    """
    if value is None:
        return None
    if isinstance(value, str):
        pairs = [part.rsplit(":", 1) for part in value.split(",")]
        if not all(len(pair) == 2 for pair in pairs):
            raise DatasetError(
                f'{name} is {value!r}: give value:class with commas between them, "0:0,255:1" or "#800000:1".'
            )
    else:
        try:
            pairs = list(dict(value).items())
        except (TypeError, ValueError):
            raise DatasetError(f"{name} is {value!r}, but must be a dict such as {{0: 0, 255: 1}}.") from None
    found = {_raw(raw, name): _target(raw, target, list(classes), name) for raw, target in pairs}
    if len(found) < len(pairs):
        raise DatasetError(f"{name} is {value!r}: a value stands there twice.")
    if len({isinstance(raw, tuple) for raw in found}) > 1:
        raise DatasetError(f"{name} is {value!r}: masks hold either numbers or colours, not both.")
    return found or None


def _raw(raw, name):
    """An id, or a colour as (r, g, b)."""
    if isinstance(raw, str):
        text = raw.strip()
        if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
            return tuple(bytes.fromhex(text[1:]))
        if re.fullmatch(r"[+-]?\d+", text):
            return int(text)
    elif isinstance(raw, (tuple, list)) and len(raw) in (3, 4):
        if all(isinstance(part, Integral) and 0 <= part <= 255 for part in raw):
            if len(raw) == 4 and raw[3] != 255:
                raise DatasetError(
                    f"{name} holds the colour {tuple(raw)}, which is transparent: masks are read by red, green and blue."
                )
            return tuple(int(part) for part in raw[:3])
    elif isinstance(raw, Real) and float(raw).is_integer():
        return int(raw)
    raise DatasetError(
        f"{name} holds the value {raw!r}: masks hold ids, such as 255, or colours, such as #800000 or (128, 0, 0)."
    )


def _target(raw, target, classes, name):
    if isinstance(target, str):
        target = target.strip()
        if target in classes:
            return classes.index(target)
        if target == "void":
            return IGNORE_INDEX
        if re.fullmatch(r"\d+", target):
            target = int(target)
    elif isinstance(target, Real) and not isinstance(target, bool) and float(target).is_integer():
        target = int(target)
    if isinstance(target, Integral) and (target == IGNORE_INDEX or 0 <= target < (len(classes) or IGNORE_INDEX)):
        return int(target)
    if len(classes) == 1:
        raise DatasetError(
            f'{name} sends {raw} to {target!r}, but classes holds one name, "{classes[0]}", whose id is 0. Give two names, '
            f'background first: classes=["background", "{classes[0]}"].'
        )
    ids = f"0 to {len(classes) - 1}, " if classes else "a class's id, "
    raise DatasetError(f"{name} sends {raw} to {target!r}, but the classes are {ids}and 255 or void for what has none.")
