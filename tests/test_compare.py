"""The program that compares recipes: every run once, resumed, told in one table; and the count of looks at test sets."""

import json
import statistics
import sys
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from filelock import FileLock
from torch import nn
from torch.utils.data import DataLoader

from benchmarks import compare
from segmentation_helpers.datasets.classes import CAMVID_CLASSES
from segmentation_helpers.environment import ROOT
from segmentation_helpers.training import compared, fit

sys.path.insert(0, str(ROOT / "tools"))
import test_uses  # noqa: E402


class Bright(torch.utils.data.Dataset):
    """Eight noisy pictures of two classes, told apart by their brightness."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        mask = torch.randint(2, (8, 8), generator=generator)
        return (mask + torch.rand(3, 8, 8, generator=generator)) / 2, mask


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A list of two rows and two seeds, run in this process; `trained` says what was trained."""

    def train(settings, seed, folder):
        listed.trained.append((settings, seed))
        model = nn.Conv2d(3, 2, 1)
        optimizer = torch.optim.SGD(model.parameters(), settings["rate"])
        history = fit(model, DataLoader(Bright(), 4), loss=F.cross_entropy, optimizer=optimizer, steps=4, seed=seed,
                      run_dir=folder, settings=settings, precision="fp32")  # fmt: skip
        return model, history

    listed = SimpleNamespace(
        __doc__="Two rates of learning.\n\nMore words.", ROWS={"slow one": {"rate": 0.01}, "fast": {"rate": 1.0}}, SEEDS=(0, 1),
        SPLITS={"val": Bright, "test": Bright}, DATASET="camvid", train=train, trained=[])  # fmt: skip

    def in_this_process(command, cwd):
        _, _, _, name, row, seed = command
        if (row, seed) == listed.fails:
            return SimpleNamespace(returncode=1)
        compare.main(name, row, seed)
        return SimpleNamespace(returncode=0)

    listed.fails = None
    (tmp_path / "tests/benchmarks/lists").mkdir(parents=True)
    (tmp_path / "tests/benchmarks/lists/tiny.py").touch()
    (tmp_path / "results").mkdir()
    monkeypatch.setattr(compare, "ROOT", tmp_path)
    monkeypatch.setitem(sys.modules, "tests.benchmarks.lists.tiny", listed)
    monkeypatch.setattr(compare, "subprocess", SimpleNamespace(run=in_this_process))
    monkeypatch.setenv("SEGMENTATION_RUNS", str(tmp_path / "runs"))
    listed.results = tmp_path / "results/compare/tiny"
    return listed


def test_every_run_leaves_its_json_and_the_table_has_mean_and_range(tiny, capsys):
    compare.main("tiny")
    assert tiny.trained == [({"rate": 0.01}, 0), ({"rate": 1.0}, 0), ({"rate": 0.01}, 1), ({"rate": 1.0}, 1)]
    runs = {path.stem: json.loads(path.read_text()) for path in tiny.results.glob("*.json")}
    assert sorted(runs) == ["fast-seed0", "fast-seed1", "slow-one-seed0", "slow-one-seed1"]
    first, second = (runs[f"fast-seed{seed}"]["scores"]["val"]["miou"] for seed in (0, 1))
    text = (tiny.results / "README.md").read_text()
    assert text.startswith("# Two rates of learning.\n")
    low, high = sorted((first, second))
    assert (
        f"| fast | 2 | {(low + high) / 2:.3f} ({low:.3f} to {high:.3f}) |" in text
        and text.split("\n\n")[2] in capsys.readouterr().out
    )
    assert runs["fast-seed1"]["steps"] == 4 and runs["fast-seed1"]["command"] == "make compare LIST=tiny"


def test_minutes_stand_in_the_table_where_minutes_were_given(tiny):
    compare.main("tiny")
    header = compare.table(tiny, tiny.results).splitlines()[0]
    assert header == "| row | seeds | val mIoU | test mIoU | steps | parameters |"
    for settings in tiny.ROWS.values():
        settings["minutes"] = 15
    for path in tiny.results.glob("*.json"):
        run = json.loads(path.read_text())
        path.write_text(json.dumps(run | {"settings": run["settings"] | {"minutes": 15}, "train_seconds": 903.0}))
    header, rule, *rows = compare.table(tiny, tiny.results).splitlines()
    (tiny.results / "fast-seed1.json").unlink()
    assert " to " not in compare.table(tiny, tiny.results).splitlines()[3], "one seed has no range"
    assert header == "| row | seeds | val mIoU | test mIoU | steps | minutes | parameters |"
    assert all(len(row.split("|")) == len(header.split("|")) == len(rule.split("|")) for row in rows)
    assert all(row.split("|")[6] == " 15.1 " for row in rows)


