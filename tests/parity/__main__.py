"""`make parity`: the segmentors against MMSegmentation 1.2.2, same random weights and input, at two sizes and tiled.

A difference is the largest of all logits, over their standard deviation. Float noise is 4e-6 to 4e-5; the smallest
mistakes that a port can make (an epsilon, a corner, a dilation) move them by 1e-3. The bound is 1e-4.
"""

import sys

import numpy as np
import torch
import torch.nn.functional as F
from tests.parity.reference import SIZES, auxiliary_logits, pair

from segmentation_helpers import environment
from segmentation_helpers.inference import predict

BOUND, TILE, STRIDE = 1e-4, 96, 64
NAMES = [  # every kind of head, and of encoder
    "fcn_r50-d8_4xb2-40k_cityscapes-512x1024", "fcn_r18-d8_4xb2-80k_cityscapes-512x1024",
    "unet-s5-d16_fcn_4xb4-160k_cityscapes-512x1024", "pspnet_r50-d8_4xb2-40k_cityscapes-512x1024",
    "deeplabv3_r50-d8_4xb2-40k_cityscapes-512x1024", "upernet_r50_4xb2-40k_cityscapes-512x1024",
    "convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512", "ccnet_r50-d8_4xb2-40k_cityscapes-512x1024",
    "fastfcn_r50-d32_jpu_psp_4xb2-80k_cityscapes-512x1024", "fastfcn_r50-d32_jpu_aspp_4xb4-160k_ade20k-512x512",
    "fastfcn_r50-d32_jpu_enc_4xb4-160k_ade20k-512x512", "setr_vit-l_naive_8xb2-160k_ade20k-512x512",
    "setr_vit-l_pup_8xb2-160k_ade20k-512x512", "setr_vit-l_mla_8xb2-160k_ade20k-512x512",
    "segmenter_vit-t_mask_8xb1-160k_ade20k-512x512", "segmenter_vit-s_fcn_8xb1-160k_ade20k-512x512",
    "segformer_mit-b0_8xb2-160k_ade20k-512x512", "segformer_mit-b1_8xb2-160k_ade20k-512x512",
]  # fmt: skip


def difference(ours, expected):
    assert ours.shape == expected.shape and expected.std() > 1e-3
    return float((ours - expected).abs().max() / expected.std())


def differences(name):
    """Of the logits at both sizes, of the auxiliary heads' (their largest), and of sliding inference."""
    model, reference = pair(name, mode="slide", crop_size=(TILE, TILE), stride=(STRIDE, STRIDE))
    rows = {}
    for size in SIZES:
        if name.startswith("unet"):
            size = [side // 16 * 16 for side in size]  # MMSegmentation's takes no others
        image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
        about = [{"img_shape": size, "ori_shape": size}]
        rows["x".join(map(str, size))] = difference(model(image), reference.encode_decode(image, about))
    others = zip(model.forward_with_auxiliary(image)[1:], auxiliary_logits(reference, image), strict=True)
    resized = ((a, b if b.ndim == 2 else F.interpolate(b, size=a.shape[-2:], mode="bilinear")) for a, b in others)
    rows["auxiliary"] = max((difference(a, b) for a, b in resized), default=0.0)

    picture = np.random.default_rng(2).integers(0, 256, (144, 208, 3), np.uint8)
    image = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    about = [{"img_shape": picture.shape[:2], "ori_shape": picture.shape[:2]}]
    tiles = predict(model, picture, tile=TILE, stride=STRIDE, window="flat", return_logits=True)
    rows["sliding"] = difference(tiles[None], reference.slide_inference(image, about))
    return rows


def main(*names):
    failed = 0
    for name in names or NAMES:
        with torch.inference_mode():
            rows = differences(name)
        worst = max(rows.values())
        failed += worst >= BOUND
        text = "  ".join(f"{what} {value:.1e}" for what, value in rows.items())
        print(f"{'same' if worst < BOUND else 'DIFFERENT':<9} {name:<52} {text}", flush=True)
        environment.release_memory()
    if failed:
        sys.exit(f"{failed} differ by {BOUND:.0e} of their standard deviation or more.")


if __name__ == "__main__":
    main(*sys.argv[1:])
