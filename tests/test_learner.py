"""The additions to fastai's Learner: the same result stopped and resumed, bfloat16 on a CPU, one confusion matrix."""

import fastai.vision.all as fastai
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from segmentation_helpers.learner import BFloat16, KeepRun, MatrixMetric, fit_learner
from segmentation_helpers.training import TrainingError, evaluate


class Pictures(torch.utils.data.Dataset):
    """Sixteen noisy pictures whose brightness is their class; noise anew in each epoch."""

    epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return 16

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(1000 * self.epoch + index)
        mask = torch.randint(3, (16, 16), generator=generator)
        image = mask / 3 + 0.1 * torch.rand(3, 16, 16, generator=generator)
        mask[0] = 255
        return image, mask


def cross_entropy(logits, mask):
    return F.cross_entropy(logits, mask, ignore_index=255)


def learner(**options):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 3, 1))
    dls = fastai.DataLoaders(DataLoader(Pictures(), 4, shuffle=True), DataLoader(Pictures(), 5), device="cpu")
    metrics = [MatrixMetric(3), MatrixMetric(3, "pixel_accuracy")]
    return fastai.Learner(dls, model, loss_func=cross_entropy, metrics=metrics, **options)


class PowerCut(fastai.Callback):
    """Fails in the middle of the third epoch, if it is armed."""

    order, armed = 99, False

    def after_batch(self):
        if self.armed and self.training and self.epoch == 2 and self.iter == 1:
            raise RuntimeError("power cut")


def trackers():
    """Callbacks that remember; no score ever rises by 2, so the third epoch after the first stops the training."""
    return [
        fastai.SaveModelCallback(monitor="miou"),
        fastai.EarlyStoppingCallback(monitor="miou", patience=3, min_delta=2.0),
        fastai.ReduceLROnPlateau(monitor="miou", patience=2, min_delta=2.0),
    ]


def run(folder, method="fit_one_cycle", callbacks=(), armed=False):
    learn, cut = learner(path=folder), PowerCut()
    cut.armed = armed
    history = fit_learner(learn, 6, 0.01, run_dir=folder, method=method, cbs=[*callbacks, cut])
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history], learn.model.state_dict()


@pytest.mark.parametrize(("method", "callbacks", "epochs"), [("fit_one_cycle", list, 6), ("fit", trackers, 4)])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path, capsys, method, callbacks, epochs):
    whole, weights = run(tmp_path / "whole", method, callbacks())
    assert len(whole) == epochs
    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path / "cut", method, callbacks(), armed=True)
    resumed, resumed_weights = run(tmp_path / "cut", method, callbacks())
    assert "Going on after epoch 2" in capsys.readouterr().out
    assert resumed == whole
    assert all(torch.equal(resumed_weights[name], value) for name, value in weights.items())
    files = [tmp_path / folder / "model.safetensors" for folder in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_finished_run_is_only_loaded_and_one_of_other_settings_kept_aside(tmp_path, capsys):
    history, weights = run(tmp_path)
    again, loaded = run(tmp_path)
    assert "nothing to train" in capsys.readouterr().out
    assert again == history
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())
    run(tmp_path, method="fit_flat_cos")
    assert "method was fit_one_cycle, is fit_flat_cos" in capsys.readouterr().out
    assert (tmp_path / "previous-1/model.safetensors").is_file()


def test_history_has_what_the_pictures_need(tmp_path):
    history, _ = run(tmp_path)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in history] == [4, 8, 12, 16, 20, 24]
    assert history[-1]["loss"] < history[0]["loss"]
    assert {"miou", "pixel_accuracy", "valid_loss", "learning_rate"} <= history[0].keys()


