"""Train and evaluate: a loop that survives a lost connection, and the files that a run leaves behind.

`loop` has `fit`, which repeats what stands in `steps` and keeps what stands in `checkpoints`; `evaluation` scores a model,
`plan` turns minutes into steps, `files` reads and writes what a run leaves. `identity` says when two runs are the same, by a
`digest` of code and values and the `schedule` of the optimizer. `lock`, `order`, `weights` and `process` are plumbing.
"""

from .evaluation import evaluate
from .files import (
    CHECKPOINT,
    HISTORY,
    METRICS,
    PLAN,
    WEIGHTS,
    TrainingError,
    compared,
    keep_aside,
    load_weights,
    read_checkpoint,
    runs_like,
    save_metrics,
    save_weights,
    to_csv,
    write_atomically,
)
from .loop import fit
from .order import epoch_seed, set_epoch
from .plan import plan_steps

__all__ = [
    "CHECKPOINT", "HISTORY", "METRICS", "PLAN", "WEIGHTS", "TrainingError", "compared", "epoch_seed", "evaluate", "fit",
    "keep_aside", "load_weights", "plan_steps", "read_checkpoint", "runs_like", "save_metrics", "save_weights", "set_epoch",
    "to_csv", "write_atomically",
]  # fmt: skip
