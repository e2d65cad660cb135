"""Pictures of images, masks, predictions and results.

Every `show_...`, `plot_...`, `best_and_worst` and `contact_sheet` returns a matplotlib Figure that pyplot knows nothing
of: as the last line of a cell it appears once, there is nothing to close, and `figure.savefig("name.png")` writes it.
Styles are set on each figure and never in `rcParams`, so a notebook's own plots stay as they are. A class has its
palette's colour everywhere; void is pale grey. A data set may be a Subset (random_split) or a ConcatDataset, too; of pictures
with more than three bands the first three are shown as red, green and blue, and those with one or two in grey.

Images and masks are shown at an integer scale: each of their pixels covers k x k pixels of the PNG (k = 1, 2, 3, ...), so
that a pole one pixel wide stays visible. The PNG has 180 dpi, or more where an integer scale needs it. Only pictures
wider than about 1.7 times what their column holds at 180 dpi, such as photographs of 4000 pixels, are resized: images with
antialiasing, masks by nearest neighbour, so thin parts of those masks may be lost.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox
from PIL import Image

from .datasets.members import members
from .inference import predict as whole_image_predict
from .metrics import ConfusionMatrix

VOID_COLOUR = np.array([225, 225, 225], dtype=np.uint8)  # no palette that we ship has it; black is VOC's background
ERROR_COLOUR = np.array([220, 38, 127], dtype=np.uint8)
INK, MUTED, PALE = "#1f2937", "#6b7280", "#e5e7eb"
BLUE, ORANGE = "#0072b2", "#d55e00"
LINE_COLOURS = (BLUE, ORANGE, "#009e73", "#994d80", "#000000", "#e69f00", "#56b4e9", "#801a00")  # dark enough for text
DPI = 180  # at least
CSS_PIXELS = 96  # in an inch
PAGE = 10  # inches: the width of a notebook's page, and of the widest figure with its legend and margins
MARGIN = 0.1  # inches round everything
COLUMN, ROW = 2.9, 3.2  # inches: the widest column and the highest row of a grid of pictures
LEGEND_LINE = 0.21  # inches from one name of a legend to the next

# The eight colours of Okabe and Ito, "Color Universal Design" (2008), https://jfly.uni-koeln.de/color/, in an order
# that suits CamVid's classes (sky, building, pole, road, pavement, ...). After them each colour is, of a grid of those
# neither garish nor very dark, the one farthest from all before it, and from void, in CIELAB: the least of three
# distances, as seen with normal sight, protanopia and deuteranopia by the matrices of Machado, Oliveira and Fernandes
# (2009), https://doi.org/10.1109/TVCG.2009.113.
COLOUR_BLIND_SAFE = (
    "56b4e9 d55e00 f0e442 cc79a7 0072b2 009e73 e69f00 000000 e6e699 801a00 1a4d4d 0080ff 003399 003366 66b366 336633 "
    "4de6ff 994d80 66cc99 e6cc66 8099ff 1a4d33 ffe6cc b33300 1a334d ff664d 3366cc 80b3cc 004d99 66001a 66ccb3 008066"
).split()


class Picture(Figure):
    """A Figure that a notebook shows as a PNG of 256 colours, so that photographs take a quarter of the space.

    It has at least 180 dpi, and is shown at its size in inches: text of 9 points is 9 points high on the page.
    """

    def __init__(self, figsize=None, dpi=None, **kwargs):
        super().__init__(figsize=figsize, dpi=max(dpi or DPI, DPI), **kwargs)

    def png(self):
        """The bytes of that PNG, cropped to what is drawn; the colours of masks are kept exactly."""
        self.draw_without_rendering()  # lays everything out
        box = self.get_tightbbox().padded(MARGIN)
        corners = np.array([np.floor(box.p0 * self.dpi), np.ceil(box.p1 * self.dpi) + 0.01])  # whole pixels
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=self.dpi, bbox_inches=Bbox(corners / self.dpi))
        small = _reduce(Image.open(buffer).convert("RGB"), self._flat_colours())
        buffer = io.BytesIO()
        small.save(buffer, "png", optimize=True, dpi=(self.dpi, self.dpi))
        return buffer.getvalue()

    def _flat_colours(self):
        """Colours (N x 3) that the PNG must have: of masks (pictures with at most 64 colours), of legends and bars.

        Greys of text and steps of colour maps follow, so that they have no bands beside photographs.
        """
        exact, smooth = [[VOID_COLOUR, ERROR_COLOUR]], [np.arange(0, 256, 15)[:, None].repeat(3, axis=1)]
        exact += [_bytes(patch.get_facecolor()) for patch in self.findobj(Patch)]
        for image in self.findobj(AxesImage):
            picture = np.asarray(image.get_array())
            if picture.ndim == 2:
                smooth.append(_bytes(image.get_cmap()(np.linspace(0, 1, 64))))
            elif picture.dtype == np.uint8:
                few = np.unique(_packed(picture[..., :3]))
                exact += [_unpacked(few)] if len(few) <= 64 else []
        exact, smooth = (np.unique(np.concatenate(colours), axis=0) for colours in (exact, smooth))
        return np.concatenate([exact[:128], smooth[:96]])

    def _ipython_display_(self):
        from IPython.display import Image as Output
        from IPython.display import display

        data = self.png()
        width = Image.open(io.BytesIO(data)).width
        display(Output(data, width=round(width / self.dpi * CSS_PIXELS)))


@dataclass(frozen=True)
class Look:
    """Names and colours of classes, for `show_maps` of class maps that belong to no data set."""

    classes: Sequence[str]
    palette: Sequence
    ignore_index: int = 255


def colour_blind_palette(num_classes):
    """Palette (uint8, num_classes x 3) whose colours differ for colour-blind readers too; for at most 32 classes.

    Up to 11 classes any two are at least 17 apart in CIELAB, with 32 classes at least 11.
    """
    if not 1 <= num_classes <= len(COLOUR_BLIND_SAFE):
        raise ValueError(f"a colour-blind-safe palette has 1 to {len(COLOUR_BLIND_SAFE)} colours, not {num_classes}")
    return np.array([list(bytes.fromhex(colour)) for colour in COLOUR_BLIND_SAFE[:num_classes]], dtype=np.uint8)


def colorize(mask, palette, ignore_index=255):
    """Colour picture (uint8, H x W x 3) of a mask of class ids (H x W); void is pale grey.

    Raises ValueError where the mask is not H x W integers, or holds an id that the palette does not have.
    """
    mask, palette = _array(mask), np.asarray(palette, dtype=np.uint8)
    if mask.ndim != 2 or mask.dtype.kind not in "ui":
        raise ValueError(f"a mask is H x W class ids, whole numbers; this one is {mask.dtype} of shape {mask.shape}")
    void = mask == ignore_index
    unknown = np.unique(mask[((mask < 0) | (mask >= len(palette))) & ~void])
    if len(unknown):
        names = ", ".join(map(str, unknown[:5])) + (" ..." if len(unknown) > 5 else "")
        raise ValueError(f"the mask holds id {names}; the palette has 0 to {len(palette) - 1}, void is {ignore_index}")
    picture = palette[np.where(void, 0, mask)]
    picture[void] = VOID_COLOUR
    return picture


def overlay(image, mask, palette, alpha=0.5, ignore_index=255):
    """Image (uint8, H x W x 3) with its mask (H x W) laid over it; void pixels keep the image.

    `alpha` is the mask's share, from 0 to 1. Raises ValueError where sizes differ, and as `colorize` does.
    """
    image, mask = _picture(image), _array(mask)
    if image.shape[:2] != mask.shape:
        raise ValueError(f"image and mask differ in size: {image.shape[:2]} and {mask.shape}")
    blend = (1 - alpha) * image + alpha * colorize(mask, palette, ignore_index)
    return np.where((mask == ignore_index)[..., None], image, np.rint(blend).astype(np.uint8))


def legend(ax_or_fig, classes, palette, ids=None, ignore_index=255, others=(), **kwargs):
    """Put the classes' names with swatches to the right of an Axes or a Figure, and return the matplotlib Legend.

    `ids`: the class ids to name, void's included (default: every class). `others`: (name, colour) pairs that follow, with
    colours of 0..255. `kwargs` go to matplotlib's `legend`.
    """
    ids = range(len(classes)) if ids is None else ids
    entries = [("void", VOID_COLOUR) if i == ignore_index else (classes[i], palette[i]) for i in ids]
    handles = []
    for name, colour in [*entries, *others]:
        handles.append(Patch(facecolor=np.asarray(colour) / 255, edgecolor=MUTED, linewidth=0.4, label=name))
    style = dict(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, borderpad=0, frameon=False, fontsize=9,
                 labelcolor=INK, handlelength=1.1, handleheight=1.1, handletextpad=0.6, labelspacing=0.4)  # fmt: skip
    return ax_or_fig.legend(handles=handles, **{**style, **kwargs})


def show_samples(dataset, indices):
    """Image, mask and overlay of some samples of a data set, one in a row, with a legend of the classes in them.

    `indices` past the end count on from the beginning, so that they do for a small data set of your own, too. A number
    instead takes that many, evenly spread.
    """
    dataset = members(dataset)
    samples = [(_shown(image), mask) for image, mask in (dataset.read(i) for i in _indices(indices, len(dataset)))]
    ids = _ids([mask for _, mask in samples])
    headers = ["image", "mask", "overlay"]
    fig, axes = _grid([[image.shape] * 3 for image, _ in samples], headers=headers, dataset=dataset, ids=ids)
    for row, (image, mask) in zip(axes, samples, strict=True):
        _show(row[0], image)
        _show(row[1], colorize(mask, dataset.palette, dataset.ignore_index), exact=True)
        _show(row[2], overlay(image, mask, dataset.palette, ignore_index=dataset.ignore_index))
    return fig


def show_batch(images, masks, dataset, columns=4):
    """A training batch as the network gets it: images (B, 3, H, W) in 0..1, and below each its mask (H, W) laid over it.

    Raises ValueError where values lie outside 0..1.
    """
    dataset = members(dataset)
    images = [_restore(image) for image in images]
    samples = list(zip(images, [_array(mask) for mask in masks], strict=True))
    groups = _rows(samples, columns)
    shapes = [[image.shape for image, _ in group] for group in groups for _ in range(2)]
    fig, axes = _grid(shapes, dataset=dataset, ids=_ids([mask for _, mask in samples]))
    for above, below, group in zip(axes[::2], axes[1::2], groups, strict=True):
        for plain, laid_over, (image, mask) in zip(
            above, below, group, strict=False
        ):  # the last row may have room to spare
            _show(plain, image)
            _show(laid_over, overlay(image, mask, dataset.palette, ignore_index=dataset.ignore_index))
    return fig


def show_predictions(images, masks, predictions, dataset, titles=None):
    """Rows of image, truth, prediction and errors: wrong pixels in one colour over a grey image, void left out.

    `images` uint8 H x W x bands, `masks` and `predictions` H x W class ids, `titles` one text a row. Raises ValueError
    where their numbers or sizes differ.
    """
    dataset = members(dataset)
    samples = [(_picture(image), _array(mask)) for image, mask in zip(images, masks, strict=True)]
    predictions = [_array(prediction) for prediction in predictions]
    titles = [""] * len(samples) if titles is None else titles
    ids = _ids([mask for _, mask in samples] + predictions)
    headers = ["image", "truth", "prediction", "errors"]
    least = _text_width("10.0% of its pixels wrong")
    others = [("wrong", ERROR_COLOUR)]
    shapes = [[image.shape] * 4 for image, _ in samples]
    fig, axes = _grid(shapes, headers=headers, dataset=dataset, ids=ids, others=others, strip=0.23, least=least)
    for row, (image, mask), prediction, title in zip(axes, samples, predictions, titles, strict=True):
        if image.shape[:2] != mask.shape:
            raise ValueError(f"image and truth differ in size: {image.shape[:2]} and {mask.shape}")
        if prediction.shape != mask.shape:
            raise ValueError(f"truth and prediction differ in size: {mask.shape} and {prediction.shape}")
        valid = mask != dataset.ignore_index
        wrong = valid & (prediction != mask)
        errors = np.repeat(96 + 0.55 * image.mean(2, keepdims=True), 3, axis=2).astype(np.uint8)
        errors[wrong], errors[~valid] = ERROR_COLOUR, VOID_COLOUR
        _show(row[0], image, title)
        _show(row[1], colorize(mask, dataset.palette, dataset.ignore_index), exact=True)
        _show(row[2], colorize(prediction, dataset.palette, dataset.ignore_index), exact=True)
        _show(row[3], errors, f"{wrong.sum() / max(valid.sum(), 1):.1%} of its pixels wrong", exact=True)
    return fig


def show_maps(maps, dataset=None, columns=3):
    """Pictures, class maps and maps of numbers side by side, each under its title.

    `maps` is {title: map}. A map is a picture (uint8, H x W x bands), a class map (integers, H x W) in the colours of
    `dataset`, with one legend of the classes that occur, or a map of numbers (floats, H x W: probabilities, influence,
    uncertainty). The numbers of all maps share one scale, which a colour bar names: 0 to 1 for probabilities, else from the
    lowest to the highest; NaN and infinity are pale grey. `dataset` may be a Look. Raises ValueError for any other map, for
    class maps without a data set, and for none at all.
    """
    if not maps:
        raise ValueError("there is no map to show")
    maps = {str(title): _array(values) for title, values in maps.items()}
    kinds = {title: _kind(title, values) for title, values in maps.items()}
    class_maps = [values for title, values in maps.items() if kinds[title] == "classes"]
    numbers = [values[np.isfinite(values)] for title, values in maps.items() if kinds[title] == "numbers"]
    if class_maps and dataset is None:
        raise ValueError("a class map needs the data set whose classes it holds: show_maps(maps, dataset)")
    dataset = dataset if dataset is None or isinstance(dataset, Look) else members(dataset)
    columns = min(columns, len(maps))
    widest = max(map(_text_width, maps))
    least = min(widest, 7.6 / columns, COLUMN)
    titles = [_wrapped(title, least) for title in maps]
    strip = 0.07 + 0.16 * max(title.count("\n") + 1 for title in titles)
    shapes = _rows([values.shape for values in maps.values()], columns)
    foot = 0.55 if numbers else 0
    fig, axes = _grid(shapes, dataset=dataset, ids=_ids(class_maps), strip=strip, foot=foot, gap=0.12, least=least)
    scale, colours = Normalize(*_range(numbers)), colormaps["magma"].with_extremes(bad=PALE)
    for ax, (name, values), title in zip(axes.flat, maps.items(), titles, strict=False):
        if kinds[name] == "picture":
            _show(ax, _picture(values), title)
        elif kinds[name] == "classes":
            _show(ax, colorize(values, dataset.palette, dataset.ignore_index), title, exact=True)
        else:
            _show(ax, np.ma.masked_invalid(values), title, norm=scale, cmap=colours)
    if numbers:
        _colour_bar(fig, scale, colours)
    return fig


def best_and_worst(model, dataset, k=2, predict=None):
    """The k best and the k worst images of a data set by their own mIoU, as `show_predictions` shows them.

    An image's mIoU is the mean over the classes that its truth has; images of nothing but void are left out.
    `predict(model, image)` takes uint8 H x W x bands and gives H x W class ids (default: `inference.predict`). The images
    shown are predicted a second time, so that only scores have to be kept.
    """
    dataset = members(dataset)
    predict = predict or whole_image_predict
    scores = {}
    for i in range(len(dataset)):
        image, mask = dataset.read(i)
        confusion = ConfusionMatrix(len(dataset.classes), ignore_index=dataset.ignore_index)
        confusion.update(predict(model, image), mask)
        present = confusion.matrix.sum(1) > 0
        if present.any():
            scores[i] = float(confusion.iou[present].mean())
    ranked = sorted(scores, key=scores.get, reverse=True)
    best, worst = ranked[:k], ranked[k:][-k:][::-1]  # never one image in both
    chosen = best + worst
    images, masks = zip(*[dataset.read(i) for i in chosen], strict=True) if chosen else ((), ())
    titles = [f"{'best' if i in best else 'worst'}: mIoU of image {i} = {scores[i]:.2f}" for i in chosen]
    return show_predictions(images, masks, [predict(model, image) for image in images], dataset, titles)


def contact_sheet(dataset, indices, columns=6):
    """Many samples at a glance: each image with its overlay below it, no text; `indices` as for `show_samples`."""
    dataset, sheets = members(dataset), []
    for i in _indices(indices, len(dataset)):
        image, mask = dataset.read(i)
        image = _shown(image)
        gap = np.full((max(len(image) // 60, 1), image.shape[1], 3), 255, dtype=np.uint8)
        sheets.append(np.concatenate([image, gap, overlay(image, mask, dataset.palette, 0.5, dataset.ignore_index)]))
    fig, axes = _grid(_rows([sheet.shape for sheet in sheets], columns), gap=0.05)
    for ax, sheet in zip(axes.flat, sheets, strict=False):
        _show(ax, sheet)
    return fig


def plot_history(history):
    """Curves of a training: loss, validation scores, learning rate; keys that no epoch has are left out.

    `history` is a list of dicts, one an epoch, as `fit` gives them or `csv.DictReader` reads them from `history.csv`.
    Raises ValueError where none of loss, miou, pixel_accuracy and learning_rate is there.
    """
    epochs = [float(row.get("epoch", i + 1)) for i, row in enumerate(history)]

    def series(key):
        return np.array([float("nan" if row.get(key) in (None, "") else row[key]) for row in history])

    panels = {
        "training loss": {"loss": INK},
        "validation scores": {"miou": BLUE, "pixel_accuracy": ORANGE},
        "learning rate": {"learning_rate": MUTED},
    }
    curves = {title: {key: (series(key), colour) for key, colour in keys.items()} for title, keys in panels.items()}
    for title in panels:
        curves[title] = {key: pair for key, pair in curves[title].items() if np.isfinite(pair[0]).any()}
    curves = {title: keys for title, keys in curves.items() if keys}
    if not curves:
        raise ValueError("the history has none of loss, miou, pixel_accuracy, learning_rate")
    widths = [2 if title == "learning rate" else 3.2 for title in curves]
    fig = _figure(sum(widths) + 0.6, 2.6, layout="constrained")
    fig.get_layout_engine().set(wspace=0.06)
    axes = fig.subplots(1, len(curves), squeeze=False, width_ratios=widths)[0]
    for ax, (title, keys) in zip(axes, curves.items(), strict=True):
        if title == "learning rate":
            title, keys = _scaled(*keys["learning_rate"])
        for values, colour in keys.values():
            known = np.isfinite(values)
            marker = "o" if known.sum() < 3 or not known.all() else None  # a dot where something was measured
            ax.plot(np.array(epochs)[known], values[known], color=colour, linewidth=1.8, marker=marker, markersize=4)
        if title == "validation scores":
            _label_scores(ax, epochs, keys)
        elif title == "training loss":
            ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))
        else:
            ax.set_ylim(bottom=0)
        _tidy(ax, title)
        ax.set_xlabel("epoch", fontsize=9, color=MUTED)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    return fig


def plot_iou(confusion, classes, palette):
    """Bars of IoU by class, best first, the mIoU as a dashed line, and each class's share of the true pixels.

    A class that neither truth nor prediction has (NaN) is named as absent and takes no part in the mIoU. Raises
    ValueError where the numbers of classes differ.
    """
    iou, pixels = np.array(_array(confusion.iou)), _array(confusion.matrix).sum(1)
    if not len(iou) == len(classes) <= len(palette):
        raise ValueError(f"{len(iou)} IoUs for {len(classes)} classes and {len(palette)} colours")
    order = np.argsort(-np.nan_to_num(iou, nan=-1), kind="stable")
    fig = _figure(6.6, 1.0 + 0.25 * len(iou), layout="constrained")
    ax = fig.subplots()
    lengths, colours = np.nan_to_num(iou[order]), np.asarray(palette)[order] / 255
    ax.barh(range(len(iou)), lengths, color=colours, edgecolor=MUTED, linewidth=0.4, height=0.72)
    right = ax.get_yaxis_transform()  # x in widths of the axes, y in bars
    for y, i in enumerate(order):
        text, colour = ("absent", MUTED) if np.isnan(iou[i]) else (f"{iou[i]:.2f}", INK)
        box = dict(facecolor="white", edgecolor="none", pad=0.6)
        ax.text(lengths[y] + 0.012, y, text, va="center", fontsize=9, color=colour, bbox=box, zorder=3)
        share = f"{pixels[i] / max(pixels.sum(), 1):.1%}"
        ax.text(1.16, y, share, va="center", ha="right", fontsize=9, color=MUTED, transform=right)
    ax.text(1.16, -0.85, "share of pixels", va="center", ha="right", fontsize=9, color=MUTED, transform=right)
    miou = float(confusion.miou)
    if np.isfinite(miou):
        ax.axvline(miou, color=INK, linestyle=(0, (4, 3)), linewidth=1, zorder=2)
    _tidy(ax, f"IoU of each class; dashed: mIoU {miou:.3f}")
    ax.set_xlabel("IoU", fontsize=9, color=MUTED)
    ax.set(xlim=(0, 1), ylim=(len(iou) - 0.4, -0.6))
    ax.set_yticks(range(len(iou)), [classes[i] for i in order], fontsize=9, color=INK)
    ax.grid(visible=False, axis="y")
    ax.spines.left.set_visible(False)
    return fig


def plot_confusion(confusion, classes):
    """Where the pixels of each true class (row) went (column), in percent of the row; readable up to 32 classes.

    The row of a class that the truth does not have is grey. Raises ValueError where names and matrix differ in number.
    """
    matrix = _array(confusion.matrix).astype(float)
    if len(matrix) != len(classes):
        raise ValueError(f"a confusion matrix of {len(matrix)} classes for {len(classes)} names")
    total = matrix.sum(1, keepdims=True)
    share = np.divide(matrix, total, out=np.full_like(matrix, np.nan), where=total > 0)
    margin = 0.7 + max(map(_text_width, classes))
    cell = min(0.4, max((PAGE - 2 * MARGIN - margin) / len(classes), 0.22))
    size = 9 if cell > 0.3 else 7  # points
    side = cell * len(classes)
    room = max(side + 0.2, 2.4)  # inches for the title
    title = _wrapped("Where the pixels of each true class went, in percent", room, 11, "bold")
    fig = _figure(margin + room, margin + side + 0.2 * title.count("\n"), layout="constrained")
    ax = fig.subplots()
    ax.set_anchor("W")
    colours = LinearSegmentedColormap.from_list("white to blue", ["white", BLUE, "#003352"]).with_extremes(bad=PALE)
    ax.imshow(np.ma.masked_invalid(share), cmap=colours, vmin=0, vmax=1)
    for (truth, prediction), value in np.ndenumerate(share):
        if value >= 0.005:  # what would read as 0 is left white
            colour = "white" if value > 0.4 else INK
            ax.text(prediction, truth, f"{value:.0%}"[:-1], ha="center", va="center", fontsize=size, color=colour)
    _tidy(ax, title)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.set_xticks(range(len(classes)), classes, rotation=90, fontsize=9, color=INK)
    ax.set_yticks(range(len(classes)), classes, fontsize=9, color=INK)
    ax.set_xlabel("prediction", fontsize=9, color=MUTED)
    ax.set_ylabel("truth", fontsize=9, color=MUTED)
    ax.set_xticks(np.arange(len(classes) + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(len(classes) + 1) - 0.5, minor=True)
    ax.grid(which="minor", color=PALE, linewidth=0.6)
    ax.tick_params(which="both", length=0)
    return fig


def plot_runs(runs):
    """Bars of mIoU, best first, with minutes of training and parameters; the last run given, this one, in orange.

    `runs` is a list of dicts as `save_metrics` returns them; see `training.runs_like`. Raises ValueError for none.
    """
    if not runs:
        raise ValueError("there is no run to show")
    order = sorted(range(len(runs)), key=lambda i: -runs[i]["miou"])
    fig = _figure(7.4, 1.0 + 0.3 * len(runs), layout="constrained")
    ax = fig.subplots()
    for y, i in enumerate(order):
        run, this = runs[i], i == len(runs) - 1
        ax.barh(y, run["miou"], color=ORANGE if this else BLUE, height=0.62)
        text = f"{run['miou']:.3f}   {run['train_seconds'] / 60:.0f} min, {run['parameters'] / 1e6:.1f} M"
        ax.text(run["miou"] + 0.01, y, text, va="center", fontsize=9, color=INK)
    _tidy(ax, f"mIoU on {runs[-1]['dataset']} {runs[-1]['split']}, with minutes of training and parameters")
    ax.set_xlabel("mIoU", fontsize=9, color=MUTED)
    ax.set(xlim=(0, 1), ylim=(len(runs) - 0.4, -0.6))
    ax.set_yticks(range(len(runs)), [runs[i]["notebook"] for i in order], fontsize=9, color=INK)
    ax.grid(visible=False, axis="y")
    ax.spines.left.set_visible(False)
    return fig


def plot_curves(curves, xlabel, ylabel, title="", level=None, log=False):
    """Curves with their names at their right ends, each name in the colour of its curve.

    curves: {name: values}, counted from 1, or {name: (x, values)}, all of one dimension; NaN is left out.
    level: (value, text) draws a dashed horizontal line with that text.
    Curves of at most eight points get a dot at each.
    log: a logarithmic scale of y (True or "y"), of x ("x") or of both ("xy"); the axis says so.

    Raises ValueError for no curve, for one without a number, for lengths that differ, for values that a logarithm does not
    have, and for any other `log`.
    """
    if not curves:
        raise ValueError("there is no curve to show")
    scales = {False: "", True: "y"}.get(log, log)
    if scales not in ("", "x", "y", "xy"):
        raise ValueError(f'log is {log!r}, but must be True, False, "x", "y" or "xy"')
    points = {str(name): _points(name, values, scales) for name, values in curves.items()}
    left, right, bottom, top = 0.75, 0.3 + max(map(_text_width, points)), 0.55, 0.4 if title else 0.15
    width, height = min(7.2, PAGE - 2 * MARGIN), 3.2
    fig = _figure(width, height)
    ax = fig.add_axes([left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height])
    for number, (x, y) in enumerate(points.values()):
        style = "-" if number < len(LINE_COLOURS) else (0, (4, 1.5))
        marker = "o" if len(x) <= 8 else None  # so few were measured one by one
        ax.plot(x, y, color=_line_colour(number), linewidth=1.8, linestyle=style, marker=marker, markersize=5)
    if "x" in scales:
        ax.set_xscale("log")
    if "y" in scales:
        ax.set_yscale("log")
    ends = [(x[-1], y[-1]) for x, y in points.values()]
    first, last = min(x[0] for x, _ in points.values()), max(x for x, _ in ends)
    if first < last:
        ax.set_xlim(first, last)
    if level is not None:
        _level(ax, *level, points.values())
    _tidy(ax, title)
    ax.tick_params(which="minor", color=PALE)
    ax.set_xlabel(xlabel + ", logarithmic" * ("x" in scales), fontsize=9, color=MUTED)
    ax.set_ylabel(ylabel + ", logarithmic" * ("y" in scales), fontsize=9, color=MUTED)
    _label_ends(ax, list(points), ends)
    return fig


def plot_scores(scores, title, reference=None, xlabel="score"):
    """One line per row with the score of every seed as a dot, their mean as a thick mark and their range as a line.

    scores: {row: [score of each seed]}, shown from top to bottom; a row may have a single seed.
    title, xlabel: say what was measured, and name the axis.
    reference: the row that the others are compared with (default: the first), in black; a band shows its range. "above"
        compares each row with the one above it, as on a ladder.

    A row is blue where its lowest score is above the reference's highest, orange where its highest is below the
    reference's lowest, and grey where the ranges overlap, because the difference may be noise. Where both rows have one
    seed, nothing is known about the noise, and the row is grey. The axis need not start at 0. Raises ValueError for no
    rows, a row without scores, scores that are not finite, and an unknown reference.
    """
    if not scores:
        raise ValueError("there are no scores to show")
    rows = {str(row): np.atleast_1d(_array(values)).astype(float) for row, values in scores.items()}
    for row, values in rows.items():
        if values.ndim != 1 or not values.size or not np.isfinite(values).all():
            raise ValueError(f"the scores of {row!r} must be finite numbers, one per seed; they are {values.tolist()}")
    steps = reference == "above"
    first = str(next(iter(rows)))
    reference = first if reference is None or steps else str(reference)
    if reference not in rows:
        raise ValueError(f"the reference {reference!r} is not a row; the rows are {', '.join(rows)}")
    order = list(rows)
    others = {row: rows[order[max(n - 1, 0)] if steps else reference] for n, row in enumerate(order)}

    texts = {row: _mean_and_range(values) for row, values in rows.items()}
    caption = "dot: one seed, thick mark: mean, line: lowest to highest"
    if steps:
        caption += "\nblue: better than the row above it in every seed, orange: worse, grey: overlaps it"
    elif len(rows) > 1:
        caption += f"; band: range of {reference}\nblue: entirely above the band, orange: below it, grey: overlaps it"
    left, right = 0.15 + max(map(_text_width, rows)), 0.25 + max(map(_text_width, texts.values()))
    width = min(max(7.6, left + right + 3), PAGE - 2 * MARGIN)
    bottom, top, body = 0.85 if len(rows) > 1 else 0.65, 0.4, 0.32 * len(rows)
    height = bottom + body + top
    fig = _figure(width, height)
    ax = fig.add_axes([left / width, bottom / height, max(width - left - right, 1) / width, body / height])
    if len(rows) > 1 and not steps:
        ax.axvspan(rows[reference].min(), rows[reference].max(), color=PALE, linewidth=1, zorder=0)
    for y, (row, values) in enumerate(rows.items()):
        colour = INK if row == reference else _compared(values, others[row])
        if len(values) > 1:
            ax.plot([values.min(), values.max()], [y, y], color=colour, linewidth=1.5, zorder=2)
            ax.plot([values.mean()] * 2, [y - 0.28, y + 0.28], color=colour, linewidth=3, zorder=3)
        ax.plot(values, [y] * len(values), "o", color=colour, markersize=5.5, markeredgecolor="white", zorder=4)
        ax.text(1.03, y, texts[row], va="center", fontsize=9, color=colour, transform=ax.get_yaxis_transform())
    _tidy(ax, title)
    ax.margins(x=0.06)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_yticks(range(len(rows)), list(rows), fontsize=9, color=INK)
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.grid(visible=False, axis="y")
    ax.spines.left.set_visible(False)
    ax.set_xlabel(xlabel, fontsize=9, color=MUTED)
    fig.text(left / width, (bottom - 0.42) / height, caption, va="top", fontsize=9, color=MUTED, linespacing=1.35)
    return fig


def _array(values):
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _indices(indices, count):
    """Whole numbers below `count`, from such that may lie beyond, or from how many are wanted."""
    if isinstance(indices, Integral) and not isinstance(indices, bool):
        wanted = min(max(int(indices), 0), count)
        return [i * count // wanted for i in range(wanted)]
    try:
        return [int(i) % count for i in indices]
    except (TypeError, ValueError):
        raise ValueError(
            f"indices is {indices!r}, but must be numbers of samples, [0, 5], or how many to show, 3"
        ) from None


def _picture(image):
    image = _array(image)
    if image.ndim != 3 or not image.shape[2] or image.dtype != np.uint8:
        raise ValueError(f"an image is uint8 of H x W x 3; this one is {image.dtype} of shape {image.shape}")
    return _shown(image)


def _shown(image):
    """(H, W, 3) to show an image (H, W, bands) by: grey for one or two bands, else the first three."""
    if image.ndim != 3 or image.shape[2] == 3:
        return image
    return image[..., :1].repeat(3, axis=2) if image.shape[2] < 3 else image[..., :3]


def _restore(image):
    """uint8 H x W x 3 from a tensor (bands, H, W) in 0..1."""
    image = np.moveaxis(_array(image), 0, 2)
    if image.dtype == np.uint8:
        return _picture(image)
    low, high = float(image.min()), float(image.max())
    if not (low >= -0.05 and high <= 1.05):  # a little beyond is what bicubic resizing does
        raise ValueError(
            f"image values are {low:.2f} to {high:.2f}, not 0 to 1: take A.Normalize out of the transform, "
            "normalisation is part of the network"
        )
    return _picture(np.rint(image.clip(0, 1) * 255).astype(np.uint8))


def _ids(masks):
    """Class ids that occur in the masks, in order; void (255) comes last."""
    return sorted({int(i) for mask in masks for i in np.unique(_array(mask))})


def _kind(title, values):
    """Whether a map is a "picture", "classes" or "numbers"; raises ValueError for anything else."""
    if values.ndim == 3 and values.dtype == np.uint8 and values.size:
        return "picture"
    if values.ndim == 2 and values.dtype.kind in "ui" and values.size:
        return "classes"
    if values.ndim == 2 and values.dtype.kind == "f" and np.isfinite(values).any():
        return "numbers"
    raise ValueError(
        f"the map {title!r} is {values.dtype} of shape {values.shape}: give a picture (uint8, H x W x 3), a class map "
        "(integers, H x W), or a map of numbers (floats, H x W, some of them finite)"
    )


def _range(numbers):
    """The scale for the values of several maps: 0 to 1 for shares and probabilities, else from the lowest to the highest."""
    values = np.concatenate([part.ravel() for part in numbers]) if numbers else np.array([0.0, 1.0])
    low, high = float(values.min()), float(values.max())
    return (0.0, 1.0) if low >= 0 and 0.5 < high <= 1 else (low, high)


def _colour_bar(fig, norm, cmap):
    """A colour bar under the pictures of a figure, with the lowest, the middle and the highest value."""
    bottom = min(ax.get_position().y0 for ax in fig.axes)
    width, height = fig.get_size_inches()
    bar = fig.add_axes([0.1 / width, bottom - 0.27 / height, 2.4 / width, 0.14 / height])
    low, high = norm.vmin, norm.vmax
    fig.colorbar(ScalarMappable(norm, cmap), cax=bar, orientation="horizontal")  # widens a scale of one value
    ticks = [low, (low + high) / 2, high] if low < high else [low]
    bar.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks], fontsize=9, color=INK)
    bar.tick_params(length=2, color=MUTED)
    bar.minorticks_off()
    bar.spines[:].set_edgecolor(MUTED)
    bar.text(1.09, 0.5, f"{low:.3g} to {high:.3g}, the same scale for every map", transform=bar.transAxes, va="center",
             fontsize=9, color=INK)  # fmt: skip


def _figure(width, height, dpi=DPI, **kwargs):
    return Picture(figsize=(width, height), dpi=dpi, facecolor="white", **kwargs)


def _text_width(text, size=9, weight="normal"):
    """Inches."""
    return text_to_path.get_text_width_height_descent(text, FontProperties(size=size, weight=weight), False)[0] / 72


def _wrapped(text, width, size=9, weight="normal"):
    """The text with line breaks, so that lines of several words are at most `width` inches wide."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _text_width(longer, size, weight) > width + 1e-6:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def _rows(items, columns):
    """Lists of at most `columns` items."""
    columns = max(columns, 1)
    return [items[start : start + columns] for start in range(0, len(items), columns)]


