"""UPerNet: pyramid pooling at the top of a feature pyramid, on any encoder that gives features at four sizes.

Xiao, Liu, Zhou, Jiang and Sun, Unified Perceptual Parsing for Scene Understanding, 2018, https://arxiv.org/abs/1807.10221.
Its scene head alone. With ConvNeXt (Liu et al. 2022, https://arxiv.org/abs/2201.03545) each feature map is normalised first.
"""

import timm
import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d
from torch import nn


def conv_bn_relu(in_channels, out_channels, size=3):
    """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
    conv = nn.Conv2d(in_channels, out_channels, size, padding=size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def classifier(channels, num_classes):
    """Class scores for each position, after dropout of whole channels."""
    return nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(channels, num_classes, 1))


def resize(x, size):
    """Bilinear, (B, C, h, w) -> (B, C, *size)."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class PyramidPooling(nn.Module):
    """Means over 1 x 1, 2 x 2, 3 x 3 and 6 x 6 regions, beside the features: (B, C, h, w) -> (B, channels, h, w)."""

    def __init__(self, in_channels, channels, scales=(1, 2, 3, 6)):
        super().__init__()
        self.views = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(scale), conv_bn_relu(in_channels, channels, size=1)) for scale in scales
        )
        self.mix = conv_bn_relu(in_channels + len(scales) * channels, channels)

    def forward(self, features):
        means = [resize(view(features), features.shape[-2:]) for view in self.views]
        return self.mix(torch.cat([features, *means], dim=1))


class UPerHead(nn.Module):
    """Feature maps at H/4, H/8, H/16, H/32 -> class scores (B, num_classes, H/4, W/4)."""

    def __init__(self, in_channels, channels, num_classes):
        super().__init__()
        self.pool = PyramidPooling(in_channels[-1], channels)
        self.lateral = nn.ModuleList(conv_bn_relu(c, channels, size=1) for c in in_channels[:-1])
        self.smooth = nn.ModuleList(conv_bn_relu(channels, channels) for _ in in_channels[:-1])
        self.mix = conv_bn_relu(len(in_channels) * channels, channels)
        self.classify = classifier(channels, num_classes)

    def forward(self, features):
        levels = [self.pool(features[-1])]
        for lateral, finer in zip(self.lateral[::-1], features[-2::-1], strict=True):  # from the top down
            levels.insert(0, lateral(finer) + resize(levels[0], finer.shape[-2:]))
        levels = [*(smooth(x) for smooth, x in zip(self.smooth, levels, strict=False)), levels[-1]]
        size = levels[0].shape[-2:]
        return self.classify(self.mix(torch.cat([levels[0], *(resize(x, size) for x in levels[1:])], dim=1)))


class UPerNet(nn.Module):
    """UPerNet on a hierarchical encoder: image (B, 3, H, W) -> logits (B, num_classes, H, W), for any H and W.

    Args: `encoder`, the name of a timm model with features at four sizes (resnet50c, convnext_tiny, swin_...), or such
    a model; `pretrained` downloads timm's weights for it; `channels` of the head.
    """

    def __init__(self, num_classes, encoder="resnet50c", pretrained=False, channels=512, in_chans=3):
        super().__init__()
        if isinstance(encoder, str):
            encoder = timm.create_model(
                encoder, pretrained=pretrained, features_only=True, out_indices=(-4, -3, -2, -1), in_chans=in_chans
            )
        self.encoder, widths = encoder, encoder.feature_info.channels()
        batch_normalised = any(isinstance(layer, nn.BatchNorm2d) for layer in encoder.modules())
        self.norms = nn.ModuleList(nn.Identity() if batch_normalised else LayerNorm2d(c, eps=1e-6) for c in widths)
        self.head = UPerHead(widths, channels, num_classes)
        self.auxiliary_head = nn.Sequential(conv_bn_relu(widths[2], 256), classifier(256, num_classes))

    def features(self, image):
        """Four feature maps, (B, C, h, w) each (some of timm's encoders put the channels last)."""
        maps = zip(self.encoder(image), self.encoder.feature_info.channels(), self.norms, strict=True)
        return [norm(x if x.shape[1] == channels else x.permute(0, 3, 1, 2)) for x, channels, norm in maps]

    def forward(self, image):
        return resize(self.head(self.features(image)), image.shape[-2:])

    def forward_with_auxiliary(self, image):
        """Logits, and those of the auxiliary head on H/16, both at the image's size."""
        features, size = self.features(image), image.shape[-2:]
        return resize(self.head(features), size), resize(self.auxiliary_head(features[2]), size)
