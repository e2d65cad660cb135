"""In which precision to train: not a race, kept, and right for GPUs that are not here."""

import json

import pytest
import torch

from segmentation_helpers import environment, precision


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "user_cache", lambda: tmp_path / "cache")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    precision.decide.cache_clear()
    yield tmp_path / "cache/precision.json"
    precision.decide.cache_clear()


def test_the_decision_is_measured_once_and_kept_with_its_figures(cache, monkeypatch):
    first = precision.decide()
    ((key, figures),) = json.loads(cache.read_text()).items()
    assert environment.processor() in key and torch.__version__ in key
    assert figures["precision"] == first and figures["rounds"] >= precision.LEAST
    assert 0 < figures["bf16_seconds"] < 1 and 0 < figures["fp32_seconds"] < 1 and 0 < figures["error"] < 0.1
    precision.decide.cache_clear()  # another process
    monkeypatch.setattr(precision, "measure", lambda: pytest.fail("measured twice"))
    assert precision.decide() == first
    cache.write_text(json.dumps({key: figures | {"precision": "fp32" if first == "bf16" else "bf16"}}))
    precision.decide.cache_clear()
    assert precision.decide() != first, "what is kept is obeyed"


def test_another_instruction_set_is_another_decision(cache, monkeypatch):
    precision.decide()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")
    monkeypatch.setattr(precision, "measure", lambda: {"precision": "fp32"})
    precision.decide.cache_clear()
    assert precision.decide() == "fp32" and len(json.loads(cache.read_text())) == 2


HERE = "this processor"


@pytest.mark.parametrize(
    "content",
    ["", "damaged", "[1]x", "null", "[]", "3", '"bf16"', "NaN", {HERE: {}}, {HERE: "bf16"}, {HERE: None}, {HERE: ["bf16"]},
     {HERE: {"precision": "bf17"}}, {HERE: {"precision": None}}, {HERE: {"precision": ["bf16"]}}, {HERE: {"error": 0.01}}],
)  # fmt: skip
def test_a_damaged_cache_is_written_anew(cache, content, monkeypatch):
    monkeypatch.setattr(precision, "measure", lambda: {"precision": "fp32"})
    precision.decide()
    (key,) = json.loads(cache.read_text())
    if isinstance(content, dict):
        content = json.dumps({key: content[HERE], "another": {"precision": "fp32"}})
    cache.write_text(content)
    precision.decide.cache_clear()  # another process
    monkeypatch.setattr(precision, "measure", lambda: {"precision": "bf16"})
    assert precision.decide() == "bf16"
    kept = json.loads(cache.read_text())
    assert kept[key] == {"precision": "bf16"} and set(kept) <= {key, "another"}
    assert ("another" in kept) == ("another" in content), "what is whole is kept"


def test_a_cache_that_cannot_be_written_is_told(cache, monkeypatch, capsys):
    cache.parent.write_text("a file where the folder should be")
    monkeypatch.setattr(precision, "measure", lambda: {"precision": "bf16"})
    assert precision.decide() == "bf16" and "could not be kept" in capsys.readouterr().out


def test_load_adds_to_times_and_does_not_decide(monkeypatch):
    """Every second step of one side is slow: the minimum of many rounds sees through it."""
    real, count = precision._step, iter(range(10**6))

    def disturbed(model, image, bf16):
        gradients, seconds = real(model, image, bf16)
        return gradients, (1.0 if bf16 else 2.0) + (5.0 if next(count) % 3 else 0.0)

    monkeypatch.setattr(precision, "_step", disturbed)
    assert {precision.measure()["precision"] for _ in range(5)} == {"bf16"}


def test_bf16_that_is_wrong_is_not_used(monkeypatch, capsys):
    real = precision._step

    def wrong(model, image, bf16):
        gradients, _ = real(model, image, bf16)
        return [2 * g for g in gradients] if bf16 else gradients, 0.1 if bf16 else 1.0

    monkeypatch.setattr(precision, "_step", wrong)
    assert precision.measure()["precision"] == "fp32" and "bf16 is off by" in capsys.readouterr().out


class Card:
    """A GPU that is not here."""

    def __init__(self, monkeypatch, capability, built, bf16):
        monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
        for name, value in {"is_available": True, "get_device_capability": capability, "get_arch_list": built,
                            "get_device_name": "Some card"}.items():  # fmt: skip
            monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation
        )
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *_: torch.device("cuda"))
        environment._has_kernels.cache_clear()
        precision.decide.cache_clear()


TODAY = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]


@pytest.mark.parametrize(
    ("capability", "bf16", "built", "expected"),
    [
        ((7, 5), False, TODAY, "fp16"),  # T4
        ((7, 0), False, ["sm_70", *TODAY], "fp16"),  # V100
        ((6, 1), False, ["sm_60", *TODAY], "fp32"),  # no tensor cores
        ((8, 0), True, TODAY, "bf16"), ((8, 9), True, TODAY, "bf16"), ((9, 0), True, TODAY, "bf16"),
        ((13, 0), True, TODAY, "bf16"),  # compiled from compute_120 when it is first used
    ],
)  # fmt: skip
def test_cards_and_their_precision(monkeypatch, capability, bf16, built, expected):
    Card(monkeypatch, capability, built, bf16)
    assert environment.device().type == "cuda" and environment.best_precision() == expected
    precision.decide.cache_clear()
    environment._has_kernels.cache_clear()


def test_a_card_without_kernels_is_told_in_one_sentence_and_the_cpu_is_used(monkeypatch, capsys, cache):
    Card(monkeypatch, (6, 0), TODAY, False)  # Kaggle's P100
    assert environment.device().type == "cpu" and environment.device().type == "cpu"
    printed = capsys.readouterr().out
    assert printed.count("Some card (sm_60) has no kernels in this build of torch, which has sm_75") == 1
    assert environment.best_precision() in ("fp32", "bf16")
    environment._has_kernels.cache_clear()
