import io

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from segmentation_helpers import pictures
from segmentation_helpers.metrics import ConfusionMatrix

CLASSES = ["sky", "road", "tree", "car"]
PALETTE = np.array([[128, 128, 128], [128, 64, 128], [128, 128, 0], [64, 0, 128]], dtype=np.uint8)


class Samples:
    """Four images of 24 x 32: sky above, road below, a column of void at the left; the last two have a tree."""

    classes, palette, ignore_index = CLASSES, PALETTE, 255

    def __len__(self):
        return 4

    def read(self, i):
        mask = np.zeros((24, 32), dtype=np.uint8)
        mask[12:] = 1
        if i >= 2:
            mask[6:12, 10:20] = 2
        mask[:, 0] = 255
        image = np.random.default_rng(i).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        image[0, 0] = i  # a model can tell which one it is
        return image, mask


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Every test: no figure stays open in pyplot, and no default is changed."""
    before = dict(matplotlib.rcParams)
    yield
    assert plt.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


def shown(fig, i):
    """The picture in the figure's i-th axes, as it was given to matplotlib."""
    return np.asarray(fig.axes[i].images[0].get_array())


def texts(fig):
    fig.draw_without_rendering()
    return [text.get_text() for text in fig.findobj(matplotlib.text.Text) if text.get_text()]


def legend_of(fig):
    entries = fig.legends[0]
    colours = [
        np.rint(np.array(patch.get_facecolor()[:3]) * 255).astype(int).tolist() for patch in entries.get_patches()
    ]
    return dict(zip([text.get_text() for text in entries.get_texts()], colours, strict=True))


def confusion_of(prediction, mask, num_classes=4):
    confusion = ConfusionMatrix(num_classes)
    confusion.update(torch.tensor(prediction), torch.tensor(mask))
    return confusion


def test_colorize_gives_each_class_its_colour_and_void_its_own():
    picture = pictures.colorize(np.array([[0, 3], [255, 1]], dtype=np.uint8), PALETTE)
    assert picture.dtype == np.uint8
    assert picture.tolist() == [[[128, 128, 128], [64, 0, 128]], [pictures.VOID_COLOUR.tolist(), [128, 64, 128]]]


def test_colorize_takes_another_void():
    assert pictures.colorize(np.array([[-1]]), PALETTE, ignore_index=-1).tolist() == [[pictures.VOID_COLOUR.tolist()]]


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.array([[0, 4]]), r"holds id 4; the palette has 0 to 3"),
        (np.array([[-1]]), r"holds id -1"),
        (np.zeros((2, 2)), "whole numbers"),
        (np.zeros((2, 2, 3), dtype=np.uint8), r"\(2, 2, 3\)"),
    ],
)
def test_colorize_names_what_is_wrong(mask, words):
    with pytest.raises(ValueError, match=words):
        pictures.colorize(mask, PALETTE)


def test_overlay_is_half_and_half_and_leaves_void_alone():
    image = np.full((1, 2, 3), 200, dtype=np.uint8)
    blend = pictures.overlay(image, np.array([[3, 255]]), PALETTE)
    assert blend.dtype == np.uint8
    assert blend.tolist() == [[[132, 100, 164], [200, 200, 200]]]
    assert (pictures.overlay(image, np.array([[3, 3]]), PALETTE, alpha=0) == image).all()
    with pytest.raises(ValueError, match="differ in size"):
        pictures.overlay(image, np.zeros((2, 2), dtype=np.uint8), PALETTE)


def test_samples_show_image_mask_and_overlay_with_the_classes_that_occur():
    fig = pictures.show_samples(Samples(), [0, 3])
    image, mask = Samples().read(3)
    assert len(fig.axes) == 6
    assert (shown(fig, 3) == image).all()
    assert (shown(fig, 4) == pictures.colorize(mask, PALETTE)).all()
    assert (shown(fig, 5) == pictures.overlay(image, mask, PALETTE)).all()
    void = pictures.VOID_COLOUR.tolist()
    assert legend_of(fig) == {"sky": [128] * 3, "road": [128, 64, 128], "tree": [128, 128, 0], "void": void}
    assert "tree" not in legend_of(pictures.show_samples(Samples(), [0]))


def test_legend_lies_beside_the_pictures():
    fig = pictures.show_samples(Samples(), [0, 2])
    fig.draw_without_rendering()
    names = fig.legends[0].get_window_extent()
    assert names.x0 >= max(ax.get_window_extent().x1 for ax in fig.axes)
    assert names.x1 <= fig.bbox.x1
    assert names.y0 >= fig.bbox.y0


