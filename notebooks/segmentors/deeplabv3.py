"""DeepLabV3: the same features seen through several gaps at once, atrous spatial pyramid pooling.

Chen, Papandreou, Schroff and Adam, Rethinking Atrous Convolution for Semantic Image Segmentation, 2017,
https://arxiv.org/abs/1706.05587. Rates 12, 24 and 36 at output stride 8 as in the paper; without its multi-grid, and
with the 3 x 3 convolution behind the pyramid and the auxiliary head that published weights have.
"""

import timm
import torch
import torch.nn.functional as F
from torch import nn


def conv_bn_relu(in_channels, out_channels, size=3, dilation=1):
    """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
    conv = nn.Conv2d(in_channels, out_channels, size, padding=dilation * (size // 2), dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def classifier(channels, num_classes):
    """Class scores for each position, after dropout of whole channels."""
    return nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(channels, num_classes, 1))


def auxiliary(in_channels, num_classes):
    """A small head on the encoder's middle, for training: its gradient has a shorter way to go."""
    return nn.Sequential(conv_bn_relu(in_channels, in_channels // 4), classifier(in_channels // 4, num_classes))


def enlarge(logits, image):
    """Logits at the size of the image."""
    return F.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: the mean of the image, a 1 x 1 and dilated 3 x 3 convolutions, side by side, mixed."""

    def __init__(self, in_channels, channels, rates=(12, 24, 36)):
        super().__init__()
        self.image_mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv_bn_relu(in_channels, channels, size=1))
        views = [conv_bn_relu(in_channels, channels, dilation=rate) for rate in rates]
        self.views = nn.ModuleList([conv_bn_relu(in_channels, channels, size=1), *views])
        self.mix = conv_bn_relu((2 + len(rates)) * channels, channels)

    def forward(self, features):
        mean = self.image_mean(features).expand(-1, -1, *features.shape[-2:])
        return self.mix(torch.cat([mean, *(view(features) for view in self.views)], dim=1))


class DeepLabV3(nn.Module):
    """ASPP on a dilated encoder: image (B, 3, H, W) -> logits (B, num_classes, H, W), for any H and W.

    Args: `encoder`, the name of a timm model that can be dilated to an output stride of 8, or such a model;
    `pretrained` downloads timm's weights for it.
    """

    def __init__(self, num_classes, encoder="resnet50c", pretrained=False, in_chans=3):
        super().__init__()
        if isinstance(encoder, str):
            options = dict(features_only=True, out_indices=(3, 4), output_stride=8, in_chans=in_chans)
            encoder = timm.create_model(encoder, pretrained=pretrained, **options)
        self.encoder = encoder
        middle, deep = encoder.feature_info.channels()
        self.head = nn.Sequential(ASPP(deep, deep // 4), classifier(deep // 4, num_classes))
        self.auxiliary_head = auxiliary(middle, num_classes)

    def forward(self, image):
        return enlarge(self.head(self.encoder(image)[-1]), image)

    def forward_with_auxiliary(self, image):
        """Logits, and those of the auxiliary head, both at the image's size."""
        middle, deep = self.encoder(image)
        return enlarge(self.head(deep), image), enlarge(self.auxiliary_head(middle), image)
