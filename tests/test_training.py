"""fit and evaluate: killed, interrupted, resumed, started with other settings, in two processes, out of memory."""

import copy
import csv
import itertools
import json
import math
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import warnings
import weakref
from pathlib import Path

import pytest
import torch
from accelerate.state import PartialState
from torch import nn
from torch.utils.data import DataLoader, Subset

import training_run
from segmentation_helpers import environment
from segmentation_helpers.metrics import ConfusionMatrix
from segmentation_helpers.training import (
    TrainingError,
    compared,
    evaluate,
    fit,
    load_weights,
    plan_steps,
    runs_like,
    save_metrics,
    save_weights,
    set_epoch,
    write_atomically,
)
from training_run import Squares, cross_entropy, loaders, small_model, train

PAUSE = 0.02  # seconds a step rests in the runs that are killed, so that there is time to kill them


@pytest.fixture(autouse=True)
def on_the_cpu(request, monkeypatch):
    """Exactness is promised on one machine's CPU; a GPU has a test of its own."""
    if "on_the_gpu" not in request.keywords:
        monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    PartialState._reset_state()
    yield
    PartialState._reset_state()


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def sgd(model, rate=0.05):
    return torch.optim.SGD(model.parameters(), rate, momentum=0.9)


def weights_of(folder):
    return (Path(folder) / "model.safetensors").read_bytes()


# Killed and resumed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_killed_twenty_times_ends_byte_for_byte_like_an_undisturbed_one(tmp_path, precision, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    context = multiprocessing.get_context("forkserver")  # which has imported torch: a new process starts at once
    context.set_forkserver_preload(["training_run"])
    started, rng = tmp_path / "started", random.Random(precision)
    options = {"started": started, "pause": PAUSE, "checkpoint_minutes": 0.0005}
    options["ema"] = 0.9 if precision == "bf16" else None  # the moving average of the weights is resumed, too

    def start(folder):
        started.unlink(missing_ok=True)
        process = context.Process(target=train, args=(tmp_path / folder, precision), kwargs=options)
        process.start()
        while not started.exists() and process.is_alive():
            time.sleep(0.002)
        return process, time.monotonic()

    process, begun = start("undisturbed")
    process.join()
    whole = time.monotonic() - begun
    assert process.exitcode == 0
    for kill in range(20):
        process, _ = start("killed")
        time.sleep(rng.uniform(0, whole / 20))
        assert process.is_alive(), f"it ended before kill {kill + 1}"
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    process, _ = start("killed")
    process.join()
    assert process.exitcode == 0
    assert weights_of(tmp_path / "killed") == weights_of(tmp_path / "undisturbed")
    histories = [[row | {"seconds": None} for row in csv.DictReader((tmp_path / name / "history.csv").open())]
                 for name in ("killed", "undisturbed")]  # fmt: skip
    assert histories[0] == histories[1] and len(histories[0]) == 12
    assert sorted(p.name for p in (tmp_path / "killed").iterdir()) == [
        "checkpoint.pt",
        "history.csv",
        "model.safetensors",
    ]


@pytest.mark.parametrize("after", [3, 6, 8])  # within an epoch, at the end of the first, within the second
def test_control_c_finishes_the_step_and_keeps_a_checkpoint(tmp_path, capsys, after):
    train(tmp_path / "undisturbed", "fp32", epochs=3)
    steps = itertools.count(1)

    def stop(*_):
        if next(steps) == after:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="run it again to go on"):
        train(tmp_path / "stopped", "fp32", epochs=3, after_step=stop)
    assert next(steps) == after + 1, "not one step more"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    train(tmp_path / "stopped", "fp32", epochs=3)
    assert f"Going on after step {after} of 18" in capsys.readouterr().out
    assert weights_of(tmp_path / "stopped") == weights_of(tmp_path / "undisturbed")