def test_truth_and_prediction_share_colours():
    image, mask = Samples().read(0)  # sky and road only
    prediction = np.where(mask == 1, 3, 0).astype(np.uint8)  # the road taken for a car: as many classes as the truth
    fig = pictures.show_predictions([image], [mask], [prediction], Samples())
    truth, predicted, errors = shown(fig, 1), shown(fig, 2), shown(fig, 3)
    assert truth[3, 5].tolist() == predicted[3, 5].tolist() == [128, 128, 128]
    assert (truth[20, 5].tolist(), predicted[20, 5].tolist()) == ([128, 64, 128], [64, 0, 128])
    assert list(legend_of(fig)) == ["sky", "road", "car", "void", "wrong"]
    assert legend_of(fig)["wrong"] == pictures.ERROR_COLOUR.tolist()
    assert (errors[20, 5] == pictures.ERROR_COLOUR).all()
    assert len(set(errors[3, 5])) == 1  # right: grey
    assert (errors[:, 0] == pictures.VOID_COLOUR).all()  # void: never wrong
    assert "50.0% of its pixels wrong" in texts(fig)


def test_predictions_must_fit():
    image, mask = Samples().read(0)
    with pytest.raises(ValueError, match="truth and prediction differ in size"):
        pictures.show_predictions([image], [mask], [mask[:-1]], Samples())
    with pytest.raises(ValueError, match="zip"):
        pictures.show_predictions([image], [mask], [], Samples())
    with pytest.raises(ValueError, match="uint8"):
        pictures.show_predictions([image / 255], [mask], [mask], Samples())
    with pytest.raises(ValueError, match="no samples"):
        pictures.show_predictions([], [], [], Samples())


def test_a_batch_is_shown_as_it_is():
    images, masks = zip(*[Samples().read(i) for i in range(3)], strict=True)
    batch = torch.stack([torch.tensor(image / 255) for image in images]).permute(0, 3, 1, 2).float()
    labels = torch.tensor(np.stack(masks)).long()
    fig = pictures.show_batch(batch, labels, Samples(), columns=2)
    assert [len(ax.images) for ax in fig.axes] == [1, 1, 1, 1, 1, 0, 1, 0], "two above, their masks, one, its mask"
    for i, place in enumerate((0, 1, 4)):
        assert (shown(fig, place) == images[i]).all()
        assert (shown(fig, place + 2) == pictures.overlay(images[i], masks[i], PALETTE)).all()
    with pytest.raises(ValueError, match="take A.Normalize out"):
        pictures.show_batch((batch - 0.5) / 0.25, labels, Samples())


def test_best_and_worst_are_found_by_the_classes_of_the_truth():
    wrong_columns = {0: 4, 1: 1, 2: 0, 3: 12}  # of the road, at the right, taken for sky

    def predict(model, image):
        _, mask = Samples().read(int(image[0, 0, 0]))
        prediction = np.where(mask == 255, 3, mask).astype(np.uint8)  # a car, but only where nobody can tell
        prediction[12:, 32 - model[int(image[0, 0, 0])] :] = 0
        return prediction

    fig = pictures.best_and_worst(wrong_columns, Samples(), k=1, predict=predict)
    titles = [fig.axes[row].get_title(loc="left") for row in (0, 4)]
    sky = (31 * 12 - 60) / (31 * 12 - 60 + 12 * 12)
    assert titles == ["best: mIoU of image 2 = 1.00", f"worst: mIoU of image 3 = {np.mean([sky, 19 / 31, 1]):.2f}"]
    assert (shown(fig, 0) == Samples().read(2)[0]).all()
    fig = pictures.best_and_worst(wrong_columns, Samples(), k=3, predict=predict)
    order = [fig.axes[row].get_title(loc="left").split()[4] for row in range(0, len(fig.axes), 4)]
    assert order == ["2", "1", "0", "3"]  # never one image in both halves


def test_best_and_worst_runs_a_model():
    class AllSky(torch.nn.Module):
        def forward(self, image):
            logits = torch.zeros(len(image), 4, *image.shape[2:])
            logits[:, 0] = 1
            return logits

    fig = pictures.best_and_worst(AllSky(), Samples(), k=1)
    assert fig.axes[0].get_title(loc="left") == "best: mIoU of image 0 = 0.25"  # sky 1/2, road 0


def test_contact_sheet_sets_each_image_over_its_overlay():
    fig = pictures.contact_sheet(Samples(), range(4), columns=3)
    image, mask = Samples().read(1)
    assert [len(ax.images) for ax in fig.axes] == [1, 1, 1, 1, 0, 0]
    assert (shown(fig, 1)[:24] == image).all()
    assert (shown(fig, 1)[-24:] == pictures.overlay(image, mask, PALETTE)).all()
    assert texts(fig) == []


def test_images_of_any_shape_fit_the_figure():
    class Mixed(Samples):
        def read(self, i):
            height, width = [(10, 40), (90, 20), (30, 30)][i]
            return np.zeros((height, width, 3), dtype=np.uint8), np.zeros((height, width), dtype=np.uint8)

    fig = pictures.show_samples(Mixed(), [0, 1, 2])
    for ax in fig.axes:
        ax.apply_aspect()
    boxes = [ax.get_window_extent() for ax in fig.axes]
    assert fig.get_figwidth() < 12 and fig.get_figheight() < 12
    for box, ratio in zip(boxes[::3], (0.25, 4.5, 1), strict=True):
        assert box.height / box.width == pytest.approx(ratio, rel=0.02)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


