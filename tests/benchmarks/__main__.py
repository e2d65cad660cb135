"""`make bench`: speed as ratios, the two sides of each taken in turn; medians with their range, as one table.

Written to results/benchmarks.json, from which the README's table is made. Noisy machine? Look at the range.
"""

import contextlib
import io
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import albumentations as A
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from tests.notebook_code import run_in_smoke_mode
from torch.utils.data import DataLoader

import streets
from segmentation_helpers import environment
from segmentation_helpers.datasets import load_dataset
from segmentation_helpers.encoders import create_encoder, fast_depthwise, freeze_stages
from segmentation_helpers.training import fit

ROUNDS = 5


def rate(work, count):
    """Items a second."""
    begun = time.perf_counter()
    work()
    return count / (time.perf_counter() - begun)


def compare(name, unit, ours, other, ours_is, other_is):
    """Rates of two functions in turn, after a warm-up; their medians, and the median and range of the ratio."""
    ours(), other()
    pairs = [(ours(), other()) for _ in range(ROUNDS)]
    ratios = sorted(a / b for a, b in pairs)
    return {
        "what": name, "unit": unit, "ours": ours_is, "other": other_is,
        "ours_rate": statistics.median(a for a, _ in pairs), "other_rate": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(ratios), "least": ratios[0], "most": ratios[-1],
    }  # fmt: skip


def reading(data):
    plain, cached = load_dataset("streets", "train", root=data), load_dataset("streets", "train", root=data, cache=True)
    return compare(
        "reading a pair", "pairs/s a core",
        lambda: rate(lambda: [cached.read(i) for i in range(len(cached))], len(cached)),
        lambda: rate(lambda: [plain.read(i) for i in range(len(plain))], len(plain)),
        "decoded once, `cache=True`", "decoded each epoch",
    )  # fmt: skip


def augmented(data):
    transform = A.Compose([A.RandomScale((-0.3, 0.5), p=1.0), A.PadIfNeeded(176, 240, fill_mask=255), A.RandomCrop(176, 240),
                           A.HorizontalFlip(), A.RandomBrightnessContrast()])  # fmt: skip
    plain, cached = (load_dataset("streets", "train", root=data, cache=c, transform=transform) for c in (False, True))
    return compare(
        "a training sample, augmented", "images/s a core",
        lambda: rate(lambda: [cached[i] for i in range(len(cached))], len(cached)),
        lambda: rate(lambda: [plain[i] for i in range(len(plain))], len(plain)),
        "decoded once, `cache=True`", "decoded each epoch",
    )  # fmt: skip


def network():
    torch.manual_seed(0)
    return smp.Unet("resnet18", encoder_weights=None, classes=11).to(environment.device())


def loss(logits, mask):
    return F.cross_entropy(logits, mask, ignore_index=255)


def training(data):
    size = A.Compose([A.CenterCrop(160, 224)])
    dataset = load_dataset("streets", "train", root=data, cache=True, transform=size)
    loader = DataLoader(dataset, batch_size=8, drop_last=True)
    epochs = 2
    images = epochs * len(loader) * 8

    def ours(model, optimizer):
        with contextlib.redirect_stdout(io.StringIO()):  # its table; the child process prints JSON
            fit(model, loader, loss=loss, optimizer=optimizer, epochs=epochs)

    def plain(model, optimizer):
        for image, mask in itertools.chain.from_iterable([loader] * epochs):
            image, mask = image.to(environment.device()), mask.to(environment.device())
            optimizer.zero_grad()
            loss(model(image), mask).backward()
            optimizer.step()

    def timed(loop):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        return rate(lambda: loop(model, optimizer), images)

    return compare("training a U-Net on ResNet-18", "images/s", lambda: timed(ours), lambda: timed(plain),
                   f"`fit` ({environment.best_precision()}, channels-last)", "a plain fp32 loop")  # fmt: skip


def encoder_steps(other):
    """Forward and backward of the pretrained encoder, images/s: fast_depthwise, against `other` ways to use bf16 and fp32."""
    image = torch.rand(8, 3, 240, 320, device=environment.device()).to(memory_format=torch.channels_last)

    def steps(prepare, autocast):
        encoder = prepare(create_encoder().to(image.device, memory_format=torch.channels_last).train())

        def step():
            with torch.autocast(image.device.type, torch.bfloat16, enabled=autocast):
                features = encoder(image)
            sum(x.float().square().mean() for x in features).backward()
            if image.is_cuda:
                torch.cuda.synchronize()

        return lambda: rate(lambda: [step() for _ in range(4)], 4 * len(image))

    def frozen(encoder):
        return freeze_stages(fast_depthwise(encoder), 2)

    bf16 = "`fast_depthwise`, bf16"
    sides = {
        "bf16": (fast_depthwise, (lambda encoder: encoder, True), bf16, "plain bf16"),
        "fp32": (fast_depthwise, (lambda encoder: encoder, False), bf16, "plain fp32"),
        "frozen": (frozen, (fast_depthwise, True), "two stages frozen", bf16),
    }
    ours, theirs, ours_is, other_is = sides[other]
    return compare("training the pretrained encoder", "images/s", steps(ours, True), steps(*theirs), ours_is, other_is)


def training_without_bf16(data):
    """The same in a process whose oneDNN knows no bf16: `fit` must see that and lose nothing."""
    command = [sys.executable, "-m", "tests.benchmarks", "training"]
    run = subprocess.run(
        command, env=os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, stdout=subprocess.PIPE, check=True
    )
    return json.loads(run.stdout) | {"what": "the same on AVX-512 alone"}


def notebooks(data):
    """Seconds and peak memory of every notebook in smoke mode, median of three runs."""
    rows = []
    for path in sorted((environment.ROOT / "notebooks").glob("*.ipynb")):
        runs = [run_in_smoke_mode(path, data) for _ in range(3)]
        seconds, peak = (statistics.median(getattr(run, key) for run in runs) for key in ("seconds", "peak_bytes"))
        rows.append({"notebook": path.stem, "seconds": round(seconds, 1), "peak_bytes": peak})
    return rows


def main(root):
    sys.stdout.reconfigure(line_buffering=True)
    environment.set_threads()
    path = root / "results/benchmarks.json"
    with tempfile.TemporaryDirectory() as data:
        counts = {"train": 64, "val": 16, "test": 8}
        streets.write_streets(Path(data) / "streets", counts=counts, progress=False)
        if sys.argv[1:2] == ["training"]:
            return print(json.dumps(training(data)))
        rows = [bench(data) for bench in (reading, augmented, training)]
        rows += [encoder_steps(other) for other in ("bf16", "fp32", "frozen")]
        if platform.machine() == "x86_64":
            rows.append(training_without_bf16(data))
        smoke = notebooks(data)
    report = json.loads(path.read_text()) if path.is_file() else {}
    report |= {"device": environment.processor(), "versions": environment.versions(), "rounds": ROUNDS, "rows": rows}
    report["notebooks"] = smoke
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\n{report['device']}, torch {torch.__version__}, medians of {ROUNDS} rounds in turn")
    for row in rows:
        print(f"{row['what']:<30} {row['ours_rate']:>9.1f} against {row['other_rate']:>8.1f} {row['unit']:<15}"
              f" = {row['ratio']:.2f} ({row['least']:.2f} to {row['most']:.2f})")  # fmt: skip
    for row in smoke:
        print(f"{row['notebook']:<30} {row['seconds']:>9.1f} s, {row['peak_bytes'] / 1e9:.2f} GB at most")


if __name__ == "__main__":
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    main(environment.ROOT)
