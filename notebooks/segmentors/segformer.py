"""SegFormer: a transformer with a pyramid, which needs no position embeddings, and a decoder of 1 x 1 convolutions.

Xie et al., SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers, 2021,
https://arxiv.org/abs/2105.15203. As in the paper, with batch normalisation on each level of the head. NVIDIA's weights
are for non-commercial use; this code is our own.
"""

import torch.nn.functional as F
from torch import nn

MIT = {  # channels of the four stages, and blocks in each
    "mit_b0": ((32, 64, 160, 256), (2, 2, 2, 2)), "mit_b1": ((64, 128, 320, 512), (2, 2, 2, 2)),
    "mit_b2": ((64, 128, 320, 512), (3, 4, 6, 3)), "mit_b3": ((64, 128, 320, 512), (3, 4, 18, 3)),
    "mit_b4": ((64, 128, 320, 512), (3, 8, 27, 3)), "mit_b5": ((64, 128, 320, 512), (3, 6, 40, 3)),
}  # fmt: skip


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


class EfficientAttention(nn.Module):
    """Attention to a map made `reduction` times smaller: (B, N, C) -> (B, N, C)."""

    def __init__(self, channels, heads, reduction):
        super().__init__()
        self.heads, self.query, self.out = heads, nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.key_and_value = nn.Linear(channels, 2 * channels)
        self.reduce = nn.Conv2d(channels, channels, reduction, stride=reduction) if reduction > 1 else None
        self.norm = nn.LayerNorm(channels, eps=1e-6) if reduction > 1 else None

    def forward(self, x, size):
        fewer = x
        if self.reduce is not None:
            fewer = self.norm(self.reduce(x.transpose(1, 2).unflatten(2, size)).flatten(2).transpose(1, 2))
        query = self.query(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        key, value = self.key_and_value(fewer).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class MixFFN(nn.Module):
    """Two linear layers with a 3 x 3 convolution in each channel between them; it tells positions apart."""

    def __init__(self, channels, expansion=4):
        super().__init__()
        hidden = channels * expansion
        self.widen, self.narrow = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        self.mix = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)

    def forward(self, x, size):
        x = self.mix(self.widen(x).transpose(1, 2).unflatten(2, size))
        return self.narrow(F.gelu(x.flatten(2).transpose(1, 2)))


class Block(nn.Module):
    def __init__(self, channels, heads, reduction):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels, eps=1e-6), nn.LayerNorm(channels, eps=1e-6)
        self.attention, self.ffn = EfficientAttention(channels, heads, reduction), MixFFN(channels)

    def forward(self, x, size):
        x = x + self.attention(self.norm1(x), size)
        return x + self.ffn(self.norm2(x), size)


class Stage(nn.Module):
    """Overlapping patches, blocks, norm: (B, in_channels, h, w) -> (B, channels, h / stride, w / stride)."""

    def __init__(self, in_channels, channels, depth, heads, reduction, size, stride):
        super().__init__()
        self.patches = nn.Conv2d(in_channels, channels, size, stride, padding=size // 2)
        self.patch_norm, self.norm = nn.LayerNorm(channels, eps=1e-6), nn.LayerNorm(channels, eps=1e-6)
        self.blocks = nn.ModuleList(Block(channels, heads, reduction) for _ in range(depth))

    def forward(self, x):
        x = self.patches(x)
        size, x = x.shape[-2:], self.patch_norm(x.flatten(2).transpose(1, 2))
        for block in self.blocks:
            x = block(x, size)
        return self.norm(x).transpose(1, 2).unflatten(2, size)


class MixTransformer(nn.Module):
    """MiT: image (B, 3, H, W) -> four feature maps, H/4 to H/32."""

    def __init__(self, widths, depths, in_chans=3):
        super().__init__()
        shapes = zip(
            [in_chans, *widths], widths, depths, (1, 2, 5, 8), (8, 4, 2, 1), (7, 3, 3, 3), (4, 2, 2, 2), strict=False
        )
        self.stages, self.widths = nn.ModuleList(Stage(*shape) for shape in shapes), widths

    def forward(self, x):
        features = []
        for stage in self.stages:
            features.append(x := stage(x))
        return features


class AllMLPHead(nn.Module):
    """Each level to `channels`, resized to H/4, side by side, mixed: -> (B, num_classes, H/4, W/4)."""

    def __init__(self, in_channels, channels, num_classes):
        super().__init__()
        self.project = nn.ModuleList(conv_bn_relu(c, channels, size=1) for c in in_channels)
        self.mix = conv_bn_relu(len(in_channels) * channels, channels, size=1)
        self.classify = classifier(channels, num_classes)

    def forward(self, features):
        levels = [project(x) for project, x in zip(self.project, features, strict=True)]
        conv, norm, relu = self.mix
        # a 1 x 1 convolution of the resized maps is the resized 1 x 1 convolution of the maps, and that is cheaper
        weights = conv.weight.split(levels[0].shape[1], 1)
        parts = [F.conv2d(x, weight) for x, weight in zip(levels, weights, strict=True)]
        mixed = sum((resize(x, parts[0].shape[-2:]) for x in parts[1:]), parts[0])
        if conv.bias is not None:  # there is one once the norm is folded in
            mixed = mixed + conv.bias[:, None, None]
        return self.classify(relu(norm(mixed)))


class SegFormer(nn.Module):
    """Image (B, 3, H, W) -> logits (B, num_classes, H, W), for any H and W from 32; it has no auxiliary heads.

    Args: `encoder`, "mit_b0" to "mit_b5"; `channels` of the head (256 for b0 and b1, 768 in the paper's larger ones).
    """

    def __init__(self, num_classes, encoder="mit_b0", channels=256, in_chans=3):
        super().__init__()
        if encoder not in MIT:
            raise ValueError(f"encoder is {encoder!r}, but must be one of {', '.join(MIT)}")
        self.encoder = MixTransformer(*MIT[encoder], in_chans)
        self.head = AllMLPHead(self.encoder.widths, channels, num_classes)

    def forward(self, image):
        return resize(self.head(self.encoder(image)), image.shape[-2:])

    def forward_with_auxiliary(self, image):
        """The logits alone, as a tuple of one."""
        return (self.forward(image),)
