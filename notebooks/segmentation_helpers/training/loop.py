"""The training loop: on accelerate, resumed exactly, stopped safely."""

import functools
import re
import time
from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .. import environment
from ..normalized import check_unit_range, require_no_attributes
from .evaluation import evaluate
from .files import (
    CHECKPOINT,
    HISTORY,
    WEIGHTS,
    TrainingError,
    keep_aside,
    kept,
    load_weights,
    read_checkpoint,
    save_weights,
    to_csv,
    write_atomically,
)
from .identity import describe
from .order import EpochBatches, epoch_seed, get_rng, loader_like, set_epoch, set_rng
from .process import Interrupt, make_accelerator, share_buffers, table_row, unwrap


def fit(model, train_loader, valid_loader=None, *, loss, optimizer, epochs=None, steps=None, scheduler=None,
        run_dir=None, settings=None, seed=0, precision=None, ema=None, evaluate_every=1, checkpoint_minutes=2.0):  # fmt: skip
    """Train `model` in place; returns the history, one dict per epoch.

    Runs on whatever accelerate finds (CPU, GPU, several processes) with channels-last weights. With `run_dir` it keeps
    `history.csv` and a checkpoint there, goes on where it was stopped, and ends with `model.safetensors`: the weights
    of the last step, for choosing them by their score would flatter that score. A run that was stopped and resumed
    ends with the same bytes as one that was not (one process, same machine; on a GPU only where its operations are
    deterministic, see torch.use_deterministic_algorithms).

    Args:
        model: takes images in 0..1; a network that wants them normalised is wrapped in Normalized.
        train_loader, valid_loader: DataLoaders of (image float (B, bands, H, W) in 0..1, mask int64 (B, H, W)).
        loss: `loss(model(image), mask)` -> scalar; it is called outside autocast, with float32 logits.
        optimizer, scheduler: as torch makes them; the scheduler is stepped after every optimizer step, not per epoch.
        epochs or steps: how long, in passes over the data or in optimizer steps (the last epoch may be cut short).
        settings: what else defines this run (a dict for JSON). A checkpoint made with other settings is kept aside.
        precision: "fp32" or "bf16"; default: the checkpoint's, else `environment.best_precision()`.
        ema: decay a step (say 0.998) of an exponential moving average of the weights and of batch normalisation's
            statistics; the average is what is evaluated, saved, and left in `model`.
        evaluate_every: epochs between evaluations on valid_loader; the last epoch is always evaluated.
        checkpoint_minutes: a checkpoint is written after every epoch, and within one after this time.

    Raises TrainingError when the loss is no longer finite or memory runs out, KeyboardInterrupt after Ctrl-C (the step
    is finished and a checkpoint written first).
    """
    if (epochs is None) == (steps is None):
        raise ValueError("give either epochs or steps")
    require_no_attributes(model)
    run_dir = Path(run_dir) if run_dir is not None else None
    saved = read_checkpoint(run_dir)
    precision = precision or (saved or {}).get("settings", {}).get("precision") or environment.best_precision()
    accelerator = make_accelerator(precision)
    batches = EpochBatches(train_loader.batch_sampler, seed, accelerator.process_index, accelerator.num_processes)
    if not len(batches):
        raise ValueError("train_loader has no batch: fewer pictures than batch_size with drop_last=True?")
    total = steps if steps is not None else epochs * len(batches)
    described = describe(model, train_loader, loss, optimizer, scheduler, settings or {}) | {
        "steps": total, "steps_per_epoch": len(batches), "seed": seed, "precision": precision, "ema": ema,
        "processes": accelerator.num_processes}  # fmt: skip
    if saved is not None and saved["settings"] != described:
        if accelerator.is_main_process:
            keep_aside(run_dir, saved["settings"], described)
        saved = None
    accelerator.wait_for_everyone()
    if saved is not None and saved["finished"]:
        load_weights(model, run_dir / WEIGHTS)
        model.to(accelerator.device)
        accelerator.print(f"{environment.shown(run_dir)} holds this run, finished: weights loaded, nothing to train.")
        return saved["history"]

    model.to(memory_format=torch.channels_last)
    average = AveragedModel(model, device=accelerator.device, use_buffers=True) if ema is not None else None
    wrapped = accelerator.prepare(model)  # on the device, in mixed precision, distributed
    loader = loader_like(train_loader, batches, persistent_workers=train_loader.num_workers > 0)
    state = {"step": 0, "loss_sum": 0.0, "seconds": 0.0, "history": [], "rng": None}
    if saved is not None:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        if average is not None:
            average.load_state_dict(saved["average"])
        if scheduler is not None:
            scheduler.load_state_dict(saved["scheduler"])
        state = saved["state"]
        accelerator.print(f"Going on after step {state['step']} of {total}, from {environment.shown(run_dir)}.")
    trainer = _Trainer(
        accelerator, model, wrapped, average, loader, loss, optimizer, scheduler, run_dir, described, state)  # fmt: skip
    scored = model if average is None else average.module
    try:
        with Interrupt() as interrupt:
            while state["step"] < total:
                trainer.train_one_epoch(total, checkpoint_minutes * 60, interrupt)
                share_buffers(accelerator, model, scored)
                epoch, last = len(state["history"]) + 1, state["step"] == total
                row = {"epoch": epoch, "step": state["step"]} | trainer.end_of_epoch()
                if valid_loader is not None and (last or epoch % evaluate_every == 0):
                    confusion = evaluate(scored, valid_loader, precision=precision)
                    row |= {"miou": confusion.miou, "pixel_accuracy": confusion.pixel_accuracy}
                state["history"].append(row)
                accelerator.print(table_row(row, header=epoch == 1 or saved is not None), flush=True)
                saved = None
                if not last:
                    trainer.save_checkpoint()
                    interrupt.obey()
            trainer.finish()
            interrupt.obey()
    except RuntimeError as error:  # torch.OutOfMemoryError is one, and the CPU allocator raises it plainly
        if not re.search("out of memory|can't allocate memory|not enough memory", str(error), re.IGNORECASE):
            raise
        shape = tuple(trainer.shape)
        raise TrainingError(
            f"Out of memory at step {state['step'] + 1} with images {shape}: use a smaller batch_size (it is "
            f"{shape[0] if shape else '?'}) or image_size.{kept(run_dir)}"
        ) from None
    finally:
        unwrap(accelerator, wrapped)
    return state["history"]


