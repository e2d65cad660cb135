"""Train and evaluate: a loop on accelerate that survives a lost connection, and the files that a run leaves behind."""

import contextlib
import copy
import csv
import functools
import hashlib
import io
import itertools
import json
import math
import os
import random
import re
import signal
import statistics
import threading
import time
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import convert_to_fp32, reduce
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from . import environment
from .inference import class_ids, forward_padded
from .metrics import ConfusionMatrix

CHECKPOINT, WEIGHTS, HISTORY, METRICS, PLAN = (
    "checkpoint.pt", "model.safetensors", "history.csv", "metrics.json", "plan.json")  # fmt: skip


class TrainingError(RuntimeError):
    """Training cannot go on. The message says what happened, what to change, and which checkpoint is kept."""


def fit(model, train_loader, valid_loader=None, *, loss, optimizer, epochs=None, steps=None, scheduler=None,
        run_dir=None, settings=None, seed=0, precision=None, ema=None, evaluate_every=1, checkpoint_minutes=2.0):  # fmt: skip
    """Train `model` in place; returns the history, one dict per epoch.

    Runs on whatever accelerate finds (CPU, GPU, several processes) with channels-last weights. With `run_dir` it keeps
    `history.csv` and a checkpoint there, goes on where it was stopped, and ends with `model.safetensors`: the weights
    of the last step, for choosing them by their score would flatter that score. A run that was stopped and resumed
    ends with the same bytes as one that was not (one process, same machine; on a GPU only where its operations are
    deterministic, see torch.use_deterministic_algorithms).

    Args:
        train_loader, valid_loader: DataLoaders of (image float (B, 3, H, W), mask int64 (B, H, W)).
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
    run_dir = Path(run_dir) if run_dir is not None else None
    saved = read_checkpoint(run_dir)
    precision = precision or (saved or {}).get("settings", {}).get("precision") or environment.best_precision()
    accelerator = _accelerator(precision)
    batches = _EpochBatches(train_loader.batch_sampler, seed, accelerator.process_index, accelerator.num_processes)
    if not len(batches):
        raise ValueError("train_loader has no batch: fewer pictures than batch_size with drop_last=True?")
    total = steps if steps is not None else epochs * len(batches)
    described = _describe(model, train_loader, loss, optimizer, scheduler, settings or {}) | {
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
    loader = _loader_like(train_loader, batches, persistent_workers=train_loader.num_workers > 0)
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
        with _Interrupt() as interrupt:
            while state["step"] < total:
                trainer.train_one_epoch(total, checkpoint_minutes * 60, interrupt)
                _share_buffers(accelerator, model, scored)
                epoch, last = len(state["history"]) + 1, state["step"] == total
                row = {"epoch": epoch, "step": state["step"]} | trainer.end_of_epoch()
                if valid_loader is not None and (last or epoch % evaluate_every == 0):
                    confusion = evaluate(scored, valid_loader, precision=precision)
                    row |= {"miou": confusion.miou, "pixel_accuracy": confusion.pixel_accuracy}
                state["history"].append(row)
                accelerator.print(_table_row(row, header=epoch == 1 or saved is not None), flush=True)
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
            f"{shape[0] if shape else '?'}) or image_size.{_kept(run_dir)}"
        ) from None
    finally:
        _unwrap(accelerator, wrapped)
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
            _set_rng(state["rng"])
        self.wrapped.train()
        loss_sum, begun = torch.tensor(state["loss_sum"], dtype=torch.float64), time.perf_counter()
        loss_sum, saved_at = loss_sum.to(self.accelerator.device, torch.float32), begun
        earlier = state["seconds"]
        shown = self.accelerator.is_main_process
        with environment.progress_bar(shown, total=here, initial=done, desc=f"epoch {epoch + 1}") as progress:
            for index, (image, mask) in enumerate(iterator, done + 1):
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
                    state["rng"] = _get_rng()
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
                f"lower the learning rate, or look for pictures without a single labelled pixel.{_kept(self.run_dir)}"
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


@torch.inference_mode()
def evaluate(model, loader, *, precision="fp32") -> ConfusionMatrix:
    """The confusion matrix of a model over a DataLoader of (image, mask), each pixel of each picture counted once.

    Images are padded to what the network needs and logits cut back, so padding is never scored. One-channel logits are
    binary. In several processes each takes its share of the batches and all end with the sum.
    """
    everyone = PartialState()
    device = next(model.parameters()).device
    batches = list(loader.batch_sampler)[everyone.process_index :: everyone.num_processes]
    shard = _loader_like(loader, batches)
    was_training = {module: module.training for module in model.modules()}
    model.eval()
    confusion = None
    try:
        for image, mask in shard:
            image = image.to(device, memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                logits = forward_padded(model, image)
            num_classes = max(2, logits.shape[1])
            confusion = confusion or ConfusionMatrix(num_classes)
            confusion.update(class_ids(logits), mask.to(device))
    finally:
        for module, training in was_training.items():
            module.training = training
    if everyone.num_processes > 1:
        confusion = _sum_over_processes(confusion, everyone)
    if confusion is None:
        raise ValueError("loader has no pictures to evaluate on")
    return confusion


def _sum_over_processes(confusion, everyone):
    """One process may have had no batch: agree on the number of classes first."""
    classes = torch.tensor(confusion.num_classes if confusion else 0, device=everyone.device)
    torch.distributed.all_reduce(classes, torch.distributed.ReduceOp.MAX)
    confusion = confusion or ConfusionMatrix(int(classes))
    confusion.matrix = reduce(confusion.matrix.to(everyone.device), "sum").cpu()
    return confusion


def plan_steps(minutes, model, train_loader, *, loss, run_dir=None, settings=None, precision=None) -> int:
    """How many steps fit into a budget of training time: measures a few, on a copy of the model, and writes the plan.

    The plan lies in `run_dir/plan.json` before the first step; a resumed run finds and keeps it, unless `settings` or
    the budget are others. Counts training alone, not evaluation. Give the result to `fit(steps=...)`.
    """
    asked = {"minutes": minutes, "settings": json.loads(json.dumps(settings or {}))}
    path = Path(run_dir) / PLAN if run_dir is not None else None
    if path is not None and path.is_file():
        plan = json.loads(path.read_text())
        if plan["asked"] == asked:
            return plan["steps"]
    precision = precision or environment.best_precision()
    where, rng = environment.device(), _get_rng()
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
    _set_rng(rng)
    a_step = statistics.median(seconds[2:])  # the first ones warm up
    steps = max(1, round(60 * minutes / a_step))
    if path is not None:
        plan = {"asked": asked, "steps": steps, "seconds_per_step": round(a_step, 4)}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(plan, indent=1).encode())
    return steps


def set_epoch(dataset, epoch):
    """Tell a data set, through Subset and ConcatDataset, which epoch begins: its augmentation depends on it."""
    if hasattr(dataset, "set_epoch"):
        dataset.set_epoch(epoch)
    for inner in [getattr(dataset, "dataset", None), *getattr(dataset, "datasets", [])]:
        if inner is not None:
            set_epoch(inner, epoch)


# Weights, files ------------------------------------------------------------------------------------------------------


def save_weights(model, path) -> None:
    """Write a model's parameters and buffers as safetensors, atomically (no pickle, nothing that runs on loading)."""
    path = Path(path)
    draft = path.with_name(f".{path.name}.part")
    safetensors.torch.save_model(model, str(draft))
    os.replace(draft, path)


