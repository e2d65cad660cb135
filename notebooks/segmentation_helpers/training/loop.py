"""The training loop: resumed exactly, stopped safely."""

from pathlib import Path

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from .. import environment
from ..normalized import require_no_attributes
from .evaluation import evaluate, score
from .files import keep_aside, kept, load_finished, read_checkpoint, read_plan
from .identity import checksum, describe, differences, goes_on, left_by, remembered
from .lock import alone_in_its_folder
from .order import EpochBatches, first_batch, get_rng, loader_like, set_rng
from .process import Interrupt, make_accelerator, synchronised_norms, table_row
from .steps import Trainer
from .words import in_words, require_batches


@alone_in_its_folder
def fit(model, train_loader, valid_loader=None, *, loss, optimizer, epochs=None, steps=None, scheduler=None,
        run_dir=None, settings=None, seed=0, precision=None, ema=None, evaluate_every=1, after_epoch=None,
        checkpoint_minutes=2.0):  # fmt: skip
    """Train `model` in place; returns the history, one dict per epoch.

    Runs on whatever accelerate finds (CPU, GPU, several processes) with channels-last weights. With `run_dir` it keeps
    `history.csv` and a checkpoint there, goes on where it was stopped, and ends with `model.safetensors`: the weights
    of the last step, for choosing them by their score would flatter that score. A run that was stopped and resumed
    ends with the same bytes as one that was not (one process, same machine; on a GPU only where its operations are
    deterministic, see torch.use_deterministic_algorithms). However `fit` ends, its checkpoint then equals the weights in
    `model`, so that running the same cell again goes on. Data set, collate_fn and samplers may draw random numbers: before
    each batch the generators of torch, numpy and Python are seeded from seed, epoch and batch, in workers, too.

    It is the same run while settings, network, what trains and what is in eval mode, the code and values of the loss (see
    `digest.code_digest`), batches, optimizer and the rates of all steps are the same, and `model` holds the weights that the
    run began with or those that it left there. Any other run is kept aside in `previous-1`, `previous-2` ... A finished run
    is trained for longer, where the steps that it took had the same rates in the longer run. What changes in a loss, an
    optimizer or a scheduler while it trains counts as it was when the run began, also when only fit's cell is run again;
    a loss that counts its calls in a number of its own goes on with what that number is.

    In several processes each step takes as many batches as there are processes, and each loss is weighed by its labelled
    pixels: an unweighted mean over them takes the step that one process would take with one large batch. Losses that weigh
    classes, Dice and Jaccard losses do so approximately. Batch normalisation is synchronised between GPUs.

    Args:
        model: takes images in 0..1; a network that wants them normalised is wrapped in Normalized. Layers in eval mode in a
            model in training mode (frozen batch normalisation) stay in eval mode.
        train_loader, valid_loader: DataLoaders of (image float (B, bands, H, W) in 0..1, mask int64 (B, H, W)). One batch of
            valid_loader is tried before training starts.
        loss: `loss(model(image), mask)` -> scalar; it is called outside autocast, with float32 logits. A batch of nothing but
            void (255) contributes zero and is not shown to it.
        optimizer, scheduler: as torch makes them; the scheduler is stepped after every optimizer step, not per epoch, but
            for ReduceLROnPlateau: it sees the training loss (mode "min") or the validation mIoU (mode "max") of each epoch.
        epochs or steps: how long, in passes over the data or in optimizer steps (the last epoch may be cut short).
        settings: what else defines this run (a dict for JSON).
        precision: "fp32", "bf16" or, on GPUs without a fast bfloat16, "fp16" with a gradient scaler: steps that overflow are
            skipped, and 25 in a row are an error. Default: the checkpoint's or the plan's, else `environment.best_precision()`.
        ema: decay a step (say 0.998) of an exponential moving average of the weights and of batch normalisation's
            statistics; the average is what is evaluated, saved, and left in `model`.
        evaluate_every: epochs between evaluations on valid_loader; the last epoch is always evaluated.
        after_epoch: `after_epoch(epoch, model)` is called at the end of each epoch, counted from 1, in the main process, with the
            weights that are evaluated: to draw a prediction, say. It changes nothing of the run and is no part of what
            identifies it; epochs that an earlier call has finished are not called again.
        checkpoint_minutes: a checkpoint is written after every epoch, and within one after this time.

    Raises TrainingError, in words, when the loss is no longer finite, memory runs out, or data and model do not fit;
    KeyboardInterrupt after Ctrl-C (the step is finished and a checkpoint written first).
    """
    if (epochs is None) == (steps is None):
        raise ValueError("give either epochs or steps")
    require_no_attributes(model)
    require_batches(train_loader, "train_loader")
    if isinstance(scheduler, ReduceLROnPlateau) and scheduler.mode == "max" and valid_loader is None:
        raise ValueError('ReduceLROnPlateau(mode="max") watches the validation mIoU: give fit a valid_loader, or use mode="min", '
                         "which watches the training loss.")  # fmt: skip
    run_dir = Path(run_dir) if run_dir is not None else None
    saved, plan = read_checkpoint(run_dir), read_plan(run_dir)
    precision = precision or (saved or {}).get("settings", plan).get("precision") or environment.best_precision()
    accelerator = make_accelerator(precision)
    batches = EpochBatches(train_loader.batch_sampler, seed, accelerator.process_index, accelerator.num_processes)
    total = steps if steps is not None else epochs * len(batches)
    described = describe(model, train_loader, loss, optimizer, scheduler, settings or {}, total if run_dir else 0) | {
        "steps": total, "steps_per_epoch": len(batches), "seed": seed, "precision": precision, "ema": ema,
        "processes": accelerator.num_processes}  # fmt: skip
    initial = now = checksum(model)
    if saved is not None and saved["finished"] and now == checksum(saved["model"]):  # and not their average
        now = left_by(saved)
    longer = saved is not None and goes_on(saved, described, now, optimizer, scheduler)
    other = [] if saved is None or longer else differences(saved, described, now)
    accelerator.wait_for_everyone()  # all have read the checkpoint
    if other:
        if accelerator.is_main_process:
            keep_aside(run_dir, other, carried_on=now == left_by(saved), steps=(total, total))
        saved = None
    accelerator.wait_for_everyone()
    if saved is not None and saved["finished"] and not longer:
        load_finished(model, saved, run_dir)
        model.to(accelerator.device)
        accelerator.print(f"{environment.shown(run_dir)} holds this run, finished: weights loaded, nothing to train.")
        return saved["history"]

    model.to(accelerator.device, memory_format=torch.channels_last)
    loader = loader_like(train_loader, batches, persistent_workers=train_loader.num_workers > 0)
    with synchronised_norms(accelerator, model), remembered(run_dir, model, train_loader, loss, optimizer, scheduler):
        trainer = Trainer(accelerator, model, loader, loss, optimizer, scheduler, run_dir=run_dir, described=described,
                          initial=initial, ema=ema, precision=precision)  # fmt: skip
        where = lambda: f"at step {trainer.state['step'] + 1}", lambda: trainer.shape, lambda: kept(run_dir)
        try:
            with Interrupt() as interrupt, in_words(*where):
                if saved is None:
                    trainer.save_checkpoint()
                else:
                    trainer.restore(saved)
                    accelerator.print(f"Going on after step {trainer.state['step']} of {total}, from "
                                      f"{environment.shown(run_dir)}.")  # fmt: skip
                if valid_loader is not None:
                    _try_validation(trainer.scored, valid_loader, precision)
                _train(trainer, valid_loader, total, evaluate_every, after_epoch, 60 * checkpoint_minutes, interrupt)
        except BaseException:
            trainer.leave()
            raise
        finally:
            accelerator.free_memory()
    return trainer.state["history"]


