"""The samples behind a data set, through torch's Subset, random_split and ConcatDataset."""

from torch.utils.data import ConcatDataset, Subset

from .errors import DatasetError

SHARED = ("classes", "palette", "ignore_index", "bands", "scale")


class Members:
    """What `members` returns: `read(i)`, `sources`, and the attributes of the data sets that the samples come from."""

    def __init__(self, sources):
        if not sources:
            raise DatasetError("The data set has no pictures.")
        self.sources = sources  # (data set, its index) of each sample
        first = sources[0][0]
        for data, _ in sources:
            if data is not first and list(data.classes) != list(first.classes):
                raise DatasetError(
                    f"The data sets that were put together have different classes, {first.classes} and {data.classes}: give "
                    "them the same ones."
                )
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
