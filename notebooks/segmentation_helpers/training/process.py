"""Devices, several processes, precision, interruption, and the line that each epoch prints."""

import contextlib
import itertools
import os
import signal
import threading

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from .. import environment

DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def make_accelerator(precision):
    """accelerate's view of device and processes. Precision is ours: it would train in fp32 where it has no fp16."""
    if precision not in DTYPES:
        raise ValueError(f'precision is "{precision}", but must be "fp32", "bf16" or "fp16"')
    environment.device()  # which says so where there is a card that this build of torch cannot use
    AcceleratorState._reset_state()  # an earlier fit may have used another one; the process group stays
    accelerator = Accelerator(mixed_precision="no")
    if precision == "fp16" and accelerator.device.type == "cpu" and "SEGMENTATION_FP16_ON_CPU" not in os.environ:
        raise ValueError('precision="fp16" is for GPUs without a fast bfloat16; on a CPU use "bf16" or "fp32"')
    return accelerator


def autocast(device, precision):
    """Forward passes in the given precision: a context."""
    return torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32")


def share_buffers(accelerator, *models):
    """Each process has running statistics of its own batches: take the first one's everywhere."""
    if accelerator.num_processes > 1:
        for buffer in itertools.chain.from_iterable(model.buffers() for model in models):
            torch.distributed.broadcast(buffer, 0)


@contextlib.contextmanager
def synchronised_norms(accelerator, model):
    """Batch normalisation over the batches of all GPU processes while it lasts; the model has its own layers afterwards."""
    norms = [(parent, name, layer) for parent in model.modules() for name, layer in parent.named_children()
             if isinstance(layer, nn.modules.batchnorm._BatchNorm)]  # fmt: skip
    wanted = accelerator.num_processes > 1 and norms
    if wanted and accelerator.device.type == "cpu":
        accelerator.print("Batch normalisation sees each process's own batch: torch synchronises it on GPUs alone.")
        wanted = False
    if wanted:
        for parent, name, layer in norms:  # which shares its parameters and buffers with the new layer
            setattr(parent, name, nn.SyncBatchNorm.convert_sync_batchnorm(layer).train(layer.training))
    try:
        yield
    finally:
        if wanted:
            for parent, name, layer in norms:
                layer.load_state_dict(getattr(parent, name).state_dict())
                setattr(parent, name, layer)


class Interrupt:
    """Ctrl-C, a notebook's stop button and SIGTERM wait for the end of a step; a second one strikes at once."""

    def __enter__(self):
        self.asked, self.before = False, {}
        if threading.current_thread() is threading.main_thread():
            self.before = {sign: signal.signal(sign, self._ask) for sign in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_):
        for sign, handler in self.before.items():
            signal.signal(sign, handler)

    def _ask(self, number, frame):
        self.asked = True
        self.__exit__()

    def obey(self):
        """Stop here, with everything saved, if somebody asked."""
        if self.asked:
            raise KeyboardInterrupt("Training stopped, its checkpoint is kept: run it again to go on.")


def table_row(row, header=False):
    columns = {
        "epoch": ("epoch", "{:>5}"), "loss": ("   loss", "{:>7.4f}"), "miou": ("  mIoU", "{:>6.4f}"),
        "pixel_accuracy": ("pixel accuracy", "{:>14.4f}"), "learning_rate": ("learning rate", "{:>13.2e}"),
        "seconds": ("seconds", "{:>7.1f}"),
    }  # fmt: skip
    cells = [form.format(row[key]) if key in row else " " * len(name) for key, (name, form) in columns.items()]
    head = "  ".join(name for name, _ in columns.values()) + "\n" if header else ""
    return head + "  ".join(cells)