def _cells(shapes, width, least=0.0):
    """The dpi of a figure, the size (height, width) of each picture in its pixels, and the width of a column.

    `shapes` are rows of (H, W, ...); a column is at most `width` inches wide, and at least `least`. A picture gets the
    largest whole scale that fits. Where that leaves more than a fifth of the column empty, the figure gets more dpi.
    """
    fits = [[min(width / shape[1], ROW / shape[0]) * DPI for shape in row] for row in shapes]
    small = [fit for row in fits for fit in row if fit * 1.7 >= 1]
    dpi = DPI
    if small:
        whole = max(int(min(small)), 1)
        whole += whole < 0.8 * min(small)
        dpi = max(math.ceil(DPI * whole / min(small) - 1e-6), DPI)

    def size(shape, fit):
        scale = fit * dpi / DPI
        if fit * 1.7 >= 1:
            scale = max(int(scale + 1e-6), 1)
        return max(round(shape[0] * scale), 1), max(round(shape[1] * scale), 1)

    sizes = [[size(*pair) for pair in zip(*rows, strict=True)] for rows in zip(shapes, fits, strict=True)]
    column = max(max(w for row in sizes for _, w in row), math.ceil(least * dpi))
    return dpi, sizes, column


def _grid(shapes, *, headers=(), dataset=None, ids=(), others=(), strip=0.0, foot=0.0, gap=0.08, least=0.0):
    """Figure of pictures of `shapes`, rows of (H, W, ...), and their axes (object array), on whole pixels.

    In inches: a strip above each row takes the row's titles, a foot below the last one is left free. A legend of the
    classes `ids` and of `others`, (name, colour) pairs, stands at the right, or where it would be wide, below.
    """
    if not shapes:
        raise ValueError("no samples to show")
    columns = len(shapes[0])
    names = ["void" if i == dataset.ignore_index else dataset.classes[i] for i in ids]
    names += [name for name, _ in others]
    entry = 0.38 + max(map(_text_width, names), default=0)  # a name with its swatch and the space between columns
    least = max([least] + [_text_width(text, 10, "bold") + 0.1 for text in headers])
    for stacks in (1, 2, 0):  # columns of names at the right; 0: below
        side = 0.1 + stacks * entry if names and stacks else 0
        room = PAGE - 2 * MARGIN - side - (columns - 1) * gap
        dpi, sizes, column = _cells(shapes, min(COLUMN, room / columns), least)
        heights = [max(h for h, _ in row) for row in sizes]
        body = sum(heights) / dpi + (len(shapes) - 1) * (strip + gap)
        tall = math.ceil(len(names) / max(stacks, 1)) * LEGEND_LINE
        if tall <= max(body, 7 * LEGEND_LINE) and side <= 2.6:
            break

    def pixels(inches):
        return round(inches * dpi)

    grid_width = columns * column + (columns - 1) * pixels(gap)
    head = pixels((0.21 if strip else 0.26) if headers else 0)
    grid_height = head + sum(heights) + len(shapes) * pixels(strip) + (len(shapes) - 1) * pixels(gap)
    if names and not stacks:
        across = max(min(int((max(grid_width / dpi, 6) + 0.15) / entry), len(names)), 1)
        tall, side = math.ceil(len(names) / across) * LEGEND_LINE + 0.12, 0
        width, height = max(grid_width, pixels(across * entry)), grid_height + pixels(foot + tall)
        corner, stacks = (0, grid_height + pixels(foot + 0.12)), across
    else:
        tall = tall + strip if names else 0
        width, height = grid_width + pixels(side), max(grid_height + pixels(foot), head + pixels(tall))
        corner = grid_width + pixels(0.16), head + pixels(strip)

    width, height = width + 0.01, height + 0.01  # so that rounding never loses a pixel
    fig = _figure(width / dpi, height / dpi, dpi)
    axes = np.empty((len(shapes), columns), dtype=object)
    top = head - pixels(gap)
    for row, row_height in enumerate(heights):
        top += pixels(gap) + pixels(strip)
        for place in range(columns):
            filled = place < len(sizes[row])
            h, w = sizes[row][place] if filled else (row_height, column)
            left, bottom = place * (column + pixels(gap)), int(height) - top - h
            box = [left / width, bottom / height, (w - 1e-3) / width, (h - 1e-3) / height]
            axes[row, place] = fig.add_axes(box)
            axes[row, place].set_axis_off()
        top += row_height
    for place, text in enumerate(headers):
        x, y = place * (column + pixels(gap)) / width, 1 - pixels(0.1) / height
        fig.text(x, y, text, fontsize=10, fontweight="bold", color=INK, va="center")
    if names:
        corner = (corner[0] / width, 1 - corner[1] / height)
        legend(fig, dataset.classes, dataset.palette, ids, dataset.ignore_index, others, bbox_to_anchor=corner,
               ncols=stacks, columnspacing=1.2)  # fmt: skip
    return fig, axes