HISTORY = [
    {"epoch": 1, "loss": 1.5, "miou": 0.2, "pixel_accuracy": 0.6, "learning_rate": 2e-3, "seconds": 3.0},
    {"epoch": 2, "loss": 1.0, "miou": 0.4, "pixel_accuracy": 0.7, "learning_rate": 1e-3, "seconds": 3.0},
    {"epoch": 3, "loss": 0.8, "miou": 0.3, "pixel_accuracy": 0.8, "learning_rate": 5e-4, "seconds": 3.0},
]


def test_history_has_loss_scores_and_learning_rate():
    fig = pictures.plot_history(HISTORY)
    loss, scores, rate = fig.axes
    assert loss.lines[0].get_xydata().tolist() == [[1, 1.5], [2, 1.0], [3, 0.8]]
    assert [line.get_ydata()[0] for line in scores.lines[:2]] == [0.2, 0.6]
    assert scores.lines[2].get_xydata().tolist() == [[2, 0.4]]  # the ring round the best mIoU
    assert rate.lines[0].get_ydata() == pytest.approx([2, 1, 0.5])
    assert {"0.30 mIoU", "0.80 pixel accuracy"} <= set(texts(fig))


def test_history_from_a_csv_file_with_gaps():
    rows = [{"epoch": "1", "loss": "1.5", "miou": ""}, {"epoch": "2", "loss": "1.0", "miou": "0.5"}, {"epoch": "3"}]
    loss, scores = pictures.plot_history(rows).axes
    assert loss.lines[0].get_xydata().tolist() == [[1, 1.5], [2, 1.0]]
    assert scores.lines[0].get_xydata().tolist() == [[2, 0.5]]


def test_history_of_one_epoch_is_visible():
    fig = pictures.plot_history(HISTORY[:1])
    assert [ax.lines[0].get_marker() for ax in fig.axes] == ["o"] * 3
    fig.savefig(io.BytesIO())


@pytest.mark.parametrize("history", [[], [{"epoch": 1, "seconds": 2.0}]])
def test_history_of_nothing_says_so(history):
    with pytest.raises(ValueError, match="none of loss"):
        pictures.plot_history(history)


def test_iou_bars_are_sorted_coloured_and_name_absent_classes():
    confusion = confusion_of([0, 0, 1, 2, 2], [0, 0, 1, 1, 2])  # IoU 1, 1/2, 1/2; no car
    fig = pictures.plot_iou(confusion, CLASSES, PALETTE)
    ax = fig.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["sky", "road", "tree", "car"]
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([1, 0.5, 0.5, 0])
    assert [np.rint(np.array(bar.get_facecolor()[:3]) * 255).tolist() for bar in ax.patches] == PALETTE.tolist()
    assert ax.lines[0].get_xdata() == pytest.approx([2 / 3, 2 / 3])
    assert texts(fig).count("absent") == 1 and "0.00" not in texts(fig)
    assert {"1.00", "0.50", "40.0%", "20.0%", "0.0%"} <= set(texts(fig))
    with pytest.raises(ValueError, match="4 IoUs for 3 classes"):
        pictures.plot_iou(confusion, CLASSES[:3], PALETTE)


def test_runs_are_bars_best_first_with_this_one_in_orange():
    runs = [
        {
            "notebook": name,
            "miou": miou,
            "train_seconds": 180,
            "parameters": 3_700_000,
            "dataset": "camvid",
            "split": "val",
        }
        for name, miou in (("10_unet", 0.5), ("12_unet", 0.7), ("13_fpn", 0.6))
    ]
    fig = pictures.plot_runs(runs)
    ax = fig.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["12_unet", "13_fpn", "10_unet"]
    assert [bar.get_width() for bar in ax.patches] == [0.7, 0.6, 0.5]
    this, *others = (ax.patches[i].get_facecolor() for i in (1, 0, 2))
    assert this not in others and others[0] == others[1]
    assert "0.600   3 min, 3.7 M" in texts(fig)
    with pytest.raises(ValueError, match="no run"):
        pictures.plot_runs([])


def test_a_class_that_is_never_hit_is_not_absent():
    fig = pictures.plot_iou(confusion_of([1, 1], [0, 0], 2), CLASSES[:2], PALETTE[:2])
    assert "absent" not in texts(fig) and "0.00" in texts(fig)