def test_what_is_done_is_not_done_again_unless_its_settings_are_others(tiny):
    tiny.fails = ("fast", "0")
    with pytest.raises(SystemExit, match=r"Stopped with an error: fast \(seed 0\). Run it again"):
        compare.main("tiny")
    assert len(tiny.trained) == 3, "the others go on"
    tiny.fails = None
    compare.main("tiny")
    assert tiny.trained[3:] == [({"rate": 1.0}, 0)]
    tiny.ROWS["fast"] = {"rate": 2.0}
    assert "fast" not in compare.table(tiny, tiny.results), "results of other settings are not this row's"
    compare.main("tiny")
    assert tiny.trained[4:] == [({"rate": 2.0}, 0), ({"rate": 2.0}, 1)]
    tiny.SPLITS = {"val": Bright}
    compare.main("tiny")
    assert len(tiny.trained) == 10 and list((tiny.results.parent.parent / "compare").rglob("*.part")) == []


def test_a_row_may_have_fewer_seeds(tiny):
    tiny.ROWS["fast"] = {"rate": 1.0, "seeds": [1]}
    for _ in range(2):
        compare.main("tiny")
        assert [(settings["rate"], seed) for settings, seed in tiny.trained] == [(0.01, 0), (0.01, 1), (1.0, 1)]
    assert "| fast | 1 |" in compare.table(tiny, tiny.results)


def test_one_at_a_time(tiny, tmp_path):
    (tmp_path / "runs").mkdir()
    with FileLock(tmp_path / "runs/.lock"), pytest.raises(SystemExit, match="Another comparison is running"):
        compare.main("tiny")


def test_an_unknown_list_is_answered_with_those_there_are(tiny):
    with pytest.raises(SystemExit, match=r'There is no list "large"; name one of them: make compare LIST=... \(tiny\)'):
        compare.main("large")


def test_each_look_at_a_real_test_set_is_counted_once(tiny, tmp_path):
    compare.main("tiny")
    uses = json.loads((tmp_path / "results/test_uses.json").read_text())
    assert [(use["command"], use["seed"]) for use in uses] == [
        (f"make compare LIST=tiny ({row})", seed) for seed in (0, 1) for row in ("slow one", "fast")
    ]
    file = tmp_path / "uses.json"
    for dataset, split in (("camvid", "val"), ("streets", "test"), ("own", "test")):
        test_uses.record(dataset, split, miou=0.5, seed=0, command="make", file=file)
    assert not file.exists()
    for miou in (0.5, 0.5, 0.6):
        test_uses.record("camvid", "test", miou=miou, seed=0, command="make", file=file)
    assert [use["miou"] for use in json.loads(file.read_text())] == [0.5, 0.6]


def test_notebook_00_shows_the_results_that_are_kept():
    """Its table of what skip connections and class weights bring: means of the three seeds, rounded as they are shown."""
    notebook = json.loads((ROOT / "notebooks/00_start_here.ipynb").read_text())
    text = next(text for cell in notebook["cells"] if "LIST=streets_start" in (text := "".join(cell["source"])))
    header, _, *rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    for (name, *shown), row in zip(rows, ("notebook 00", "no skip connections", "no class weights"), strict=True):
        assert name in (row, "as above")
        miou, accuracy, iou = (
            compared("streets_start", "val", [row], score)[row] for score in ("miou", "pixel_accuracy", "iou")
        )
        assert len(miou) == 3
        wanted = {"mIoU": f"{statistics.mean(miou):.3f}", "pixel accuracy": f"{statistics.mean(accuracy):.3f}"}
        wanted |= {
            label: f"{statistics.mean(seed[number] for seed in iou):.2f}" for number, label in enumerate(CAMVID_CLASSES)
        }
        assert dict(zip(header[1:], shown, strict=True)) == {column: wanted[column] for column in header[1:]}
