"""What a run keeps beside its weights: their moving average, and the buffers as they were before a step."""

import itertools

import torch
from torch.optim.swa_utils import AveragedModel


def not_finite(model) -> set[str]:
    """The names of the parameters and buffers that hold NaN or infinity."""
    tensors = itertools.chain(model.named_parameters(), model.named_buffers())
    named = [(name, x.detach()) for name, x in tensors if x.is_floating_point() and x.numel()]
    if not named:
        return set()
    finite = torch.stack([x.sum(dtype=torch.float32) for _, x in named]).isfinite().tolist()  # makes a GPU wait once
    return {name for (name, x), good in zip(named, finite, strict=True) if not good and not x.isfinite().all()}


class Average(AveragedModel):
    """The exponential moving average of a model's weights and of batch normalisation's statistics.

    Buffers of whole numbers (indices, counters) and those that hold infinity from the start (masks) are copied.
    """

    def __init__(self, model, device, constant=()):
        super().__init__(model, device=device)
        names = {id(x): name for name, x in itertools.chain(model.named_parameters(), model.named_buffers())}
        self.begun, self.places, seen = (
            False,
            [],
            set(),
        )  # (the average's tensors, the model's, key, whether it is averaged)
        for mine, other in zip(self.module.modules(), model.modules(), strict=True):
            for ours, theirs in ((mine._parameters, other._parameters), (mine._buffers, other._buffers)):
                for key, x in theirs.items():
                    if x is not None and id(x) not in seen:  # shared weights once
                        seen.add(id(x))
                        self.places.append((ours, theirs, key, x.is_floating_point() and names[id(x)] not in constant))

    @torch.no_grad()
    def update(self, decay):
        """One step: average = decay * average + (1 - decay) * model; the first one copies."""
        begun = self.begun = self.begun or bool(self.n_averaged > 0)  # looking at it makes a GPU wait
        averaged = [
            (ours[key], theirs[key].detach()) for ours, theirs, key, averaged in self.places if averaged and begun
        ]
        if averaged:
            torch._foreach_lerp_(*map(list, zip(*averaged, strict=True)), 1 - decay)
        for ours, theirs, key, averaged in self.places:
            if not averaged or not begun:
                ours[key].detach().copy_(theirs[key].detach())
        self.n_averaged += 1


class Buffers:
    """A model's buffers as they were before a step, which batch normalisation moves in the forward pass."""

    def __init__(self, model):
        self.places = [(module._buffers, key) for module in model.modules() for key in module._buffers]
        self.before, self.groups = [], {}

    @torch.no_grad()
    def keep(self):
        """Copy them."""
        self.before = [(buffers, key, buffers[key]) for buffers, key in self.places]
        groups = {}
        for _, _, x in self.before:
            if x is not None:
                groups.setdefault((x.dtype, x.device), []).append(x)
        for kind, now in groups.items():  # of one kind: a single operation on a GPU
            copies = self.groups.get(kind, (None, []))[1]
            if [x.shape for x in copies] == [x.shape for x in now]:
                torch._foreach_copy_(copies, now)
            else:
                copies = [x.clone() for x in now]
            groups[kind] = (now, copies)
        self.groups = groups

    @torch.no_grad()
    def put_back(self):
        """Undo what happened to them since."""
        for buffers, key, x in self.before:
            buffers[key] = x
        for now, copies in self.groups.values():
            torch._foreach_copy_(now, copies)