def _show(ax, picture, title="", exact=False, **kwargs):
    """Show a picture so that it fills the axes; one that is not at an integer scale is smoothed, unless `exact`."""
    scale = ax.bbox.width / picture.shape[1]
    whole = round(scale) >= 1 and abs(scale - round(scale)) * picture.shape[1] < 0.01
    interpolation = "nearest" if whole or exact else "antialiased"
    image = ax.imshow(picture, interpolation=interpolation, aspect="auto", **kwargs)
    ax.set_title(title, loc="left", fontsize=9, color=INK, pad=3)
    return image


def _tidy(ax, title):
    ax.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK, pad=8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(PALE)
    ax.tick_params(colors=MUTED, labelsize=9, length=0)
    ax.grid(color=PALE, linewidth=0.7)
    ax.set_axisbelow(True)


def _bytes(colours):
    """uint8 (N x 3) of matplotlib's colours, one (4,) or several (N, 4)."""
    return np.rint(255 * np.atleast_2d(colours)[:, :3]).astype(np.uint8)


def _packed(colours):
    """One whole number for each colour of (..., 3) in 0..255."""
    red, green, blue = np.moveaxis(np.asarray(colours).astype(np.int32), -1, 0)
    return (red << 16) + (green << 8) + blue


def _unpacked(numbers):
    """Colours (uint8, N x 3) of N numbers."""
    return np.stack([numbers >> 16, numbers >> 8 & 255, numbers & 255], axis=1).astype(np.uint8)


