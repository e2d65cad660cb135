"""The scenes: a street, a close-up for the VOC set, open country for the Stanford set.

A scene is a small 3-D world seen by a pin-hole camera: x to the right, y up, z forward, in metres. It is painted from
far to near on a canvas with four channels, red, green, blue and a *code*: one `cv2.fillPoly` paints colour and label
together, so a mask cannot disagree with its image. Codes 0-11 are the classes (`painting/canvas.py`); further codes are
handed out by `Scene.add`, one per car, pedestrian or cyclist. The canvas is larger than the picture: the image is its
area average (anti-aliased), the mask one sample per pixel (exact). Everything random is drawn in size-independent units.

`painting/` does the drawing: `plans.street` decides where everything stands, `canvas.Scene` is what it is painted on,
the other files are the painters.
"""

import cv2
import numpy as np

from .painting.buildings import paint_building
from .painting.canvas import FAR, NEAR, ROAD, TREE, Scene
from .painting.ground_and_sky import finish_ground, paint_sky, strip
from .painting.look import noise
from .painting.people_and_animals import paint_animal, paint_person
from .painting.plans import add_cyclist, add_person, add_vehicle, plan_street, street
from .painting.plants_and_furniture import paint_leaves, paint_potted_plant, paint_tree
from .painting.shapes import boxes, cast, ground, upright


def draw_street(seed, size=(240, 180), *, style="day", instances=False, void=11):
    """Draw one street scene.

    seed is a non-negative integer, size is (width, height) in pixels, style "day" or "dusk" (the same street in another
    light). The same seed gives the same bytes, and the same composition at every size of the same shape.
    Returns the image, uint8 H x W x 3 RGB, and the mask, uint8 H x W with CamVid's ids 0-10 and `void`; with
    instances=True also a uint16 H x W map, 0 = stuff, 1, 2, ... one per visible car, pedestrian or cyclist.
    ValueError for a negative seed, an unknown style or a side under 16 pixels.
    """
    scene = Scene(seed, size, style)
    street(scene)
    image, mask, codes = scene.finish()
    mask = np.where(mask == 11, void, mask).astype(np.uint8)
    if not instances:
        return image, mask
    return image, mask, number(np.where(codes >= scene.first, codes, 0)).astype(np.uint16)


def number(codes):
    """Renumber a map so that what is not 0 counts 1, 2, 3, ..."""
    present = np.unique(codes)
    present = present[present > 0]
    table = np.zeros(int(codes.max(initial=0)) + 1, np.int64)
    table[present] = np.arange(1, len(present) + 1)
    return table[codes]


# ---- PASCAL VOC -----------------------------------------------------------------------------------------------------
VOC_BICYCLE, VOC_BIRD, VOC_BUS, VOC_CAR, VOC_DOG, VOC_PERSON, VOC_PLANT = 2, 3, 6, 7, 12, 15, 16
VOC_KINDS = ("person", "car", "cyclist", "bicycle", "bus", "plant", "dog", "bird")
VOC_SHARES = (0.25, 0.22, 0.09, 0.06, 0.09, 0.1, 0.11, 0.08)
BORDER = 255


def add_voc_object(scene, rng, kind, first):
    """Queue one large object: within the picture, and in its middle if it is the first."""
    near = {"car": 6.5, "bus": 13, "person": 4.0, "cyclist": 4.2, "bicycle": 4, "plant": 3.2, "dog": 3.2, "bird": 3}
    z = near[kind] * (1 if first else rng.uniform(1.1, 1.9))
    x = scene.camera.x + rng.uniform(*((-0.15, 0.15) if first else (-0.5, 0.5))) * z / scene.camera.focal
    x -= scene.camera.bend * z * z
    if kind in ("car", "bus"):
        model = "bus" if kind == "bus" else ("hatch", "saloon", "suv")[rng.integers(3)]
        turned = rng.choice([0, np.pi]) + rng.uniform(-0.9, 0.9)
        add_vehicle(scene, rng, x, z + 1, turned, model, VOC_BUS if kind == "bus" else VOC_CAR)
    elif kind == "person":
        add_person(scene, rng, x, z, label=VOC_PERSON, y=0)
    elif kind in ("cyclist", "bicycle"):
        add_cyclist(scene, rng, x, z, "side", (VOC_PERSON if kind == "cyclist" else None, VOC_BICYCLE))
    else:
        cast(scene, x, z, 0.5, 0.5, 0.2)
        code = scene.add({"plant": VOC_PLANT, "dog": VOC_DOG, "bird": VOC_BIRD}[kind])
        if kind == "plant":
            scene.later(z, paint_potted_plant, rng, x, z, code)
        else:
            place = upright(scene, x, 0, z, 1.0 if kind == "dog" else rng.uniform(1.0, 1.5), rng.choice([-1, 1]))
            scene.later(z, paint_animal, rng, place, z, code, kind)