def test_confusion_matrix_is_normalised_by_row():
    fig = pictures.plot_confusion(confusion_of([0, 0, 0, 1, 1], [0, 0, 0, 0, 1]), CLASSES)
    share = fig.axes[0].images[0].get_array()
    assert share[:2].tolist() == [[0.75, 0.25, 0, 0], [0, 1, 0, 0]]
    assert share.mask[2:].all() and not share.mask[:2].any()  # no truth, no percentage
    assert [t.get_text() for t in fig.axes[0].texts] == ["75", "25", "100"]
    with pytest.raises(ValueError, match="4 classes for 2 names"):
        pictures.plot_confusion(confusion_of([0], [0]), CLASSES[:2])


def test_thirty_two_classes_stay_readable():
    truth = np.arange(32).repeat(10)
    fig = pictures.plot_confusion(confusion_of(truth, truth, 32), [f"class number {i}" for i in range(32)])
    fig.draw_without_rendering()
    labels = [label.get_window_extent() for label in fig.axes[0].get_xticklabels()]
    assert not any(a.overlaps(b) for a, b in zip(labels, labels[1:], strict=False))
    assert all(box.x0 >= 0 and box.y0 >= 0 for box in labels)


@pytest.mark.parametrize("classes", [2, 11, 32])
def test_confusion_matrix_is_legible_and_fits_the_page(classes):
    truth = np.arange(classes).repeat(10)
    fig = pictures.plot_confusion(confusion_of(truth, truth, classes), [f"class number {i}" for i in range(classes)])
    page = decoded(fig)
    assert page.shape[1] / fig.dpi <= 10.01
    fig.draw_without_rendering()
    ax = fig.axes[0]
    assert ax.bbox.width / classes / fig.dpi > 0.22  # inches, of a cell
    assert {text.get_fontsize() for text in ax.texts} == {9 if classes < 20 else 7}
    assert ax.get_title(loc="left").replace("\n", " ").endswith("went, in percent")


def test_all_other_text_has_at_least_nine_points():
    confusion = confusion_of([0, 0, 1, 2, 2], [0, 0, 1, 1, 2])
    image, mask = Samples().read(0)
    for fig in (
        pictures.show_samples(Samples(), [0]),
        pictures.show_predictions([image], [mask], [mask], Samples()),
        pictures.show_maps({"image": image, "truth": mask, "share": mask / 255}, Samples()),
        pictures.plot_history(HISTORY),
        pictures.plot_iou(confusion, CLASSES, PALETTE),
        pictures.plot_confusion(confusion, CLASSES),
        pictures.plot_curves({"a": [1, 2]}, "epoch", "loss", level=(1, "level")),
        pictures.plot_scores({"a": [0.5, 0.6]}, "mIoU"),
    ):
        fig.draw_without_rendering()
        sizes = [text.get_fontsize() for text in fig.findobj(matplotlib.text.Text) if text.get_text()]
        assert min(sizes) >= 9


def test_maps_of_all_kinds():
    image, mask = Samples().read(3)
    low, high = np.full((24, 32), 0.25), np.linspace(-1, 3, 24 * 32, dtype=np.float32).reshape(24, 32)
    low[0, 0] = np.nan
    maps = {"image": image, "grey": image[..., :1], "truth": mask, "low": torch.tensor(low), "high": high}
    fig = pictures.show_maps(maps, Samples())
    assert [ax.get_title(loc="left") for ax in fig.axes[:5]] == list(maps)
    assert (shown(fig, 0) == image).all()
    assert (shown(fig, 1) == image[..., :1].repeat(3, axis=2)).all()
    assert (shown(fig, 2) == pictures.colorize(mask, PALETTE)).all()
    assert [ax.images[0].get_clim() for ax in fig.axes[3:5]] == [(-1, 3)] * 2  # one scale
    assert fig.axes[3].images[0].get_array().mask.sum() == 1
    assert (shown(fig, 4) == high).all()
    assert len(fig.axes[5].images) == 0  # the cell that is left over
    bar = fig.axes[6]
    assert [label.get_text() for label in bar.get_xticklabels()] == ["-1", "1", "3"]
    assert "-1 to 3, the same scale for every map" in texts(fig)
    assert set(legend_of(fig)) == {"sky", "road", "tree", "void"}


def test_maps_need_no_data_set_without_classes():
    fig = pictures.show_maps({"influence": np.full((10, 12), 0.5)})
    assert fig.legends == [] and "0.5 to 0.5, the same scale for every map" in texts(fig)
    assert len(decoded(fig)) > 100
    fig = pictures.show_maps({"image": Samples().read(0)[0]})
    assert len(fig.axes) == 1 and fig.legends == []


@pytest.mark.parametrize(
    ("maps", "words"),
    [
        ({}, "no map to show"),
        ({"truth": np.zeros((4, 4), dtype=np.int64)}, "needs the data set"),
        ({"logits": np.zeros((2, 4, 4), dtype=np.float32)}, r"'logits' is float32 of shape \(2, 4, 4\)"),
        ({"right": np.zeros((4, 4), dtype=bool)}, "'right' is bool"),
        ({"empty": np.full((4, 4), np.nan)}, "some of them finite"),
        ({"row": np.zeros(4)}, "'row'"),
    ],
)
def test_maps_that_cannot_be_shown_are_named(maps, words):
    with pytest.raises(ValueError, match=words):
        pictures.show_maps(maps)


