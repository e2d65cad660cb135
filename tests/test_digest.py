"""What the digest of a loss sees, what it leaves out, and that it is the same in every process."""

import functools
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segmentation_helpers.training.digest import code_digest, in_short
from segmentation_helpers.training.files import as_json

SHARE = 0.5


def scaled(value):
    return value * SHARE


def scaled_loss(logits, mask):
    """What it says here changes nothing."""
    return scaled(F.cross_entropy(logits, mask, ignore_index=255))


def compiled(source):
    """The `loss` of a program, as a notebook's cell defines it."""
    space = {"__name__": "__main__", "F": F, "nn": nn, "torch": torch, "functools": functools, "np": np}
    exec(textwrap.dedent(source), space)
    return space["loss"]


def test_the_code_of_a_loss_is_seen_with_all_that_it_reaches(monkeypatch):
    before = code_digest(scaled_loss)
    for _ in range(100):
        scaled_loss(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long))
    assert code_digest(scaled_loss) == before, "running it changes nothing"
    monkeypatch.setitem(globals(), "SHARE", 0.25)
    assert code_digest(scaled_loss) != before, "a global that a function reaches"
    monkeypatch.setitem(globals(), "SHARE", 0.5)
    assert code_digest(scaled_loss) == before
    monkeypatch.setitem(globals(), "scaled", lambda value: value * 2)
    assert code_digest(scaled_loss) != before, "a function that it calls"


