"""CCNet: each position asks all those in its row and column; asked twice, everybody has heard of everybody.

Huang, Wang, Wei, Huang, Shi, Liu and Huang, CCNet: Criss-Cross Attention for Semantic Segmentation, 2019,
https://arxiv.org/abs/1811.11721. As in the paper (recurrence 2, weights shared), without its category consistency loss.
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


class CrissCrossAttention(nn.Module):
    """Attention to the h + w - 1 positions of one's own row and column: (B, C, h, w) -> (B, C, h, w).

    An (h w) x (h w) matrix is never built: the scores take h w (h + w) numbers.
    """

    def __init__(self, channels):
        super().__init__()
        self.query, self.key = nn.Conv2d(channels, channels // 8, 1), nn.Conv2d(channels, channels // 8, 1)
        self.value, self.gate = nn.Conv2d(channels, channels, 1), nn.Parameter(torch.zeros(()))

    def forward(self, x):
        query, key, value = self.query(x), self.key(x), self.value(x)
        rows, columns = x.shape[-2:]
        down = torch.einsum("bchw,bcgw->bhwg", query, key)  # with each row g of the same column
        oneself = torch.eye(rows, dtype=torch.bool, device=x.device).unsqueeze(1)  # counted once, in one's row
        down = down.masked_fill(oneself, float("-inf"))
        across = torch.einsum("bchw,bchv->bhwv", query, key)  # with each column v of the same row
        weights = torch.cat([down, across], dim=-1).softmax(-1)
        down, across = weights.split([rows, columns], dim=-1)
        heard = torch.einsum("bhwg,bcgw->bchw", down, value) + torch.einsum("bhwv,bchv->bchw", across, value)
        return x + self.gate * heard


class CrissCrossHead(nn.Module):
    """Convolution, criss-cross attention twice, convolution, mixed with what went in; class scores."""

    def __init__(self, in_channels, channels, num_classes, recurrence=2):
        super().__init__()
        self.recurrence = recurrence
        self.before, self.after = conv_bn_relu(in_channels, channels), conv_bn_relu(channels, channels)
        self.attention = CrissCrossAttention(channels)
        self.mix = conv_bn_relu(in_channels + channels, channels)
        self.classify = classifier(channels, num_classes)

    def forward(self, features):
        x = self.before(features)
        for _ in range(self.recurrence):
            x = self.attention(x)
        return self.classify(self.mix(torch.cat([features, self.after(x)], dim=1)))


class CCNet(nn.Module):
    """Criss-cross attention on a dilated encoder: image (B, 3, H, W) -> logits (B, num_classes, H, W), for any H and W.

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
        self.head = CrissCrossHead(deep, deep // 4, num_classes)
        self.auxiliary_head = auxiliary(middle, num_classes)

    def forward(self, image):
        return enlarge(self.head(self.encoder(image)[-1]), image)

    def forward_with_auxiliary(self, image):
        """Logits, and those of the auxiliary head, both at the image's size."""
        middle, deep = self.encoder(image)
        return enlarge(self.head(deep), image), enlarge(self.auxiliary_head(middle), image)
