"""smp's U-Net on CamVid: ImageNet or random weights, a frozen encoder, attention in the decoder; equal steps.

The drive 0006R0 is held out of training; nothing here looks at the test set.
"""

from tests.benchmarks.lists.streets_losses import notebook_12

from segmentation_helpers.datasets import check_dataset, load_dataset

DATASET, SEEDS, DRIVE, EPOCHS = "camvid", (0, 1, 2), "0006R0", 12
ROWS = {
    "ImageNet": {},
    "random weights": {"pretrained": False},
    "ImageNet, frozen encoder": {"frozen": True},
    "ImageNet, scSE attention": {"decoder_attention_type": "scse"},
}
SPLITS = {
    "held-out drive": lambda: load_dataset(DATASET, "val", valid=DRIVE),
    "val": lambda: load_dataset(DATASET, "val"),
}


def train(settings, seed, folder):
    notebook, data = notebook_12(DATASET, (288, 384), seed, DRIVE)
    options = {name: value for name, value in settings.items() if name == "decoder_attention_type"}
    model = notebook.build_network(len(data.classes), settings.get("pretrained", True), **options)
    if "frozen" in settings:
        model.network.encoder.requires_grad_(False).eval()
    loss = notebook.build_losses(check_dataset(data))[notebook.chosen]
    return model, notebook.train(model, data, None, loss, folder, EPOCHS)