def test_workers_make_no_difference_and_outlive_control_c(tmp_path):
    def run(folder, workers, after_step=None):
        model = small_model()
        loader, optimizer = DataLoader(Squares(), batch_size=4, shuffle=True, num_workers=workers), sgd(model)
        if after_step:
            optimizer.register_step_post_hook(after_step)
        fit(
            model,
            loader,
            loss=cross_entropy,
            optimizer=optimizer,
            epochs=2,
            run_dir=tmp_path / folder,
            precision="fp32",
        )

    def interrupt(*_):
        if not (tmp_path / "asked").exists():
            (tmp_path / "asked").touch()
            for process in [*multiprocessing.active_children(), multiprocessing.current_process()]:
                os.kill(process.pid, signal.SIGINT)  # as a terminal does: to the workers, too

    run("none", 0)
    with pytest.raises(KeyboardInterrupt):
        run("two", 2, interrupt)
    run("two", 2)
    assert weights_of(tmp_path / "none") == weights_of(tmp_path / "two")


# Settings ------------------------------------------------------------------------------------------------------------


def test_other_settings_start_anew_and_keep_the_old_run(tmp_path, capsys):
    train(tmp_path, "fp32", epochs=1)
    old = weights_of(tmp_path)
    train(tmp_path, "fp32", epochs=2)  # of the cosine schedule, which depends on the number of steps
    printed = capsys.readouterr().out
    assert "steps was 6, is 12" in printed and "previous-1" in printed and "starting anew" in printed
    assert weights_of(tmp_path / "previous-1") == old != weights_of(tmp_path)
    train(tmp_path, "fp32", epochs=2, settings={"image_size": 64})
    assert "image_size was None, is 64" in capsys.readouterr().out
    assert (tmp_path / "previous-2/checkpoint.pt").is_file()


def test_a_finished_run_is_not_trained_again(tmp_path, capsys):
    trained, history = train(tmp_path, "fp32", epochs=2)
    stamp = (tmp_path / "model.safetensors").stat().st_mtime_ns
    taken = []
    model, again = train(tmp_path, "fp32", epochs=2, after_step=lambda *_: taken.append(1))
    assert not taken and again == history
    assert "nothing to train" in capsys.readouterr().out
    assert all(
        torch.equal(a, b) for a, b in zip(trained.state_dict().values(), model.state_dict().values(), strict=True)
    )
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == stamp
    (tmp_path / "model.safetensors").unlink()
    train(tmp_path, "fp32", epochs=2)
    assert (tmp_path / "model.safetensors").is_file(), "lost weights are trained again"


def test_the_precision_of_a_checkpoint_is_kept(tmp_path, monkeypatch):
    train(tmp_path, "bf16", epochs=1)
    monkeypatch.setattr(environment, "best_precision", lambda: "fp32")
    _, history = train(tmp_path, None, epochs=1)
    assert not list(tmp_path.glob("previous-*")) and len(history) == 1


def test_a_damaged_checkpoint_is_named(tmp_path):
    train(tmp_path, "fp32", epochs=1)
    (tmp_path / "checkpoint.pt").write_bytes(b"damaged")
    with pytest.raises(TrainingError, match=r"checkpoint\.pt cannot be read.*delete it"):
        train(tmp_path, "fp32", epochs=1)


def test_seeds_steps_and_schedules(tmp_path):
    rates = []

    def run(seed=0, **length):
        model = small_model()
        optimizer = sgd(model)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rates.append(step) or 1 / (1 + step))
        history = fit(model, *loaders(), loss=cross_entropy, optimizer=optimizer, scheduler=scheduler, seed=seed,
                      precision="fp32", **length)  # fmt: skip
        return model[0].weight.detach().clone(), history

    first, history = run(epochs=2)
    assert [row["step"] for row in history] == [6, 12] and rates == list(range(13)), "stepped once per batch"
    assert torch.equal(first, run(steps=12)[0]) and not torch.equal(first, run(epochs=2, seed=1)[0])
    _, cut = run(steps=8)
    assert [row["step"] for row in cut] == [6, 8] and "miou" in cut[-1]
    _, sparse = run(epochs=3, evaluate_every=2)
    assert ["miou" in row for row in sparse] == [False, True, True]
    for wrong in ({}, {"epochs": 1, "steps": 1}):
        with pytest.raises(ValueError, match="either epochs or steps"):
            run(**wrong)


