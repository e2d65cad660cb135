"""FCN: convolutions alone, from the image to a score for each class at each position.

Long, Shelhamer and Darrell, Fully Convolutional Networks for Semantic Segmentation, 2015, https://arxiv.org/abs/1411.4038.
Not the paper's VGG16 with skips, but the form that became the field's baseline: a dilated
ResNet of output stride 8, and two 3 x 3 convolutions whose result is put beside what went in.
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


class FCNHead(nn.Module):
    """Two convolutions, their result mixed with what went in: (B, in_channels, h, w) -> (B, num_classes, h, w)."""

    def __init__(self, in_channels, channels, num_classes):
        super().__init__()
        self.convs = nn.Sequential(conv_bn_relu(in_channels, channels), conv_bn_relu(channels, channels))
        self.mix = conv_bn_relu(in_channels + channels, channels)
        self.classify = classifier(channels, num_classes)

    def forward(self, features):
        return self.classify(self.mix(torch.cat([features, self.convs(features)], dim=1)))


class FCN(nn.Module):
    """FCN on a dilated encoder: image (B, 3, H, W) -> logits (B, num_classes, H, W), for any H and W.

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
        self.head = FCNHead(deep, deep // 4, num_classes)
        self.auxiliary_head = auxiliary(middle, num_classes)

    def forward(self, image):
        return enlarge(self.head(self.encoder(image)[-1]), image)

    def forward_with_auxiliary(self, image):
        """Logits, and those of the auxiliary head, both at the image's size."""
        middle, deep = self.encoder(image)
        return enlarge(self.head(deep), image), enlarge(self.auxiliary_head(middle), image)
