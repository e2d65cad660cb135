"""What `fit` repeats: steps and epochs, and what it does so that nothing is lost between them."""

import time
import warnings

import torch
from accelerate.utils import convert_to_fp32, gather_object
from torch.optim.lr_scheduler import ReduceLROnPlateau

from .. import environment
from ..datasets.classes import IGNORE_INDEX
from ..normalized import check_unit_range
from .checkpoints import Checkpoints
from .files import TrainingError, kept
from .order import epoch_seed, get_rng, set_epoch, set_rng
from .process import autocast, share_buffers
from .weights import Average, Buffers, not_finite
from .words import check_batch, check_loss, check_outputs, warn_of_softmax

OVERFLOWS = 25  # steps in a row that fp16 may skip


class Trainer(Checkpoints):
    """The parts of `fit` that share the run's state."""

    def __init__(self, accelerator, model, loader, loss, optimizer, scheduler, *, run_dir, described, initial, ema,
                 precision):  # fmt: skip
        self.accelerator, self.model, self.loader, self.batches = accelerator, model, loader, loader.batch_sampler
        self.loss, self.optimizer, self.scheduler = loss, optimizer, scheduler
        self.rate = float(optimizer.param_groups[-1]["lr"])  # of the last step
        self.run_dir, self.settings, self.initial, self.precision = run_dir, described, initial, precision
        self.frozen = [layer for layer in model.modules() if not layer.training] if model.training else []
        self.constant = not_finite(model)  # masks of attention, and what is nobody's fault but the caller's
        self.average = Average(model, accelerator.device, self.constant) if ema is not None else None
        self.scored = model if self.average is None else self.average.module
        self.scaler = torch.amp.GradScaler(accelerator.device.type, enabled=precision == "fp16")
        self.wrapped = accelerator.prepare(model)  # on the device, distributed
        self.state = {"step": 0, "loss_sum": 0.0, "counted": 0, "skipped": 0, "seconds": 0.0, "history": [], "rngs": None,
                      "row": None, "begun": None}  # fmt: skip
        self.quiet, self.shape, self.written, self.saved_step, self.ending = False, (), 0, None, False
        self.loss_sum, self.rng, self.buffers = None, None, Buffers(model)
        self.unfinished = None  # "forward" or "update" while a step is taken: what is to be undone if it fails there
        self.seen = (
            IGNORE_INDEX,
            -1,
            False,
        )  # the lowest and the highest class of the first epoch, and whether there was void
        self.look_every = 1 if accelerator.device.type == "cpu" else 20  # looking at the loss makes a GPU wait

    def train_one_epoch(self, total, checkpoint_seconds, interrupt):
        """The rest of the current epoch, or less where `total` steps are reached before its end."""
        state, length = self.state, len(self.batches)
        if state["begun"] is None:
            state["begun"] = state["step"]
        epoch = state["begun"] // length
        done = state["step"] - epoch * length
        here = min(length, total - epoch * length)
        set_epoch(self.loader.dataset, epoch)
        self.batches.epoch, self.batches.start, self.batches.stop = epoch, done, here
        seed = epoch_seed(self.batches.seed, epoch) + self.accelerator.process_index
        environment.seed_everything(seed)
        iterator = iter(self.loader)  # which draws random numbers, with and without workers not the same
        environment.seed_everything(seed)
        if state["rngs"] is not None:  # resumed inside this epoch
            set_rng(state["rngs"][self.accelerator.process_index])
        self.wrapped.train()
        for layer in self.frozen:  # what was in eval mode in a model in training mode stays so
            layer.training = False
        self.loss_sum = torch.tensor(state["loss_sum"], dtype=torch.float32, device=self.accelerator.device)
        self.rng, begun, earlier = get_rng(), time.perf_counter(), state["seconds"]
        saved_at, shown = begun, self.accelerator.is_main_process and not self.quiet
        with environment.progress_bar(shown, total=here, initial=done, desc=f"epoch {epoch + 1}") as progress:
            for index, batch in enumerate(iterator, done + 1):
                self.train_step(*check_batch(batch), first=index == 1)
                state["step"] += 1
                self.rng, self.unfinished = get_rng(), None
                progress.update()
                now = time.perf_counter()
                state["seconds"] = earlier + now - begun
                look = index % self.look_every == 0 or index == here
                if look:
                    self.check_finite()
                if self.agreed(now - saved_at > checkpoint_seconds, interrupt, look) and index < here:
                    self.save_checkpoint()
                    saved_at = now
                    interrupt.obey()
        self.warn_of_one_class()
        state["loss_sum"], self.loss_sum = self.loss_sum.item(), None
        state["rngs"] = self.gathered(self.rng) if here < length else None
        self.end_of_epoch()

    def train_step(self, image, mask, first=False):
        """One optimizer step, or none where fp16 overflows. It is over when `unfinished` is None again."""
        device, state = self.accelerator.device, self.state
        self.buffers.keep()
        self.unfinished = "forward"
        if first:
            check_unit_range(image, self.model)
        self.shape = tuple(image.shape)
        labelled, share = self.labels(mask)
        image = image.to(device, memory_format=torch.channels_last, non_blocking=True)
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(device, self.precision):
            output = self.wrapped(image)
        output = convert_to_fp32(output)
        if first:
            check_outputs(output, mask)
            if not state["step"] and not self.quiet:
                warn_of_softmax(output)
        if labelled:
            loss = check_loss(self.loss(output, mask.to(device, non_blocking=True))) * share
        else:  # nothing but void: every process still takes the step
            nothing = torch.zeros((), device=device)
            loss = check_loss(sum(((x * 0).sum() for x in _tensors(output)), start=nothing))
        self.scaler.scale(loss).backward()
        scale = self.scaler.get_scale()
        self.unfinished = "update"
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.get_scale() < scale:
            self.buffers.put_back()
            self.unfinished = None
            self.skip()
            return
        state["skipped"] = 0
        self.rate = float(self.optimizer.param_groups[-1]["lr"])
        if self.scheduler is not None and not isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step()
        if self.average is not None:
            step = state["step"]  # a short memory at first, so that the random start is soon forgotten
            self.average.update(min(self.settings["ema"], (1 + step) / (10 + step)))
        self.loss_sum += loss.detach().float()
        state["counted"] += labelled > 0

    def labels(self, mask):
        """Labelled pixels of this process's batch, and its weight: so that two processes take the step that one would."""
        known = mask != IGNORE_INDEX
        labelled = int(known.sum())
        if not self.state["history"] and labelled and mask.ndim == 3:  # in the first epoch
            ids = mask[known]
            self.seen = (
                min(self.seen[0], int(ids.min())),
                max(self.seen[1], int(ids.max())),
                self.seen[2] or labelled < mask.numel(),
            )
        if self.accelerator.num_processes == 1:
            return labelled, 1.0
        everywhere = torch.tensor(float(labelled), device=self.accelerator.device)
        everywhere = self.accelerator.reduce(everywhere, reduction="sum").item()
        return labelled, labelled * self.accelerator.num_processes / max(everywhere, 1.0)

    def skip(self):
        self.state["skipped"] += 1
        if self.state["skipped"] >= OVERFLOWS:
            self.state["skipped"] = 0
            raise TrainingError(
                f"fp16 overflowed in {OVERFLOWS} steps in a row, the last of them step {self.state['step'] + 1}: lower the "
                f'learning rate, or train with precision="fp32".{kept(self.run_dir)}'
            )

    @property
    def epoch(self):
        """The number of the epoch that is trained or was trained last."""
        return len(self.state["history"]) + (self.state["begun"] is not None or self.state["row"] is not None)

    def check_finite(self):
        if not torch.isfinite(self.loss_sum):
            self.unfinished = "update"  # the weights in memory are worth nothing
            raise TrainingError(
                f"The loss is no longer finite at step {self.state['step']} (epoch {self.epoch}): "
                f"lower the learning rate, or look for NaN in the images.{kept(self.run_dir)}"
            )

    def end_of_epoch(self):
        """Mean loss, last learning rate and seconds of the epoch, counted anew from here on."""
        state = self.state
        mean = (
            state["loss_sum"] / state["counted"] if state["counted"] else float("nan")
        )  # no batch had a labelled pixel
        mean = torch.tensor(mean, device=self.accelerator.device)
        row = {
            "epoch": len(state["history"]) + 1, "step": state["step"],
            "loss": self.accelerator.reduce(mean, reduction="mean").item(),
            "learning_rate": self.rate, "seconds": round(state["seconds"], 4),
        }  # fmt: skip
        share_buffers(self.accelerator, self.model, self.scored)
        state |= {"row": row, "begun": None, "loss_sum": 0.0, "counted": 0, "seconds": 0.0}

    def warn_of_one_class(self):
        """255 is void: of masks that hold 0 and 255 alone a network learns class 0 everywhere."""
        lowest, highest, void = self.seen
        if lowest == highest and void and not self.state["history"] and not self.quiet:
            warnings.warn(
                f"All labelled pixels of the first epoch are class {lowest}, the others void ({IGNORE_INDEX}): there is nothing "
                f"to tell apart. If {IGNORE_INDEX} stands for a class in your masks, say so: mapping={{0: 0, 255: 1}}.",
                stacklevel=5,
            )

    def end_of_evaluation(self):
        """The row joins the history; a scheduler that watches a score sees it."""
        row = self.state["row"]
        self.state["history"].append(row)
        self.state["row"] = None
        if isinstance(self.scheduler, ReduceLROnPlateau):
            watched = "miou" if self.scheduler.mode == "max" else "loss"
            if watched in row:
                self.scheduler.step(row[watched])
        self.write_history()

    def agreed(self, due, interrupt, look=True) -> bool:
        """Whether a checkpoint is due or somebody asked to stop: in several processes for all of them, or for none."""
        if self.accelerator.num_processes == 1:
            return due or interrupt.asked
        if not look:
            return False
        wishes = torch.tensor([float(due), float(interrupt.asked)], device=self.accelerator.device)
        due, asked = (self.accelerator.reduce(wishes, reduction="sum") > 0).tolist()
        interrupt.asked = asked
        return due or asked

    def gathered(self, rng):
        """The state of every process's random numbers, by rank."""
        return [rng] if self.accelerator.num_processes == 1 else gather_object([rng])


def _tensors(output):
    """The tensors in what a model returns, as far as they carry a gradient."""
    if isinstance(output, torch.Tensor):
        return [output] if output.requires_grad else []
    parts = output.values() if isinstance(output, dict) else output if isinstance(output, (tuple, list)) else []
    return [x for part in parts for x in _tensors(part)]
