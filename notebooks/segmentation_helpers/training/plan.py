"""How many steps fit into a budget of minutes."""

import copy
import json
import math
import sys
from pathlib import Path

import torch
from accelerate.utils import broadcast_object_list

from .. import environment
from ..normalized import require_no_attributes
from .files import CHECKPOINT, PLAN, as_json, read_plan, write_atomically
from .identity import describe_data, describe_loss, describe_model
from .order import EpochBatches, get_rng, loader_like, set_rng
from .process import make_accelerator, synchronised_norms
from .steps import Trainer
from .words import in_words, require_batches

WARM_UP = 3  # steps that are not counted


def plan_steps(minutes, model, train_loader, *, loss, run_dir=None, settings=None, precision=None) -> int:
    """How many steps fit into a budget of training time: measures some, on a copy of the model, and writes the plan.

    Takes the steps that `fit` takes, from the same loader, with an AdamW that changes no weight. Measures for a twentieth of
    the budget, at least 10 steps and 10 seconds, at most a minute and no longer than the budget, and counts all of that time:
    a few fast steps say little about hundreds. Counts training alone, not evaluation. Give the result to `fit(steps=...)`.

    The plan lies in `run_dir/plan.json` before the first step, precision included; a resumed run finds and keeps it, unless
    the budget, the network, the loss, the loader or the settings are others. The number of workers may change once the run
    has begun. Raises ValueError for a loader without a batch, TrainingError in words when memory runs out.
    """
    require_no_attributes(model)
    require_batches(train_loader, "train_loader")
    run_dir = Path(run_dir) if run_dir is not None else None
    plan = read_plan(run_dir)
    asked = describe_model(model) | describe_data(train_loader) | {"loss": describe_loss(loss, model)} | {
        "minutes": minutes, "settings": as_json(settings or {}), "precision": precision,
        "steps_per_epoch": len(train_loader.batch_sampler), "workers": train_loader.num_workers}  # fmt: skip
    begun = run_dir is not None and (run_dir / CHECKPOINT).is_file()
    free = {"workers": None} if begun else {}  # another machine may have another number of cores
    if "asked" in plan and plan["asked"] | free == asked | free:
        return plan["steps"]
    precision = precision or environment.best_precision()
    accelerator, rng = make_accelerator(precision), get_rng()
    accelerator.wait_for_everyone()  # all have read the plan
    try:
        a_step, measured = _measure(accelerator, copy.deepcopy(model), train_loader, loss, minutes, precision)
    finally:
        set_rng(rng)
        accelerator.free_memory()
    steps = max(1, round(60 * minutes / a_step))
    if accelerator.num_processes > 1:
        (steps,) = broadcast_object_list([steps])
    if run_dir is not None and accelerator.is_main_process:
        plan = {"asked": asked, "steps": steps, "seconds_per_step": round(a_step, 6), "measured": measured,
                "precision": precision}  # fmt: skip
        run_dir.mkdir(parents=True, exist_ok=True)
        write_atomically(run_dir / PLAN, json.dumps(plan, indent=1).encode())
    return steps


def _optimizer(model):
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.0)


def _measure(accelerator, model, train_loader, loss, minutes, precision):
    """Seconds per step, and how many were measured."""
    model.to(accelerator.device, memory_format=torch.channels_last)
    batches = EpochBatches(train_loader.batch_sampler, 0, accelerator.process_index, accelerator.num_processes)
    loader = loader_like(train_loader, batches, persistent_workers=train_loader.num_workers > 0)
    with synchronised_norms(accelerator, model):
        trainer = Trainer(accelerator, model, loader, loss, _optimizer(model), None, run_dir=None, described={}, initial=None,
                          ema=None, precision=precision)  # fmt: skip
        trainer.quiet = True
        watch = Stopwatch(trainer, least=min(max(3 * minutes, 10.0), 60.0, 60 * minutes))
        with in_words("while measuring a step", lambda: trainer.shape):
            try:
                while True:
                    trainer.train_one_epoch(sys.maxsize, math.inf, watch)
                    watch.end_of_epoch()
                    if trainer.agreed(False, watch):
                        break
            except Enough:
                pass
    return watch.seconds / watch.steps, watch.steps


class Enough(Exception):
    """A step has been measured for long enough."""


class Stopwatch:
    """In the place of fit's Interrupt: reads the Trainer's own clock after each step, and stops it in time."""

    def __init__(self, trainer, least):
        self.trainer, self.least, self.earlier, self.begun, self.told = trainer, least, 0.0, None, False
        self.steps, self.seconds = 0, 0.0

    @property
    def asked(self):
        step, seconds = self.trainer.state["step"], self.earlier + self.trainer.state["seconds"]
        if self.begun is None and step >= WARM_UP:
            self.begun = step, seconds
        if self.begun is not None:
            self.steps, self.seconds = step - self.begun[0], seconds - self.begun[1]
        return self.told or (self.steps >= 10 and self.seconds >= self.least)

    @asked.setter
    def asked(self, told):  # by another process
        self.told = told

    def obey(self):
        if self.asked:
            raise Enough

    def end_of_epoch(self):
        self.earlier += self.trainer.state["row"]["seconds"]
        self.trainer.end_of_evaluation()
