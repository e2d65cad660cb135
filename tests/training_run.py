"""A small training run as a program of its own, to be killed, interrupted and started twice by test_training.py."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

from segmentation_helpers.training import evaluate, fit


class Squares(Dataset):
    """Noisy squares on a ground: 3 classes, 40 x 56 pixels, some void; noise anew for each (epoch, index)."""

    classes = ["ground", "square", "stripe"]

    def __init__(self, length=22):
        self.length = length
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # running workers see it change

    def set_epoch(self, epoch):
        self.epoch.fill_(epoch)

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index >= self.length:
            raise IndexError(index)  # which ends a for loop over the data set
        generator = torch.Generator().manual_seed(1000 * int(self.epoch) + index)
        mask = torch.zeros(40, 56, dtype=torch.int64)
        y, x = (index * 7) % 20, (index * 11) % 30
        mask[y : y + 14, x : x + 18] = 1
        mask[:, index % 50 : index % 50 + 3] = 2
        mask[0] = 255
        image = F.one_hot(mask % 255, 3).permute(2, 0, 1) + 0.5 * torch.randn(3, 40, 56, generator=generator)
        return (image + 2).float() / 5, mask  # in 0..1 but for the rarest noise


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout2d(0.2),
        nn.Conv2d(16, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.ConvTranspose2d(16, 16, 2, stride=2), nn.ReLU(), nn.Conv2d(16, 3, 1),
    )  # fmt: skip


def loaders():
    return DataLoader(Squares(), batch_size=4, shuffle=True), DataLoader(Squares(10), batch_size=3)


def cross_entropy(logits, mask):
    return F.cross_entropy(logits, mask, ignore_index=255)


def train(run_dir, precision, epochs=12, started=None, pause=0.0, after_step=None, **options):
    """Trains in `run_dir`; touches the file `started` at the first step and rests `pause` seconds in every step."""
    torch.set_num_threads(1)
    model = small_model()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    train_loader, valid_loader = loaders()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(train_loader))

    def rest(*_):
        if started is not None:
            Path(started).touch()
        time.sleep(pause)

    for hook in (rest, after_step):
        if hook is not None:
            optimizer.register_step_post_hook(hook)
    history = fit(model, train_loader, valid_loader, loss=cross_entropy, optimizer=optimizer, scheduler=scheduler, epochs=epochs,
                  run_dir=run_dir, precision=precision, **options)  # fmt: skip
    return model, history


class Uneven(Squares):
    """Pictures with very different numbers of labelled pixels, the third of four without any."""

    def __getitem__(self, index):
        image, mask = super().__getitem__(index)
        mask[: (0, 12, 40, 30)[index % 4]] = 255
        return image, mask


def plain_model():
    """Neither dropout nor batch normalisation."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))


def two_or_one(folder, what):
    """For the tests of several processes: "equal", the same steps in one and in two; "plain"; "resumed", stopped in between."""
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    model = plain_model() if what == "equal" else small_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    data = Uneven(16) if what == "equal" else Squares(24)
    loader = DataLoader(data, batch_size=4 // world if what == "equal" else 2, shuffle=True)
    options = {
        "loss": cross_entropy,
        "epochs": 3 if what == "equal" else 2,
        "precision": "fp32",
        "run_dir": f"{folder}/run",
    }
    if what == "resumed":
        taken = []

        def stop(*_):
            taken.append(1)
            if len(taken) == 5 and rank == 0:  # one of the processes alone is asked to stop
                signal.raise_signal(signal.SIGINT)

        handle = optimizer.register_step_post_hook(stop)
        try:
            fit(model, loader, optimizer=optimizer, **options)
        except KeyboardInterrupt:
            handle.remove()
        steps = [len(taken)]
        model = small_model()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        history = fit(model, loader, optimizer=optimizer, **options)
        if rank == 0:
            Path(folder, "steps.json").write_text(json.dumps([*steps, history[-1]["step"]]))
    else:
        fit(model, loader, optimizer=optimizer, **options)
    if rank == 0:
        torch.save(model.state_dict(), f"{folder}/weights.pt")


if __name__ == "__main__":
    folder, precision = sys.argv[1:3]
    if precision in ("equal", "plain", "resumed"):
        two_or_one(folder, precision)
    else:
        model, history = train(folder, precision, epochs=2)
        confusion = evaluate(model, loaders()[1], precision=precision)
        torch.save({"matrix": confusion.matrix, "weights": model.state_dict(), "history": history},
                   f"{folder}/rank{os.environ.get('RANK', 'alone')}.pt")  # fmt: skip
    if torch.distributed.is_initialized():  # else its threads may outlive the interpreter, which aborts
        torch.distributed.destroy_process_group()