def test_each_epoch_is_augmented_otherwise_and_by_the_seed(tmp_path):
    seen = {}

    class Spy(fastai.Callback):
        def before_batch(self):
            if self.training and self.iter == 0:
                seen.setdefault(self.learn, []).append(self.xb[0].clone())

    for folder in ("a", "b"):
        fit_learner(learner(), 2, 0.01, run_dir=tmp_path / folder, cbs=[Spy()])
    first, second = seen.values()
    assert not torch.equal(first[0], first[1])
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_metric_agrees_with_evaluate(tmp_path):
    learn = learner()
    history = fit_learner(learn, 1, 0.01, run_dir=tmp_path)
    confusion = evaluate(learn.model, DataLoader(Pictures(), 3))
    assert history[-1]["miou"] == pytest.approx(confusion.miou, abs=1e-3)
    assert history[-1]["pixel_accuracy"] == pytest.approx(confusion.pixel_accuracy, abs=1e-3)
    assert 0 < confusion.miou < confusion.pixel_accuracy < 1


def test_bfloat16_is_used_in_training_and_gone_after_it(tmp_path):
    learn, kinds = learner(), []
    learn.model[0].register_forward_hook(lambda module, inputs, output: kinds.append(output.dtype))
    learn.loss_func = lambda logits, mask: kinds.append(logits.dtype) or cross_entropy(logits, mask)
    fit_learner(learn, 1, 0.01, run_dir=tmp_path, cbs=[BFloat16()])
    assert kinds[:2] == [torch.bfloat16, torch.float32]
    assert learn.model(torch.rand(1, 3, 16, 16)).dtype == torch.float32


# Identity, and how it ends --------------------------------------------------------------------------------------------


def test_the_cell_run_again_after_an_error_within_an_epoch_goes_on(tmp_path, capsys):
    whole, weights = run(tmp_path / "whole")
    learn, cut = learner(path=tmp_path / "cut"), PowerCut()
    cut.armed = True
    with pytest.raises(RuntimeError, match="power cut"):
        fit_learner(learn, 6, 0.01, run_dir=tmp_path / "cut", cbs=[cut])
    saved = torch.load(tmp_path / "cut/checkpoint.pt", weights_only=True)
    assert len(saved["history"]) == 2
    assert all(torch.equal(value, saved["model"][name]) for name, value in learn.model.state_dict().items())
    cut.armed = False
    for _ in range(2):  # once to go on, once more when it has ended, with the same model in memory
        fit_learner(learn, 6, 0.01, run_dir=tmp_path / "cut", cbs=[cut])
    assert all(torch.equal(learn.model.state_dict()[name], value) for name, value in weights.items())
    printed = capsys.readouterr().out
    assert "Going on after epoch 2" in printed and "nothing to train" in printed
    assert not list((tmp_path / "cut").glob("previous-*"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda learn: nn.init.zeros_(learn.model[3].weight), "weights are neither"),
        (lambda learn: learn.model[0].requires_grad_(False), "trained was"),
        (lambda learn: setattr(learn, "loss_func", lambda logits, mask: 2 * cross_entropy(logits, mask)), "loss was"),
    ],
)
def test_another_run_is_told_apart(tmp_path, capsys, change, words):
    run(tmp_path)
    learn = learner(path=tmp_path)
    change(learn)
    fit_learner(learn, 6, 0.01, run_dir=tmp_path, cbs=[PowerCut()])
    printed = capsys.readouterr().out
    assert words in printed and "starting anew" in printed and (tmp_path / "previous-1/model.safetensors").is_file()


def trained(folder, learn, epochs=2, rate=0.01, **options):
    """The history of one fit_learner without a progress bar."""
    with learn.no_bar(), learn.no_logging():
        return fit_learner(learn, epochs, rate, run_dir=folder, **options)


def small_batches():
    learn = learner()
    learn.dls = fastai.DataLoaders(DataLoader(Pictures(), 2, shuffle=True), DataLoader(Pictures(), 5), device="cpu")
    return learn


def smooth():
    learn = learner()
    learn.model[2] = nn.Sigmoid()
    return learn


