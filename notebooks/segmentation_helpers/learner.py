"""What fastai's Learner lacks here: bfloat16 on any device, mIoU over the data set, and going on after a lost connection.

Explained in `11_unet_fastai`, used wherever fastai trains.
"""

import functools
import random
import time
from pathlib import Path

import torch
from fastai.callback.core import Callback, CancelEpochException, TrainEvalCallback
from fastai.callback.progress import CSVLogger, ProgressCallback, ShowGraphCallback
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
from .training.lock import alone_in_its_folder

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


@alone_in_its_folder
def fit_learner(learn, epochs, rate, *, run_dir, method="fit_one_cycle", seed=0, settings=None, cbs=(), **options):
    """`learn.fit_one_cycle(epochs, rate)` that writes a checkpoint an epoch; returns the history, one dict per epoch.

    Run again after a lost connection, it goes on with the epoch that was lost, and a finished run only loads its weights.
    On a CPU both end with the bytes of a run that was never stopped. However it ends, the model then holds the weights of
    its checkpoint: those of the last whole epoch, or of the end. The optimizer starts with no memory of earlier fits.

    Images lie in 0..1 until they enter the network: set `learn.model = Normalized(learn.model, mean, std)`, whose
    parameter groups fastai's splitters find as before, and leave fastai's own Normalize out.

    Args:
        rate: learning rate, or fastai's slice of them. `method` is the Learner's: "fit_one_cycle", "fit", ...
        run_dir: gets checkpoint.pt, history.csv and, at the end, model.safetensors. One folder a fit.
        settings: what else defines this run (a dict for JSON). It is the same run as for `fit`: settings, network, what trains,
            optimizer, batches, callbacks, the loss, and weights that the run began with or left in the model. Any other is kept
            aside; so is a finished one whose model.safetensors is gone.
        cbs, options: for this fit alone, as in fastai.

    Raises ValueError, in words, for DataLoaders without a batch to train on or without validation pictures, and for
    "fine_tune", which is two trainings; TrainingError where the loss is no longer finite, or another fit trains in run_dir.
    """
    run_dir, model = Path(run_dir), learn.model
    _check_learner(learn, method)
    if learn.opt is None:
        learn.create_opt()
    _check_optimizer(learn)
    learn.opt.clear_state()
    described = _describe(learn, epochs, rate, method, [*learn.cbs, *cbs], options) | {
        "seed": seed, "settings": as_json(settings or {}), "format": FORMAT}  # fmt: skip
    saved, now = read_checkpoint(run_dir), checksum(model)
    other = [] if saved is None else differences(saved, described, now)
    if saved is not None and not other and saved["finished"] and not (run_dir / WEIGHTS).is_file():
        other = [f"its {WEIGHTS} is missing"]
    if other:
        steps = epochs * len(learn.dls.train)
        around = (steps - len(learn.dls.train), steps + len(learn.dls.train))  # a plan is rounded to whole epochs
        keep_aside(run_dir, other, carried_on=now == left_by(saved), steps=around)
        saved = None
    if saved is not None and saved["finished"]:
        load_weights(model, run_dir / WEIGHTS)
        print(f"{environment.shown(run_dir)} holds this run, finished: weights loaded, nothing to train.")
        return saved["history"]
    run_dir.mkdir(parents=True, exist_ok=True)
    keeper = _Keeper(model, run_dir, described, seed, saved, saved["initial"] if saved else now)
    learn._do_fit = keeper.remaining_epochs  # fastai's own start_epoch would call the trackers for epochs it leaves out
    try:
        with remembered(run_dir, model, learn.dls.train, learn.loss_func):
            getattr(learn, method)(epochs, rate, cbs=[*cbs, keeper], **options)
    except BaseException:
        if (left := read_checkpoint(run_dir)) is not None:
            model.load_state_dict(left["model"])
        raise
    finally:
        del learn._do_fit
    save_weights(model, run_dir / WEIGHTS)
    keeper.save(finished=True)
    return keeper.history


def _describe(learn, epochs, rate, method, callbacks, options):
    """What defines a run of a Learner, as `training.identity.describe` does for `fit`."""
    names = {id(p): name for name, p in learn.model.named_parameters()}
    groups = [[names[id(p)] for p in group] for group in learn.opt.param_lists]
    given = {key: in_short(getattr(learn, key)) for key in ("opt_func", "wd", "wd_bn_bias", "train_bn", "moms")}
    kept = [[type(cb).__name__, as_json(getattr(cb, "__stored_args__", {}))] for cb in callbacks
            if not isinstance(cb, COSMETIC)]  # fmt: skip
    pipelines = [str(getattr(learn.dls.train, name, "")) for name in ("after_item", "before_batch", "after_batch")]
    return describe_model(learn.model) | describe_data(learn.dls.train) | {
        "epochs": epochs, "rate": str(rate), "method": method, "options": as_json(options),
        "optimizer": ", ".join(f"{key} {value}" for key, value in given.items()),
        "groups": f"{len(groups)} of {[len(group) for group in groups]} parameters {code_digest(groups)}",
        "frozen": learn.opt.frozen_idx, "loss": describe_loss(learn.loss_func, learn.model),
        "callbacks": sorted(kept, key=str),
        "batch transforms": ADDRESS.sub("", " ".join(pipelines)) if isinstance(learn.dls.train, DataLoader) else "",
    }  # fmt: skip


