"""Notebook 12's U-Net on the streets with six losses: equal steps, the same images in the same order."""

from tests.notebook_code import definitions

from segmentation_helpers.datasets import check_dataset, load_dataset

DATASET, SEEDS, EPOCHS = "streets", (0, 1, 2), 6
NAMES = ("cross entropy", "weighted cross entropy", "focal (smp)", "Dice", "Lovász", "cross entropy + Dice")
ROWS = {name: {"loss": name} for name in NAMES}
SPLITS = {split: lambda split=split: load_dataset("streets", split) for split in ("val", "test")}


def notebook_12(dataset, size, seed, valid=None, **settings):
    """Notebook 12's definitions with its settings on a data set, and its training data."""
    data = load_dataset(dataset, "train", valid=valid, cache=True, seed=seed)
    options = {
        "encoder": "tf_efficientnet_lite0",
        "pretrained": True,
        "batch_size": 8,
        "workers": 0,
        "smoke_test": False,
    }
    options |= {"own": None, "dataset": dataset, "valid": valid, "seed": seed, "image_size": size} | settings
    notebook = definitions("12_unet_smp", **options)
    data.transform = notebook.augment(size)
    return notebook, data


def train(settings, seed, folder):
    notebook, data = notebook_12(DATASET, (176, 240), seed)
    model = notebook.build_network(len(data.classes))
    loss = notebook.build_losses(check_dataset(data))[settings["loss"]]
    return model, notebook.train(model, data, None, loss, folder, EPOCHS)