def _reduce(full, colours):
    """An RGB picture with at most 256 colours; those of `colours` (N x 3) stay as they are."""
    if few := full.getcolors(256):
        colours = np.array([colour for _, colour in few])
    keep, packed = np.unique(_packed(colours)), _packed(np.asarray(full))
    place = np.searchsorted(keep, packed).clip(max=len(keep) - 1)
    rest = 256 - len(keep)
    table, indices = np.zeros((256, 3), dtype=np.uint8), place
    if not few:
        others = np.setdiff1d(packed, keep)
        sample = _unpacked(others[:: math.ceil(len(others) / 16384)])  # enough to choose a palette
        found = Image.fromarray(sample[None])
        found = found.quantize(rest, Image.Quantize.MAXCOVERAGE, kmeans=1)
        colours = np.array(found.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)[:rest]
        table[len(keep) : len(keep) + len(colours)] = colours
    table[: len(keep)] = _unpacked(keep)
    if not few:
        found = Image.new("P", (1, 1))
        found.putpalette(table.tobytes())
        nearest = np.asarray(full.quantize(palette=found, dither=Image.Dither.NONE))
        indices = np.where(keep[place] == packed, place, nearest)
    reduced = Image.fromarray(indices.astype(np.uint8))
    reduced.putpalette(table.tobytes())  # grey levels become indices of colours
    return reduced


