"""How many steps fit into a budget of minutes."""

import copy
import itertools
import json
import time
from pathlib import Path

import torch
from accelerate.utils import convert_to_fp32

from .. import environment
from ..normalized import require_no_attributes
from .files import PLAN, as_json, read_plan, write_atomically
from .order import get_rng, set_rng
from .process import autocast
from .words import check_batch, in_words, require_batches

WARM_UP = 3  # steps that are not counted


def plan_steps(minutes, model, train_loader, *, loss, run_dir=None, settings=None, precision=None) -> int:
    """How many steps fit into a budget of training time: measures some, on a copy of the model, and writes the plan.

    Measures for a twentieth of the budget, at least 10 steps and 10 seconds, at most a minute and no longer than the budget,
    and counts all of that time: a few fast steps say little about hundreds. The plan lies in `run_dir/plan.json` before
    the first step, precision included; a resumed run finds and keeps it, unless `settings` or the budget are others.
    Counts training alone, not evaluation. Give the result to `fit(steps=...)`. Raises ValueError for a loader without a
    batch, TrainingError in words when memory runs out.
    """
    require_no_attributes(model)
    require_batches(train_loader, "train_loader")
    asked = {"minutes": minutes, "settings": as_json(settings or {})}
    plan = read_plan(Path(run_dir) if run_dir is not None else None)
    if plan.get("asked") == asked:
        return plan["steps"]
    precision = precision or environment.best_precision()
    where, rng, shape = environment.device(), get_rng(), ()
    model = copy.deepcopy(model).to(where, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    batches, taken, begun = itertools.chain.from_iterable(itertools.repeat(train_loader)), 0, 0.0
    least = min(max(3 * minutes, 10.0), 60.0, 60 * minutes)
    with in_words("while measuring a step", lambda: shape):
        while taken < WARM_UP + 10 or time.perf_counter() - begun < least:
            if taken == WARM_UP:
                begun = time.perf_counter()
            image, mask = check_batch(next(batches))
            shape = tuple(image.shape)
            image = image.to(where, memory_format=torch.channels_last)
            with autocast(where, precision):
                output = model(image)
            optimizer.zero_grad(set_to_none=True)
            loss(convert_to_fp32(output), mask.to(where)).backward()
            optimizer.step()
            if where.type == "cuda":
                torch.cuda.synchronize()
            taken += 1
        seconds = time.perf_counter() - begun
    set_rng(rng)
    a_step = seconds / (taken - WARM_UP)
    steps = max(1, round(60 * minutes / a_step))
    if run_dir is not None:
        plan = {"asked": asked, "steps": steps, "seconds_per_step": round(a_step, 4), "measured": taken - WARM_UP,
                "precision": precision}  # fmt: skip
        Path(run_dir).mkdir(parents=True, exist_ok=True)
        write_atomically(Path(run_dir) / PLAN, json.dumps(plan, indent=1).encode())
    return steps
