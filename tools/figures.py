"""Draw the README's pictures again: imgs/streets.png, and imgs/quickstart.png from the last `make quickstart`."""

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "notebooks"))

from segmentation_helpers.datasets import load_dataset  # noqa: E402
from segmentation_helpers.pictures import contact_sheet  # noqa: E402

(ROOT / "imgs/streets.png").write_bytes(contact_sheet(load_dataset("streets", "train"), range(24)).png())
predictions = ROOT / "runs/00_start_here/predictions.png"
if not predictions.is_file():
    sys.exit("imgs/streets.png is drawn; imgs/quickstart.png needs `make quickstart` first.")
shutil.copy(predictions, ROOT / "imgs/quickstart.png")
