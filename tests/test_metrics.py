"""The scores, against definitions spelled out pixel by pixel and against torchmetrics."""

import math
import random

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from segmentation_helpers.metrics import BoundaryIoU, ConfusionMatrix, boundary_iou

VOID = 255


def random_case(rng, max_classes=5, max_side=6):
    """Small prediction and mask, with void, absent classes, and garbage predicted on void."""
    num_classes = rng.randint(1, max_classes)
    occurring = rng.sample(range(num_classes), rng.randint(1, num_classes))
    shape = (rng.randint(1, max_side), rng.randint(1, max_side))
    void_share = rng.choice([0, 0, 0.2, 0.8, 1])
    prediction = np.array([rng.choice(occurring) for _ in range(math.prod(shape))]).reshape(shape)
    mask = np.array([rng.choice(occurring) for _ in range(math.prod(shape))]).reshape(shape)
    void = np.array([rng.random() < void_share for _ in range(math.prod(shape))]).reshape(shape)
    mask[void] = VOID
    prediction[void & (np.array([rng.random() < 0.3 for _ in range(void.size)]).reshape(shape))] = VOID
    return num_classes, prediction, mask


def same(actual, expected):
    """Equal as float64 to the last bit, NaN equal to NaN."""
    return np.array_equal(np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64), equal_nan=True)


def divide(a, b):
    return a / b if b else math.nan


def mean_of(values):
    values = [v for v in values if not math.isnan(v)]
    return divide(sum(values), len(values))


@pytest.mark.parametrize("convert", [
    lambda a: a, lambda a: a.astype(np.uint8), lambda a: a.astype(np.uint16)[::-1, ::-1],
    lambda a: torch.tensor(a), lambda a: torch.tensor(a).int(), lambda a: torch.tensor(a).to(torch.uint8)[None],
], ids=["numpy", "numpy-uint8", "numpy-uint16-mirrored", "int64", "int32", "uint8-batch"])  # fmt: skip
def test_confusion_matrix_is_exact(convert):
    rng = random.Random(0)
    for _ in range(500):
        num_classes, prediction, mask = random_case(rng)
        score = ConfusionMatrix(num_classes)
        assert score.update(convert(prediction), convert(mask)) is None

        pairs = [(t, p) for t, p in zip(mask.flat, prediction.flat, strict=True) if t != VOID]
        ids = range(num_classes)
        assert score.matrix.dtype == torch.int64
        assert score.matrix.tolist() == [[pairs.count((t, p)) for p in ids] for t in ids]
        iou = [divide(sum(t == p == c for t, p in pairs), sum(c in (t, p) for t, p in pairs)) for c in ids]
        assert score.iou.dtype == torch.float64 and same(score.iou, iou)
        assert score.miou == pytest.approx(mean_of(iou), abs=1e-15, nan_ok=True)
        assert same(score.pixel_accuracy, divide(sum(t == p for t, p in pairs), len(pairs)))


def test_confusion_matrix_agrees_with_torchmetrics():
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        prediction, mask = torch.randint(0, 7, (2, 3, 40, 50), generator=generator)
        mask[torch.rand(mask.shape, generator=generator) < 0.1] = VOID
        score = ConfusionMatrix(7)
        score.update(prediction, mask)
        oracle = MulticlassJaccardIndex(7, average=None, ignore_index=VOID)
        assert torch.allclose(score.iou.float(), oracle(prediction, mask), atol=1e-6, rtol=0)


@pytest.mark.parametrize("metric", [ConfusionMatrix, BoundaryIoU])
def test_any_split_into_batches_or_processes_gives_the_same(metric):
    generator = torch.Generator().manual_seed(0)
    prediction, mask = torch.randint(0, 4, (2, 12, 9, 11), generator=generator)
    mask[:, :2] = VOID

    def score_of(indices):
        score = metric(4)
        score.update(prediction[indices], mask[indices])
        return score

    whole = score_of(torch.arange(12))
    order = torch.randperm(12, generator=generator)
    parts = [score_of(part) for part in order.split([1, 5, 2, 4])]
    merged = parts[0].merge(parts[1]).merge(parts[2].merge(parts[3]))
    assert merged is parts[0]
    stepwise = metric(4)
    for i in order:
        stepwise.update(prediction[i], mask[i])
    for score in (merged, stepwise):
        assert same(score.iou, whole.iou) and score.miou == whole.miou
        for name, value in vars(whole).items():
            assert torch.equal(torch.as_tensor(getattr(score, name)), torch.as_tensor(value)), name