def split():
    return learner(splitter=lambda model: [list(model[:2].parameters()), list(model[2:].parameters())])


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (lambda: learner(wd=0.5), {}, "wd None"),
        (learner, {"wd": 0.5}, "options was {}, is {'wd': 0.5}"),
        (lambda: learner(opt_func=fastai.SGD), {}, "optimizer was opt_func Adam"),
        (lambda: learner(moms=(0.9, 0.8, 0.9)), {}, "optimizer was"),
        (small_batches, {}, "batch_size 2"),
        (smooth, {}, "model was Sequential"),
        (split, {}, "groups was 1 of [6] parameters"),
        (learner, {"cbs": [fastai.GradientClip(0.1)]}, "callbacks was"),
    ],
)
def test_what_else_makes_another_run(tmp_path, capsys, make, options, words):
    trained(tmp_path, learner())
    trained(tmp_path, make(), **options)
    printed = capsys.readouterr().out
    assert words in printed and "starting anew" in printed
    trained(tmp_path, make(), **options)
    assert "nothing to train" in capsys.readouterr().out
    trained(tmp_path / "alone", make(), **options)
    files = [folder / "model.safetensors" for folder in (tmp_path, tmp_path / "alone")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("name", ["epochs", "rate", "loss", "method", "callbacks"])
def test_a_setting_with_one_of_our_names_hides_nothing(tmp_path, capsys, name):
    trained(tmp_path, learner(), settings={name: 1})
    trained(tmp_path, learner(), epochs=3, rate=0.5, settings={name: 1})
    printed = capsys.readouterr().out
    assert "epochs was 2, is 3" in printed and "rate was 0.01, is 0.5" in printed


def test_bars_and_logs_make_no_other_run(tmp_path, capsys):
    learn = learner(path=tmp_path)
    fit_learner(learn, 2, 0.01, run_dir=tmp_path)
    fit_learner(learn, 2, 0.01, run_dir=tmp_path, cbs=[fastai.CSVLogger(), fastai.ShowGraphCallback()])
    with learn.no_bar(), learn.no_logging():
        fit_learner(learn, 2, 0.01, run_dir=tmp_path)
    assert capsys.readouterr().out.count("nothing to train") == 2
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 3, "CSVLogger began the file anew"


def test_a_log_may_lie_in_the_folder_of_the_run(tmp_path):
    learn = learner(path=tmp_path / "new")
    learn.fit_one_cycle(2, 0.01, cbs=[fastai.CSVLogger("log.csv"), KeepRun(tmp_path / "new")])
    assert len((tmp_path / "new/log.csv").read_text().splitlines()) == 3


def test_the_cell_run_again_knows_the_loss_that_it_began_with(tmp_path, capsys):
    class Counts:
        calls = 0

        def __call__(self, logits, mask):
            self.calls += 1
            return cross_entropy(logits, mask) / min(self.calls, 5)

    learn = learner()
    learn.loss_func = Counts()
    for _ in range(2):
        trained(tmp_path, learn)
    assert "nothing to train" in capsys.readouterr().out and learn.loss_func.calls > 8


# fine_tune: a run of two phases ----------------------------------------------------------------------------------------


class Cut(fastai.Callback):
    """Fails in the middle of an epoch: `at` counts the epochs of a call, those of the frozen phase first."""

    order = 99

    def __init__(self, at=None):
        self.at, self.seen = at, 0

    def before_train(self):
        self.seen += 1

    def after_batch(self):
        if self.at is not None and self.training and self.seen == self.at and self.iter == 1:
            raise RuntimeError("power cut")


def tuned(folder, learn=None, cut=None, epochs=3, **options):
    """`fine_tune` with two frozen epochs: history without seconds, weights, and the callback."""
    learn, keep = learn or split(), KeepRun(folder, **options)
    with learn.no_bar(), learn.no_logging():
        learn.fine_tune(epochs, 0.01, freeze_epochs=2, cbs=[keep, *([cut] if cut else [])])
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in keep.history]
    return history, learn.model.state_dict(), keep


