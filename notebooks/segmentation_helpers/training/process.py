"""Accelerate, several processes, interruption, and the line that each epoch prints."""

import itertools
import signal
import threading

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState


def make_accelerator(precision):
    if precision not in ("fp32", "bf16"):
        raise ValueError(f'precision is "{precision}", but must be "fp32" or "bf16"')
    AcceleratorState._reset_state()  # an earlier fit may have used another precision; the process group stays
    return Accelerator(mixed_precision="bf16" if precision == "bf16" else "no")


def share_buffers(accelerator, *models):
    """Each process has running statistics of its own batches: take the first one's everywhere."""
    if accelerator.num_processes > 1:
        for buffer in itertools.chain.from_iterable(model.buffers() for model in models):
            torch.distributed.broadcast(buffer, 0)


def unwrap(accelerator, wrapped):
    """Give the model back as it came: without accelerate's mixed-precision forward."""
    model = accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
    model.__dict__.pop("forward", None)
    accelerator.free_memory()


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