def test_data_set_iou_is_not_the_mean_over_images():
    small = torch.tensor([1, 0, 0, 0]), torch.tensor([0, 1, 0, 0])  # class 1: 0 of 2 pixels right
    large = torch.tensor([1, 1, 1, 1]), torch.tensor([1, 1, 1, 1])  # class 1: 4 of 4
    data_set, per_image = ConfusionMatrix(2), []
    for prediction, mask in (small, large):
        data_set.update(prediction, mask)
        image = ConfusionMatrix(2)
        image.update(prediction, mask)
        per_image.append(image.iou[1].item())
    assert data_set.iou[1].item() == 4 / 6
    assert sum(per_image) / 2 == 1 / 2


def test_known_answer():
    score = ConfusionMatrix(3)
    score.update(torch.tensor([[0, 1], [1, 2]]), torch.tensor([[0, 1], [0, VOID]]))
    assert score.matrix.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert same(score.iou, [1 / 2, 1 / 2, math.nan])
    assert (score.miou, score.pixel_accuracy) == (0.5, 2 / 3)
    assert repr(score) == "ConfusionMatrix(3 classes, mIoU 0.5000)"


def test_another_ignore_index():
    score = ConfusionMatrix(3, ignore_index=0)
    score.update(np.array([0, 1, 2]), np.array([1, 0, 2]))
    assert score.matrix.tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 1]]


def boundary_counts(prediction, mask, num_classes, ratio):
    """Intersection and union per class by the definition: Chebyshev distance to the nearest pixel outside."""
    height, width = mask.shape
    d = max(1, round(ratio * math.sqrt(height**2 + width**2)))

    def band(labels, c):
        inside = (labels == c) & (mask != VOID)
        beyond = np.pad((labels != c) & (mask != VOID), d, constant_values=True)  # beyond the border all is outside
        near = np.zeros_like(inside)
        for y in range(height):
            for x in range(width):
                near[y, x] = beyond[y : y + 2 * d + 1, x : x + 2 * d + 1].any()
        return inside & near

    bands = [(band(mask, c), band(prediction, c)) for c in range(num_classes)]
    return [(t & p).sum() for t, p in bands], [(t | p).sum() for t, p in bands]


def blobs(rng, shape, num_classes):
    labels = np.zeros(shape, dtype=np.uint8)
    for _ in range(4):
        y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        labels[y : y + rng.integers(1, 12), x : x + rng.integers(1, 12)] = rng.integers(0, num_classes)
    return labels


def test_boundary_iou_is_exact():
    rng = np.random.default_rng(0)
    distances = set()
    for i in range(300):
        num_classes = rng.integers(1, 5)
        shape = rng.integers(1, 20, 2)
        ratio = rng.choice([0.001, 0.05, 0.1, 0.2])
        mask, prediction = blobs(rng, shape, num_classes), blobs(rng, shape, num_classes)
        if i % 2:
            void = blobs(rng, shape, 2) == 1
            mask[void] = VOID
            prediction[void & (rng.random(shape) < 0.5)] = VOID
        intersection, union = boundary_counts(prediction, mask, num_classes, ratio)
        score = BoundaryIoU(num_classes, ratio=ratio)
        score.update(prediction[None] if i % 3 else prediction, torch.tensor(mask[None] if i % 3 else mask))
        assert score.intersection.tolist() == intersection and score.union.tolist() == union
        iou = [divide(a, b) for a, b in zip(intersection, union, strict=True)]
        assert same(score.iou, iou) and same(boundary_iou(prediction, mask, num_classes, ratio=ratio), iou)
        assert score.miou == pytest.approx(mean_of(iou), abs=1e-15, nan_ok=True)
        distances.add(max(1, round(ratio * math.hypot(*shape))))
    assert {1, 2, 3, 4, 5} <= distances


def test_boundary_iou_of_a_shifted_square():
    """A 60 x 60 square in 100 x 100 (d = 3), shifted by 3: IoU hides it, Boundary IoU does not."""
    mask, prediction = torch.zeros(2, 100, 100, dtype=torch.uint8)
    mask[20:80, 20:80] = 1
    prediction[20:80, 23:83] = 1
    # A band holds 60^2 - 54^2 = 684 pixels. Both share the rows 20-22 and 77-79 in the columns 23-79 (2 * 3 * 57); the
    # columns of one band lie beside those of the other.
    shared = 2 * 3 * 57
    assert boundary_iou(prediction, mask, 2)[1].item() == shared / (2 * 684 - shared)
    score = ConfusionMatrix(2)
    score.update(prediction, mask)
    assert score.iou[1].item() == 57 / 63