def test_long_titles_of_maps_are_wrapped_and_do_not_meet():
    long = "uncertainty of the prediction, the entropy of its probabilities in bits"
    fig = pictures.show_maps({f"{long} {i}": np.eye(20) for i in range(4)}, columns=4)
    fig.draw_without_rendering()
    boxes = [ax._left_title.get_window_extent() for ax in fig.axes[:4]]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(box.y1 <= fig.bbox.y1 + 1 for box in boxes)


def test_curves_are_named_at_their_ends_apart_from_each_other():
    curves = {"first": [0.1, 0.5, 0.7], "second": ([1, 2, 3], [0.2, 0.4, 0.71]), "third": [0.3, float("nan"), 0.705]}
    fig = pictures.plot_curves(curves, "epoch", "mIoU", "validation mIoU", level=(0.6, "baseline"))
    ax = fig.axes[0]
    assert ax.lines[0].get_xydata().tolist() == [[1, 0.1], [2, 0.5], [3, 0.7]]
    assert ax.lines[1].get_xydata().tolist() == [[1, 0.2], [2, 0.4], [3, 0.71]]
    assert ax.lines[2].get_xydata().tolist() == [[1, 0.3], [3, 0.705]]
    assert [ax.get_xlabel(), ax.get_ylabel(), ax.get_title(loc="left")] == ["epoch", "mIoU", "validation mIoU"]
    fig.draw_without_rendering()
    names = {text.get_text(): text for text in ax.texts}
    assert set(names) == {"first", "second", "third", "baseline"}
    for line, name in zip(ax.lines, curves, strict=False):
        assert names[name].get_color() == line.get_color()
    boxes = [names[name].get_window_extent() for name in ("first", "third", "second")]  # upwards
    assert all(a.y1 <= b.y0 + 1 for a, b in zip(boxes, boxes[1:], strict=False))
    assert all(box.x0 >= ax.bbox.x1 for box in boxes)
    dashed = [line for line in ax.lines if list(line.get_ydata()) == [0.6, 0.6]]
    assert len(dashed) == 1 and dashed[0].get_linestyle() == "--"


def test_logarithmic_curves_say_so():
    ax = pictures.plot_curves({"few": range(8), "many": range(9)}, "x", "y").axes[0]
    assert [line.get_marker() for line in ax.lines[:2]] == ["o", "None"]
    ax = pictures.plot_curves({"a": [1, 10]}, "step", "loss", log=True).axes[0]
    assert (ax.get_yscale(), ax.get_ylabel(), ax.get_xlabel()) == ("log", "loss, logarithmic", "step")
    ax = pictures.plot_curves({"a": ([1, 10, 100], [0, 1, 2])}, "images", "mIoU", log="x").axes[0]
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_xlabel()) == ("log", "linear", "images, logarithmic")


def test_many_curves_have_names_on_the_page_and_differ():
    fig = pictures.plot_curves({f"curve {i}": [i, 1 + i / 1000] for i in range(12)}, "x", "y")
    ax = fig.axes[0]
    page = decoded(fig)
    assert page.shape[1] / fig.dpi <= 10
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) == 12 and not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert len({(line.get_color(), str(line._dash_pattern)) for line in ax.lines[:12]}) == 12


@pytest.mark.parametrize(
    ("curves", "log", "words"),
    [
        ({}, False, "no curve"),
        ({"a": [float("nan")]}, False, "'a' has no finite number"),
        ({"a": ([1, 2], [1, 2, 3])}, False, r"x of shape \(2,\) and values of shape \(3,\)"),
        ({"a": [0, 1]}, True, "'a' has y = 0: a logarithmic"),
        ({"a": [1]}, "z", "log is 'z'"),
    ],
)
def test_curves_that_cannot_be_drawn_are_named(curves, log, words):
    with pytest.raises(ValueError, match=words):
        pictures.plot_curves(curves, "x", "y", log=log)


SCORES = {"plain": [0.5, 0.52, 0.54], "better": [0.6, 0.62], "noise": [0.53, 0.58], "worse": [0.4, 0.45], "one": [0.7]}


