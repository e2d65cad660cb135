"""Pictures of images, masks, predictions and results.

Every `show_...`, `plot_...`, `best_and_worst` and `contact_sheet` returns a matplotlib Figure that pyplot knows nothing
of: as the last line of a cell it appears once, there is nothing to close, and `figure.savefig("name.png")` writes it.
Styles are set on each figure and never in `rcParams`, so a notebook's own plots stay as they are. A class has its
palette's colour everywhere; void is pale grey. A data set may be a Subset (random_split) or a ConcatDataset, too; of pictures
with more than three bands the first three are shown as red, green and blue, and those with one or two in grey.
"""

import io
from numbers import Integral

import numpy as np
import torch
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from PIL import Image

from .datasets.members import members
from .inference import predict as whole_image_predict
from .metrics import ConfusionMatrix

VOID_COLOUR = np.array([225, 225, 225], dtype=np.uint8)  # no palette that we ship has it; black is VOC's background
ERROR_COLOUR = np.array([220, 38, 127], dtype=np.uint8)
INK, MUTED, PALE = "#1f2937", "#6b7280", "#e5e7eb"
BLUE, ORANGE = "#0072b2", "#d55e00"
DPI = 90
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
    """A Figure that a notebook shows as a PNG of 256 colours, so that photographs take a quarter of the space."""

    def png(self):
        """The bytes of that PNG; colours that fill an area, as those of masks do, are kept as they are."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", bbox_inches="tight", pad_inches=0.1)
        full = Image.open(buffer).convert("RGB")
        small = full.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
        buffer = io.BytesIO()
        small.save(buffer, "png", optimize=True)
        return buffer.getvalue()

    def _ipython_display_(self):
        from IPython.display import Image as Output
        from IPython.display import display

        display(Output(self.png()))


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


def legend(ax_or_fig, classes, palette, ids=None, ignore_index=255, **kwargs):
    """Put the classes' names with swatches to the right of an Axes or a Figure, and return the matplotlib Legend.

    `ids`: the class ids to name, void's included (default: every class). `kwargs` go to matplotlib's `legend`.
    """
    handles = []
    for i in range(len(classes)) if ids is None else ids:
        name, colour = ("void", VOID_COLOUR) if i == ignore_index else (classes[i], palette[i])
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
    fig, axes = _grid(len(samples), 3, samples, headers=["image", "mask", "overlay"], dataset=dataset, ids=ids)
    for row, (image, mask) in zip(axes, samples, strict=True):
        _show(row[0], image)
        _show(row[1], colorize(mask, dataset.palette, dataset.ignore_index), exact=True)
        _show(row[2], overlay(image, mask, dataset.palette, ignore_index=dataset.ignore_index))
    return fig


def show_batch(images, masks, dataset, columns=4):
    """A training batch as the network gets it: overlays of images (B, 3, H, W) in 0..1 and masks (B, H, W).

    Raises ValueError where values lie outside 0..1.
    """
    dataset = members(dataset)
    images = [_restore(image) for image in images]
    samples = list(zip(images, [_array(mask) for mask in masks], strict=True))
    columns = min(columns, len(samples))
    rows = -(-len(samples) // max(columns, 1))
    ids = _ids([mask for _, mask in samples])
    fig, axes = _grid(rows, columns, samples, dataset=dataset, ids=ids)
    for ax, (image, mask) in zip(axes.flat, samples, strict=False):  # the last row may have room to spare
        _show(ax, overlay(image, mask, dataset.palette, ignore_index=dataset.ignore_index))
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
    fig, axes = _grid(len(samples), 4, samples, headers=headers, dataset=dataset, ids=ids, strip=0.23)
    for row, (image, mask), prediction, title in zip(axes, samples, predictions, titles, strict=True):
        if prediction.shape != mask.shape:
            raise ValueError(f"truth and prediction differ in size: {mask.shape} and {prediction.shape}")
        valid = mask != dataset.ignore_index
        wrong = valid & (prediction != mask)
        errors = np.repeat(96 + 0.55 * image.mean(2, keepdims=True), 3, axis=2).astype(np.uint8)
        errors[wrong], errors[~valid] = ERROR_COLOUR, VOID_COLOUR
        _show(row[0], image, title)
        _show(row[1], colorize(mask, dataset.palette, dataset.ignore_index), exact=True)
        _show(row[2], colorize(prediction, dataset.palette, dataset.ignore_index), exact=True)
        _show(row[3], errors, f"{wrong.sum() / max(valid.sum(), 1):.1%} wrong")
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
    titles = [f"{'best' if i in best else 'worst'}: {scores[i]:.2f}  (image {i})" for i in chosen]
    return show_predictions(images, masks, [predict(model, image) for image in images], dataset, titles)


def contact_sheet(dataset, indices, columns=6):
    """Many samples at a glance: each image with its overlay below it, no text; `indices` as for `show_samples`."""
    dataset, sheets = members(dataset), []
    for i in _indices(indices, len(dataset)):
        image, mask = dataset.read(i)
        image = _shown(image)
        gap = np.full((max(len(image) // 60, 1), image.shape[1], 3), 255, dtype=np.uint8)
        sheets.append(np.concatenate([image, gap, overlay(image, mask, dataset.palette, 0.5, dataset.ignore_index)]))
    columns = min(columns, len(sheets))
    fig, axes = _grid(-(-len(sheets) // max(columns, 1)), columns, [(sheet, None) for sheet in sheets], gap=0.05)
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
        "validation": {"miou": BLUE, "pixel_accuracy": ORANGE},
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
            marker = "o" if known.sum() < 3 else None
            ax.plot(np.array(epochs)[known], values[known], color=colour, linewidth=1.8, marker=marker, markersize=5)
        if title == "validation":
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
    fig = _figure(6.6, 0.8 + 0.25 * len(iou), layout="constrained")
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
    ax.text(1.16, -0.85, "share of pixels", va="center", ha="right", fontsize=8, color=MUTED, transform=right)
    miou = float(confusion.miou)
    if np.isfinite(miou):
        ax.axvline(miou, color=INK, linestyle=(0, (4, 3)), linewidth=1, zorder=2)
    _tidy(ax, f"IoU by class, mIoU {miou:.3f}")
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
    cell = 0.4 if len(classes) <= 12 else 0.3
    margin = 0.5 + 0.075 * max(map(len, classes))
    side = cell * len(classes) + margin
    fig = _figure(side, side, layout="constrained")
    ax = fig.subplots()
    colours = LinearSegmentedColormap.from_list("white to blue", ["white", BLUE, "#003352"]).with_extremes(bad=PALE)
    ax.imshow(np.ma.masked_invalid(share), cmap=colours, vmin=0, vmax=1)
    for (truth, prediction), value in np.ndenumerate(share):
        if value >= 0.005:  # what would read as 0 is left white
            colour = "white" if value > 0.4 else INK
            size = 8.5 if cell == 0.4 else 6.5
            ax.text(prediction, truth, f"{value:.0%}"[:-1], ha="center", va="center", fontsize=size, color=colour)
    _tidy(ax, "Where each true class went, in percent")
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
    fig = _figure(7.4, 0.8 + 0.3 * len(runs), layout="constrained")
    ax = fig.subplots()
    for y, i in enumerate(order):
        run, this = runs[i], i == len(runs) - 1
        ax.barh(y, run["miou"], color=ORANGE if this else BLUE, height=0.62)
        text = f"{run['miou']:.3f}   {run['train_seconds'] / 60:.0f} min, {run['parameters'] / 1e6:.1f} M"
        ax.text(run["miou"] + 0.01, y, text, va="center", fontsize=9, color=INK)
    _tidy(ax, f"mIoU on {runs[-1]['dataset']} {runs[-1]['split']}, minutes of training, parameters")
    ax.set(xlim=(0, 1), ylim=(len(runs) - 0.4, -0.6))
    ax.set_yticks(range(len(runs)), [runs[i]["notebook"] for i in order], fontsize=9, color=INK)
    ax.grid(visible=False, axis="y")
    ax.spines.left.set_visible(False)
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


def _figure(width, height, **kwargs):
    return Picture(figsize=(width, height), dpi=DPI, facecolor="white", **kwargs)


def _grid(rows, columns, samples, *, headers=(), dataset=None, ids=(), strip=0.0, gap=0.08):
    """Figure of rows x columns pictures and their axes (object array); a row is as high as its images (inches) need.

    A strip above each row takes the row's title; the right side takes a legend of the classes `ids`.
    """
    if not samples:
        raise ValueError("no samples to show")
    per_row = -(-len(samples) // rows)
    ratios = np.array([image.shape[0] / image.shape[1] for image, _ in samples])
    width = min(2.9, 8.4 / columns, 2.9 / ratios.min())
    heights = [min(width * ratios[i * per_row : (i + 1) * per_row].max(), 3.2) for i in range(rows)]
    head = 0.26 if len(headers) else 0
    body = sum(heights) + rows * strip + (rows - 1) * gap
    grid_width = columns * width + (columns - 1) * gap

    names = ["void" if i == dataset.ignore_index else dataset.classes[i] for i in ids]
    lines = max(int((body - strip) / LEGEND_LINE), 7)  # how many names fit into one column of the legend
    legend_columns = max(-(-len(names) // lines), 1)
    side = 0.12 + legend_columns * (0.42 + 0.078 * max(map(len, names))) if names else 0
    needed = strip + -(-len(names) // legend_columns) * LEGEND_LINE
    total_width, total_height = grid_width + side, head + max(body, needed)

    fig = _figure(total_width, total_height)
    axes = np.empty((rows, columns), dtype=object)
    bottom = head - gap  # inches below the figure's top
    for row, height in enumerate(heights):
        bottom += gap + strip + height
        for column in range(columns):
            left, y = column * (width + gap) / total_width, 1 - bottom / total_height
            axes[row, column] = fig.add_axes([left, y, width / total_width, height / total_height], anchor="NW")
            axes[row, column].set_axis_off()
    for column, text in enumerate(headers):
        x, y = column * (width + gap) / total_width, 1 - 0.1 / total_height
        fig.text(x, y, text, fontsize=10, fontweight="bold", color=INK, va="center")
    if names:
        corner = ((grid_width + 0.16) / total_width, 1 - (head + strip) / total_height)
        legend(fig, dataset.classes, dataset.palette, ids, dataset.ignore_index, bbox_to_anchor=corner,
               ncols=legend_columns, columnspacing=1.2)  # fmt: skip
    return fig, axes


def _show(ax, picture, title="", exact=False):
    """`exact` keeps colours pure where the picture is shown smaller than it is; photographs are smoothed."""
    ax.imshow(picture, interpolation="nearest" if exact else None)
    ax.set_title(title, loc="left", fontsize=9, color=INK, pad=3)


def _tidy(ax, title):
    ax.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK, pad=8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(PALE)
    ax.tick_params(colors=MUTED, labelsize=9, length=0)
    ax.grid(color=PALE, linewidth=0.7)
    ax.set_axisbelow(True)


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
    return f"learning rate / $10^{{{power}}}$", {"learning_rate": (rates / 10.0**power, colour)}