def _label_scores(ax, epochs, keys):
    """Names and last values at the right end of the curves, kept apart, and a ring round the best mIoU."""
    names = {"miou": "mIoU", "pixel_accuracy": "pixel accuracy"}
    last = {key: values[np.isfinite(values)][-1] for key, (values, _) in keys.items()}
    heights = dict(last)
    if len(last) == 2 and abs(last["miou"] - last["pixel_accuracy"]) < 0.1:
        middle, sign = sum(last.values()) / 2, 1 if last["miou"] > last["pixel_accuracy"] else -1
        heights = {"miou": middle + sign * 0.05, "pixel_accuracy": middle - sign * 0.05}
    for key, (_, colour) in keys.items():
        text = f"{last[key]:.2f} {names[key]}"
        ax.text(1.02, heights[key], text, color=colour, fontsize=9, va="center", transform=ax.get_yaxis_transform())
    if "miou" in keys:
        best = np.nanargmax(keys["miou"][0])
        ax.plot(epochs[best], keys["miou"][0][best], "o", color=BLUE, markerfacecolor="white", markersize=6)
    ax.set_ylim(0, 1)


def _scaled(rates, colour):
    """Title and curve of learning rates, with their power of ten in the title."""
    power = int(np.floor(np.log10(max(np.nanmax(rates), 1e-12))))
    return f"learning rate × $10^{{{-power}}}$", {"learning_rate": (rates / 10.0**power, colour)}