def test_scores_are_coloured_by_whether_ranges_overlap():
    fig = pictures.plot_scores(SCORES, "mIoU on val", xlabel="mIoU")
    ax = fig.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == list(SCORES)
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first row at the top
    expected = [pictures.INK, pictures.BLUE, pictures.MUTED, pictures.ORANGE, pictures.BLUE]
    assert [text.get_color() for text in ax.texts] == expected
    assert [text.get_text() for text in ax.texts][:2] == ["0.520 (0.500 to 0.540)", "0.610 (0.600 to 0.620)"]
    assert ax.texts[4].get_text() == "0.700 (one seed)"
    for y, (values, colour) in enumerate(zip(SCORES.values(), expected, strict=True)):
        lines = [line for line in ax.lines if line.get_color() == colour and y in np.rint(line.get_ydata())]
        lines = [line for line in lines if abs(np.mean(line.get_ydata()) - y) < 0.01]
        drawn = [list(line.get_xdata()) for line in lines]
        mean = np.mean(values)
        assert drawn == ([[min(values), max(values)], [mean, mean], values] if len(values) > 1 else [values])
    assert (ax.get_xlabel(), ax.get_title(loc="left")) == ("mIoU", "mIoU on val")
    assert ax.get_xlim()[0] < 0.4 and ax.get_xlim()[1] > 0.7 and len(ax.patches) == 1  # a band, no bars
    assert ax.patches[0].get_x() == 0.5 and ax.patches[0].get_width() == pytest.approx(0.04)
    assert decoded(fig).shape[1] / fig.dpi <= 10.01


def test_scores_beside_another_reference():
    ax = pictures.plot_scores(SCORES, "mIoU", reference="better").axes[0]
    orange, ink, blue = pictures.ORANGE, pictures.INK, pictures.BLUE
    assert [text.get_color() for text in ax.texts] == [orange, ink, orange, orange, blue]
    ax = pictures.plot_scores({"a": [0.5], "b": [0.6]}, "mIoU").axes[0]
    assert [text.get_color() for text in ax.texts] == [ink, pictures.MUTED]  # nothing known about the noise
    ax = pictures.plot_scores({"a": [0.5, 0.6], "b": [0.6, 0.7]}, "mIoU").axes[0]
    assert ax.texts[1].get_color() == pictures.MUTED  # they touch


def test_probabilities_are_shown_on_a_scale_from_0_to_1():
    shares = np.linspace(1e-7, 0.9, 12).reshape(3, 4)
    assert "0 to 1, the same scale for every map" in texts(pictures.show_maps({"P(car)": shares}))
    assert "-0.1 to 0.8, the same scale for every map" in texts(pictures.show_maps({"logits": shares - 0.1 + 1e-9}))


def test_maps_of_no_data_set_have_names_and_colours_of_their_own():
    ids = np.array([[0, 1], [255, 1]])
    fig = pictures.show_maps({"truth": ids}, pictures.Look(["sky", "road"], [[1, 2, 3], [9, 8, 7]]))
    assert [text.get_text() for text in fig.legends[0].texts] == ["sky", "road", "void"]
    assert {(1, 2, 3), (9, 8, 7), (225, 225, 225)} <= {tuple(colour) for colour in decoded(fig).reshape(-1, 3).tolist()}


def test_the_rungs_of_a_ladder_are_compared_with_the_one_above():
    rungs = {"start": [0.3, 0.32], "up": [0.4, 0.42], "noise": [0.39, 0.41], "down": [0.3, 0.35], "up again": [0.5]}
    fig = pictures.plot_scores(rungs, "mIoU", reference="above")
    ax = fig.axes[0]
    expected = [pictures.INK, pictures.BLUE, pictures.MUTED, pictures.ORANGE, pictures.BLUE]
    assert [text.get_color() for text in ax.texts] == expected and not ax.patches
    assert any("the row above it" in text for text in texts(fig))


@pytest.mark.parametrize(
    ("scores", "reference", "words"),
    [
        ({}, None, "no scores"),
        ({"a": []}, None, "'a' must be finite numbers"),
        ({"a": [0.5, float("nan")]}, None, "'a' must be finite numbers"),
        ({"a": [0.5]}, "b", "'b' is not a row; the rows are a"),
    ],
)
def test_scores_that_cannot_be_shown_are_named(scores, reference, words):
    with pytest.raises(ValueError, match=words):
        pictures.plot_scores(scores, "mIoU", reference)


def test_legend_fits_axes_and_figure():
    fig = matplotlib.figure.Figure()
    entries = pictures.legend(fig.subplots(), CLASSES, PALETTE, ids=[3, 255])
    assert [text.get_text() for text in entries.get_texts()] == ["car", "void"]
    assert [text.get_text() for text in pictures.legend(fig, CLASSES, PALETTE).get_texts()] == CLASSES


def test_notebooks_get_one_small_picture_at_its_size_in_inches(monkeypatch):
    import IPython.display

    outputs = []
    monkeypatch.setattr(IPython.display, "display", outputs.append)
    fig = pictures.show_samples(Samples(), [0, 1, 2, 3])
    fig._ipython_display_()
    assert len(outputs) == 1
    picture = Image.open(io.BytesIO(outputs[0].data))
    full = io.BytesIO()
    fig.savefig(full, format="png", bbox_inches="tight", pad_inches=0.1)
    assert picture.mode == "P" and len(outputs[0].data) < 0.6 * full.tell()
    assert outputs[0].width == round(picture.width / fig.dpi * 96) <= 960
    assert picture.info["dpi"] == pytest.approx((fig.dpi, fig.dpi), abs=0.1)


