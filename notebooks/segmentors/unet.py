"""U-Net: down to see what there is, up again to see where, with a skip on every level.

Ronneberger, Fischer and Brox, U-Net: Convolutional Networks for Biomedical Image Segmentation, 2015,
https://arxiv.org/abs/1505.04597. Differs from the paper (notebook 21 has it to the letter): padded, batch-normalised,
bilinear up-sampling and a 1 x 1 convolution where the paper has a transposed one, one more convolution before the scores.
"""

import torch
import torch.nn.functional as F
from torch import nn


def conv_bn_relu(in_channels, out_channels, size=3):
    """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
    conv = nn.Conv2d(in_channels, out_channels, size, padding=size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def double_conv(in_channels, out_channels):
    return nn.Sequential(conv_bn_relu(in_channels, out_channels), conv_bn_relu(out_channels, out_channels))


def twice(x):
    """Bilinear, (B, C, h, w) -> (B, C, 2 h, 2 w)."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class Up(nn.Module):
    """Twice the size, half the channels, beside the skip, mixed: (B, 2 C, h, w), (B, C, 2 h, 2 w) -> (B, C, 2 h, 2 w)."""

    def __init__(self, channels):
        super().__init__()
        self.narrow = conv_bn_relu(2 * channels, channels, size=1)
        self.mix = double_conv(2 * channels, channels)

    def forward(self, x, skip):
        conv, norm, relu = self.narrow
        if self.training:  # batch statistics are those of the enlarged features
            x = relu(norm(conv(twice(x))))
        else:  # all linear but the ReLU, so the order is free: this one costs a quarter
            x = relu(twice(norm(conv(x))))
        return self.mix(torch.cat([skip, x], dim=1))


def head(channels, width, num_classes):
    return nn.Sequential(conv_bn_relu(channels, width), nn.Dropout2d(0.1), nn.Conv2d(width, num_classes, 1))


class UNet(nn.Module):
    """U-Net of `depth` levels: image (B, 3, H, W) -> logits (B, num_classes, H, W), for any H and W.

    Args: `width`, channels of the first level; they double on each. It has no encoder to choose: it is one itself.
    """

    def __init__(self, num_classes, width=64, depth=5, in_chans=3):
        super().__init__()
        widths = [width * 2**level for level in range(depth)]
        self.down = nn.ModuleList(double_conv(i, o) for i, o in zip([in_chans, *widths], widths, strict=False))
        self.up = nn.ModuleList(Up(channels) for channels in widths[-2::-1])
        self.head = head(width, width, num_classes)
        self.auxiliary_head = head(2 * width, width, num_classes)

    def decoded(self, image):
        """What the decoder makes, from H/8 to H for a depth of 5; H and W padded to multiples of 16."""
        rows, columns, divisor = *image.shape[-2:], 2 ** len(self.up)
        x, skips = F.pad(image, (0, -columns % divisor, 0, -rows % divisor)), []
        for level, stage in enumerate(self.down):
            x = stage(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        levels = [skips.pop()]
        for up in self.up:
            levels.append(up(levels[-1], skips.pop()))
        return levels[1:]

    def forward(self, image):
        return self.head(self.decoded(image)[-1])[..., : image.shape[-2], : image.shape[-1]]

    def forward_with_auxiliary(self, image):
        """Logits, and those of the auxiliary head on the level below, both at the image's size."""
        rows, columns = image.shape[-2:]
        *_, half, full = self.decoded(image)
        coarse = twice(self.auxiliary_head(half))
        return self.head(full)[..., :rows, :columns], coarse[..., :rows, :columns]
