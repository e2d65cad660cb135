"""What fastai's Learner lacks here: bfloat16 on any device, mIoU over the data set, and going on after a lost connection.

    learn = unet_learner(dls, resnet34, cbs=BFloat16(), metrics=MatrixMetric(11))
    learn.fine_tune(8, 2e-3, cbs=KeepRun("runs/mine"))

Explained in `11_unet_fastai`, used wherever fastai trains.
"""

import contextlib
import functools
import random
import time
from pathlib import Path

import numpy as np
import torch
from fastai.callback.core import Callback, CancelEpochException, CancelFitException, TrainEvalCallback
from fastai.callback.progress import CSVLogger, ProgressCallback, ShowGraphCallback
from fastai.callback.schedule import ParamScheduler
from fastai.callback.tracker import TrackerCallback
from fastai.data.load import DataLoader
from fastai.data.transforms import Normalize
from fastai.learner import CastToTensor, Metric, Recorder
from fastai.torch_core import to_float
from fastcore.foundation import L

from . import environment
from .inference import class_ids
from .metrics import ConfusionMatrix
from .normalized import check_unit_range, require_no_attributes
from .training import (
    CHECKPOINT,
    HISTORY,
    WEIGHTS,
    TrainingError,
    epoch_seed,
    keep_aside,
    load_weights,
    read_checkpoint,
    save_weights,
    set_epoch,
    to_csv,
    write_atomically,
)
from .training.digest import ADDRESS, code_digest, in_short
from .training.files import as_json, kept, plain
from .training.identity import (
    FORMAT,
    checksum,
    describe_data,
    describe_loss,
    describe_model,
    differences,
    left_by,
    remembered,
)
from .training.lock import held

COSMETIC = (
    ProgressCallback,
    Recorder,
    TrainEvalCallback,
    CastToTensor,
    ShowGraphCallback,
    CSVLogger,
)  # change no weights


class BFloat16(Callback):
    """The forward passes of a training in bfloat16, on any device; the loss sees float32.

    Each batch's forward pass takes it away again before it begins, so that nothing is left after an error or Ctrl-C.
    """

    order = 90  # after whatever else prepares a batch

    def before_batch(self):
        network, forward, own = self.model, self.model.forward, vars(self.model).get("forward")

        def once(*args, **options):
            del network.forward  # the class's own is left
            if own is not None:
                network.forward = own
            with torch.autocast(next(network.parameters()).device.type, torch.bfloat16):
                return forward(*args, **options)

        network.forward = once

    def after_pred(self):
        self.learn.pred = to_float(self.pred)


class MatrixMetric(Metric):
    """A score of the validation set from one ConfusionMatrix over all its images: "miou" or "pixel_accuracy".

    `ignore_index` may be one of the classes: fastai's own CamVid has Void at 30.
    """

    def __init__(self, num_classes, name="miou", ignore_index=255):
        self.num_classes, self._name, self.ignore_index = num_classes, name, ignore_index

    def reset(self):
        self.confusion = ConfusionMatrix(self.num_classes, self.ignore_index)

    def accumulate(self, learn):
        logits, mask = (x.as_subclass(torch.Tensor) for x in (learn.pred, learn.y))
        self.confusion.update(class_ids(logits), mask)

    @property
    def value(self):
        return getattr(self.confusion, self._name)

    @property
    def name(self):
        return self._name