class Streets:
    """Pictures of coloured tiles; masks of class 1 with a line of class 2, one pixel wide, from top to bottom."""

    classes, palette, ignore_index = CLASSES, PALETTE, 255

    def __init__(self, height=180, width=240, count=4):
        self.shape, self.count = (height, width), count

    def __len__(self):
        return self.count

    def read(self, i):
        mask = np.ones(self.shape, dtype=np.uint8)
        mask[:20, :30] = 255
        mask[:, 100 + i] = 2
        tiles = np.random.default_rng(i).integers(0, 256, (-(-self.shape[0] // 10), -(-self.shape[1] // 10), 3))
        image = tiles.repeat(10, axis=0).repeat(10, axis=1)[: self.shape[0], : self.shape[1]]
        return image.astype(np.uint8), mask


def decoded(fig):
    return np.array(Image.open(io.BytesIO(fig.png())).convert("RGB"))


def found_in(page, picture):
    """Row, column and k of the place where a page shows a picture, each of its pixels as k x k; None where it does not."""
    first = (page == picture[0, 0]).all(-1)
    corners = first & ~np.roll(first, 1, axis=0) & ~np.roll(first, 1, axis=1)
    for top, left in np.argwhere(corners):
        for k in range(1, 9):
            height, width = k * picture.shape[0], k * picture.shape[1]
            area = page[top : top + height, left : left + width]
            if area.shape[:2] == (height, width) and (area[::k, ::k] == picture).all():
                if (area == picture.repeat(k, axis=0).repeat(k, axis=1)).all():
                    return top, left, k
    return None


@pytest.mark.parametrize(
    ("shape", "columns"),
    [((180, 240), columns) for columns in (1, 2, 3, 4, 5, 6)]
    + [((360, 480), columns) for columns in (1, 2, 3, 4)]
    + [((300, 200), 3), ((60, 470), 2), ((66, 130), 3)],
)
def test_every_pixel_of_a_mask_is_a_whole_square_of_the_png(shape, columns):
    masks = [Streets(*shape).read(i)[1] for i in range(columns)]
    fig = pictures.show_maps({f"mask {i}": mask for i, mask in enumerate(masks)}, Streets(), columns=columns)
    assert fig.dpi >= 180
    page = decoded(fig)
    places = [found_in(page, pictures.colorize(mask, PALETTE)) for mask in masks]
    assert all(places) and len({(top, k) for top, _, k in places}) == 1
    for (top, left, k), mask, ax in zip(places, masks, fig.axes, strict=False):
        cell = page[top : top + k * shape[0], left : left + k * shape[1]]
        pole = (cell == PALETTE[2]).all(-1)
        assert (pole.sum(1) == k).all()  # k wide, over its full length
        assert set(map(tuple, cell.reshape(-1, 3))) == set(map(tuple, [PALETTE[1], PALETTE[2], pictures.VOID_COLOUR]))
        assert ax.bbox.width == pytest.approx(k * mask.shape[1], abs=0.01)
    assert page.shape[1] / fig.dpi <= 10.01


@pytest.mark.parametrize("shape", [(180, 240), (360, 480)])
@pytest.mark.parametrize("show", ["samples", "predictions"])
def test_thin_lines_stay_in_figures_with_photographs(shape, show):
    data = Streets(*shape)
    image, mask = data.read(0)
    if show == "samples":
        fig = pictures.show_samples(data, [0, 1])
    else:
        fig = pictures.show_predictions([image], [mask], [mask], data)
    page = decoded(fig)
    assert len(np.unique(page.reshape(-1, 3), axis=0)) <= 256
    assert found_in(page, pictures.colorize(mask, PALETTE))
    for colour in (PALETTE[1], PALETTE[2], pictures.VOID_COLOUR):
        assert (page == colour).all(-1).any()


@pytest.mark.parametrize("make", ["batch", "sheet"])
def test_photographs_have_an_integer_scale_too(make):
    data = Streets()
    if make == "batch":
        images, masks = zip(*[data.read(i) for i in range(3)], strict=True)
        images = torch.tensor(np.stack(images)).permute(0, 3, 1, 2) / 255
        fig = pictures.show_batch(images, torch.tensor(np.stack(masks)).long(), data)
    else:
        fig = pictures.contact_sheet(data, range(4))
    for ax in fig.axes:
        for image in ax.images:
            height, width = image.get_array().shape[:2]
            k = round(ax.bbox.width / width)
            assert k >= 1 and ax.bbox.bounds == pytest.approx(np.rint(ax.bbox.bounds), abs=0.01)
            assert (ax.bbox.width, ax.bbox.height) == pytest.approx((k * width, k * height), abs=0.01)
            assert image.get_interpolation() == "nearest"


@pytest.mark.parametrize(("columns", "k"), [(3, 2), (4, 2), (6, 1)])
def test_columns_keep_their_width_by_more_dpi(columns, k):
    mask = Streets().read(0)[1]
    fig = pictures.show_maps({str(i): mask for i in range(columns)}, Streets(), columns=columns)
    width = fig.axes[0].bbox.width
    assert width == pytest.approx(k * 240, abs=0.01)
    assert width / fig.dpi >= 0.8 * min(2.9, 8.4 / columns)


def test_two_masks_colours_that_are_next_to_each_other_stay_apart():
    class Similar(Streets):
        palette = np.array([[9, 9, 9], [128, 64, 128], [129, 65, 128], [0, 0, 200]], dtype=np.uint8)

    mask = Similar().read(0)[1]
    assert found_in(decoded(pictures.show_samples(Similar(), [0])), pictures.colorize(mask, Similar.palette))


def test_pictures_of_two_sizes_have_their_own_scales():
    small, large = Streets().read(0)[1], Streets(360, 480).read(0)[1]
    page = decoded(pictures.show_maps({"small": small, "large": large}, Streets()))
    scales = [found_in(page, pictures.colorize(mask, PALETTE))[2] for mask in (small, large)]
    assert scales == [2, 1]


def test_a_large_photograph_is_resized_to_its_column():
    fig = pictures.show_samples(Streets(1500, 2000), [0])
    assert [ax.images[0].get_interpolation() for ax in fig.axes] == ["antialiased", "nearest", "antialiased"]
    assert fig.dpi == 180 and fig.axes[0].bbox.width / fig.dpi <= 2.9
    assert fig.axes[0].bbox.height / fig.axes[0].bbox.width == pytest.approx(0.75, abs=0.01)


def test_figures_of_pyplot_may_be_pictures_with_at_least_180_dpi():
    fig, axes = plt.subplots(1, 2, figsize=(4, 2), dpi=90, FigureClass=pictures.Picture, layout="constrained")
    axes[0].imshow(pictures.colorize(Samples().read(0)[1], PALETTE))
    page = decoded(fig)
    assert fig.dpi == 180 and page.shape[1] == pytest.approx(4 * 180, abs=100)
    assert (page == PALETTE[1]).all(-1).sum() > 1000
    plt.close(fig)


@pytest.mark.parametrize("count", [1, 3])
def test_long_names_of_many_classes_fit_the_page(count):
    class Many(Streets):
        classes = [f"a class with a long name {i}" for i in range(32)]
        palette = pictures.colour_blind_palette(32)

        def read(self, i):
            return super().read(i)[0], np.arange(180 * 240, dtype=np.int64).reshape(180, 240) % 32

    fig = pictures.show_samples(Many(), range(count))
    page = decoded(fig)
    fig.draw_without_rendering()
    names = fig.legends[0].get_window_extent()
    assert len(fig.legends[0].get_texts()) == 32 and page.shape[1] / fig.dpi <= 10.01
    assert names.y1 <= min(ax.bbox.y0 for ax in fig.axes) and names.y0 >= 0 and names.x1 <= fig.bbox.x1


# Simulation of full protanopia and deuteranopia in linear RGB: Machado et al. 2009, table of severity 1.0.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def nearest_pair(palette, sight):
    """Distance in CIELAB (D65) of the two most similar colours, as somebody of this sight sees them."""
    colours = palette / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    seen = (linear @ np.array(SIGHT[sight]).T).clip(0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = seen @ to_xyz.T / [0.9505, 1, 1.089]
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    lab = np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)
    distances = np.linalg.norm(lab[:, None] - lab, axis=2)
    return distances[np.triu_indices(len(palette), 1)].min()


@pytest.mark.parametrize("sight", SIGHT)
def test_colour_blind_readers_can_tell_the_classes_apart(sight):
    assert nearest_pair(pictures.colour_blind_palette(11), sight) >= 17
    assert nearest_pair(pictures.colour_blind_palette(32), sight) >= 11
    with_void = np.vstack([pictures.colour_blind_palette(32), pictures.VOID_COLOUR])
    assert nearest_pair(with_void, sight) >= 11


def test_the_measure_finds_red_beside_green():
    red_and_green = np.array([[170, 70, 0], [100, 100, 0]])
    assert nearest_pair(red_and_green, "normal") > 40 > 17 > nearest_pair(red_and_green, "deuteranopia")


def test_colour_blind_palette_sizes():
    palette = pictures.colour_blind_palette(32)
    assert palette.dtype == np.uint8 and palette.shape == (32, 3)
    assert len(np.unique(palette, axis=0)) == 32
    assert (pictures.colour_blind_palette(5) == palette[:5]).all()
    for number in (0, 33):
        with pytest.raises(ValueError, match=f"1 to 32 colours, not {number}"):
            pictures.colour_blind_palette(number)
