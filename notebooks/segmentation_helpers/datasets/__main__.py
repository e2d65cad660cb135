"""`python -m segmentation_helpers.datasets images/ masks/ --classes background,cat`: check your own folders.

Prints a line per class with its share of the pixels, or what is wrong in one line, with exit status 1.
"""

import argparse
import sys
import warnings

from ..settings import SettingError, own_data
from .checks import check_dataset
from .dataset import FolderDataset
from .errors import DatasetError


def main(arguments=None) -> None:
    parser = argparse.ArgumentParser(prog="python -m segmentation_helpers.datasets",
                                     description="Check a folder of pictures and a folder of masks.")  # fmt: skip
    parser.add_argument("images", help="the folder of pictures")
    parser.add_argument("masks", help="the folder of masks")
    parser.add_argument("--classes", required=True, help="names in the order of their ids: background,cat")
    parser.add_argument("--mapping", help='what values in masks mean: "0:0,255:1", "#800000:cat"')
    parser.add_argument("--threshold", help="for two classes: from which value on a pixel is class 1")
    parser.add_argument("--image-pattern", help='how pictures are called: "{name}_sat.jpg"')
    parser.add_argument("--mask-pattern", help='how masks are called: "{name}_mask.png"')
    parser.add_argument("--bands", help="bands of a picture: 3 (RGB), 1 (grey) or what the files have")
    parser.add_argument("--scale", help="the value that becomes white: 4095 for 12 bits")
    parser.add_argument("--unpaired", choices=["error", "skip"], help="skip: leave out what has no partner")
    given = vars(parser.parse_args(arguments))
    try:
        with warnings.catch_warnings(record=True) as odd:
            warnings.simplefilter("always")
            data = FolderDataset(**own_data(**given))
            pixels = check_dataset(data)
    except (DatasetError, SettingError) as error:
        sys.exit(" ".join(str(error).split()))
    for warning in odd:
        print(f"Note: {warning.message}", file=sys.stderr)
    print(f"{len(data)} pictures")
    width = max(map(len, [*data.classes, "void"]))
    for name, share in zip([*data.classes, "void"], pixels / pixels.sum(), strict=True):
        print(f"{name:<{width}} {share:7.2%}")


if __name__ == "__main__":
    main()
