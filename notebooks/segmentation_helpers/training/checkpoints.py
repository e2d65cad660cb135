"""What a run writes while it lasts and when it ends, so that its checkpoint always equals the weights in memory."""

import functools
from collections import OrderedDict

import torch

from .files import (
    CHECKPOINT,
    HISTORY,
    WEIGHTS,
    TrainingError,
    kept,
    plain,
    read_checkpoint,
    save_weights,
    to_csv,
    write_atomically,
)
from .identity import checksum, load_loss, loss_state
from .weights import not_finite


class Checkpoints:
    """The part of a Trainer that knows its files."""

    def restore(self, saved):
        """Everything as the checkpoint has it."""
        self.unfinished = "update"  # should it fail on the way
        load_state(self.model, saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        load_loss(self.loss, saved["loss"])
        if self.average is not None:
            load_state(self.average, saved["average"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(saved["scheduler"])
        self.state |= saved["state"]
        self.initial, self.saved_step, self.ending = saved["initial"], self.state["step"], saved["finished"]
        self.unfinished = None

    def save_checkpoint(self):
        """Everything that the next step depends on, in one file that is whole at any moment."""
        if self.loss_sum is not None:
            self.check_finite()
        self.check_weights()
        if self.run_dir is None:
            return
        if self.loss_sum is not None:  # inside an epoch
            self.state["loss_sum"] = self.loss_sum.item()
            self.state["rngs"] = self.gathered(self.rng)
        if self.accelerator.is_main_process:
            self.write_checkpoint()
            self.ending = False

    def write_checkpoint(self, left=None):
        """Write the file; `left`: the run is finished, and the checksum of what it leaves in the model."""
        self.run_dir.mkdir(parents=True, exist_ok=True)
        checkpoint = {
            "settings": self.settings, "initial": self.initial, "finished": left is not None, "left": left,
            "history": self.state["history"], "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler is not None else None,
            "average": self.average.state_dict() if self.average is not None else None,
            "scaler": self.scaler.state_dict(), "loss": loss_state(self.loss), "state": self.state,
        }  # fmt: skip
        self.write_history()
        write_atomically(self.run_dir / CHECKPOINT, functools.partial(torch.save, plain(checkpoint)))
        self.saved_step, self.written = self.state["step"], self.written + 1
        if self.written <= 2:  # at the beginning and after the first steps: what cannot be read back is of no use
            read_checkpoint(self.run_dir)

    def write_history(self):
        if self.run_dir is not None and self.accelerator.is_main_process and self.state["history"]:
            write_atomically(self.run_dir / HISTORY, to_csv(self.state["history"]))

    def check_weights(self):
        """Raise TrainingError where training has made a weight or a statistic NaN or infinite: it is never written."""
        wrong = not_finite(self.model) | (not_finite(self.scored) if self.average is not None else set())
        trained = {name for name, p in self.model.named_parameters() if p.requires_grad}
        wrong = sorted(wrong - (self.constant if self.state["step"] else self.constant - trained))
        if self.accelerator.num_processes > 1:
            count = torch.tensor(float(len(wrong)), device=self.accelerator.device)
            wrong = wrong or ["a weight of another process"] * int(self.accelerator.reduce(count, reduction="sum"))
        if not wrong:
            return
        if not self.state["step"]:
            raise TrainingError(
                f"The model holds NaN or infinity before the first step (in {wrong[0]}): initialise or load its weights anew."
            )
        self.unfinished = "update"  # the weights in memory are worth nothing
        raise TrainingError(
            f"The weights are no longer finite at step {self.state['step']} (epoch {self.epoch}), although the loss is: "
            f"{wrong[0]} holds NaN or infinity. Lower the learning rate, and look for NaN in the images and for a square root, "
            f"a logarithm or a division at 0 in the loss, whose gradient is not finite.{kept(self.run_dir)}"
        )

    def finish(self):
        """The weights, and the checkpoint of a finished run. The average enters the model when both are written."""
        self.check_weights()
        self.ending = True
        if self.run_dir is not None and self.accelerator.is_main_process:
            save_weights(self.scored, self.run_dir / WEIGHTS)
            self.write_checkpoint(left=checksum(self.scored))
        self.accelerator.wait_for_everyone()
        if self.average is not None:
            self.model.load_state_dict(self.average.module.state_dict())

    def leave(self):
        """After an error or an interruption: a checkpoint that equals the weights in memory.

        What a forward pass did to the buffers is undone. Where the weights are worth nothing (half a step taken, or no
        longer finite) or cannot be written, the model gets the last checkpoint's.
        """
        if self.unfinished == "forward":
            self.buffers.put_back()
            self.unfinished = None
        if self.run_dir is None or self.accelerator.num_processes > 1:
            return
        try:
            if self.unfinished is None and self.saved_step != self.state["step"]:
                self.save_checkpoint()
        except (OSError, TrainingError) as error:
            print(f"No checkpoint could be written ({error}); the model gets the weights of the last one.")
            self.unfinished = "update"
        if self.unfinished is not None or self.ending:
            self.take_back()

    def take_back(self):
        """The weights that the checkpoint holds, or that its run left when it finished."""
        try:
            saved = read_checkpoint(self.run_dir)
        except (OSError, TrainingError) as error:
            print(f"The last checkpoint could not be read ({error}).")
            return
        if saved is not None:
            state = saved["model"]
            if saved["finished"] and saved["average"] is not None:
                state = {
                    name.removeprefix("module."): x
                    for name, x in saved["average"].items()
                    if name.startswith("module.")
                }
            load_state(self.model, state)
            load_loss(self.loss, saved["loss"])


def load_state(model, state):
    """load_state_dict for a state without the versions of its layers: they are the model's own."""
    state = OrderedDict(state)
    state._metadata = model.state_dict()._metadata
    model.load_state_dict(state)
