"""Pedestrians, cyclists, dogs and birds: flat figures on cards that face the camera."""

import numpy as np

from .look import BLACK, PAINTS
from .shapes import boxes, disc, limbs

SKINS = ((232, 190, 160), (204, 152, 118), (150, 104, 76), (96, 66, 50))
CLOTHES = ((52, 58, 78), (34, 36, 42), (130, 46, 50), (196, 186, 170), (72, 98, 128), (92, 104, 74), (206, 150, 62),
           (110, 108, 112), (158, 78, 110), (228, 226, 222), (66, 120, 116))  # fmt: skip


def paint_parts(scene, place, z, code, parts):
    """Paint (shape, colour) pairs on a card; a shape is an array of corners or a tuple, a limb as `limbs` takes it."""
    light, start = scene.look.light((0, 0.3, -0.95)), 0
    rounded = iter(limbs([shape for shape, _ in parts if isinstance(shape, tuple)]))
    shapes = [next(rounded) if isinstance(shape, tuple) else shape for shape, _ in parts]
    corners = place(np.concatenate(shapes))
    for shape, (_, colour) in zip(shapes, parts, strict=True):
        stop = start + len(shape)
        scene.fill(corners[start:stop], scene.tone(colour, light, z), code)
        start = stop


def paint_person(scene, rng, place, z, code, stone=None):
    """A standing or walking person, 1.75 m tall on the card."""
    skin, hair = SKINS[rng.integers(4)], [(44, 34, 28), (98, 66, 40), (186, 150, 92), (120, 118, 116)][rng.integers(4)]
    top, legs = (np.array(CLOTHES[i], float) for i in rng.integers(0, len(CLOTHES), 2))
    stride, swing, bulk = rng.uniform(0.04, 0.3), rng.uniform(-0.2, 0.2), rng.uniform(0.36, 0.48)
    coat, bag = rng.random() < 0.35, rng.random() < 0.3
    knee = stride * 0.6
    parts = [
        ((0.06, 0.86, knee, 0.46, 0.17, 0.13), legs * 0.8), ((knee, 0.46, stride, 0.08, 0.13, 0.1), legs * 0.8),
        ((stride, 0.05, stride + 0.12, 0.04, 0.09), (50, 40, 36)),
        ((0.12, 1.38, 0.2 + swing, 1.0, 0.12, 0.1), top * 0.78),
        ((-0.06, 0.86, -knee * 0.4, 0.46, 0.18, 0.14), legs),
        ((-knee * 0.4, 0.46, -stride, 0.08, 0.14, 0.1), legs),
        ((-stride, 0.05, -stride + 0.12, 0.04, 0.09), (58, 46, 40)),
        (np.array([(-bulk * 0.42, 0.55 if coat else 0.84), (bulk * 0.42, 0.55 if coat else 0.84), (bulk * 0.38, 1.1),
                   (bulk * 0.52, 1.4), (0.1, 1.5), (-0.1, 1.5), (-bulk * 0.52, 1.4), (-bulk * 0.38, 1.1)]), top),
        (np.array([(0, 0.86), (bulk * 0.42, 0.86), (bulk * 0.36, 1.1), (bulk * 0.5, 1.38), (0.06, 1.45)]), top * 0.86),
        ((-0.19, 1.36, -0.24 - swing * 0.5, 1.1, 0.12, 0.1), top * 1.12),
        ((-0.24 - swing * 0.5, 1.1, -0.2 - swing, 0.86, 0.1, 0.08), top * 1.05),
        (disc(-0.2 - swing, 0.82, 0.055, corners=8), skin),
        ((0, 1.46, 0, 1.56, 0.1), np.array(skin) * 0.8), (disc(0, 1.63, 0.105, 0.13, 12), skin),
        (np.array([(-0.11, 1.62), (-0.12, 1.72), (-0.05, 1.78), (0.06, 1.78), (0.12, 1.71), (0.11, 1.64), (0.05, 1.7)]),
         hair),
    ]  # fmt: skip
    if bag:
        parts.append((boxes(-0.36 - swing, 0.5, -0.1 - swing, 0.8)[0], CLOTHES[rng.integers(len(CLOTHES))]))
    if stone is not None:
        parts = [(corners, np.array(stone) * (0.8 + 0.05 * (i % 5))) for i, (corners, _) in enumerate(parts)]
    paint_parts(scene, place, z, code, parts)


