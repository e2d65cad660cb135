"""SETR: an image as a sequence of 16 x 16 patches, encoded by a plain transformer; three decoders, from naive to MLA.

Zheng et al., Rethinking Semantic Segmentation from a Sequence-to-Sequence Perspective with Transformers, 2021,
https://arxiv.org/abs/2012.15840. As in the paper, with the position embeddings resampled to the image at hand, so that
any size will do.
"""

import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint


def conv_bn_relu(in_channels, out_channels, size=3):
    """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
    conv = nn.Conv2d(in_channels, out_channels, size, padding=size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def resize(x, size):
    """Bilinear, (B, C, h, w) -> (B, C, *size)."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class Tokens(nn.Module):
    """timm's vision transformer: image (B, 3, H, W) -> features (B, C, H/16, W/16) after the blocks `taps`.

    With `checkpointing` set, training computes each block's inside twice instead of keeping it: time for memory.
    """

    checkpointing = False

    def __init__(self, vit, taps, mode, keep_class_token=True):
        super().__init__()
        self.patches, self.blocks = vit.patch_embed.proj, vit.blocks
        self.class_token, self.positions = vit.cls_token, vit.pos_embed  # (1, 1, C), (1, 1 + n, C)
        self.grid, self.taps, self.mode, self.keep = vit.patch_embed.grid_size, taps, mode, keep_class_token

    def positions_for(self, size):
        """The position embeddings resampled to another grid; the class token's stays."""
        token, grid = self.positions[:, :1], self.positions[:, 1:]
        if tuple(size) != tuple(self.grid):
            grid = grid.reshape(1, *self.grid, -1).permute(0, 3, 1, 2)
            grid = F.interpolate(grid, size=size, mode=self.mode, align_corners=False).flatten(2).transpose(1, 2)
        return torch.cat([token, grid], dim=1)

    def forward(self, image):
        rows, columns = image.shape[-2:]
        x = self.patches(F.pad(image, (0, -columns % 16, 0, -rows % 16)))
        size, maps = x.shape[-2:], []
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], dim=1)
        x = x + self.positions_for(size)
        x = x if self.keep else x[:, 1:]
        for number, block in enumerate(self.blocks):
            x = checkpoint(block, x, use_reentrant=False) if self.checkpointing and self.training else block(x)
            if number in self.taps:
                maps.append(x[:, int(self.keep) :].transpose(1, 2).unflatten(2, size))
        return maps


def normalised(norm, features):
    """LayerNorm over the channels of (B, C, h, w)."""
    return norm(features.movedim(1, -1)).movedim(-1, 1)


class ProgressiveUp(nn.Module):
    """Convolve and enlarge, some times over: (B, C, h, w) -> (B, num_classes, h * factor**steps, w * factor**steps)."""

    def __init__(self, in_channels, num_classes, steps, size, factor, channels=256):
        super().__init__()
        self.norm = nn.LayerNorm(in_channels, eps=1e-6)
        self.convs = nn.ModuleList(conv_bn_relu(channels if n else in_channels, channels, size) for n in range(steps))
        self.factor, self.classify = factor, nn.Conv2d(channels, num_classes, 1)

    def forward(self, features):
        x = normalised(self.norm, features)
        *convs, last = self.convs
        for conv in convs:
            x = self.enlarge(conv(x))
        return self.enlarge(self.classify(last(x)))  # the other way round says the same and costs more

    def enlarge(self, x):
        return F.interpolate(x, scale_factor=self.factor, mode="bilinear", align_corners=False)


class MultiLevelAggregation(nn.Module):
    """Four features of one size, summed from the deepest up, convolved, enlarged and put side by side."""

    def __init__(self, in_channels, num_classes, channels=256):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(in_channels, eps=1e-6) for _ in range(4))
        self.project = nn.ModuleList(conv_bn_relu(in_channels, channels, size=1) for _ in range(4))
        self.extract = nn.ModuleList(conv_bn_relu(channels, channels) for _ in range(4))  # the deepest first
        half = channels // 2
        self.branches = nn.ModuleList(
            nn.Sequential(conv_bn_relu(channels, half), conv_bn_relu(half, half)) for _ in range(4)
        )
        self.classify = nn.Conv2d(4 * half, num_classes, 1)

    def neck(self, features):
        """Four feature maps (B, channels, h, w), the deepest first."""
        levels = [p(normalised(n, x)) for p, n, x in zip(self.project, self.norms, features, strict=True)][::-1]
        for number in range(1, 4):
            levels[number] = levels[number] + levels[number - 1]
        return [extract(x) for extract, x in zip(self.extract, levels, strict=True)]

    def forward(self, features):
        return self.decode(self.neck(features))

    def decode(self, levels):
        maps = [branch(x) for branch, x in zip(self.branches, levels, strict=True)]
        return F.interpolate(self.classify(torch.cat(maps, 1)), scale_factor=4.0, mode="bilinear", align_corners=False)


class SETR(nn.Module):
    """A vision transformer and a decoder: image (B, 3, H, W) -> logits (B, num_classes, H, W), for any H and W.

    Args: `encoder`, the name of one of timm's plain vision transformers of patch 16; `decoder`, "naive", "pup" or
    "mla"; `image_size` of its position embeddings, pixels or (height, width); `pretrained` downloads timm's weights.
    """

    def __init__(self, num_classes, encoder="vit_large_patch16_384", decoder="pup", image_size=512, pretrained=False,
                 in_chans=3):  # fmt: skip
        super().__init__()
        if decoder not in ("naive", "pup", "mla"):
            raise ValueError(f'decoder is {decoder!r}, but must be "naive", "pup" or "mla"')
        vit = timm.create_model(encoder, pretrained=pretrained, img_size=image_size, num_classes=0, in_chans=in_chans)
        depth, channels, mla = len(vit.blocks), vit.embed_dim, decoder == "mla"
        taps = [depth * share // 24 - 1 for share in ((6, 12, 18, 24) if mla else (10, 15, 20, 24))]
        self.encoder = Tokens(vit, taps, mode="bilinear", keep_class_token=not mla)
        if mla:
            self.head = MultiLevelAggregation(channels, num_classes)
            self.auxiliary_heads = nn.ModuleList(nn.Conv2d(256, num_classes, 1) for _ in range(4))
        else:
            steps, size, factor = {"naive": (1, 1, 4.0), "pup": (4, 3, 2.0)}[decoder]
            self.head = ProgressiveUp(channels, num_classes, steps, size, factor)
            self.auxiliary_heads = nn.ModuleList(ProgressiveUp(channels, num_classes, 2, size, 4.0) for _ in range(3))

    def forward(self, image):
        features = self.encoder(image)
        return resize(self.head(features if len(self.auxiliary_heads) == 4 else features[-1]), image.shape[-2:])

    def forward_with_auxiliary(self, image):
        """Logits, and those of the auxiliary heads on the earlier taps, all at the image's size."""
        features = self.encoder(image)
        if len(self.auxiliary_heads) == 4:  # MLA: on the neck's four outputs
            features = self.head.neck(features)
            logits = self.head.decode(features)
        else:
            logits = self.head(features[-1])
        auxiliary = [head(x) for head, x in zip(self.auxiliary_heads, features, strict=False)]
        return tuple(resize(x, image.shape[-2:]) for x in (logits, *auxiliary))