class _Trainer:
    """The parts of `fit` that share the run's state."""

    def __init__(self, accelerator, model, wrapped, average, loader, loss, optimizer, scheduler, run_dir, settings,
                 state):  # fmt: skip
        self.accelerator, self.model, self.wrapped, self.average = accelerator, model, wrapped, average
        self.loader, self.batches = loader, loader.batch_sampler
        self.loss, self.optimizer, self.scheduler = loss, optimizer, scheduler
        self.run_dir, self.settings, self.state, self.shape = run_dir, settings, state, ()
        self.look_every = 1 if accelerator.device.type == "cpu" else 20  # looking at the loss makes a GPU wait

    def train_one_epoch(self, total, checkpoint_seconds, interrupt):
        """The rest of the current epoch, or less where `total` steps are reached before its end."""
        state, length = self.state, len(self.batches)
        epoch, done = divmod(state["step"], length)
        here = min(length, total - epoch * length)
        set_epoch(self.loader.dataset, epoch)
        self.batches.epoch, self.batches.start, self.batches.stop = epoch, done, here
        seed = epoch_seed(self.batches.seed, epoch) + self.accelerator.process_index
        environment.seed_everything(seed)
        iterator = iter(self.loader)  # which draws random numbers, with and without workers not the same
        environment.seed_everything(seed)
        if state["rng"] is not None:  # resumed inside this epoch
            set_rng(state["rng"])
        self.wrapped.train()
        loss_sum, begun = torch.tensor(state["loss_sum"], dtype=torch.float64), time.perf_counter()
        loss_sum, saved_at = loss_sum.to(self.accelerator.device, torch.float32), begun
        earlier = state["seconds"]
        shown = self.accelerator.is_main_process
        with environment.progress_bar(shown, total=here, initial=done, desc=f"epoch {epoch + 1}") as progress:
            for index, (image, mask) in enumerate(iterator, done + 1):
                if index == 1:
                    check_unit_range(image, self.model)
                loss_sum += self.train_step(image, mask)
                state["step"] += 1
                progress.update()
                now = time.perf_counter()
                state["seconds"] = earlier + now - begun
                due = now - saved_at > checkpoint_seconds and self.accelerator.num_processes == 1
                if due or interrupt.asked or index % self.look_every == 0 or index == here:
                    state["loss_sum"] = loss_sum.item()
                    self.check_finite(index)
                if (due or interrupt.asked) and index < here:
                    state["rng"] = get_rng()
                    self.save_checkpoint()
                    saved_at = now
                    interrupt.obey()
        state["rng"], state["epoch_steps"] = None, here

    def train_step(self, image, mask):
        """One optimizer step; the loss, detached."""
        device = self.accelerator.device
        image = image.to(device, memory_format=torch.channels_last, non_blocking=True)
        mask = mask.to(device, non_blocking=True)
        self.shape = image.shape
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.wrapped(image), mask)
        self.accelerator.backward(loss)
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        if self.average is not None:
            step = self.state["step"]  # a short memory at first, so that the random start is soon forgotten
            decay = min(self.settings["ema"], (1 + step) / (10 + step))
            self.average.multi_avg_fn = get_ema_multi_avg_fn(decay)
            self.average.update_parameters(self.model)
        return loss.detach().float()

    def check_finite(self, index):
        if not torch.isfinite(torch.tensor(self.state["loss_sum"])):
            raise TrainingError(
                f"The loss is no longer finite at step {self.state['step']} (epoch {len(self.state['history']) + 1}): "
                f"lower the learning rate, or look for pictures without a single labelled pixel.{kept(self.run_dir)}"
            )

    def end_of_epoch(self):
        """Mean loss, learning rate and seconds of the epoch, counted anew from here on."""
        state, steps = self.state, self.state.pop("epoch_steps")
        mean = torch.tensor(state["loss_sum"] / steps, device=self.accelerator.device)
        row = {
            "loss": self.accelerator.reduce(mean, reduction="mean").item(),
            "learning_rate": self.optimizer.param_groups[-1]["lr"],
            "seconds": round(state["seconds"], 2),
        }
        state["loss_sum"], state["seconds"] = 0.0, 0.0
        return row

    def save_checkpoint(self, finished=False):
        """Everything that the next step depends on, in one file that is whole at any moment."""
        if self.run_dir is None or not self.accelerator.is_main_process:
            return
        self.run_dir.mkdir(parents=True, exist_ok=True)
        checkpoint = {"settings": self.settings, "finished": finished, "history": self.state["history"]}
        if not finished:
            checkpoint |= {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict() if self.scheduler is not None else None,
                "average": self.average.state_dict() if self.average is not None else None,
                "state": self.state,
            }
        write_atomically(self.run_dir / HISTORY, to_csv(self.state["history"]))
        write_atomically(self.run_dir / CHECKPOINT, functools.partial(torch.save, checkpoint))

    def finish(self):
        if self.average is not None:
            self.model.load_state_dict(self.average.module.state_dict())
        if self.run_dir is not None and self.accelerator.is_main_process:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            save_weights(self.model, self.run_dir / WEIGHTS)
            self.save_checkpoint(finished=True)
        self.accelerator.wait_for_everyone()
