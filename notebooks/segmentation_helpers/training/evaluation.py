"""Score a model over a data set."""

import math
import warnings

import torch
from accelerate.state import PartialState
from accelerate.utils import reduce

from ..datasets.classes import IGNORE_INDEX
from ..inference import class_ids, eval_mode, forward_views, warn_of_probabilities
from ..metrics import ConfusionMatrix
from ..normalized import check_unit_range, input_spec, require_no_attributes
from .order import loader_like, shared_batches
from .process import autocast
from .words import check_batch, check_masks, check_outputs, in_words, require_batches


def evaluate(
    model, loader, *, precision="fp32", ignore_index=IGNORE_INDEX, flip=False, scales=(1.0,)
) -> ConfusionMatrix:
    """The confusion matrix of a model over a DataLoader of (image, mask), each pixel of each picture counted once.

    Images (B, bands, H, W) lie in 0..1, masks (B, H, W) hold class ids. Images are padded to what the network needs and
    logits cut back, so padding is never scored; `flip` and `scales` average over several views, as in `predict`. One-channel
    logits are binary. In several processes each takes its share of the batches and all end with the sum.

    Warns where the truth of more than one picture is a single class and void, and where one-channel logits look like
    probabilities. Raises ValueError for images outside 0..1, for logits that are not finite and for a loader without
    pictures, TrainingError for what does not fit.
    """
    confusion, lowest, highest = score(model, loader, precision, ignore_index, flip, scales)
    _warn_of_one_class(confusion, len(loader.dataset))
    warn_of_probabilities(lowest, highest)
    return confusion


@torch.inference_mode()
def score(model, loader, precision, ignore_index=IGNORE_INDEX, flip=False, scales=(1.0,)):
    """The confusion matrix, and the range of one-channel logits; warns of nothing."""
    require_no_attributes(model)
    require_batches(loader, "the loader")
    everyone, divisor = PartialState(), input_spec(model).divisor
    device = next(model.parameters()).device
    batches = shared_batches(loader, everyone.process_index, everyone.num_processes)
    confusion, shape, lowest, highest = None, (), math.inf, -math.inf
    with eval_mode(model), in_words("while evaluating", lambda: shape):
        for batch in loader_like(loader, batches):
            image, mask = check_batch(batch)
            shape = tuple(image.shape)
            if confusion is None:
                check_unit_range(image, model)
            with autocast(device, precision):
                image = image.to(device, memory_format=torch.channels_last)
                logits = forward_views(model, image, divisor, flip=flip, scales=scales)
            check_outputs(logits, check_masks(mask), ignore_index)
            confusion = confusion or ConfusionMatrix(max(2, logits.shape[1]), ignore_index)
            if logits.shape[1] == 1:
                lowest, highest = min(lowest, logits.amin().item()), max(highest, logits.amax().item())
            confusion.update(class_ids(logits), mask.to(device))
    if everyone.num_processes > 1:
        confusion = _sum_over_processes(confusion, everyone, ignore_index)
    return confusion, lowest, highest


def _warn_of_one_class(confusion, pictures):
    """255 is void: masks of 0 and 255 are scored on class 0 alone, and that score is always good."""
    present = torch.nonzero(confusion.matrix.sum(1)).flatten().tolist()
    if confusion.void and len(present) == 1 and pictures > 1:
        warnings.warn(
            f"The truth of all {pictures} pictures is class {present[0]} and void ({confusion.ignore_index}), so this score says "
            f"nothing. If {confusion.ignore_index} stands for a class in your masks, say so: "
            f"mapping={{0: 0, {confusion.ignore_index}: 1}}.",
            stacklevel=3,
        )


def _sum_over_processes(confusion, everyone, ignore_index):
    """One process may have had no batch: agree on the number of classes first."""
    classes = torch.tensor(confusion.num_classes if confusion else 0, device=everyone.device)
    torch.distributed.all_reduce(classes, torch.distributed.ReduceOp.MAX)
    confusion = confusion or ConfusionMatrix(int(classes), ignore_index)
    confusion.matrix = reduce(confusion.matrix.to(everyone.device), "sum").cpu()
    confusion.void = int(reduce(torch.tensor(confusion.void, device=everyone.device), "sum"))
    return confusion