class KeepRun(Callback):
    """Keeps a training in a folder: `learn.fine_tune(8, 2e-3, cbs=KeepRun("runs/mine"))`, or any other method that fits.

    A checkpoint is written after each epoch. The same call after a lost connection goes on with the epoch that was lost, in
    whichever phase of `fine_tune` that was, and a finished run only loads its weights. On a CPU both end with the bytes of
    a run that was never stopped. However a fit ends, the model then holds the weights of the checkpoint: those of the last
    whole epoch, or of the end. Each fit's optimizer starts with no memory of earlier fits.

    A method may fit several times, as `fine_tune` does: each fit is a phase of the run, and epochs are numbered through. Where
    a later phase differs from the one that was kept, the phases before it are kept, and training goes on from their end.

    Images lie in 0..1 until they enter the network: set `learn.model = Normalized(learn.model, mean, std)`, whose
    parameter groups fastai's splitters find as before, and leave fastai's own Normalize out.

    Args:
        run_dir: gets checkpoint.pt, history.csv and, after each phase, model.safetensors. One folder per run, and a new
            KeepRun for each call.
        seed: of shuffling and augmentation, which each epoch draws anew.
        settings: what else defines this run (a dict for JSON). It is the same run as for `fit`: settings, epochs, schedule,
            network, what trains, optimizer, batches, callbacks, the loss, and weights that the run began with or left in the
            model. Any other is kept aside; so is a finished one whose model.safetensors is gone.

    `.history` is one dict per epoch, as `plot_history` takes them.

    Raises, when the fit begins, ValueError for DataLoaders without a batch to train on or without validation pictures, and
    TrainingError where another fit trains in run_dir; later TrainingError where the loss is no longer finite.
    """

    order = 1000  # after all others: a checkpoint holds what they did, and knows what the trackers know

    def __init__(self, run_dir, seed=0, settings=None):
        self.run_dir, self.seed, self.settings = Path(run_dir), seed, as_json(settings or {})
        self.given = {}  # what fit_learner was called with
        self.history, self.muted, self.open = [], [], None
        self._forget()

    def _forget(self):
        """Before the first fit of a call."""
        self.phases, self.saved, self.initial, self.row, self.skipped = [], None, None, None, False

    @property
    def learn(self):
        return vars(self).get("_learner")

    @learn.setter
    def learn(self, learner):
        if learner is None and self.open is not None:  # taken away before its fit has ended: by an error, or by Ctrl-C
            self._interrupted()
        if learner is not None:  # before any callback's before_fit: a CSVLogger writes there, too
            self.run_dir.mkdir(parents=True, exist_ok=True)
        vars(self)["_learner"] = learner

    def after_create(self):
        raise ValueError("KeepRun belongs to one call, learn.fine_tune(8, cbs=KeepRun(run_dir)), and not to a Learner.")

    # A fit begins and ends -----------------------------------------------------------------------------------------------

    def before_fit(self):
        _check_learner(self.learn)
        self.opt.clear_state()
        with contextlib.ExitStack() as stack:
            stack.enter_context(held(self.run_dir))
            self._find()
            stack.enter_context(remembered(self.run_dir, self.model, self.dls.train, self.loss_func))
            self.open = stack.pop_all()
        known = self._known(len(self.phases))
        if known is not None and known["finished"]:
            self._skip(known)
        self._begin(known)

    def _find(self):
        """Compare what is about to be trained with the checkpoint, and keep another run aside."""
        number, now = len(self.phases), checksum(self.model)
        self.described = _describe(self.learn) | self.given | {
            "seed": self.seed, "settings": self.settings, "format": FORMAT}  # fmt: skip
        if number == 0:
            self.saved, self.initial, self.history = read_checkpoint(self.run_dir), now, []
        known = self._known(number)
        if self.saved is None or (known is None and number > 0):
            return
        if known is None:
            other = ["it was not trained by a Learner, or by an earlier version of segmentation_helpers"]
        else:
            now = now if number == 0 else known["initial"]  # of later phases it is the phases before that were compared
            other = differences(known, self.described, now)
        if not other and self.saved["finished"] and not (self.run_dir / WEIGHTS).is_file():
            other = [f"its {WEIGHTS} is missing"]
        if not other:
            self.initial = self.saved["initial"]
            return
        steps = self.n_epoch * len(self.dls.train)
        around = (steps - len(self.dls.train), steps + len(self.dls.train))  # a plan is rounded to whole epochs
        keep_aside(self.run_dir, other, carried_on=number == 0 and now == left_by(self.saved), steps=around)
        self.saved = None

    def _known(self, number):
        """What the checkpoint knows of a phase: as `differences` takes it, with its state; None where it has none."""
        if self.saved is None or "earlier" not in self.saved:
            return None
        earlier = self.saved["earlier"]
        if number < len(earlier):
            return {**self.saved, **earlier[number], "finished": True, "last": False, "left": left_by(self.saved)}
        return {**self.saved, "last": True} if number == len(earlier) else None

    def _skip(self, known):
        """Leave a finished phase out: the model gets the weights of its end, and nobody else hears of it."""
        if known["last"]:
            load_weights(self.model, self.run_dir / WEIGHTS)
            print(f"{environment.shown(self.run_dir)} holds this run, finished: weights loaded, nothing to train.")
        else:
            self.model.load_state_dict(known["model"])
        self.opt.load_state_dict({"state": self.opt.state_dict()["state"], "hypers": L(known["hypers"])})
        self.history = self.saved["history"][: known["epochs"]]
        for callback in self.learn.cbs:
            callback.run = callback is self or isinstance(callback, COSMETIC)
        self.row, self.skipped = None, True
        raise CancelFitException

    def _begin(self, known):
        """Start a phase, or put back the state in which it was left."""
        self.first = self.phases[-1]["epochs"] if self.phases else 0  # epochs of the phases before
        self.look_every = 1 if next(self.model.parameters()).device.type == "cpu" else 20  # looking makes a GPU wait
        self.row, self.done = {}, 0
        if known is not None:
            self.history = known["history"]
            self.done = len(self.history) - self.first
            self.learn.train_iter = self.done * len(self.dls.train)
            self.model.load_state_dict(known["model"])
            self.opt.load_state_dict({"state": known["state"], "hypers": L(known["hypers"])})
            for name, values in known["trackers"].items():
                vars(self.trackers[name]).update(values)
        if known is not None or self.skipped:
            print(f"Going on after epoch {len(self.history)}, from {environment.shown(self.run_dir)}.")
        self.saved, self.skipped = None, False  # what follows has not been trained before
        if known is None:
            self.save()

    def after_fit(self):
        if self.row is not None:  # it was not skipped
            save_weights(self.model, self.run_dir / WEIGHTS)
            self.save(finished=True)
        elif self.history:  # a CSVLogger may have begun the file anew
            write_atomically(self.run_dir / HISTORY, to_csv(self.history))
        state = self.model.state_dict()
        for name, value in state.items():
            state[name] = value.detach().cpu().clone()
        self.phases = [*self.phases, {"settings": self.described, "epochs": len(self.history), "model": state,
                                      "hypers": self._hypers()}]  # fmt: skip
        self._close()

    def _interrupted(self):
        """The model gets back the weights of the checkpoint; the next fit is the first of another call."""
        self._close()
        if (left := read_checkpoint(self.run_dir)) is not None and "model" in left:
            self.model.load_state_dict(left["model"])
        self._forget()

    def _close(self):
        stack, self.open = self.open, None
        stack.close()

    # Epochs and batches --------------------------------------------------------------------------------------------------

    def before_epoch(self):
        if self.epoch < self.done:  # trained before: no other callback hears of its end
            self.muted = [callback for callback in self.learn.cbs if callback is not self and callback.run]
            for callback in self.muted:
                callback.run = False
            raise CancelEpochException

    def after_epoch(self):
        if not self.muted:
            self.save()
        for callback in self.muted:
            callback.run = True
        self.muted = []

    def before_train(self):
        seed = epoch_seed(self.seed, self.first + self.epoch)
        environment.seed_everything(seed)
        self.dls.train.rng = random.Random(seed)  # fastai's loaders shuffle with a generator of their own
        set_epoch(self.dls.train.dataset, self.first + self.epoch)
        self.loss_sum, self.begun = 0.0, time.perf_counter()

    def before_batch(self):
        if self.training and self.iter == 0:
            check_unit_range(self.xb[0].as_subclass(torch.Tensor), self.model)

    def after_batch(self):
        if self.training:
            self.loss_sum += self.loss.detach().float()
            if (self.iter + 1) % self.look_every == 0 or self.iter + 1 == self.n_iter:
                self._check_finite(self.loss_sum, "The loss is")

    def _check_finite(self, value, what):
        if not torch.isfinite(value).all():
            epoch = self.first + self.epoch
            step = self._steps_before() + self.epoch * len(self.dls.train) + self.iter + 1
            raise TrainingError(
                f"{what} no longer finite at step {step} (epoch {epoch + 1}): lower the learning rate.{kept(self.run_dir)}"
            )

    def _steps_before(self):
        return self.history[self.first - 1]["step"] if self.first else 0

    def after_train(self):
        for parameter in self.model.parameters():
            self._check_finite(parameter.detach(), "The weights are")
        steps = len(self.dls.train)
        self.row = {
            "epoch": self.first + self.epoch + 1, "step": self._steps_before() + (self.epoch + 1) * steps,
            "loss": float(self.loss_sum) / steps, "learning_rate": float(self.opt.hypers[-1]["lr"]),
            "seconds": round(time.perf_counter() - self.begun, 2),
        }  # fmt: skip

    def after_validate(self):
        names, values = self.recorder.metric_names[2:-1], self.recorder.log[2:]  # no epoch, training loss, time
        self.history.append(self.row | {name: float(value) for name, value in zip(names, values, strict=True)})

    # The checkpoint ------------------------------------------------------------------------------------------------------

    @property
    def trackers(self):
        found = [cb for cb in self.learn.cbs if isinstance(cb, TrackerCallback)]
        return {f"{i} {type(cb).__name__}": cb for i, cb in enumerate(found)}

    def _hypers(self):
        return [{key: float(value) for key, value in group.items()} for group in self.opt.hypers]

    def save(self, finished=False):
        """Write the checkpoint and the history."""
        checkpoint = {
            "settings": self.described, "initial": self.initial, "finished": finished, "history": self.history,
            "epochs": len(self.history), "left": checksum(self.model) if finished else None, "hypers": self._hypers(),
            "earlier": self.phases,
        }  # fmt: skip
        if not finished:
            known = {
                name: {"best": float(cb.best), "wait": getattr(cb, "wait", 0)} for name, cb in self.trackers.items()
            }
            checkpoint |= {
                "model": self.model.state_dict(), "trackers": known,
                "state": [dict(parameter) for parameter in self.opt.state_dict()["state"]],
            }  # fmt: skip
        if self.history:
            write_atomically(self.run_dir / HISTORY, to_csv(self.history))
        write_atomically(self.run_dir / CHECKPOINT, functools.partial(torch.save, plain(checkpoint)))


