"""Data sets that give (image, mask): streets, CamVid in three layouts, PASCAL VOC, Stanford Background, your own.

`classes` has names and colours, `meanings` reads what is said about them; `files` (with `tiff`, `netpbm`, `jpeg2000`, `kinds`
and `raw`) reads one file, `images` makes it a picture, `masks` (with `values` and `palettes`) a mask; `pairing` finds the mask
of a picture, `patterns` says what would; `dataset` is the data set, with `conventions` of its masks and `transforms` (with
`parts`, `padding` and `seeding`); `checks` looks at a whole one (`smooth` for classes that resizing made), through `members` at
a part of one; `known` holds those with a name. `python -m segmentation_helpers.datasets` checks your folders.
"""

from .checks import check_dataset
from .classes import (
    CAMVID32_CLASSES,
    CAMVID32_COLOURS,
    CAMVID32_TO_11,
    CAMVID_CLASSES,
    CAMVID_PALETTE,
    IGNORE_INDEX,
    STANFORD_CLASSES,
    STANFORD_PALETTE,
    VOC_CLASSES,
    voc_palette,
)
from .dataset import FolderDataset, SegmentationDataset
from .errors import DatasetError
from .files import IMAGE_SUFFIXES
from .images import read_image
from .known import CAMVID_SPLITS, load_dataset, register_loader
from .masks import read_colour_mask, read_index_mask, read_regions_mask
from .pairing import every_fifth

__all__ = [
    "CAMVID32_CLASSES", "CAMVID32_COLOURS", "CAMVID32_TO_11", "CAMVID_CLASSES", "CAMVID_PALETTE", "CAMVID_SPLITS",
    "IGNORE_INDEX", "IMAGE_SUFFIXES", "STANFORD_CLASSES", "STANFORD_PALETTE", "VOC_CLASSES", "DatasetError", "FolderDataset",
    "SegmentationDataset", "check_dataset", "every_fifth", "load_dataset", "read_colour_mask", "read_image",
    "read_index_mask", "read_regions_mask", "register_loader", "voc_palette",
]  # fmt: skip
