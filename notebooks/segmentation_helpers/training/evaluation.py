"""Score a model over a data set."""

import torch
from accelerate.state import PartialState
from accelerate.utils import reduce

from ..inference import class_ids, eval_mode, forward_padded
from ..metrics import ConfusionMatrix
from ..normalized import check_unit_range, input_spec, require_no_attributes
from .order import loader_like


@torch.inference_mode()
def evaluate(model, loader, *, precision="fp32") -> ConfusionMatrix:
    """The confusion matrix of a model over a DataLoader of (image, mask), each pixel of each picture counted once.

    Images (B, bands, H, W) lie in 0..1, masks (B, H, W) hold class ids. Images are padded to what the network needs and
    logits cut back, so padding is never scored. One-channel logits are binary. In several processes each takes its share
    of the batches and all end with the sum. Raises ValueError for images outside 0..1 and for a loader without pictures.
    """
    require_no_attributes(model)
    everyone, divisor = PartialState(), input_spec(model).divisor
    device = next(model.parameters()).device
    batches = list(loader.batch_sampler)[everyone.process_index :: everyone.num_processes]
    confusion = None
    with eval_mode(model):
        for image, mask in loader_like(loader, batches):
            if confusion is None:
                check_unit_range(image, model)
            image = image.to(device, memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                logits = forward_padded(model, image, divisor)
            confusion = confusion or ConfusionMatrix(max(2, logits.shape[1]))
            confusion.update(class_ids(logits), mask.to(device))
    if everyone.num_processes > 1:
        confusion = _sum_over_processes(confusion, everyone)
    if confusion is None:
        raise ValueError("loader has no pictures to evaluate on")
    return confusion


def _sum_over_processes(confusion, everyone):
    """One process may have had no batch: agree on the number of classes first."""
    classes = torch.tensor(confusion.num_classes if confusion else 0, device=everyone.device)
    torch.distributed.all_reduce(classes, torch.distributed.ReduceOp.MAX)
    confusion = confusion or ConfusionMatrix(int(classes))
    confusion.matrix = reduce(confusion.matrix.to(everyone.device), "sum").cpu()
    return confusion