def draw_voc(seed, size):
    """A close-up with one to six objects -> image, class mask and object mask (uint8), 255 along every outline."""
    scene = Scene(seed, size, "day", labels=[0] * 12, zoom=1.25)
    scene.camera.eye, scene.camera.horizon = 1.25, 0.42
    scene.camera.centre = scene.camera.centre[0], 0.42 * scene.camera.unit
    rng = np.random.default_rng((seed, 5))
    plan = plan_street(scene)
    for i, kind in enumerate(rng.choice(len(VOC_KINDS), rng.integers(1, 6), p=VOC_SHARES)):
        add_voc_object(scene, rng, VOC_KINDS[kind], first=i == 0)
    street(scene, traffic=False, plan=plan)
    image, classes, codes = scene.finish()
    objects = np.where(codes >= scene.first, codes, 0).astype(np.uint8)
    # two pixels outside and one inside every outline, between neighbouring objects too
    border = (cv2.dilate(objects, np.ones((5, 5))) != objects) | (cv2.erode(objects, np.ones((3, 3))) != objects)
    area = np.bincount(objects[~border], minlength=256)
    border |= (area < 40)[objects] & (objects > 0)  # too little left to be called an object
    objects, classes = number(np.where(border, 0, objects)), np.where(border, 0, classes)
    return image, *(np.where(border, BORDER, ids).astype(np.uint8) for ids in (classes, objects))


# ---- Stanford Background --------------------------------------------------------------------------------------------
# Its classes are sky, tree, road, grass, water, building, mountain, foreground; -1 is unknown.
# Landscapes use five labels beside CamVid's 0-11; this table brings all of them to Stanford's.
GRASS, WATER, MOUNTAIN, FOREGROUND, UNKNOWN = range(12, 17)
STANFORD = np.array([0, 5, -1, 2, 2, 1, 7, 7, 7, 7, 7, -1, 3, 4, 6, 7, -1])