def paint_cyclist(scene, rng, place, z, rider, bike, view):
    """A cyclist from the side or from behind; rider and bike may have different codes, rider=None leaves it out."""
    skin, frame = SKINS[rng.integers(4)], np.array(PAINTS[rng.integers(6)], float)
    top, legs = (np.array(CLOTHES[i], float) for i in rng.integers(0, len(CLOTHES), 2))
    helmet = ((220, 60, 50), (236, 236, 232), (40, 44, 50), (240, 196, 40))[rng.integers(4)]
    tyre, pedal = (36, 36, 40), rng.uniform(-0.12, 0.12)
    if view == "side":
        for x in (-0.52, 0.52):  # two outlines in one call leave a ring
            ring = place(np.stack([disc(x, 0.34, 0.35, corners=18), disc(x, 0.34, 0.27, corners=18)]))
            scene.fill(ring, scene.tone(tyre, 0.8, z), bike)
            spokes = [(x, 0.34, x + 0.3 * np.cos(a), 0.34 + 0.3 * np.sin(a), 0.018) for a in np.arange(0.3, 6.2, 1.05)]
            scene.fill(place(limbs(spokes)), scene.tone((150, 150, 150), 0.8, z), bike)
        tubes = ((-0.52, 0.34, -0.18, 0.82), (-0.18, 0.82, 0.36, 0.8), (-0.06, 0.34, 0.38, 0.76),
                 (-0.52, 0.34, -0.06, 0.34), (-0.06, 0.34, -0.2, 0.88), (0.52, 0.34, 0.38, 0.98),
                 (0.36, 0.98, 0.46, 1.02), (-0.3, 0.9, -0.1, 0.9))  # fmt: skip
        paint_parts(scene, place, z, bike, [((*tube, 0.055), frame) for tube in tubes])
        body = [
            ((-0.18, 0.92, 0.14, 0.64 + pedal, 0.17, 0.13), legs * 0.8),
            ((0.14, 0.64 + pedal, 0.02, 0.3 + pedal, 0.12, 0.09), legs * 0.8),
            ((-0.2, 0.94, 0.16, 0.72 - pedal, 0.18, 0.13), legs),
            ((0.16, 0.72 - pedal, 0.0, 0.36 - pedal, 0.13, 0.1), legs),
            ((-0.2, 0.96, 0.1, 1.4, 0.3, 0.34), top), ((0.1, 1.38, 0.24, 1.14, 0.12, 0.1), top * 1.1),
            ((0.24, 1.14, 0.42, 1.04, 0.1, 0.08), skin), (disc(0.22, 1.62, 0.105, 0.125, 12), skin),
            (np.array([(0.06, 1.64), (0.1, 1.76), (0.22, 1.8), (0.34, 1.75), (0.38, 1.67)]), helmet),
        ]  # fmt: skip
    else:
        paint_parts(scene, place, z, bike, [
            ((0, 0.04, 0, 0.66, 0.085), tyre), ((0, 0.6, 0, 0.95, 0.06), frame),
            ((-0.28, 1.02, 0.28, 1.02, 0.05), tyre), (boxes(-0.05, 0.7, 0.05, 0.78)[0], (214, 40, 36)),
        ])  # fmt: skip
        body = [
            ((-0.12, 0.9, -0.15, 0.56 + pedal, 0.17, 0.13), legs),
            ((-0.15, 0.56 + pedal, -0.12, 0.25 + pedal, 0.12, 0.09), legs),
            ((0.12, 0.9, 0.15, 0.56 - pedal, 0.17, 0.13), legs * 0.85),
            ((0.15, 0.56 - pedal, 0.12, 0.25 - pedal, 0.12, 0.09), legs * 0.85),
            ((-0.2, 1.34, -0.27, 1.04, 0.11, 0.09), top * 1.1),
            ((0.2, 1.34, 0.27, 1.04, 0.11, 0.09), top * 0.8),
            (np.array([(-0.17, 0.86), (0.17, 0.86), (0.23, 1.36), (0.1, 1.46), (-0.1, 1.46), (-0.23, 1.36)]), top),
            (np.array([(0.02, 0.86), (0.17, 0.86), (0.23, 1.36), (0.05, 1.44)]), top * 0.86),
            (disc(0, 1.57, 0.1, 0.12, 12), skin),
            (np.array([(-0.13, 1.56), (-0.11, 1.7), (0, 1.75), (0.11, 1.7), (0.13, 1.56)]), helmet),
        ]  # fmt: skip
    if rider is not None:
        paint_parts(scene, place, z, rider, body)


def paint_animal(scene, rng, place, z, code, kind):
    """A dog or a bird from the side, about 0.7 and 0.35 m long."""
    coat = np.array([(150, 104, 62), (62, 50, 44), (206, 190, 164), (112, 106, 104)][rng.integers(4)], float)
    if kind == "dog":
        legs = [((x, 0.36, x + dx, 0.04, 0.1, 0.07), coat * f) for x, dx, f in
                ((-0.22, -0.08, 0.7), (0.24, 0.06, 0.7), (-0.28, 0.04, 1), (0.18, -0.04, 1))]  # fmt: skip
        body = [((-0.24, 0.46, 0.22, 0.5, 0.26, 0.3), coat), ((-0.3, 0.52, -0.52, 0.76, 0.07, 0.04), coat),
                ((0.22, 0.54, 0.36, 0.74, 0.2, 0.18), coat), (disc(0.42, 0.78, 0.13, 0.11), coat),
                ((0.46, 0.76, 0.6, 0.72, 0.11, 0.08), coat * 0.9), (disc(0.63, 0.73, 0.03, corners=8), BLACK),
                ((0.36, 0.84, 0.3, 0.68, 0.09), coat * 0.6), (disc(0.46, 0.81, 0.018, corners=8), BLACK)]  # fmt: skip
        paint_parts(scene, place, z, code, legs + body)
        return
    legs = [((x, 0.16, x + 0.02, 0.0, 0.022), (206, 140, 60)) for x in (-0.02, 0.05)]
    body = [((-0.14, 0.2, -0.34, 0.16, 0.12, 0.07), coat * 0.6), (disc(0, 0.24, 0.17, 0.11), coat),
            (disc(-0.03, 0.25, 0.14, 0.07), coat * 0.72), (disc(0.15, 0.36, 0.08), coat * 1.1),
            (np.array([(0.21, 0.39), (0.33, 0.34), (0.21, 0.33)]), (226, 160, 50)),
            (disc(0.18, 0.38, 0.014, corners=8), BLACK)]  # fmt: skip
    paint_parts(scene, place, z, code, legs + body)