def test_boundary_iou_known_answers():
    mask = torch.tensor([[0, 0], [0, 1]])
    assert boundary_iou(torch.zeros_like(mask), mask, 3)[:2].tolist() == [3 / 4, 0]  # at 2 x 2 all pixels are contour
    labels = torch.arange(5).repeat_interleave(8).expand(30, 40)
    assert boundary_iou(labels, labels, 6)[:5].tolist() == [1] * 5
    assert boundary_iou(labels, labels, 6)[5].isnan()
    assert boundary_iou(labels, torch.full_like(labels, VOID), 6).isnan().all()


def test_void_makes_no_contour():
    mask = torch.zeros(50, 50, dtype=torch.long)
    score = BoundaryIoU(1)
    score.update(mask, mask)
    mask = mask.clone()
    mask[20:30, 20:30] = VOID
    with_void = BoundaryIoU(1)
    with_void.update(torch.zeros_like(mask), mask)
    assert score.union.item() == with_void.union.item() == 50**2 - 48**2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("metric", [ConfusionMatrix, BoundaryIoU])
def test_on_a_gpu(metric):
    prediction, mask = torch.randint(0, 4, (2, 3, 30, 40))
    here, there = metric(4), metric(4)
    here.update(prediction, mask)
    there.update(prediction.cuda(), mask)  # the mask follows
    assert same(here.iou, there.iou)


@pytest.mark.parametrize("metric", [ConfusionMatrix, BoundaryIoU])
@pytest.mark.parametrize("prediction, mask, message", [
    (torch.zeros(1, 11, 2, 2), torch.zeros(1, 2, 2).long(), r"prediction is floating-point .* call argmax\(1\) first"),
    (np.zeros((2, 2)), np.zeros((2, 2), int), r"prediction is floating-point .* call argmax\(1\) first"),
    (torch.zeros(2, 2).long(), torch.zeros(2, 2), r"mask is floating-point .* \.long\(\)"),
    (torch.zeros(2, 2).long(), torch.zeros(2, 3).long(), r"shape \(2, 2\) but mask has shape \(2, 3\): resize the log"),
    (torch.zeros(2, 2).long(), torch.tensor([[0, 11], [1, 2]]),
     r"a mask holds class 11 but there are 11 classes \(0-10\): map that id to a class or to void \(255\)"),
    (torch.zeros(2, 2).long(), torch.tensor([[0, -1], [1, 2]]), r"a mask holds class -1 but"),
    (torch.tensor([[11, 0], [1, 2]]), torch.zeros(2, 2).long(),
     r"a prediction holds class 11 but there are 11 classes \(0-10\): pass num_classes as large as"),
    (torch.tensor([[-3, 0], [1, 2]]), torch.zeros(2, 2).long(), r"a prediction holds class -3 but"),
])  # fmt: skip
def test_bad_input_is_a_clear_error_and_counts_nothing(metric, prediction, mask, message):
    score = metric(11)
    with pytest.raises(ValueError, match=message):
        score.update(prediction, mask)
    assert score.iou.isnan().all()


def test_bad_settings_are_clear_errors():
    with pytest.raises(ValueError, match="at least one class"):
        ConfusionMatrix(0)
    with pytest.raises(ValueError, match="cannot merge ConfusionMatrix.3 classes"):
        ConfusionMatrix(2).merge(ConfusionMatrix(3))
    with pytest.raises(ValueError, match="cannot merge BoundaryIoU"):
        ConfusionMatrix(2).merge(BoundaryIoU(2))
    with pytest.raises(ValueError, match="ratio 0.01 and 0.02"):
        BoundaryIoU(2).merge(BoundaryIoU(2, ratio=0.01))
    with pytest.raises(ValueError, match=r"\(H, W\) or \(B, H, W\), not \(4,\)"):
        BoundaryIoU(2).update(torch.zeros(4).long(), torch.zeros(4).long())
    with pytest.raises(ValueError, match="one class"):
        ConfusionMatrix(1).update(torch.zeros(4).long(), torch.ones(4).long())