PROGRAMS = {
    "a constant": "def loss(a, b): return a + @@",
    "a default": "def loss(a, b, w=@@): return w * a",
    "a keyword's default": "def loss(a, b, *, w=@@): return w * a",
    "an inner function": "def loss(a, b): return (lambda x: x + @@)(a)",
    "an inner class": """
        def loss(a, b):
            class Inner:
                def __call__(self, x): return x * @@
            return Inner()(a)""",
    "a closure": """
        def make(w):
            def loss(a, b): return w * a
            return loss
        loss = make(@@)""",
    "a list in a closure": """
        def make(w):
            def loss(a, b): return w[0] * a
            return loss
        loss = make([@@, 1])""",
    "class weights in a closure": """
        def make(weight):
            return lambda a, b: F.cross_entropy(a, b, weight=weight)
        loss = make(torch.tensor([1.0, @@]))""",
    "a global tuple": "K = (@@, 'a')\ndef loss(a, b): return a * K[0]",
    "a global list": "K = [1, @@]\ndef loss(a, b): return a * K[1]",
    "a global dict": "K = {'gamma': @@}\ndef loss(a, b): return a ** K['gamma']",
    "a global set": "K = {'x', @@}\ndef loss(a, b): return a * len(K)",
    "a global array": "K = np.array([1.0, @@])\ndef loss(a, b): return a * K[1]",
    "a global tensor": "K = torch.tensor(@@)\ndef loss(a, b): return a * K",
    "a function of a global dict": "H = {'h': lambda x: x * @@}\ndef loss(a, b): return H['h'](a)",
    "a function that it calls": "def h(x): return x + @@\ndef loss(a, b): return h(a)",
    "a function's attribute": "def loss(a, b): return a * loss.w\nloss.w = @@",
    "an object's attribute": """
        class Dice:
            def __init__(self): self.smooth = @@
            def __call__(self, a, b): return a + self.smooth
        dice = Dice()
        def loss(a, b): return dice(a, b)""",
    "an object's slot": """
        class Dice:
            __slots__ = ("smooth",)
            def __call__(self, a, b): return a + self.smooth
        loss = Dice()
        loss.smooth = @@""",
    "an attribute that is a list": """
        class Levels(nn.Module):
            def __init__(self): super().__init__(); self.shares = [1.0, @@]
            def forward(self, a, b): return a * self.shares[1]
        loss = Levels()""",
    "a dataclass": """
        import dataclasses
        @dataclasses.dataclass
        class Recipe:
            gamma: float = 1.0
        recipe = Recipe(@@)
        def loss(a, b): return a ** recipe.gamma""",
    "a base class": """
        class Base(nn.Module):
            def forward(self, a, b): return @@ * a
        class Focal(Base): pass
        loss = Focal()""",
    "a base class's base class": """
        class Root:
            def scale(self): return @@
        class Base(Root): pass
        class Focal(Base):
            def __call__(self, a, b): return self.scale() * a
        focal = Focal()
        def loss(a, b): return focal(a, b)""",
    "a static method": """
        class L(nn.Module):
            @staticmethod
            def core(x): return x * @@
            def forward(self, a, b): return self.core(a)
        loss = L()""",
    "a class method": """
        class L:
            @classmethod
            def core(cls, x): return x * @@
            def __call__(self, a, b): return self.core(a)
        loss = L()""",
    "a property": """
        class L(nn.Module):
            @property
            def gamma(self): return @@
            def forward(self, a, b): return self.gamma * a
        loss = L()""",
    "a cached property": """
        class L(nn.Module):
            @functools.cached_property
            def gamma(self): return @@
            def forward(self, a, b): return self.gamma * a
        loss = L()""",
    "a class attribute that is a list": """
        class L:
            shares = [@@]
            def __call__(self, a, b): return self.shares[0] * a
        loss = L()""",
    "a bound method": """
        class L:
            def __init__(self): self.w = @@
            def run(self, a, b): return self.w * a
        loss = L().run""",
    "lru_cache": """
        @functools.lru_cache
        def w(): return @@
        def loss(a, b): return w() * a""",
    "a decorator of one's own": """
        def twice(factor):
            def decorate(function):
                @functools.wraps(function)
                def wrapper(*args): return factor * function(*args)
                return wrapper
            return decorate
        @twice(@@)
        def loss(a, b): return a""",
    "under torch.no_grad": """
        @torch.no_grad()
        def weight(b): return b * @@
        def loss(a, b): return a * weight(b)""",
    "torch.compile of a function": "def h(a, b): return @@ * a\nloss = torch.compile(h, backend='eager')",
    "torch.compile of a module": "loss = torch.compile(nn.CrossEntropyLoss(torch.tensor([1.0, @@])), backend='eager')",
    "partial": "loss = functools.partial(F.cross_entropy, ignore_index=@@)",
    "a partial in a module": """
        class L(nn.Module):
            def __init__(self):
                super().__init__()
                self.f = functools.partial(F.cross_entropy, label_smoothing=@@)
            def forward(self, a, b): return self.f(a, b)
        loss = L()""",
    "autograd.Function": """
        class Scale(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x): return x.clone()
            @staticmethod
            def backward(ctx, gradient): return gradient * @@
        def loss(a, b): return Scale.apply(a).sum()""",
    "class weights": "loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, @@]))",
    "a module used in a function": "c = nn.CrossEntropyLoss(torch.tensor([1.0, @@]))\ndef loss(a, b): return c(a, b)",
    "a parameter": """
        class L(nn.Module):
            def __init__(self): super().__init__(); self.s = nn.Parameter(torch.tensor(float(@@)))
            def forward(self, a, b): return a * self.s
        loss = L()""",
    "a part of a part": "loss = nn.Sequential(nn.Sequential(nn.Dropout(0.1 * @@)))",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_another_loss_has_another_digest(name):
    two, again, nine = (compiled(PROGRAMS[name].replace("@@", value)) for value in ("2", "2", "9"))
    assert code_digest(two) == code_digest(two) == code_digest(again)
    assert code_digest(two) != code_digest(nine)


def test_a_list_that_is_changed_in_place_is_seen():
    weights = [1.0, 2.0, 3.0]

    def loss(logits, mask):
        return F.cross_entropy(logits, mask, weight=torch.tensor(weights))

    before = code_digest(loss)
    weights[0] = 50.0
    assert code_digest(loss) != before


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def loss(a, b): return a + 1", "\n\n# a comment\ndef loss(a, b):\n    'doc'\n    return a + 1"),
        ("def loss(a, b): return a + 1", "def loss(left, right): return left + 1"),
        (
            "class L:\n    def __call__(self, a, b): return a\nloss = L()",
            "class L:\n    'doc'\n    def __call__(self, a, b):\n        'doc'\n        return a\nloss = L()",
        ),
        ("def loss(a, b): return a.mean()", "mean = 0.31\ndef loss(a, b): return a.mean()"),
        ("def loss(a, b): return (lambda: a.sum())()", "sum = [7]\ndef loss(a, b): return (lambda: a.sum())()"),
        ("loss = nn.CrossEntropyLoss()", "loss = nn.CrossEntropyLoss().eval()"),
        (
            "import itertools\nc = itertools.count()\ndef loss(a, b): return a + next(c)",
            "import itertools\nc = itertools.count(5)\ndef loss(a, b): return a + next(c)",
        ),
    ],
)
def test_what_changes_nothing_or_is_not_seen(one, other):
    assert code_digest(compiled(one)) == code_digest(compiled(other))