def _train(trainer, valid_loader, total, evaluate_every, after_epoch, checkpoint_seconds, interrupt):
    """Epochs until `total` steps are taken: train, write a checkpoint, evaluate, call `after_epoch`; then the weights."""
    state, first = trainer.state, True
    while state["step"] < total or state["begun"] is not None or state["row"] is not None:
        if state["row"] is None:
            trainer.train_one_epoch(total, checkpoint_seconds, interrupt)
            trainer.save_checkpoint()
        row, last = state["row"], state["step"] >= total
        if valid_loader is not None and (last or row["epoch"] % evaluate_every == 0):
            confusion = evaluate(trainer.scored, valid_loader, precision=trainer.precision)
            row |= {"miou": confusion.miou, "pixel_accuracy": confusion.pixel_accuracy}
        if after_epoch is not None and trainer.accelerator.is_main_process:
            after_epoch(row["epoch"], trainer.scored)
        trainer.end_of_evaluation()
        trainer.accelerator.print(table_row(row, header=first), flush=True)
        first = False
        if trainer.agreed(False, interrupt) and not last:
            interrupt.obey()
    trainer.finish()
    interrupt.obey()


def _try_validation(model, loader, precision):
    """Evaluate one batch, so that what fails there fails before the training and not after it."""
    require_batches(loader, "valid_loader")
    rng = get_rng()
    score(model, first_batch(loader), precision)  # without the warnings: one batch says nothing about the data set
    set_rng(rng)