def test_the_moving_average_of_the_weights_is_what_is_scored_and_saved(tmp_path):
    steps, decay = 14, 0.6
    seen = []

    class Watched(torch.optim.SGD):
        def step(self):
            super().step()
            seen.append([p.detach().clone() for p in self.param_groups[0]["params"]])

    model = small_model()
    train_loader, valid_loader = loaders()
    history = fit(model, train_loader, valid_loader, loss=cross_entropy, optimizer=Watched(model.parameters(), 0.05),
                  steps=steps, ema=decay, precision="fp32", run_dir=tmp_path)  # fmt: skip
    average = seen[0]
    for step, weights in enumerate(seen[1:], start=1):
        keep = min(decay, (1 + step) / (10 + step))
        average = [keep * a + (1 - keep) * w for a, w in zip(average, weights, strict=True)]
    torch.testing.assert_close(list(model.parameters()), average)
    assert not torch.allclose(average[-2], seen[-1][-2])
    fresh = small_model()
    load_weights(fresh, tmp_path / "model.safetensors")
    assert evaluate(fresh, valid_loader).miou == history[-1]["miou"]


def test_it_learns_and_gives_the_model_back_as_it_came(tmp_path):
    for precision in ("fp32", "bf16", "fp32"):  # one after the other in the same process
        model, history = train(tmp_path / precision, precision, epochs=12)
        assert history[-1]["miou"] > 0.45 > history[0]["miou"] and history[-1]["loss"] < history[0]["loss"]
        assert "forward" not in model.__dict__ and "_original_forward" not in model.__dict__
        copied = copy.deepcopy(model).eval()(torch.randn(1, 3, 8, 8))
        assert copied.dtype == torch.float32
        rows = list(csv.DictReader((tmp_path / precision / "history.csv").open()))
        assert [float(row["miou"]) for row in rows] == [row["miou"] for row in history]


def test_a_softmax_inside_the_model_is_told_of():
    train_loader, _ = loaders()
    for model, told in ((nn.Sequential(small_model(), nn.Softmax(1)), True), (small_model(), False)):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            fit(model, train_loader, loss=cross_entropy, optimizer=sgd(model), steps=3, precision="fp32")
        words = [str(w.message) for w in seen if "returns probabilities, which add up to 1" in str(w.message)]
        assert len(words) == told


@pytest.mark.on_the_gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_learns_on_a_gpu(tmp_path, precision):
    model, history = train(tmp_path, precision, epochs=12)
    assert history[-1]["miou"] > 0.45 > history[0]["miou"] and next(model.parameters()).is_cuda
    model.cpu()
    load_weights(model, tmp_path / "model.safetensors")
    assert abs(evaluate(model, loaders()[1]).miou - history[-1]["miou"]) < 0.02


# What goes wrong -----------------------------------------------------------------------------------------------------


def failing(step, how):
    count = itertools.count(1)

    def loss(logits, mask):
        value = cross_entropy(logits, mask)
        return how(value) if next(count) == step else value

    return loss


def test_a_loss_that_is_not_finite_stops_with_the_last_checkpoint_kept(tmp_path):
    model = small_model()
    with pytest.raises(
        TrainingError, match=r"no longer finite at step 9 \(epoch 2\).*learning rate.*checkpoint is kept"
    ):
        fit(model, *loaders(), loss=failing(9, lambda x: x * math.nan), optimizer=sgd(model), epochs=3, run_dir=tmp_path,
            precision="fp32")  # fmt: skip
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert saved["state"]["step"] == 6 and all(v.isfinite().all() for v in saved["model"].values())


def test_out_of_memory_is_said_in_words(tmp_path):
    model = small_model()
    with pytest.raises(
        TrainingError, match=r"Out of memory at step 9 with images \(4, 3, 40, 56\).*smaller batch_size.*kept"
    ):
        fit(model, *loaders(), loss=failing(9, lambda x: x + torch.empty(1 << 55).sum()), optimizer=sgd(model), epochs=3,
            run_dir=tmp_path, precision="fp32")  # fmt: skip
    with pytest.raises(RuntimeError, match="another thing"):

        def other(value):
            raise RuntimeError("another thing")

        fit(model, *loaders(), loss=failing(1, other), optimizer=sgd(model), epochs=1, precision="fp32")