def test_a_compiled_loss_keeps_its_digest_when_it_is_called():
    loss = torch.compile(scaled_loss, backend="eager")
    assert code_digest(loss) == code_digest(scaled_loss)
    loss(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long))
    assert code_digest(loss) == code_digest(scaled_loss)


def test_the_weights_of_the_model_that_trains_are_left_out():
    model = nn.Linear(2, 2)

    def loss(logits, mask):
        return F.cross_entropy(logits, mask) + 0.01 * model.weight.square().sum()

    digests = []
    for _ in range(2):
        digests.append((code_digest(loss, apart=[model]), code_digest(loss)))
        nn.init.zeros_(model.weight)
    assert digests[0][0] == digests[1][0] and digests[0][1] != digests[1][1]


PROGRAM = """
from segmentation_helpers.training.digest import code_digest, in_short
from segmentation_helpers.training.files import as_json
KINDS = {"dice", "ce", "focal"}
def flip(x): return x
class Crop:
    size = 3
def loss(a, b, mode="dice"):
    return a if mode in {"dice", "ce", "focal"} and mode in KINDS else flip(a) * 2
print(code_digest(loss), as_json({"classes": {"cat", "dog", "cow"}, "flip": flip, frozenset("abc"): Crop()}), in_short([flip]))
"""


def test_every_process_finds_the_same():
    """Python hashes texts anew in each process, and puts functions at other addresses."""
    printed = set()
    for seed in ("1", "2"):
        variables = os.environ | {
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PAD": "x" * int(seed) * 99,
        }
        printed.add(subprocess.check_output([sys.executable, "-c", PROGRAM], env=variables, text=True))
    assert len(printed) == 1 and " at 0x" not in printed.pop()


def test_settings_of_any_kind_become_json():
    settings = {"t": float("nan"), "rate": float("inf"), "n": np.int64(3), "sizes": (1, [2.5]), Path("a/b"): None,
                (128, 0, 0): True, "kinds": {3, 1, 2}, "weights": np.array([1.0, 2.0])}  # fmt: skip
    assert as_json(settings) == {"t": "nan", "rate": "inf", "n": 3, "sizes": [1, [2.5]], "a/b": None,
                                 "(128, 0, 0)": True, "kinds": [1, 2, 3], "weights": [1.0, 2.0]}  # fmt: skip


def test_functions_and_objects_in_settings_count_by_what_they_do():
    one, other = (compiled(f"def loss(x): return x * {factor}") for factor in (1, 2))
    assert in_short(one).startswith("loss ") and in_short(one) != in_short(other)
    make = "class Crop:\n    def __init__(self, size): self.size = size\nloss = Crop({})"
    assert in_short(compiled(make.format(1))) == in_short(compiled(make.format(1)))
    assert in_short(compiled(make.format(1))) != in_short(compiled(make.format(2)))
    assert in_short(torch.tensor([1.0])) != in_short(torch.tensor([1.00001]))