def same(first, second):
    return all(torch.equal(second[name], value) for name, value in first.items())


@pytest.mark.parametrize("at", [1, 2, 3, 5], ids=["at once", "in phase one", "between the phases", "in phase two"])
def test_fine_tune_goes_on_in_the_phase_in_which_it_was_stopped(tmp_path, capsys, at):
    history, weights, _ = tuned(tmp_path / "whole", cut=Cut())
    with pytest.raises(RuntimeError, match="power cut"):
        tuned(tmp_path / "cut", cut=Cut(at))
    capsys.readouterr()
    resumed, resumed_weights, _ = tuned(tmp_path / "cut", cut=Cut())
    assert f"Going on after epoch {at - 1}" in capsys.readouterr().out
    assert resumed == history and same(weights, resumed_weights)
    files = [tmp_path / folder / "model.safetensors" for folder in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not list((tmp_path / "cut").glob("previous-*"))


def test_a_kill_after_the_last_frozen_epoch_leaves_phase_one_finished(tmp_path, capsys):
    """Between the phases to the letter: phase one has ended, and phase two has not begun."""
    history, weights, _ = tuned(tmp_path / "whole")
    learn = split()
    learn.unfreeze = lambda: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path / "cut", learn)
    assert torch.load(tmp_path / "cut/checkpoint.pt", weights_only=True)["finished"]
    resumed, resumed_weights, _ = tuned(tmp_path / "cut")
    assert "Going on after epoch 2" in capsys.readouterr().out
    assert resumed == history and same(weights, resumed_weights)


def test_fine_tune_numbers_its_epochs_through_and_is_loaded_when_it_has_ended(tmp_path, capsys):
    history, weights, _ = tuned(tmp_path)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5]
    assert [row["step"] for row in history] == [4, 8, 12, 16, 20]
    assert (tmp_path / "history.csv").read_text().splitlines()[-1].startswith("5,20,")
    before = (tmp_path / "checkpoint.pt").read_bytes()
    again, loaded, keep = tuned(tmp_path)
    assert again == history and same(weights, loaded) and keep.learn is None
    assert capsys.readouterr().out.count("nothing to train") == 1
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_the_cell_run_again_goes_on_in_phase_two(tmp_path, capsys):
    _, weights, _ = tuned(tmp_path / "whole", cut=Cut())
    learn, cut = split(), Cut(4)
    with pytest.raises(RuntimeError, match="power cut"):
        tuned(tmp_path / "cut", learn, cut)
    saved = torch.load(tmp_path / "cut/checkpoint.pt", weights_only=True)
    assert same(saved["model"], learn.model.state_dict()) and len(saved["history"]) == 3
    for _ in range(2):  # to go on, and once more when it has ended
        _, resumed, _ = tuned(tmp_path / "cut", learn, Cut())
    assert same(weights, resumed)
    printed = capsys.readouterr().out
    assert "Going on after epoch 3" in printed and "nothing to train" in printed and "anew" not in printed


def test_another_second_phase_begins_at_the_end_of_the_first(tmp_path, capsys):
    tuned(tmp_path / "run")
    history, weights, _ = tuned(tmp_path / "run", epochs=4)
    printed = capsys.readouterr().out
    assert "epochs was 3, is 4" in printed and "Going on after epoch 2" in printed
    assert (tmp_path / "run/previous-1/model.safetensors").is_file()
    alone, other, _ = tuned(tmp_path / "alone", epochs=4)
    assert history == alone and same(weights, other)


@pytest.mark.parametrize("options", [{"seed": 1}, {"settings": {"crop": 3}}])
def test_another_seed_or_setting_is_another_run(tmp_path, capsys, options):
    tuned(tmp_path)
    tuned(tmp_path, **options)
    assert f"{next(iter(options)) if 'seed' in options else 'crop'} was" in capsys.readouterr().out
    assert (tmp_path / "previous-1/checkpoint.pt").is_file()


