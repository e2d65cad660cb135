"""Errors in words: what goes wrong most often, where, and what to do."""

import contextlib
import errno
import re
import warnings

import torch
from safetensors import SafetensorError

from ..datasets.classes import IGNORE_INDEX
from .files import TrainingError

MEMORY = re.compile(
    "out of memory|can't allocate memory|not enough memory|STATUS_ALLOC_FAILED|DefaultCPUAllocator", re.IGNORECASE
)


def check_batch(batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The (image, mask) that a loader gave. Raises TrainingError in words where it gave something else."""
    if not isinstance(batch, (tuple, list)) or len(batch) != 2 or not all(torch.is_tensor(part) for part in batch):
        what = (
            f"a dictionary of {', '.join(map(str, batch))}" if isinstance(batch, dict) else f"a {type(batch).__name__}"
        )
        if isinstance(batch, (tuple, list)):
            what = f"{len(batch)} parts ({', '.join(type(part).__name__ for part in batch)})"
        raise TrainingError(
            f"A batch must be a pair of tensors, (image, mask), but the loader gives {what}: let the data set return "
            "(image, mask), or give the DataLoader a collate_fn that does."
        )
    image, mask = batch
    if image.ndim != 4 or len(image) != len(mask):
        raise TrainingError(
            f"A batch must hold images (B, bands, H, W) and masks (B, H, W), but these have the shapes {tuple(image.shape)} and "
            f"{tuple(mask.shape)}."
        )
    return image, mask


def check_masks(mask) -> torch.Tensor:
    """Masks (B, H, W) of whole numbers, for a score. Raises TrainingError in words."""
    if mask.ndim != 3 or mask.is_floating_point():
        raise TrainingError(
            f"Masks must be whole numbers (B, H, W), but these are {mask.dtype} of shape {tuple(mask.shape)}: give the data set "
            "mask.squeeze(0).long() for a mask (1, H, W)."
        )
    return mask


def check_loss(loss) -> torch.Tensor:
    """A loss that backward() can start from. Raises TrainingError in words."""
    if not torch.is_tensor(loss):
        raise TrainingError(
            f"The loss must return a tensor, but it returns a {type(loss).__name__}: leave out .item() and float()."
        )
    if loss.ndim:
        raise TrainingError(
            f"The loss must be a single number, but it has the shape {tuple(loss.shape)}: end it with .mean(), or give "
            'torch\'s losses reduction="mean".'
        )
    if not loss.requires_grad:
        raise TrainingError(
            "The loss does not depend on any weight that trains: compute it from the model's output without argmax, detach or "
            "no_grad, and set requires_grad for what is to be trained."
        )
    return loss


def check_outputs(output, mask, ignore_index=IGNORE_INDEX) -> None:
    """Raise TrainingError where a mask holds a class that the model has no output for."""
    while isinstance(output, (tuple, list)) and output:
        output = output[0]
    if isinstance(output, dict):
        output = output.get("out")
    if not torch.is_tensor(output) or output.ndim != 4 or mask.ndim != 3:
        return
    classes = max(2, output.shape[1])
    ids = mask if ignore_index is None else mask[mask != ignore_index]
    if len(ids) and (ids.max() >= classes or ids.min() < 0):
        wrong = int(ids.max() if ids.max() >= classes else ids.min())
        raise TrainingError(
            f"A mask holds class {wrong}, but the model has {output.shape[1]} output{'s' * (output.shape[1] > 1)}, for the "
            f"classes 0 to {classes - 1}: build it for as many classes as the data set has"
            + ("." if ignore_index is None else f", or map that class to {ignore_index}, void.")
        )


def warn_of_softmax(output) -> None:
    """For the first outputs of a training: what lies in 0..1 and adds up to 1 is no logits, and cross entropy takes its own
    softmax of it, so that little is learned."""
    while isinstance(output, (tuple, list)) and output:
        output = output[0]
    if isinstance(output, dict):
        output = output.get("out")
    if not torch.is_tensor(output) or output.ndim != 4 or not output.is_floating_point():
        return
    output = output.detach().float()
    if output.shape[1] > 1 and output.amin() >= 0 and (output.sum(1) - 1).abs().amax() < 1e-2:
        warnings.warn(
            "The model returns probabilities, which add up to 1 in every pixel, but logits are wanted: take the softmax out of "
            "the model (activation=None in smp); cross entropy takes it itself.",
            stacklevel=5,
        )


def require_batches(loader, name) -> None:
    """Raise ValueError where a loader has no order that can be repeated, or no batch at all."""
    if loader.batch_sampler is None or isinstance(loader.dataset, torch.utils.data.IterableDataset):
        raise ValueError(
            f"{name} reads an IterableDataset or has no batch size: a data set with __len__ and __getitem__ is needed, so that a "
            "run can be repeated and resumed."
        )
    if not len(loader.dataset):
        raise ValueError(f"{name} has no pictures.")
    if not len(loader.batch_sampler):
        raise ValueError(
            f"{name} has no batch: its data set has {len(loader.dataset)} pictures, fewer than batch_size with drop_last=True."
        )


@contextlib.contextmanager
def in_words(doing, shape=lambda: (), kept=lambda: ""):
    """Translate torch's own errors for the commonest mistakes. `doing`, `shape` and `kept` say where it happened."""
    try:
        yield
    except (RuntimeError, ValueError, IndexError, OSError, SafetensorError) as error:
        text = _words(error, doing() if callable(doing) else doing, tuple(shape()))
        if text is None or isinstance(error, TrainingError):
            raise
        raise TrainingError(f"{text}{kept()}") from error


def _words(error, doing, shape):
    text = str(error)
    if MEMORY.search(text):
        smaller = (
            f"a smaller batch_size (it is {shape[0]}) or image_size" if shape else "a smaller batch_size or image_size"
        )
        if "evaluat" in doing:
            smaller = (
                "a smaller batch_size for validation"
                if shape and shape[0] > 1
                else "smaller pictures, or predict in tiles"
            )
        return f"Out of memory {doing}{f' with images {shape}' if shape else ''}: use {smaller}."
    if "Expected more than 1 value per channel" in text:
        return (
            f"A batch of one picture {doing}: batch normalisation cannot train on it where the features are 1 x 1. Use "
            "drop_last=True in the DataLoader, or another batch_size."
        )
    if "stack expects each tensor to be equal size" in text or "Trying to resize storage that is not resizable" in text:
        return (
            f"Pictures of several sizes in one batch {doing}: crop or pad them to one size in the transform, or use "
            "batch_size=1."
        )
    if "Sizes of tensors must match" in text or "must match the size of tensor" in text:
        size = f" of {shape[-2]} x {shape[-1]} (height x width)" if len(shape) == 4 else ""
        return (
            f"The network or the loss cannot take images{size} {doing} ({text.splitlines()[0][:120]}): crop or pad them to "
            "multiples of what the network halves in all, of 32 for most (image_size in a notebook)."
        )
    if found := re.search(r"Target (-?\d+) is out of bounds", text):
        return (
            f"A mask holds class {found[1]}, which the model has no output for ({doing}): build it for as many classes as the "
            "data set has."
        )
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in text:  # safetensors has no number
        return f"The disk is full ({getattr(error, 'filename', None) or doing}): make room and run it again."
    return None
