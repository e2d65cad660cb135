"""Houses with windows, shops and posters, and the far houses that close the view."""

from itertools import pairwise

import numpy as np

from .canvas import BUILDING, FAR, SIGN, TREE
from .look import BLACK, PAINTS, WALLS, WHITE
from .people_and_animals import paint_person
from .plants_and_furniture import paint_leaves
from .shapes import boxes, upright


def paint_building(scene, rng, side, x, z0, z1, height, kind, exposed):
    """One house: the wall along the street, the gable towards us, roof, windows, shop or door."""
    look, mid = scene.look, max((z0 + z1) / 2, 1)
    wall = np.array(WALLS[rng.integers(len(WALLS))], float) + rng.normal(0, 6, 3)
    trim = np.array(WHITE if rng.random() < 0.7 else wall * 0.7, float)
    light, gable_light = look.light((-side, 0, 0)), look.light((0, 0, -1)) * 0.96
    depth, pitched = 8.0, kind != "block" and rng.random() < 0.75
    rise = rng.uniform(1.8, 3.2) if pitched else 0
    slate = np.array([(92, 88, 94), (150, 84, 62), (112, 92, 84), (78, 82, 90)][rng.integers(4)], float)

    def face(local):  # local metres on the street wall: along the street from z0, and up
        return scene.camera.follow(x, local[..., 1], z0 + local[..., 0])

    def paint(shapes, colour, shine=light, code=BUILDING):
        scene.fill(face(shapes), scene.tone(colour, shine, mid), code)

    middle, back, top = x + side * depth / 2, x + side * depth, height + rise
    ridge = scene.camera.follow([x, x, middle, middle], [height, height, top, top], [z0, z1, z1, z0])
    gable = scene.camera.follow([x, x, middle, back, back], [0, height, top, height, 0], z0)
    if z0 > 2:
        scene.fill(gable, scene.tone(wall * 0.97, gable_light, z0), BUILDING)
        if exposed and z0 < 70:
            paint_gable(scene, rng, side, x, z0, height, trim, gable_light)
    close = mid < 60
    if pitched:
        scene.fill(ridge, scene.tone(slate, look.light((-side * 0.6, 0.8, 0)), mid), BUILDING)
        if close:
            rows = np.linspace(0.12, 0.94, 8)[:, None, None]
            near, far = ridge[0] + (ridge[3] - ridge[0]) * rows, ridge[1] + (ridge[2] - ridge[1]) * rows
            up = (ridge[3] - ridge[0]) * 0.025
            tiles = np.concatenate([near, far, far + up, near + up], 1)
            scene.fill(tiles, scene.tone(slate * 0.86, look.light((-side * 0.6, 0.8, 0)), mid), BUILDING)
        paint_chimney(scene, middle, z0 + (z1 - z0) * rng.uniform(0.2, 0.8), top)
    length = z1 - z0
    bands = np.linspace(0, height, 5)
    for (low, high), glaze in zip(pairwise(bands), (0.90, 0.97, 1.0, 1.03), strict=True):  # grime below, light above
        paint(boxes(0, low, length, high), wall * glaze)
    if close:
        a, b = rng.uniform(0, length - 0.6, (2, 60)), rng.uniform(0, height - 0.2, (2, 60))
        wear = 0.04 if kind == "block" else 0.11
        paint(boxes(a[0], b[0], a[0] + 0.55, b[0] + 0.16), wall * (1 - wear))
        paint(boxes(a[1], b[1], a[1] + 0.55, b[1] + 0.16), wall * (1 + 0.6 * wear))
    storeys = max(1, int(height / 2.9))
    ground_floor = {"shop": 3.4, "block": 3.0}.get(kind, 2.9)
    if kind == "shop":
        paint_shop(scene, rng, paint, face, length, light, close)
    else:
        paint(boxes(0, 0, length, 0.5), wall * 0.78)
        doors = np.arange(rng.uniform(0.6, 1.5), length - 1.2, rng.uniform(4.5, 7))
        paint(boxes(doors - 0.15, 0, doors + 1.15, 2.35), trim)
        paint(boxes(doors, 0, doors + 1.0, 2.2), PAINTS[rng.integers(len(PAINTS))])
    first = 0 if kind != "shop" else 1
    rise_per = (height - ground_floor - 0.3) / max(storeys - 1, 1)
    spacing = rng.uniform(1.9, 3.0)
    columns = np.arange(spacing / 2, length - 0.4, spacing)
    a = np.tile(columns, storeys - first)
    sills = [1.0 if i == 0 else ground_floor + (i - 1) * rise_per + 0.75 for i in range(first, storeys)]
    b = np.repeat(sills, len(columns))
    keep = rng.random(len(a)) < 0.95
    a, b = a[keep], b[keep]
    wide, tall = rng.uniform(0.85, min(1.5, spacing * 0.62)), min(rng.uniform(1.2, 1.7), max(0.8, rise_per - 1.1))
    paint(boxes(0, height - 0.35, length, height), trim * 0.92)
    paint(boxes(0, height - 0.45, length, height - 0.35), wall * 0.62)
    if not len(a):
        return
    paint(boxes(a - wide / 2 - 0.12, b - 0.1, a + wide / 2 + 0.12, b + tall + 0.14), trim)
    paint(boxes(a - wide / 2 - 0.2, b - 0.22, a + wide / 2 + 0.2, b - 0.08), trim * 0.86)
    pick = rng.random(len(a))
    panes = boxes(a - wide / 2, b, a + wide / 2, b + tall)
    paint(panes, (58, 68, 80))
    if look.dusk:
        paint(panes[pick < 0.45], (250, 198, 112), 1.0)
        paint(panes[pick < 0.12], (255, 226, 160), 1.0)
    mirrored = boxes(a - wide / 2, b + tall * 0.45, a + wide / 2, b + tall)[pick > 0.5]
    paint(mirrored, look.low * 0.5 + look.zenith * 0.35, 0.85)
    if not close:
        return
    curtain = boxes(a - wide / 2, b, a - wide / 4, b + tall)[(pick > 0.2) & (pick < 0.6)]
    paint(curtain, (196, 186, 170), light * 0.7)
    paint(boxes(a - 0.04, b, a + 0.04, b + tall), trim)
    paint(boxes(a - wide / 2, b + tall * 0.5 - 0.03, a + wide / 2, b + tall * 0.5 + 0.04), trim)


