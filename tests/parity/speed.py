"""`make bench-segmentors`: seconds and memory of the segmentors against MMSegmentation's, in results/benchmarks.json.

512 x 512 pixels, batch 1, the same weights, both sides in turn in one process; ours as `for_inference` makes it.
True float32 on both sides, then ours in bfloat16. Memory: what a forward pass adds at its peak, each side in a process
of its own (Linux).
"""

import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from tests.parity.reference import pair

import segmentors
from segmentation_helpers import environment
from segmentors.checkpoints import KNOWN

ROUNDS, SIZE = 5, 512
NAMES = {
    "FCN-R50": "fcn_r50-d8_4xb2-40k_cityscapes-512x1024", "U-Net": "unet-s5-d16_fcn_4xb4-160k_cityscapes-512x1024",
    "PSPNet-R50": "pspnet_r50-d8_4xb2-40k_cityscapes-512x1024",
    "DeepLabV3-R50": "deeplabv3_r50-d8_4xb2-40k_cityscapes-512x1024",
    "UPerNet-R50": "upernet_r50_4xb2-40k_cityscapes-512x1024",
    "UPerNet-ConvNeXt-T": "convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512",
    "CCNet-R50": "ccnet_r50-d8_4xb2-40k_cityscapes-512x1024",
    "FastFCN-PSP": "fastfcn_r50-d32_jpu_psp_4xb2-80k_cityscapes-512x1024",
    "SETR-PUP": "setr_vit-l_pup_8xb2-160k_ade20k-512x512",
    "Segmenter-T": "segmenter_vit-t_mask_8xb1-160k_ade20k-512x512",
    "SegFormer-B0": "segformer_mit-b0_8xb1-160k_cityscapes-1024x1024",
}  # fmt: skip
ABOUT = [{"img_shape": (SIZE, SIZE), "ori_shape": (SIZE, SIZE)}]


def sides(name):
    """Three functions of an image: MMSegmentation's logits, ours, and ours in bfloat16."""
    model, reference = pair(name, mode="whole")
    ours, half = segmentors.for_inference(model), segmentors.for_inference(model, torch.bfloat16)

    def last(image, dtype=torch.float32):
        return image.to(dtype, memory_format=torch.channels_last)

    return {
        "mmseg": lambda image: reference.encode_decode(image, ABOUT),
        "ours": lambda image: ours(last(image)),
        "bf16": lambda image: half(last(image, torch.bfloat16)),
    }


def seconds(forward, image):
    begun = time.perf_counter()
    forward(image)
    return time.perf_counter() - begun


def resident(key):
    return 1024 * int(re.search(rf"{key}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def peak_of(label, side):
    """Bytes that a forward pass adds at its peak, after one to warm up."""
    forward, image = sides(NAMES[label])[side], torch.rand(1, 3, SIZE, SIZE)
    forward(image)
    environment.release_memory()
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
    before = resident("VmRSS")
    forward(image)
    return resident("VmHWM") - before


def compare(label):
    forwards, image = sides(NAMES[label]), torch.rand(1, 3, SIZE, SIZE)
    for forward in forwards.values():
        forward(image)
    times = [{side: seconds(forward, image) for side, forward in forwards.items()} for _ in range(ROUNDS)]
    row = {
        "segmentor": label, "architecture": KNOWN["checkpoints"][NAMES[label]]["segmentor"],
        "seconds": {side: round(statistics.median(t[side] for t in times), 4) for side in forwards},
    }  # fmt: skip
    for side in ("ours", "bf16"):
        ratios = sorted(t["mmseg"] / t[side] for t in times)
        row[side] = {
            "ratio": round(statistics.median(ratios), 3),
            "least": round(ratios[0], 3),
            "most": round(ratios[-1], 3),
        }
    if Path("/proc/self/clear_refs").exists():
        command = [sys.executable, "-m", "tests.parity.speed", "--peak", label]
        peaks = {s: subprocess.run([*command, s], stdout=subprocess.PIPE, check=True).stdout for s in ("mmseg", "ours")}
        row["peak_bytes"] = {side: int(printed.split()[-1]) for side, printed in peaks.items()}
    print(json.dumps(row), flush=True)
    return row


def main(*labels):
    path = environment.ROOT / "results/benchmarks.json"
    rows = [compare(label) for label in labels or NAMES]
    mean = {side: round(statistics.geometric_mean(row[side]["ratio"] for row in rows), 3) for side in ("ours", "bf16")}
    print("geometric mean", mean)
    if not labels:
        report = json.loads(path.read_text())
        report["segmentors"] = {
            "device": environment.processor(), "versions": environment.versions(), "rounds": ROUNDS, "size": SIZE,
            "geometric_mean": mean, "rows": rows,
        }  # fmt: skip
        path.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    environment.set_threads()
    with torch.inference_mode():
        if sys.argv[1:2] == ["--peak"]:
            print(peak_of(*sys.argv[2:]))
        else:
            main(*sys.argv[1:])