def load_weights(model, path) -> None:
    """Load what `save_weights` wrote; every key must fit. Raises TrainingError naming the file."""
    try:
        safetensors.torch.load_model(model, str(path), device=str(next(model.parameters()).device))
    except FileNotFoundError:
        raise TrainingError(f"{path} is missing: train first, or correct the path.") from None
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise TrainingError(f"{path} does not fit this model: {str(error).strip()[:500]}") from None


def save_metrics(run_dir, confusion, *, notebook, dataset, split, classes, model, history, seed, precision, **more):
    """Write `metrics.json`: scores (0..1), what was run, on what, how long; `more` adds to it. Returns all of it."""
    metrics = {
        "notebook": notebook, "dataset": dataset, "split": split, "classes": list(classes),
        "iou": [None if v != v else round(v, 6) for v in confusion.iou.tolist()], "miou": round(confusion.miou, 6),
        "pixel_accuracy": round(confusion.pixel_accuracy, 6), "parameters": sum(p.numel() for p in model.parameters()),
        "epochs": len(history), "steps": history[-1].get("step") if history else None,
        "train_seconds": round(sum(row.get("seconds", 0) for row in history), 1), "seed": seed,
        "device": environment.processor(), "precision": precision, "versions": environment.versions(),
        "command": os.environ.get("SEGMENTATION_COMMAND", f"Run All in {notebook}.ipynb"),
    } | more  # fmt: skip
    run_dir = Path(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(run_dir / METRICS, (json.dumps(metrics, indent=1) + "\n").encode())
    if not (run_dir / HISTORY).is_file():
        write_atomically(run_dir / HISTORY, to_csv(history))
    return metrics


def runs_like(metrics) -> list[dict]:
    """The runs kept in `results/` on the same data set, split and classes, one of each other notebook's, then this.

    Of a notebook's runs, the one that trained for about as long as this one.
    """
    others = {}
    for path in sorted((environment.ROOT / "results").glob("*.json")):
        run = json.loads(path.read_text())
        alike = all(run.get(key) == metrics.get(key) for key in ("dataset", "split", "classes", "valid"))
        if alike and run["notebook"] != metrics["notebook"]:
            others.setdefault(run["notebook"], []).append(run)

    def distance(run):
        return abs(math.log((run["train_seconds"] + 1) / (metrics["train_seconds"] + 1)))

    return [*(min(runs, key=distance) for runs in others.values()), metrics]


def write_atomically(path, content) -> None:
    """Write a file so that it holds the old content or the new at any moment, even if the power fails.

    `content` is bytes, or a function that writes them to the open file it is given.
    """
    path = Path(path)
    draft = path.with_name(f".{path.name}.part")
    with draft.open("wb") as file:
        content(file) if callable(content) else file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def to_csv(history) -> bytes:
    columns = list(dict.fromkeys(key for row in history for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue().encode()


def read_checkpoint(run_dir):
    """The run's checkpoint, or None. A finished run without its weights counts as none."""
    path = run_dir / CHECKPOINT if run_dir is not None else None
    if path is None or not path.is_file():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TrainingError(f"{path} cannot be read ({type(error).__name__}): delete it to start anew.") from error
    return saved if not saved["finished"] or (run_dir / WEIGHTS).is_file() else None


def keep_aside(run_dir, old, new):
    """Move the files of a run with other settings to previous-1, previous-2, ...; say so."""
    number = 1 + max([int(p.name.rpartition("-")[2]) for p in run_dir.glob("previous-*")], default=0)
    folder = run_dir / f"previous-{number}"
    folder.mkdir()
    changed = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    for name in (WEIGHTS, HISTORY, METRICS, "predictions.png", CHECKPOINT):  # the checkpoint last: nothing is lost
        with contextlib.suppress(FileNotFoundError):
            os.replace(run_dir / name, folder / name)
    words = [f"{key} was {old.get(key)!s:.60}, is {new.get(key)!s:.60}" for key in changed]
    print(f"Other settings than before ({'; '.join(words)}): starting anew; the earlier run is in "
          f"{environment.shown(folder)}.")  # fmt: skip


def _kept(run_dir):
    if run_dir is None:
        return " No run_dir was given, so no checkpoint was kept."
    if not (run_dir / CHECKPOINT).is_file():
        return " There is no checkpoint yet."
    return f" The last checkpoint is kept: {environment.shown(run_dir / CHECKPOINT)}."


def _describe(model, train_loader, loss, optimizer, scheduler, settings):
    """What a checkpoint must agree on to be gone on with, as plain values."""
    shapes = "".join(f"{key}{tuple(value.shape)}" for key, value in model.state_dict().items())
    named = {
        "model": f"{type(model).__name__} {hashlib.sha256((shapes + repr(model)).encode()).hexdigest()[:12]}",
        "loss": getattr(loss, "__qualname__", None) or repr(loss),
        "optimizer": f"{type(optimizer).__name__} " + repr(
            [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]),
        "scheduler": repr(scheduler and {k: v for k, v in scheduler.state_dict().items() if not k.startswith("_")}),
        "pictures": len(train_loader.dataset),
        "transform": repr(getattr(train_loader.dataset, "transform", None)),
    }  # fmt: skip
    for key, value in named.items():  # memory addresses differ from run to run
        named[key] = re.sub(r" at 0x[0-9a-f]+", "", value) if isinstance(value, str) else value
    return named | json.loads(json.dumps(settings, default=str))


# Order, randomness, interruption, display ----------------------------------------------------------------------------


def epoch_seed(seed, epoch) -> int:
    """The seed of one epoch of a run: a run that is resumed needs no generator's state."""
    return (1_000_003 * seed + epoch) % 2**31


class _EpochBatches:
    """This process's batches of one epoch, from `start` to `stop`, in an order that depends on (seed, epoch) alone."""

    def __init__(self, sampler, seed, rank, world):
        self.sampler, self.seed, self.rank, self.world = sampler, seed, rank, world
        self.epoch, self.start, self.stop = 0, 0, None

    def __len__(self):
        return math.ceil(len(self.sampler) / self.world)

    def __iter__(self):
        generator = getattr(getattr(self.sampler, "sampler", None), "generator", None)
        if generator is not None:
            generator.manual_seed(epoch_seed(self.seed, self.epoch))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(epoch_seed(self.seed, self.epoch))
            batches = list(self.sampler)
        batches += batches[: -len(batches) % self.world]  # every process takes the same number of steps
        return iter(batches[self.rank :: self.world][self.start : self.stop])


def _loader_like(loader, batches, **options):
    """The same data in other batches; workers leave Ctrl-C to the process that started them."""
    init = functools.partial(_init_worker, loader.worker_init_fn)
    return DataLoader(
        loader.dataset, batch_sampler=batches, num_workers=loader.num_workers, collate_fn=loader.collate_fn,
        pin_memory=torch.cuda.is_available(), multiprocessing_context=loader.multiprocessing_context,
        worker_init_fn=init, **options)  # fmt: skip


def _init_worker(then, number):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if then is not None:
        then(number)


def _accelerator(precision):
    if precision not in ("fp32", "bf16"):
        raise ValueError(f'precision is "{precision}", but must be "fp32" or "bf16"')
    AcceleratorState._reset_state()  # an earlier fit may have used another precision; the process group stays
    return Accelerator(mixed_precision="bf16" if precision == "bf16" else "no")


def _share_buffers(accelerator, *models):
    """Each process has running statistics of its own batches: take the first one's everywhere."""
    if accelerator.num_processes > 1:
        for buffer in itertools.chain.from_iterable(model.buffers() for model in models):
            torch.distributed.broadcast(buffer, 0)


def _unwrap(accelerator, wrapped):
    """Give the model back as it came: without accelerate's mixed-precision forward."""
    model = accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
    model.__dict__.pop("forward", None)
    accelerator.free_memory()


def _get_rng():
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    state = {"torch": torch.get_rng_state(), "python": random.getstate(), "numpy": (kind, keys.tolist(), *rest)}
    return state | ({"cuda": torch.cuda.get_rng_state_all()} if torch.cuda.is_available() else {})


def _set_rng(state):
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


class _Interrupt:
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


def _table_row(row, header=False):
    columns = {
        "epoch": ("epoch", "{:>5}"), "loss": ("   loss", "{:>7.4f}"), "miou": ("  mIoU", "{:>6.4f}"),
        "pixel_accuracy": ("pixel accuracy", "{:>14.4f}"), "learning_rate": ("learning rate", "{:>13.2e}"),
        "seconds": ("seconds", "{:>7.1f}"),
    }  # fmt: skip
    cells = [form.format(row[key]) if key in row else " " * len(name) for key, (name, form) in columns.items()]
    head = "  ".join(name for name, _ in columns.values()) + "\n" if header else ""
    return head + "  ".join(cells)