def _points(name, values, scales):
    """x and y of a curve, two arrays (N,) without NaN, from its values or from a tuple of both."""
    if isinstance(values, tuple) and len(values) == 2 and np.ndim(values[0]) == 1:
        x, y = (_array(part).astype(float) for part in values)
    else:
        y = _array(values).astype(float)
        x = np.arange(1.0, y.size + 1)
    if x.shape != y.shape or y.ndim != 1:
        raise ValueError(
            f"the curve {name!r} has x of shape {x.shape} and values of shape {y.shape}, not (N,) and (N,)"
        )
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if not x.size:
        raise ValueError(f"the curve {name!r} has no finite number")
    for axis, numbers in (("x", x), ("y", y)):
        if axis in scales and numbers.min() <= 0:
            raise ValueError(
                f"the curve {name!r} has {axis} = {numbers.min():g}: a logarithmic scale needs numbers above 0"
            )
    return x, y


def _line_colour(number):
    return LINE_COLOURS[number % len(LINE_COLOURS)]


def _level(ax, value, text, curves):
    """A dashed line at a height, with its text over the end of it that is farther from the curves."""
    ax.axhline(value, color=MUTED, linestyle=(0, (4, 3)), linewidth=1.2, zorder=1)
    ax.autoscale_view()
    heights = [
        (ax.transData.transform(np.stack(curve, axis=1)) - ax.transData.transform((1, value))) for curve in curves
    ]
    places = ax.transAxes.inverted()
    distance = {"left": np.inf, "right": np.inf}
    for (x, y), height in zip(curves, heights, strict=True):
        across = places.transform(ax.transData.transform(np.stack([x, y], axis=1)))[:, 0]
        for side, near in (("left", across < 0.4), ("right", across > 0.6)):
            if near.any():
                distance[side] = min(distance[side], np.abs(height[near, 1]).min())
    side = max(distance, key=distance.get)
    ax.annotate(text, (0 if side == "left" else 1, value), (4 if side == "left" else -4, 3), ha=side, va="bottom",
                xycoords=ax.get_yaxis_transform(), textcoords="offset points", fontsize=9, color=MUTED)  # fmt: skip