def _check_optimizer(learn):
    """Raise TrainingError where the optimizer trains another model's parameters."""
    own = {id(p) for p in learn.model.parameters()}
    if any(id(p) not in own for group in learn.opt.param_lists for p in group):
        raise TrainingError(
            "The Learner's optimizer holds parameters of another model: call learn.create_opt() after replacing learn.model."
        )


def _check_learner(learn, method):
    """Refuse, in words, what would fail in the middle or go wrong in silence."""
    if method == "fine_tune":
        raise ValueError(
            'method="fine_tune" trains twice, and a folder holds one training: call fit_learner twice, as fine_tune does. First '
            "learn.freeze() and fit_learner(learn, 1, rate, pct_start=0.99, ...), then learn.unfreeze() and fit_learner(learn, "
            "epochs, slice(rate / 200, rate / 2), pct_start=0.3, div=5.0, ...), each with a run_dir of its own."
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


class _Keeper(Callback):
    """Seeds each epoch, writes its row of the history and its checkpoint, and puts a saved state back."""

    order = 65  # after the Recorder (50) and the trackers (60 to 63), of which it keeps what they know

    def __init__(self, network, run_dir, settings, seed, saved, initial):
        self.network = network  # learn.model, known after the fit, too
        self.run_dir, self.settings, self.seed, self.saved, self.initial = run_dir, settings, seed, saved, initial
        self.history, self.begun = saved["history"] if saved else [], False
        self.look_every = 1 if next(network.parameters()).device.type == "cpu" else 20  # looking makes a GPU wait

    @property
    def trackers(self):
        found = [cb for cb in self.learn.cbs if isinstance(cb, TrackerCallback)]
        return {f"{i} {type(cb).__name__}": cb for i, cb in enumerate(found)}

    def before_fit(self):
        if self.begun:
            raise ValueError(
                "This method trains more than once: call fit_learner for each training, with its own run_dir."
            )
        self.begun = True
        if self.saved is None:
            self.save()
            return
        self.model.load_state_dict(self.saved["model"])
        self.opt.load_state_dict({"state": self.saved["state"], "hypers": L(self.saved["hypers"])})
        for name, values in self.saved["trackers"].items():
            vars(self.trackers[name]).update(values)
        print(f"Going on after epoch {len(self.history)}, from {environment.shown(self.run_dir)}.")

    def remaining_epochs(self):
        if self.history and getattr(getattr(self.learn, "progress", None), "mbar", None):
            self.learn.progress.mbar.update(0)  # a bar cannot begin in the middle
        for epoch in range(len(self.history), self.n_epoch):
            self.learn.epoch = epoch
            self.learn._with_events(self.learn._do_epoch, "epoch", CancelEpochException)

    def before_train(self):
        seed = epoch_seed(self.seed, self.epoch)
        environment.seed_everything(seed)
        self.dls.train.rng = random.Random(seed)  # fastai's loaders shuffle with a generator of their own
        set_epoch(self.dls.train.dataset, self.epoch)
        self.loss_sum, self.begun = 0.0, time.perf_counter()

    def before_batch(self):
        if self.training and self.iter == 0:
            check_unit_range(self.xb[0].as_subclass(torch.Tensor), self.model)

    def after_batch(self):
        if self.training:
            self.loss_sum += self.loss.detach().float()
            if (self.iter + 1) % self.look_every == 0 or self.iter + 1 == self.n_iter:
                self.check_finite(self.loss_sum, "The loss is")

    def check_finite(self, value, what):
        if not torch.isfinite(value).all():
            step = self.epoch * len(self.dls.train) + self.iter + 1
            raise TrainingError(
                f"{what} no longer finite at step {step} (epoch {self.epoch + 1}): lower the learning rate."
                f"{kept(self.run_dir)}"
            )

    def after_train(self):
        for parameter in self.model.parameters():
            self.check_finite(parameter.detach(), "The weights are")
        steps = len(self.dls.train)
        self.row = {"epoch": self.epoch + 1, "step": (self.epoch + 1) * steps, "loss": float(self.loss_sum) / steps}
        self.row |= {
            "learning_rate": float(self.opt.hypers[-1]["lr"]),
            "seconds": round(time.perf_counter() - self.begun, 2),
        }

    def after_validate(self):
        names, values = self.recorder.metric_names[2:-1], self.recorder.log[2:]  # without epoch, training loss, time
        self.history.append(self.row | {name: float(value) for name, value in zip(names, values, strict=True)})

    def after_epoch(self):
        self.save()

    def save(self, finished=False):
        checkpoint = {
            "settings": self.settings, "initial": self.initial, "finished": finished, "history": self.history,
            "left": checksum(self.network) if finished else None,
        }  # fmt: skip
        if not finished:
            state = self.opt.state_dict()
            known = {
                name: {"best": float(cb.best), "wait": getattr(cb, "wait", 0)} for name, cb in self.trackers.items()
            }
            checkpoint |= {
                "model": self.model.state_dict(), "trackers": known,
                "state": [dict(parameter) for parameter in state["state"]],
                "hypers": [{key: float(value) for key, value in group.items()} for group in state["hypers"]],
            }  # fmt: skip
        if self.history:
            write_atomically(self.run_dir / HISTORY, to_csv(self.history))
        write_atomically(self.run_dir / CHECKPOINT, functools.partial(torch.save, plain(checkpoint)))