def paint_gable(scene, rng, side, x, z, height, trim, light):
    """Small windows on an end wall, or a poster with a printed person: still Building."""
    kind, place = rng.random(), upright(scene, x + side * 4, 0, z)
    if kind < 0.45:
        y = np.arange(1.4, height - 1.6, 2.9)
        scene.fill(place(boxes(-0.62, y - 0.1, 0.62, y + 1.5)), scene.tone(trim, light, z), BUILDING)
        scene.fill(place(boxes(-0.5, y, 0.5, y + 1.4)), scene.tone((62, 72, 84), light, z), BUILDING)
    elif kind < 0.8:
        colours = rng.choice(len(PAINTS), 2, replace=False)
        scene.fill(place(boxes(-1.7, 1.2, 1.7, 5.0)), scene.tone(WHITE, light, z), BUILDING)
        scene.fill(place(boxes(-1.55, 1.35, 1.55, 4.85)), scene.tone(PAINTS[colours[0]], light, z), BUILDING)
        paint_person(scene, rng, upright(scene, x + side * 4 - 0.6, 1.5, z, rng.uniform(1.4, 1.7)), z, BUILDING)
        y = np.array([2.0, 2.5, 3.2])
        scene.fill(place(boxes(0.2, y, 1.3, y + 0.2)), scene.tone(PAINTS[colours[1]], light, z), BUILDING)