def fit_learner(learn, epochs, rate, *, run_dir, method="fit_one_cycle", seed=0, settings=None, cbs=(), **options):
    """`learn.fit_one_cycle(epochs, rate, cbs=KeepRun(run_dir, seed, settings))`; returns the history, one dict per epoch.

    Args:
        rate: learning rate, or fastai's slice of them. `method` is the Learner's: "fit_one_cycle", "fine_tune", "fit", ...
        run_dir, seed, settings: see KeepRun, which says what it raises, too.
        cbs, options: for this fit alone, as in fastai.
    """
    keep = KeepRun(run_dir, seed, settings)
    keep.given = {"rate": str(rate), "method": method, "options": as_json(options)}
    getattr(learn, method)(epochs, rate, cbs=[*cbs, keep], **options)
    return keep.history


def _describe(learn):
    """What defines a fit of a Learner, as `training.identity.describe` does for `fit`."""
    names = {id(p): name for name, p in learn.model.named_parameters()}
    groups = [[names[id(p)] for p in group] for group in learn.opt.param_lists]
    given = {key: in_short(getattr(learn, key)) for key in ("opt_func", "wd", "wd_bn_bias", "train_bn", "moms")}
    schedules = {name: f for cb in learn.cbs if isinstance(cb, ParamScheduler) for name, f in cb.scheds.items()}
    constant = [
        {key: float(value) for key, value in group.items() if key not in schedules} for group in learn.opt.hypers
    ]
    others = [[type(cb).__name__, as_json(getattr(cb, "__stored_args__", {}))] for cb in learn.cbs
              if not isinstance(cb, (*COSMETIC, ParamScheduler, KeepRun))]  # fmt: skip
    pipelines = [str(getattr(learn.dls.train, name, "")) for name in ("after_item", "before_batch", "after_batch")]
    learn.model.train()  # as it will be, whatever an evaluation or DynamicUnet's construction left
    return describe_model(learn.model) | describe_data(learn.dls.train) | {
        "epochs": learn.n_epoch, "schedule": {name: _curve(f) for name, f in sorted(schedules.items())},
        "constant": constant,
        "optimizer": ", ".join(f"{key} {value}" for key, value in given.items()),
        "groups": f"{len(groups)} of {[len(group) for group in groups]} parameters {code_digest(groups)}",
        "frozen": learn.opt.frozen_idx, "loss": describe_loss(learn.loss_func, learn.model),
        "callbacks": sorted(others, key=str),
        "batch transforms": ADDRESS.sub("", " ".join(pipelines)) if isinstance(learn.dls.train, DataLoader) else "",
    }  # fmt: skip


