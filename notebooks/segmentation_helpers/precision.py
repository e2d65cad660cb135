"""In which precision to train: measured once per processor and build of torch, and kept with its figures."""

import functools
import json
import os
import tempfile
import time

import torch
from torch import nn

from . import environment

WORTH_IT = 1.1  # bf16 is used where it is this much faster
WRONG = 0.1  # relative error; bf16 keeps 8 bits, and 0.01 to 0.03 is its nature
LEAST, MOST, SETTLED = 10, 60, 8  # rounds: at least, at most, and without a new minimum until it counts as found


@functools.cache
def decide() -> str:
    """ "bf16" where bfloat16 is right and at least 1.1 times as fast as fp32 on this device, "fp16" on GPUs that have fast
    half precision but no fast bfloat16 (T4, V100), else "fp32".

    On a CPU this is measured once, by the fastest of enough rounds, since whatever else runs on the machine can only add
    to a time; the decision and its figures stay in the user's cache, so that the same command means the same run.
    """
    where = environment.device()
    if where.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16"
        return "fp16" if torch.cuda.get_device_capability() >= (7, 0) else "fp32"
    if where.type != "cpu":
        return "fp32"
    path = environment.user_cache() / "precision.json"
    key = " | ".join([environment.processor(), f"torch {torch.__version__}", os.environ.get("ONEDNN_MAX_CPU_ISA", "")])
    known = _read(path)
    if key not in known:
        known = {key: measure()} | known
        _write(path, known)
    return known[key]["precision"]


def measure() -> dict:
    """The decision for this CPU, with its figures: seconds of a training step in both precisions, and bf16's error.

    A canary: strided, dilated, grouped and transposed convolutions, forward and backward. Some CPU builds of torch compute a
    few of them wrongly or more slowly in bf16 (pytorch#169688, #163347, #183815), so this measures instead of asking for
    features.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 32, 7, stride=2, padding=3), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=2, dilation=2), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1, groups=64), nn.Conv2d(64, 64, 1, stride=2), nn.BatchNorm2d(64), nn.ReLU(),
            nn.ConvTranspose2d(64, 16, 2, stride=2),
        ).to(memory_format=torch.channels_last)  # fmt: skip
        image = torch.randn(4, 3, 120, 168).contiguous(memory_format=torch.channels_last)
        exact, _ = _step(model, image, bf16=False)
        close, _ = _step(model, image, bf16=True)
        # The biases before a BatchNorm have no gradient but rounding noise: compare against the largest of all.
        scale = max(a.norm() / a.numel() ** 0.5 for a in exact)
        error = max(((a - b).norm() / a.numel() ** 0.5 / max(a.norm() / a.numel() ** 0.5, 1e-2 * scale)).item()
                    for a, b in zip(exact, close, strict=True))  # fmt: skip
        best, unchanged, rounds = {False: float("inf"), True: float("inf")}, 0, 0
        while rounds < LEAST or (unchanged < SETTLED and rounds < MOST):
            before = dict(best)
            for bf16 in best:
                best[bf16] = min(best[bf16], _step(model, image, bf16)[1])
            unchanged = unchanged + 1 if all(best[side] > 0.98 * before[side] for side in best) else 0
            rounds += 1
    right = error < WRONG  # False for NaN, too
    if not right:
        print(f"bf16 is off by {error:.0%} on this machine: training stays in fp32.")
    faster = best[False] / best[True] > WORTH_IT
    return {
        "precision": "bf16" if right and faster else "fp32", "fp32_seconds": round(best[False], 5),
        "bf16_seconds": round(best[True], 5), "error": round(error, 4), "rounds": rounds,
    }  # fmt: skip


def _step(model, image, bf16):
    """Output, gradients and seconds of one forward and backward pass."""
    model.zero_grad(set_to_none=True)
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        output = model(image)
    output.float().square().mean().backward()
    seconds = time.perf_counter() - start
    return [output.detach().float()] + [p.grad.float() for p in model.parameters()], seconds


def _read(path) -> dict:
    """The decisions that are kept; whatever else the file holds counts as none."""
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    decisions = known.items() if isinstance(known, dict) else ()
    return {key: figures for key, figures in decisions
            if isinstance(figures, dict) and figures.get("precision") in ("fp32", "bf16")}  # fmt: skip


def _write(path, known):
    """Keep the decisions; where the cache cannot be written to, the next process measures again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False) as draft:
            draft.write(json.dumps(known, indent=1))
        os.replace(draft.name, path)
    except OSError as error:
        print(f"The choice of {next(iter(known.values()))['precision']} could not be kept ({error}).")