def test_fastais_own_methods_are_told_apart(tmp_path, capsys):
    for fit, words in (
        (lambda learn, keep: learn.fit_one_cycle(2, 0.01, cbs=keep), ""),
        (lambda learn, keep: learn.fit_one_cycle(2, 0.02, cbs=keep), "schedule was"),
        (lambda learn, keep: learn.fit_flat_cos(2, 0.02, cbs=keep), "schedule was"),
        (lambda learn, keep: learn.fit(2, 0.02, cbs=keep), "schedule was"),
        (lambda learn, keep: learn.fit(2, 0.02, wd=0.5, cbs=keep), "constant was"),
    ):
        learn = learner()
        with learn.no_bar(), learn.no_logging():
            fit(learn, KeepRun(tmp_path))
        assert words in capsys.readouterr().out
    assert len(list(tmp_path.glob("previous-*"))) == 4


def test_a_keeper_belongs_to_one_call(tmp_path):
    with pytest.raises(ValueError, match="belongs to one call"):
        learner(cbs=KeepRun(tmp_path))


def test_a_folder_is_held_while_a_fit_trains_in_it(tmp_path, monkeypatch):
    monkeypatch.setattr("segmentation_helpers.training.lock.PATIENCE", 0.1)

    class Second(fastai.Callback):
        def after_epoch(self):
            with pytest.raises(TrainingError, match="Another fit is training"):
                trained(tmp_path, learner())

    trained(tmp_path, learner(), epochs=1, cbs=[Second()])
    assert not (tmp_path / ".lock").exists()


def test_fit_learner_takes_fine_tune(tmp_path):
    learn = split()
    history = trained(tmp_path / "ours", learn, 3, method="fine_tune", freeze_epochs=2)
    rows, weights, _ = tuned(tmp_path / "theirs")
    assert [{k: v for k, v in row.items() if k != "seconds"} for row in history] == rows
    assert same(weights, learn.model.state_dict())


def test_a_unet_of_fastais_is_the_same_run_before_and_after_it_was_trained(tmp_path, capsys):
    """DynamicUnet is built with half of its layers in eval mode."""
    body = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Conv2d(4, 8, 3, stride=2, padding=1))
    learn = learner()
    learn.model = fastai.DynamicUnet(body, 3, (16, 16))
    learn.create_opt()
    for _ in range(2):
        trained(tmp_path, learn)
    printed = capsys.readouterr().out
    assert "nothing to train" in printed and "anew" not in printed


# Errors ----------------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_with_the_last_checkpoint_kept(tmp_path):
    calls = []

    def loss(logits, mask):
        calls.append(1)
        return cross_entropy(logits, mask) * (
            float("nan") if len(calls) == 10 else 1
        )  # 4 training, 4 validation batches

    def square_root(logits, mask):
        calls.append(1)
        return cross_entropy(logits, mask) + (torch.sqrt((logits * 0).sum()) if len(calls) == 12 else 0)  # gradient NaN

    for function, words in (
        (loss, "The loss is no longer finite at step 6"),
        (square_root, "The weights are no longer"),
    ):
        calls.clear()
        learn = learner()
        learn.loss_func = function
        with pytest.raises(
            TrainingError, match=f"{words}.*epoch 2.: lower the learning rate. The last checkpoint is kept"
        ):
            trained(tmp_path / function.__name__, learn)
        saved = torch.load(tmp_path / function.__name__ / "checkpoint.pt", weights_only=True)
        assert len(saved["history"]) == 1 and not saved["finished"]
        assert all(torch.equal(value, saved["model"][name]) for name, value in learn.model.state_dict().items())
        assert all(torch.isfinite(value).all() for value in learn.model.parameters())


class Stops(fastai.Callback):
    """Ctrl-C before the batch, after the forward pass, or at the end of the first epoch's training."""

    order = 99

    def __init__(self, event):
        setattr(self, event, self.stop)

    def stop(self):
        raise KeyboardInterrupt