def test_nothing_half_written_takes_a_files_name(tmp_path, monkeypatch):
    write_atomically(tmp_path / "file", b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"


def test_weights_that_do_not_fit(tmp_path):
    save_weights(small_model(), tmp_path / "a.safetensors")
    load_weights(small_model(), tmp_path / "a.safetensors")
    with pytest.raises(TrainingError, match=r"a\.safetensors does not fit"):
        load_weights(nn.Conv2d(3, 3, 1), tmp_path / "a.safetensors")
    with pytest.raises(TrainingError, match="missing"):
        load_weights(small_model(), tmp_path / "b.safetensors")


# Evaluation, planning, results ---------------------------------------------------------------------------------------


class Strict(nn.Module):
    """Takes only multiples of 32, as many networks do, and says class 1 in the padding."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, image):
        assert image.shape[-2] % 32 == image.shape[-1] % 32 == 0
        return self.conv(image)


def test_evaluate_counts_each_pixel_once_and_no_padding():
    model, data = Strict().train(), Squares(7)
    confusion = evaluate(model, DataLoader(data, batch_size=3))
    assert confusion.matrix.sum() == sum(int((mask != 255).sum()) for _, mask in data) and model.training
    expected = ConfusionMatrix(3)
    for image, mask in data:
        expected.update(model.conv(image[None]).argmax(1), mask[None])
    assert torch.equal(confusion.matrix, expected.matrix)
    binary = nn.Conv2d(3, 1, 1)
    two = evaluate(binary, DataLoader([(image, (mask == 1).long()) for image, mask in data], batch_size=2))
    assert two.matrix.shape == (2, 2) and two.matrix.sum() == 7 * 40 * 56
    with pytest.raises(ValueError, match="no pictures"):
        evaluate(model, DataLoader([]))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_processes_evaluate_to_the_same_matrix_as_one(tmp_path, precision):
    code = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    run = subprocess.run(
        [*code, training_run.__file__, tmp_path, precision], capture_output=True, text=True,
        env=os.environ | {"ACCELERATE_USE_CPU": "true", "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    assert torch.equal(first["matrix"], second["matrix"])
    assert all(torch.equal(first["weights"][key], second["weights"][key]) for key in first["weights"])
    model = small_model()
    model.load_state_dict(first["weights"])
    alone = evaluate(model, loaders()[1], precision=precision)
    assert torch.equal(alone.matrix, first["matrix"]) and alone.miou == first["history"][-1]["miou"]
    assert [row["step"] for row in first["history"]] == [3, 6], "each process takes half of the batches"


def test_plan_steps_measures_on_a_copy_writes_the_plan_and_keeps_to_it(tmp_path):
    model = small_model()
    before, rng = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    options = {"loss": cross_entropy, "run_dir": tmp_path, "precision": "fp32"}
    steps = plan_steps(0.1, model, loaders()[0], **options)
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["steps"] == steps >= 1 and steps == pytest.approx(6 / plan["seconds_per_step"], rel=0.05)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(rng, torch.get_rng_state())
    (tmp_path / "plan.json").write_text(json.dumps(plan | {"steps": 17}))
    assert plan_steps(0.1, model, loaders()[0], **options) == 17, "the plan is kept"
    assert plan_steps(1.0, model, loaders()[0], **options) > 17, "another budget is another plan"


def test_set_epoch_reaches_through_subsets():
    data = Squares()
    set_epoch(torch.utils.data.ConcatDataset([Subset(data, [0, 1])]), 5)
    assert data.epoch == 5


def test_metrics_json(tmp_path):
    confusion = ConfusionMatrix(3)
    confusion.update(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]))
    history = [{"step": 4, "seconds": 1.5}, {"step": 8, "seconds": 2.0}]
    wrote = save_metrics(tmp_path, confusion, notebook="n", dataset="streets", split="val", classes=Squares.classes,
                         model=small_model(), history=history, seed=1, precision="fp32", held_out=0.25)  # fmt: skip
    read = json.loads((tmp_path / "metrics.json").read_text())
    assert read == wrote and read["iou"] == [0.5, 0.5, None] and read["miou"] == 0.5 and read["held_out"] == 0.25
    assert read["epochs"] == 2 and read["steps"] == 8 and read["train_seconds"] == 3.5
    assert read["parameters"] == sum(p.numel() for p in small_model().parameters())
    assert (
        read["versions"]["torch"] == torch.__version__.split("+")[0] or read["versions"]["torch"] == torch.__version__
    )
    assert read["device"] and read["command"]


def test_runs_like_this_are_the_best_of_each_other_notebook_on_the_same_data(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    (tmp_path / "results").mkdir()
    same = {"dataset": "camvid", "split": "val", "classes": ["a", "b"], "valid": None, "train_seconds": 1000}
    kept = {
        "10-15min": {"notebook": "10", "miou": 0.6, "train_seconds": 900},
        "10-60min": {"notebook": "10", "miou": 0.7, "train_seconds": 3600},
        "11": {"notebook": "11", "miou": 0.5}, "12-test": {"notebook": "12", "miou": 0.9, "split": "test"},
        "13-old": {"notebook": "13", "miou": 0.4}, "14-drive": {"notebook": "14", "miou": 0.3, "valid": "0006R0"},
    }  # fmt: skip
    for name, run in kept.items():
        (tmp_path / f"results/{name}.json").write_text(json.dumps(same | run))
    (tmp_path / "results/benchmarks.json").write_text("{}")
    (tmp_path / "results/test_uses.json").write_text('[{"dataset": "camvid", "miou": 0.4}]')
    this = same | {"notebook": "13", "miou": 0.45}
    assert [(run["notebook"], run["miou"]) for run in runs_like(this)] == [("10", 0.6), ("11", 0.5), ("13", 0.45)]


def test_a_comparison_gives_the_scores_of_its_rows_seed_by_seed(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    folder = tmp_path / "results/compare/losses"
    folder.mkdir(parents=True)
    for row, seed, miou in (("focal", 1, 0.6), ("focal", 0, 0.5), ("dice", 0, 0.7)):
        scores = {"val": {"miou": miou, "iou": [miou, None]}, "test": {"miou": miou / 2}}
        run = {"row": row, "seed": seed, "scores": scores}
        (folder / f"{row}-seed{seed}.json").write_text(json.dumps(run))
    (folder / "README.md").write_text("a table")
    assert compared("losses") == {"dice": [0.35], "focal": [0.25, 0.3]}
    assert list(compared("losses", "val", ["focal", "dice"]).items()) == [("focal", [0.5, 0.6]), ("dice", [0.7])]
    assert compared("losses", "val", score="iou")["focal"] == [[0.5, None], [0.6, None]]
    with pytest.raises(ValueError, match="make compare LIST=widths"):
        compared("widths")
    with pytest.raises(ValueError, match='splits val, test, not "drive"'):
        compared("losses", "drive")
    with pytest.raises(ValueError, match="no row 'lovasz'; it has dice, focal"):
        compared("losses", rows=["dice", "lovasz"])


def test_memory_held_in_a_cycle_is_released():
    class Learner:
        def __init__(self):
            self.itself, self.weights = self, torch.zeros(10)

    learner = Learner()
    alive = weakref.ref(learner)
    del learner
    environment.release_memory()
    assert alive() is None


def test_best_precision_is_a_measured_answer():
    assert environment.best_precision() in ("fp32", "bf16")
    assert environment.available_cpus() >= 1


def test_a_run_folder_is_as_given_or_named_after_its_notebook(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.delenv("SEGMENTATION_START", raising=False)
    assert environment.run_folder("a") == tmp_path / "runs/a"
    monkeypatch.chdir(tmp_path)
    assert environment.run_folder("a", "runs/b") == tmp_path / "runs/b", "text, seen from the current folder"
    monkeypatch.setenv("SEGMENTATION_START", str(tmp_path / "runs"))
    assert environment.run_folder("a", "b") == tmp_path / "runs/b", "or from where the command was given"
    assert environment.run_folder("a", tmp_path / "c", smoke_test=True) == tmp_path / "c"
    temporary = environment.run_folder("a", smoke_test=True)
    temporary.rmdir()
    assert not temporary.is_relative_to(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "c", "runs"]
