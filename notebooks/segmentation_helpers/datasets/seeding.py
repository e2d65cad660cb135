"""Random numbers of a transform that depend on one seed alone."""

from ..generators import seeded
from .parts import sources


class Seeds:
    """What is seeded around a call of a transform: `random`, numpy, torch, and what the transform draws from itself.

    All but albumentations' own generators are restored afterwards.
    """

    def __init__(self, transform):
        self.transform, self.found = transform, None

    def __getstate__(self):
        return {"transform": self.transform, "found": None}  # a copy in another process draws from other objects

    def __call__(self, seed: int):
        """A context in which the transform is called."""
        if self.found is None:
            self.found = sources(self.transform)
        return seeded(seed, self.found)
