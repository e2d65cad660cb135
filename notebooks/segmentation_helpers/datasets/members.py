"""The samples behind a data set, through torch's Subset, random_split and ConcatDataset."""

import numpy as np
from torch.utils.data import ConcatDataset, Subset

from .errors import DatasetError, warn

SHARED = ("classes", "palette", "ignore_index", "bands", "scale")


class Members:
    """What `members` returns: `read(i)`, `sources`, and the attributes of the data sets that the samples come from."""

    def __init__(self, sources):
        if not sources:
            raise DatasetError("The data set has no pictures.")
        self.sources = sources  # (data set, its index) of each sample
        first = sources[0][0]
        for data in {id(data): data for data, _ in sources}.values():
            if data is not first:
                _compare(first, data)
        for name in SHARED:
            if hasattr(first, name):
                setattr(self, name, getattr(first, name))

    def __len__(self):
        return len(self.sources)

    def read(self, index):
        """The raw pair of a sample."""
        data, place = self.sources[index]
        return data.read(place)

    def pair(self, index):
        """The two paths of a sample, or None where the data set has none."""
        data, place = self.sources[index]
        return data.pairs[place] if hasattr(data, "pairs") else None


def _compare(first, other):
    """Raise DatasetError, or warn, where two data sets do not go together."""
    start = "The data sets that were put together have different"
    if list(other.classes) != list(first.classes):
        raise DatasetError(f"{start} classes, {first.classes} and {other.classes}: give them the same ones.")
    for name in ("bands", "ignore_index"):
        values = getattr(first, name, None), getattr(other, name, None)
        if None not in values and values[0] != values[1]:
            raise DatasetError(f"{start} {name}, {values[0]} and {values[1]}: make them with the same {name}.")
    palettes = getattr(first, "palette", None), getattr(other, "palette", None)
    if all(palette is not None for palette in palettes) and not np.array_equal(*palettes):
        warn(
            f"{start} palettes: figures and pictures show all classes in the colours of the first. Give them the same one."
        )


def members(dataset) -> Members:
    """`read`, classes and palette of a data set, of a Subset of it (random_split), or of a ConcatDataset of several.

    Raises DatasetError for anything else.
    """
    return Members(_sources(dataset))


def _sources(dataset):
    if hasattr(dataset, "read") and hasattr(dataset, "classes"):
        return [(dataset, index) for index in range(len(dataset))]
    if isinstance(dataset, Subset):
        inside = _sources(dataset.dataset)
        return [inside[int(index)] for index in dataset.indices]
    if isinstance(dataset, ConcatDataset):
        return [source for part in dataset.datasets for source in _sources(part)]
    remedy = (
        "give its .dataset" if hasattr(dataset, "batch_sampler") else "give what load_dataset or FolderDataset makes"
    )
    raise DatasetError(f"A {type(dataset).__name__} has no masks of known classes: {remedy}, or a Subset of it.")