def _curve(schedule):
    """A schedule as text: where it starts, its highest point, its end, per group of parameters, and a digest of it all."""
    values = [[float(f"{rate:.6g}") for rate in np.atleast_1d(schedule(step / 100)).tolist()] for step in range(101)]
    start, end, highest = values[0], values[-1], [max(group) for group in zip(*values, strict=True)]
    return f"{start} to {highest} to {end} {code_digest(values)}"


def _check_learner(learn):
    """Refuse, in words, what would fail in the middle or go wrong in silence."""
    own = {id(p) for p in learn.model.parameters()}
    if any(id(p) not in own for group in learn.opt.param_lists for p in group):
        raise TrainingError(
            "The Learner's optimizer holds parameters of another model: call learn.create_opt() after replacing learn.model."
        )
    require_no_attributes(learn.model)
    for loader in learn.dls.loaders:
        pipeline = getattr(loader, "after_batch", None)  # a Pipeline of transforms, or a method that does nothing
        if any(isinstance(transform, Normalize) for transform in getattr(pipeline, "fs", ())):
            raise ValueError(
                "fastai's Normalize is among the batch transforms, and normalisation is part of the network: leave it out of "
                "the DataLoaders, pass normalize=False to unet_learner, and set learn.model = Normalized(learn.model, mean, std)."
            )
    if not len(learn.dls.train):
        raise ValueError(
            f"dls.train has no batch: its data set has {len(learn.dls.train.dataset)} pictures, fewer than the batch size with "
            "drop_last=True. Use a smaller batch size."
        )
    if len(learn.dls.loaders) < 2 or not len(learn.dls.valid.dataset):
        raise ValueError(
            "dls has no validation pictures, by which each epoch is scored: keep some aside with a splitter."
        )
