"""What an optimizer and its scheduler will do: the settings of every step, found by going through them on copies."""

import collections
import contextlib
import copy
import functools
import hashlib
import random
import types
import warnings
import weakref

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from .digest import code_digest
from .files import TrainingError
from .order import get_rng, set_rng

LIMIT = 50_000  # settings of a group that are looked at; of longer schedules the code counts, too
_left = weakref.WeakKeyDictionary()  # optimizer -> its scheduler, both when a fit began, their state when it ended


def check_parts(model, loss, optimizer, scheduler) -> dict:
    """The names of all parameters, by id. Raises TrainingError where optimizer, scheduler and model do not belong together."""
    names = {id(p): f"loss.{name}" for name, p in module_of(loss).named_parameters()}
    names |= {id(p): name for name, p in model.named_parameters()}
    held = [p for group in optimizer.param_groups for p in group["params"]]
    foreign = sum(id(p) not in names for p in held)
    if foreign:
        raise TrainingError(
            f"{foreign} of the optimizer's {len(held)} parameters do not belong to the model: create the optimizer (and the "
            "scheduler) again after the model. Parameters of a loss are allowed where the loss is an nn.Module that holds them."
        )
    if getattr(scheduler, "optimizer", optimizer) is not optimizer:
        raise TrainingError("The scheduler belongs to another optimizer: create it again after the optimizer.")
    return names


def module_of(loss) -> nn.Module:
    """The module that a loss is, or whose method it is; one without parameters where there is none."""
    while isinstance(loss, (functools.partial, types.MethodType)):
        loss = loss.func if isinstance(loss, functools.partial) else loss.__self__
    return loss if isinstance(loss, nn.Module) else nn.Identity()


class Schedule:
    """Optimizer and scheduler as they were when their run began, without weights.

    If an earlier fit of this process left them (it was interrupted, or has ended) and nobody changed them since, that is
    how they were at its start: so the cell that calls fit can be run again alone.
    """

    def __init__(self, optimizer, scheduler):
        self.optimizer, self.scheduler = optimizer, scheduler
        other, begun, state = _left.get(optimizer, (None, None, None))
        same = begun is not None and (other() if other else None) is scheduler
        self.known = same and state == _state(optimizer, scheduler)
        self.fresh = self.known or not optimizer.state
        try:
            self.begun = begun if self.known else _copies(optimizer, scheduler)
            self.copied = True
        except Exception:  # a scheduler that holds what cannot be copied: its code and its settings have to do
            self.begun, self.copied = (optimizer, scheduler), False

    def groups(self, names) -> str:
        """The parameters of each group and its settings, in words."""
        if len(self.optimizer.param_groups) != len(self.begun[0].param_groups):
            raise TrainingError("The optimizer gained a parameter group during training: create it again.")
        words = []
        for group, first in zip(self.optimizer.param_groups, self.begun[0].param_groups, strict=True):
            held = [names[id(p)] for p in group["params"]]
            words.append(f"{settings_of(first)} for {len(held)} parameters {code_digest(held)}")
        return f"{type(self.optimizer).__name__} " + "; ".join(words)

    def rates(self, steps) -> str:
        """What the scheduler does in so many steps, in words."""
        if self.scheduler is None:
            return "none"
        rows = self.rows(steps)
        words = [type(self.scheduler).__name__]
        if rows:
            rate = [float(row.split()[0]) for row in rows]
            words += [f"from {rate[0]:g} to {rate[-1]:g}, at most {max(rate):g},", _digest(rows)]
        if len(rows) < steps:
            words.append(code_digest(self.begun[1], apart=[self.begun[0]]))
        return " ".join(words)

    def rows(self, steps, saved=None) -> list[str]:
        """The settings in each of the first `steps` steps, as text; fewer where that cannot be known in advance.

        `saved`: as they are when optimizer and scheduler go on from a checkpoint; then only those that are still to come.
        """
        if isinstance(self.scheduler, ReduceLROnPlateau) or not self.copied:
            return []
        optimizer, scheduler = _copies(*self.begun)
        rows, taken = [], 0
        with _alone():
            if saved is not None:
                for group, old in zip(optimizer.param_groups, saved["optimizer"]["param_groups"], strict=True):
                    group |= {key: value for key, value in old.items() if key != "params"}
                scheduler.load_state_dict(copy.deepcopy(saved["scheduler"]))
                taken = saved["scheduler"].get("last_epoch", saved["state"]["step"])
            for _ in range(taken, min(steps, LIMIT // len(optimizer.param_groups))):
                rows.append(" ".join(_numbers(optimizer)))
                try:
                    scheduler.step()
                except Exception:  # it ends here, or cannot be gone through without training
                    break
        return rows

    def continues(self, saved, steps) -> bool:
        """Whether the scheduler, when it goes on from a checkpoint, does what it would do in a run of `steps` steps."""
        if self.scheduler is None:
            return True
        whole, rest = self.rows(steps), self.rows(steps, saved)
        return rest == whole[len(whole) - len(rest) :]

    def rewind(self):
        """Make optimizer and scheduler what they were when their run began, if an earlier fit left them."""
        if not self.known:
            return
        for group, first in zip(self.optimizer.param_groups, self.begun[0].param_groups, strict=True):
            for key, value in first.items():
                if key != "params" and isinstance(group.get(key), torch.Tensor):
                    group[key].copy_(value)
                elif key != "params":
                    group[key] = copy.deepcopy(value)
        self.optimizer.state.clear()
        if self.scheduler is not None:
            self.scheduler.load_state_dict(copy.deepcopy(self.begun[1].state_dict()))

    def leave(self):
        """Remember, when a fit ends, how it left optimizer and scheduler; not where it began with an optimizer's memory."""
        if not self.fresh or not self.copied:
            return
        other = weakref.ref(self.scheduler) if self.scheduler is not None else None
        _left[self.optimizer] = (other, self.begun, _state(self.optimizer, self.scheduler))


def settings_of(group) -> str:
    """The settings of a parameter group in words, without those that are None or off."""
    numbers = {key: _plain(value) for key, value in group.items() if key != "params"}
    return ", ".join(f"{key} {value}" for key, value in numbers.items() if value is not None and value is not False)


def _copies(optimizer, scheduler):
    """Copies of both that share nothing with them and hold no weights."""
    memo = {id(p): nn.Parameter(torch.zeros(())) for group in optimizer.param_groups for p in group["params"]}
    memo[id(optimizer.state)] = collections.defaultdict(dict)
    return copy.deepcopy((optimizer, scheduler), memo)


def _state(optimizer, scheduler) -> str:
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    return code_digest((groups, scheduler.state_dict() if scheduler is not None else None))


def _numbers(optimizer):
    """All settings of all groups that are numbers, the learning rate of the last group first."""
    for group in reversed(optimizer.param_groups):
        for key in sorted(group, key=lambda key: (key != "lr", key)):
            value = group[key]
            for item in value if isinstance(value, (tuple, list)) and key != "params" else [value]:
                if isinstance(_plain(item), (int, float)):
                    yield f"{_plain(item):.6g}"  # six digits: another machine rounds otherwise


@contextlib.contextmanager
def _alone():
    """Random numbers as they were, and always the same within; no warnings of steps that were not taken."""
    rng = get_rng()
    torch.manual_seed(0), random.seed(0), np.random.seed(0)  # noqa: NPY002
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        set_rng(rng)


def _digest(rows) -> str:
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:12]


def _plain(value):
    """numpy's numbers and tensors of one number as Python's: a rate from np.logspace is the number itself."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