@pytest.mark.parametrize("event", ["before_batch", "after_pred", "after_loss", "after_train", "before_validate"])
@pytest.mark.parametrize("ours", [True, False])
def test_bfloat16_is_gone_after_an_interruption(tmp_path, event, ours):
    learn, image = learner(), torch.rand(1, 3, 16, 16)
    options = {"cbs": [BFloat16(), Stops(event)]}
    with pytest.raises(KeyboardInterrupt), learn.no_bar(), learn.no_logging():
        fit_learner(learn, 2, 0.01, run_dir=tmp_path, **options) if ours else learn.fit(2, 0.01, **options)
    if event == "before_batch":
        learn.model(image)  # at most one forward pass is left
    assert learn.model(image).dtype == torch.float32 and "forward" not in vars(learn.model)


def test_an_error_in_the_network_leaves_no_bfloat16():
    learn = learner()
    learn.model[3] = nn.Conv2d(9, 3, 1)
    with pytest.raises(RuntimeError), learn.no_bar(), learn.no_logging():
        learn.fit(1, 0.01, cbs=[BFloat16()])
    assert "forward" not in vars(learn.model)


def test_another_model_in_the_learner_needs_another_optimizer(tmp_path):
    learn = learner()
    trained(tmp_path, learn, epochs=1)
    learn.model = nn.Sequential(nn.Conv2d(3, 3, 1))
    with pytest.raises(TrainingError, match="parameters of another model: call learn.create_opt"):
        trained(tmp_path, learn, epochs=1)
    learn.create_opt()
    trained(tmp_path, learn, epochs=1)


def test_a_finished_run_without_its_weights_is_kept_aside(tmp_path, capsys):
    trained(tmp_path, learner())
    (tmp_path / "model.safetensors").rename(tmp_path / "mine.safetensors")
    trained(tmp_path, learner())
    assert "its model.safetensors is missing" in capsys.readouterr().out
    assert (tmp_path / "previous-1/checkpoint.pt").is_file()
    assert (tmp_path / "model.safetensors").read_bytes() == (tmp_path / "mine.safetensors").read_bytes()


def test_two_trackers_of_one_kind_are_both_resumed(tmp_path):
    def both(folder, armed):
        found = [fastai.SaveModelCallback(monitor=name, fname=name) for name in ("valid_loss", "miou")]
        cut = PowerCut()
        cut.armed = armed
        trained(folder, learner(path=tmp_path), 4, cbs=[*found, cut])
        return [float(cb.best) for cb in found]

    whole = both(tmp_path / "whole", False)
    with pytest.raises(RuntimeError, match="power cut"):
        both(tmp_path / "cut", True)
    assert both(tmp_path / "cut", False) == whole


def test_loaders_without_a_batch_or_without_validation_are_told(tmp_path):
    for train, valid, words in (
        (DataLoader(Pictures(), 32, drop_last=True), DataLoader(Pictures(), 5), "dls.train has no batch.*16 pictures"),
        (DataLoader(Pictures(), 4), DataLoader([], 4), "dls has no validation pictures"),
        (fastai.DataLoader(Pictures(), bs=4), fastai.DataLoader([], bs=4), "dls has no validation pictures"),
    ):
        learn = learner()
        learn.dls = fastai.DataLoaders(train, valid, device="cpu")
        with pytest.raises(ValueError, match=words):
            fit_learner(learn, 1, 0.01, run_dir=tmp_path)


def test_a_metric_whose_void_is_one_of_the_classes():
    learn = learner()
    metric = MatrixMetric(3, ignore_index=1)
    learn.metrics = [metric]
    with learn.no_bar(), learn.no_logging():
        learn.validate(dl=DataLoader([(torch.rand(3, 16, 16), torch.randint(3, (16, 16)))] * 2, 2))
    assert metric.confusion.iou[1].isnan() and metric.confusion.matrix[1].sum() == 0 < metric.value