def paint_shop(scene, rng, paint, face, length, light, close):
    """Shop windows with goods and mannequins, an awning, and a fascia: lettered it is a SignSymbol, bare it is not."""
    colour = np.array(PAINTS[rng.integers(len(PAINTS))], float)
    paint(boxes(0, 0, length, 3.3), colour * 0.9)
    count = max(1, int(length / rng.uniform(2.6, 4.0)))
    edges = np.linspace(0, length, count + 1)
    left, right = edges[:-1] + 0.25, edges[1:] - 0.25
    glow = rng.random() < 0.7 and scene.look.dusk
    paint(boxes(left, 0.5, right, 2.6), (252, 214, 140) if glow else (66, 74, 82), 1.0 if glow else light)
    if not glow:
        slant = boxes(left + 0.3, 0.5, left + 0.9, 2.6)
        slant[:, 2:, 0] += 0.5
        paint(np.minimum(slant, [[length, 9]]), (120, 132, 142))
    for a in left[rng.random(count) < 0.45] if close else ():  # a mannequin: drawn like a pedestrian, labelled Building
        paint_person(scene, rng, lambda local, a=a: face(local * 0.95 + [a + 0.6, 0.55]), 12, BUILDING)
    door = left[rng.integers(count)]
    paint(boxes(door, 0, door + 0.95, 2.5), colour * 0.55)
    if rng.random() < 0.7:
        paint(boxes(0.2, 2.7, length - 0.2, 3.25), colour, light * 1.05, SIGN)
        letters = np.arange(0.7, min(length - 0.8, rng.uniform(3, 7)), 0.36)
        letters = letters[rng.random(len(letters)) < 0.85]
        tall = rng.uniform(0.22, 0.36, len(letters))
        paint(boxes(letters, 2.82, letters + 0.2, 2.82 + tall), WHITE if colour.mean() < 150 else BLACK, light, SIGN)
    if rng.random() < 0.4:
        stripes = np.arange(0, length - 0.35, 0.7)
        paint(boxes(0, 2.25, length, 2.7), PAINTS[rng.integers(len(PAINTS))], light * 1.05)
        paint(boxes(stripes, 2.25, stripes + 0.35, 2.7), WHITE)


def paint_chimney(scene, x, z, y):
    """A chimney on the ridge."""
    place = upright(scene, x, y, z)
    light = scene.look.light((0, 0, -1))
    scene.fill(place(boxes(-0.5, -0.5, 0.5, 1.2)), scene.tone((140, 88, 72), light, z), BUILDING)
    scene.fill(place(boxes([-0.4, 0.1], 1.2, [-0.1, 0.4], 1.6)), scene.tone((176, 112, 84), light, z), BUILDING)


def paint_backdrop(scene, plan):
    """What closes the view at the end of the street: far houses and trees in the haze."""
    rng, look = scene.rng, scene.look
    for z, heights in ((FAR, (9, 24)), (FAR - 8, (5, 13))):
        x = -130.0
        while x < 130:
            width, height, leafy = rng.uniform(7, 18), rng.uniform(*heights), rng.random() < 0.45
            wall, place = WALLS[rng.integers(len(WALLS))], upright(scene, x, 0, z)
            if leafy and z < FAR:
                middle = upright(scene, x, height * 0.3, z)
                if abs(x) < 75:
                    paint_leaves(scene, rng, middle, z, height * 0.6, TREE, look.leaf * rng.uniform(0.8, 1.0), clumps=6)
            else:
                shape = place(np.array([(0, -3), (0, height), (width / 2, height + rng.choice([0, 3])), (width, height),
                                        (width, -3)]))  # fmt: skip
                scene.fill(shape, scene.tone(wall, look.light((0, 0, -1)), z), BUILDING)
                a, b = np.arange(1.2, width - 1, 2.6), np.arange(1.5, height - 1, 3)
                a, b = np.repeat(a, len(b)), np.tile(b, len(a))
                panes = boxes(a, b, a + 1.2, b + 1.5)
                scene.fill(place(panes), scene.tone(np.array(wall) * 0.66, 0.9, z), BUILDING)
            x += width
