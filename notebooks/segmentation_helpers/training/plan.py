"""How many steps fit into a budget of minutes."""

import copy
import itertools
import json
import statistics
import time
from pathlib import Path

import torch
from accelerate.utils import convert_to_fp32

from .. import environment
from ..normalized import require_no_attributes
from .files import PLAN, write_atomically
from .order import get_rng, set_rng


def plan_steps(minutes, model, train_loader, *, loss, run_dir=None, settings=None, precision=None) -> int:
    """How many steps fit into a budget of training time: measures a few, on a copy of the model, and writes the plan.

    The plan lies in `run_dir/plan.json` before the first step; a resumed run finds and keeps it, unless `settings` or
    the budget are others. Counts training alone, not evaluation. Give the result to `fit(steps=...)`.
    """
    require_no_attributes(model)
    asked = {"minutes": minutes, "settings": json.loads(json.dumps(settings or {}))}
    path = Path(run_dir) / PLAN if run_dir is not None else None
    if path is not None and path.is_file():
        plan = json.loads(path.read_text())
        if plan["asked"] == asked:
            return plan["steps"]
    precision = precision or environment.best_precision()
    where, rng = environment.device(), get_rng()
    model = copy.deepcopy(model).to(where, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters())
    batches, seconds = itertools.chain.from_iterable(itertools.repeat(train_loader)), []
    while len(seconds) < 5 or (len(seconds) < 20 and sum(seconds) < 10):
        start = time.perf_counter()
        image, mask = (x.to(where) for x in next(batches))
        with torch.autocast(where.type, torch.bfloat16, enabled=precision == "bf16"):
            output = model(image.contiguous(memory_format=torch.channels_last))
        optimizer.zero_grad(set_to_none=True)
        loss(convert_to_fp32(output), mask).backward()
        optimizer.step()
        if where.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    set_rng(rng)
    a_step = statistics.median(seconds[2:])  # the first ones warm up
    steps = max(1, round(60 * minutes / a_step))
    if path is not None:
        plan = {"asked": asked, "steps": steps, "seconds_per_step": round(a_step, 4)}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(plan, indent=1).encode())
    return steps
