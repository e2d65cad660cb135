"""FastFCN: features of output stride 8 without paying for them; joint pyramid upsampling makes them from H/8, H/16, H/32.

Wu, Zhang, Huang, Liang and Yu, FastFCN: Rethinking Dilated Convolution in the Backbone, 2019,
https://arxiv.org/abs/1903.11816. With the three heads of the published weights: pyramid pooling (PSPNet), atrous spatial
pyramid pooling (DeepLabV3), and context encoding (Zhang et al., EncNet, 2018, https://arxiv.org/abs/1803.08904).
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


def resize(x, size):
    """Bilinear, (B, C, h, w) -> (B, C, *size)."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class JPU(nn.Module):
    """Joint pyramid upsampling: three feature maps -> (B, 4 * channels, H/8, W/8)."""

    def __init__(self, in_channels, channels=512, rates=(1, 2, 4, 8)):
        super().__init__()
        self.convs = nn.ModuleList(conv_bn_relu(c, channels) for c in in_channels)
        self.views = nn.ModuleList(separable(len(in_channels) * channels, channels, rate) for rate in rates)

    def forward(self, features):
        maps = [conv(x) for conv, x in zip(self.convs, features, strict=True)]
        joined = torch.cat([maps[0], *(resize(x, maps[0].shape[-2:]) for x in maps[1:])], dim=1)
        return torch.cat([view(joined) for view in self.views], dim=1)


def separable(in_channels, out_channels, dilation):
    """A dilated 3 x 3 convolution in each channel, then a 1 x 1 across them; an activation after the second alone."""
    conv = nn.Conv2d(in_channels, in_channels, 3, 1, dilation, dilation, groups=in_channels, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(in_channels), conv_bn_relu(in_channels, out_channels, size=1))


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


class Encoding(nn.Module):
    """How far a scene's features lie, in sum, from each of K learned codewords: (B, C, h, w) -> (B, K, C)."""

    def __init__(self, channels, num_codes):
        super().__init__()
        bound = (num_codes * channels) ** -0.5
        self.codewords = nn.Parameter(torch.empty(num_codes, channels).uniform_(-bound, bound))
        self.scale = nn.Parameter(torch.empty(num_codes).uniform_(-1, 0))

    def forward(self, x):
        x = x.flatten(2).transpose(1, 2)  # (B, N, C)
        distance = x.square().sum(2, keepdim=True) - 2 * x @ self.codewords.T + self.codewords.square().sum(1)
        weights = (self.scale * distance).softmax(2)  # (B, N, K), without ever building (B, N, K, C)
        return weights.transpose(1, 2) @ x - weights.sum(1)[..., None] * self.codewords


class ContextEncoding(nn.Module):
    """Channels turned up or down by what kind of scene it is: (B, C, h, w) -> (B, channels, h, w)."""

    def __init__(self, in_channels, channels, num_classes, num_codes=32):
        super().__init__()
        self.narrow, self.project = conv_bn_relu(in_channels, channels), conv_bn_relu(channels, channels, size=1)
        self.encode = nn.Sequential(Encoding(channels, num_codes), nn.BatchNorm1d(num_codes), nn.ReLU())
        self.gate, self.presence = nn.Linear(channels, channels), nn.Linear(channels, num_classes)

    def forward(self, features):
        x = self.narrow(features)
        gate = self.gate(self.scene(x)).sigmoid()
        return F.relu(x + x * gate[..., None, None])

    def scene(self, x):
        return self.encode(self.project(x)).mean(1)

    def classes_present(self, features):
        """One logit a class for "it is somewhere in the image", (B, num_classes): for EncNet's second loss."""
        return self.presence(self.scene(self.narrow(features)))


class FastFCN(nn.Module):
    """JPU and a head on a ResNet: image (B, 3, H, W) -> logits (B, num_classes, H, W), for any H and W.

    Args: `encoder`, the name of a timm model with features at H/8, H/16 and H/32, or such a model; `head`, "psp",
    "aspp" or "encoding"; `pretrained` downloads timm's weights for the encoder; `channels` of JPU and head.
    """

    def __init__(self, num_classes, encoder="resnet50c", head="psp", pretrained=False, channels=512, in_chans=3):
        super().__init__()
        if head not in ("psp", "aspp", "encoding"):
            raise ValueError(f'head is {head!r}, but must be "psp", "aspp" or "encoding"')
        if isinstance(encoder, str):
            options = dict(features_only=True, out_indices=(-3, -2, -1), in_chans=in_chans)
            encoder = timm.create_model(encoder, pretrained=pretrained, **options)
        self.encoder, widths = dilate(encoder), encoder.feature_info.channels()
        self.jpu = JPU(widths, channels)
        heads = {"psp": PyramidPooling, "aspp": ASPP}
        extra = () if head in heads else (num_classes,)
        self.context = heads.get(head, ContextEncoding)(4 * channels, channels, *extra)
        self.classify = classifier(channels, num_classes)
        self.auxiliary_head = nn.Sequential(
            conv_bn_relu(widths[1], widths[1] // 4), classifier(widths[1] // 4, num_classes)
        )

    def forward(self, image):
        return resize(self.classify(self.context(self.jpu(self.encoder(image)))), image.shape[-2:])

    def forward_with_auxiliary(self, image):
        """Logits and those of the auxiliary head, at the image's size; "encoding" adds (B, num_classes) of presence."""
        features, size = self.encoder(image), image.shape[-2:]
        fused = self.jpu(features)
        logits = resize(self.classify(self.context(fused)), size), resize(self.auxiliary_head(features[1]), size)
        return (*logits, self.context.classes_present(fused)) if hasattr(self.context, "presence") else logits


def dilate(encoder):
    """Gaps in a ResNet's last two stages, beside their strides: so the published weights were trained."""
    for stage, gap in (("layer3", 2), ("layer4", 4)):
        for number, block in enumerate(getattr(encoder, stage, [])):
            rate = gap if number else gap // 2
            block.conv2.dilation = block.conv2.padding = (rate, rate)
    return encoder