def _label_ends(ax, names, ends):
    """Names right of the axes at the heights of their curves' ends, kept apart, with a thin line to ends that are not there."""
    to_axes = ax.transData + ax.transAxes.inverted()
    ends = to_axes.transform(ends)
    line = 9 * 1.3 / 72 * ax.get_figure().dpi / ax.bbox.height  # the height of a line of text, in heights of the axes
    for number, (name, end, y) in enumerate(zip(names, ends, _apart(ends[:, 1], line), strict=True)):
        colour = _line_colour(number)
        if end[0] < 0.99 or abs(end[1] - y) > 0.2 * line:
            ax.plot([end[0], 1.025], [end[1], y], color=colour, linewidth=0.7, alpha=0.6, transform=ax.transAxes,
                    clip_on=False, scalex=False, scaley=False)  # fmt: skip
        ax.text(1.03, y, name, color=colour, fontsize=9, va="center", transform=ax.transAxes)


def _apart(places, gap):
    """Places (N,) that are at least `gap` apart, in the same order and as near to those given as that allows."""
    order = np.argsort(places, kind="stable")
    blocks = []  # mean of (place - rank * gap), and how many; neighbours that would be too near are merged
    for rank, i in enumerate(order):
        blocks.append((places[i] - rank * gap, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, n), (b, m) = blocks[-2:]
            blocks[-2:] = [((a * n + b * m) / (n + m), n + m)]
    apart = np.empty(len(places))
    apart[order] = np.repeat([mean for mean, _ in blocks], [count for _, count in blocks]) + gap * np.arange(
        len(places)
    )
    return apart


def _mean_and_range(values):
    if len(values) == 1:
        return f"{values[0]:.3f} (one seed)"
    return f"{values.mean():.3f} ({values.min():.3f} to {values.max():.3f})"


def _compared(values, reference):
    """The colour of a row of scores beside the reference's: better, worse, or not to be told from noise."""
    if len(values) == len(reference) == 1:
        return MUTED
    if values.min() > reference.max():
        return BLUE
    return ORANGE if values.max() < reference.min() else MUTED
