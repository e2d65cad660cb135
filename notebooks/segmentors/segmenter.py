"""Segmenter: a transformer encodes patches, a second one lets them talk with one token a class; a mask is their product.

Strudel, Garcia, Laptev and Schmid, Segmenter: Transformer for Semantic Segmentation, 2021, https://arxiv.org/abs/2105.05633.
As in the paper, with its linear decoder too; position embeddings are resampled to the image at hand.
"""

import timm
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import nn


def resize(x, size):
    """Bilinear, (B, C, h, w) -> (B, C, *size)."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class Tokens(nn.Module):
    """timm's vision transformer: image (B, 3, H, W) -> features (B, C, H/16, W/16) after the blocks `taps`."""

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
            x = block(x)
            if number in self.taps:
                maps.append(x[:, int(self.keep) :].transpose(1, 2).unflatten(2, size))
        return maps


def normalised(norm, features):
    """LayerNorm over the channels of (B, C, h, w)."""
    return norm(features.movedim(1, -1)).movedim(-1, 1)


class MaskTransformer(nn.Module):
    """Patches (B, C, h, w) -> class masks (B, num_classes, h, w): products of patch and class embeddings."""

    def __init__(self, channels, num_classes, heads, depth=2):
        super().__init__()
        self.project = nn.Linear(channels, channels)
        self.classes = nn.Parameter(0.02 * torch.randn(1, num_classes, channels))
        self.blocks = nn.Sequential(*(Block(channels, heads, qkv_bias=True) for _ in range(depth)))
        self.norm, self.mask_norm = nn.LayerNorm(channels), nn.LayerNorm(num_classes)
        self.patch_projection = nn.Linear(channels, channels, bias=False)
        self.class_projection = nn.Linear(channels, channels, bias=False)

    def forward(self, features):
        size, patches = features.shape[-2:], self.project(features.flatten(2).transpose(1, 2))
        x = torch.cat([patches, self.classes.expand(len(patches), -1, -1)], dim=1)
        patches, classes = self.norm(self.blocks(x)).split([patches.shape[1], self.classes.shape[1]], dim=1)
        patches = F.normalize(self.patch_projection(patches), dim=2)
        classes = F.normalize(self.class_projection(classes), dim=2)
        masks = self.mask_norm(patches @ classes.transpose(1, 2)).transpose(1, 2).unflatten(2, size)
        return masks.clone(memory_format=torch.channels_last)  # in truth, not by chance of strides: enlarging is faster


class Segmenter(nn.Module):
    """Image (B, 3, H, W) -> logits (B, num_classes, H, W), for any H and W; it has no auxiliary heads.

    Args: `encoder`, the name of one of timm's plain vision transformers of patch 16; `decoder`, "mask" or "linear";
    `image_size` of its position embeddings, pixels or (height, width); `pretrained` downloads timm's weights.
    """

    def __init__(self, num_classes, encoder="vit_tiny_patch16_384", decoder="mask", image_size=512, pretrained=False,
                 in_chans=3):  # fmt: skip
        super().__init__()
        if decoder not in ("mask", "linear"):
            raise ValueError(f'decoder is {decoder!r}, but must be "mask" or "linear"')
        vit = timm.create_model(encoder, pretrained=pretrained, img_size=image_size, num_classes=0, in_chans=in_chans)
        self.encoder, self.norm = Tokens(vit, [len(vit.blocks) - 1], mode="bicubic"), vit.norm
        if decoder == "mask":
            self.head = MaskTransformer(vit.embed_dim, num_classes, vit.blocks[0].attn.num_heads)
        else:
            self.head = nn.Conv2d(vit.embed_dim, num_classes, 1)

    def forward(self, image):
        return resize(self.head(normalised(self.norm, self.encoder(image)[-1])), image.shape[-2:])

    def forward_with_auxiliary(self, image):
        """The logits alone, as a tuple of one."""
        return (self.forward(image),)