def landscape(scene):
    """Paint open country: mountains, woods, a meadow with a lake or a track, a house, and somebody in front."""
    rng, look = scene.rng, scene.look
    grass, water, mountain, foreground, unknown = map(scene.add, (GRASS, WATER, MOUNTAIN, FOREGROUND, UNKNOWN))
    kind = rng.choice(["lake", "track", "lake", "meadow"])
    scene.camera.eye = rng.uniform(2.4, 3.4)
    paint_sky(scene)
    for z, tall in ((FAR * 0.99, rng.uniform(22, 45)), (FAR * 0.98, rng.uniform(8, 20)))[rng.integers(0, 2) :]:
        x = np.linspace(-130, 130, 70)
        y = tall * (0.3 + 0.7 * noise(rng, (3, 6, 12, 24), (8, 70))[4])
        ridge = np.concatenate([np.stack([x, y], -1), [(130, -6), (-130, -6)]])
        rock = np.array((104, 112, 124) if tall > 20 else (88, 106, 96), float)
        place, light = upright(scene, 0, 0, z), look.light((0, 0.5, -0.86))
        scene.fill(place(ridge), scene.tone(rock, light, z * 0.7), mountain)
        slope = ridge[:70] * [1, 0.96]
        for i in np.flatnonzero(rng.random(68) < 0.6):  # lit flanks
            flank = np.array([slope[i], slope[i + 1], slope[i + 1] * [1, 0.45], slope[i] * [1, 0.7]])
            scene.fill(place(flank), scene.tone(rock * 1.16, light, z * 0.7), mountain)
    z = FAR * 0.9
    for x in np.arange(-110, 110, rng.uniform(6, 14)):  # woods
        if rng.random() < 0.8:
            size = rng.uniform(3, 7)
            paint_leaves(scene, rng, upright(scene, x, size * 0.5, z), z, size, TREE, look.leaf, clumps=6)
    strip(scene, -200, 200, 0.0, look.leaf * 1.1 + 18, grass)
    tufts = rng.uniform((-14, 3), (14, 30), (160, 2))
    blades = boxes(tufts[:, 0], tufts[:, 1], tufts[:, 0] + 0.5, tufts[:, 1] + 0.12)
    scene.fill(ground(scene, blades), scene.tone(look.leaf * 1.3 + 14, look.light((0, 1, 0)), 8), grass)
    if kind == "lake":
        near, far = rng.uniform(18, 26), rng.uniform(60, 110)
        x = np.linspace(-140, 140, 60)
        shore = near + 5 * noise(rng, (4, 8, 16), (8, 60))[4]
        for step, colour, code in ((-0.22, (150, 136, 108), unknown), (0, look.zenith * 0.45 + look.low * 0.4, water)):
            edge = np.concatenate([np.stack([x, shore + step], -1), [(140, far), (-140, far)]])
            scene.fill(ground(scene, edge), scene.tone(colour, 0.95), code)
        waves = rng.uniform((-40, near + 5), (40, far * 0.8), (60, 2))
        waves = boxes(waves[:, 0], waves[:, 1], waves[:, 0] + 4, waves[:, 1] + 0.25)
        scene.fill(ground(scene, waves), scene.tone(look.low, 0.98), water)
    elif kind == "track":
        z, bend = np.geomspace(NEAR, FAR, 30), rng.normal(0, 0.004)
        for half, colour in ((2.4, (150, 134, 108)), (2.0, look.asphalt)):
            edge = np.concatenate([np.stack([bend * z**2 - half, z], -1), np.stack([bend * z**2 + half, z], -1)[::-1]])
            scene.fill(ground(scene, edge), scene.tone(colour, look.light((0, 1, 0))), ROAD)
    for _ in range(rng.integers(2, 7)):
        side, z = rng.choice([-1, 1]), rng.uniform(8, 17 if kind == "lake" else 60)
        x, height = side * rng.uniform(3 + 0.12 * z, 6 + 0.45 * z), rng.uniform(4, 9)
        cast(scene, x, z, height * 0.6, height * 0.8, height * 0.5)
        scene.later(z, paint_tree, rng, x, z, height)
    if rng.random() < 0.6:
        side, z = rng.choice([-1, 1]), rng.uniform(9, 10) if kind == "lake" else rng.uniform(14, 30)
        x = side * rng.uniform(6, 9)
        scene.later(z + 8, paint_building, rng, side, x, z, z + 8, rng.uniform(3.2, 6), "house", True)
    for _ in range(rng.integers(1, 4)):
        z = rng.uniform(5, 13)
        x, who = rng.uniform(-0.5, 0.5) * z, rng.random()
        place = upright(scene, x, 0, z, 1.0 if who < 0.5 else 1.9, rng.choice([-1, 1]))
        cast(scene, x, z, 0.6, 1.4, 0.3)
        if who < 0.5:
            scene.later(z, paint_person, rng, place, z, foreground)
        else:
            scene.later(z, paint_animal, rng, place, z, foreground, "dog")
    finish_ground(scene)


def draw_landscape(seed, size, country):
    """A scene for the Stanford set -> image uint8 and Stanford's labels (-1 = unknown): open country, or a street."""
    scene = Scene(seed, size, "day")
    if country:
        landscape(scene)
    else:
        street(scene, verge=scene.add(GRASS))
    image, labels, _ = scene.finish()
    return image, STANFORD[labels]
