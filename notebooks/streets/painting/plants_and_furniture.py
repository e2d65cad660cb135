"""Trees, hedges and pot plants; fences, poles, signs and what else stands on a pavement."""

from itertools import cycle

import numpy as np

from .canvas import BUILDING, FENCE, NEAR, POLE, SIGN, TREE, VOID
from .look import BLACK, PAINTS, WALLS, WHITE
from .people_and_animals import paint_parts, paint_person
from .shapes import boxes, disc, limbs, upright

# A clump's three layers, from dark to light: how large, and how far towards the sun
SHRINK, STEP = np.array([(1.0, 0), (0.78, 1), (0.45, 2.4)]).T[..., None, None]


def paint_leaves(scene, rng, place, z, radius, code, colour, clumps=13, flat=0.85):
    """A crown: clumps from dark to light towards the sun, then loose leaves; `place` puts the crown's centre."""
    look, clumps = scene.look, clumps if radius / z > 0.06 else min(clumps, 7)
    angle, distance = rng.uniform(0, 2 * np.pi, clumps), np.sqrt(rng.random(clumps)) * radius * 0.68
    centres = np.stack([np.cos(angle) * distance, np.sin(angle) * distance * flat], -1)
    centres = centres[np.argsort(centres[:, 1])]
    centres[0] = 0
    spokes = disc(0, 0, 1, corners=11)
    blobs = spokes[None] * rng.uniform(0.75, 1.2, (clumps, 11, 1)) * rng.uniform(0.32, 0.5, (clumps, 1, 1)) * radius
    sun = np.array([look.sun[0], 0.8]) * radius * 0.09
    strong = look.direct * (0.5 + 0.5 * (look.sun[2] < 0))
    tones = [scene.tone(colour * f, look.ambient + strong * g, z) for f, g in ((0.66, 0), (0.9, 0.5), (1.12, 1.0))]
    layers = place(centres[:, None, None] + blobs[:, None] * SHRINK + sun * STEP)
    for outline, tone in zip(layers.reshape(-1, 11, 3), cycle(tones)):
        scene.fill(outline, tone, code)
    count = 120 if radius / z > 0.06 else 30
    angle, distance = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.random(count)) * radius * 1.04
    spots = np.stack([np.cos(angle) * distance, np.sin(angle) * distance * flat], -1)
    leaf = np.array([(-0.5, 0), (0, 0.7), (0.6, 0.1), (0, -0.6)]) * radius * 0.08
    turn, size = rng.uniform(0, np.pi, count), rng.uniform(0.6, 1.3, (count, 1, 1))
    cos, sin = np.cos(turn), np.sin(turn)
    turn = np.array([[cos, -sin], [sin, cos]]).transpose(2, 0, 1)
    leaves = place(spots[:, None] + (leaf @ turn) * size)
    sunny = spots @ sun / (radius * 0.09 * radius) + rng.normal(0, 0.3, count)
    for low, high, bright, glint in ((-9, -0.1, 0.52, 0), (-0.1, 0.25, 0.95, 0.5), (0.25, 9, 1.22, 1)):
        chosen = leaves[(sunny >= low) & (sunny < high)]
        scene.fill(chosen, scene.tone(colour * bright, look.ambient + strong * glint, z), code)


def paint_tree(scene, rng, x, z, height):
    """A trunk with boughs and one to three crowns."""
    colour = scene.look.leaf * rng.uniform(0.82, 1.14) + rng.normal(0, 6, 3)
    place, slim = upright(scene, x, 0.1, z), rng.uniform(0.3, 0.42)
    bark = scene.tone((96, 80, 66), scene.look.light((0, 0, -1)), z)
    lean, thick = rng.normal(0, 0.15), 0.16 + 0.025 * height
    wood = ((0, 0, lean, height * 0.6, thick, thick * 0.6), (lean * 0.6, height * 0.35, -0.9, height * 0.62, 0.12),
            (lean * 0.6, height * 0.38, 1.0, height * 0.66, 0.12))  # fmt: skip
    for limb in place(limbs(wood if height / z > 0.12 else wood[:1])):
        scene.fill(limb, bark, TREE)
    radius = height * slim
    crowns = [(-radius * 0.5, height * 0.62, radius * 0.62), (radius * 0.5, height * 0.6, radius * 0.66),
              (lean, height * 0.74, radius * 0.92)][-rng.integers(1, 4) :]  # fmt: skip
    if height / z < 0.12:  # far away one crown is enough
        crowns = [(lean, height * 0.68, radius * 1.1)]
    for dx, dy, r in crowns:
        paint_leaves(scene, rng, upright(scene, x + dx, 0.1 + dy, z), z, r, TREE, colour)


def paint_hedge(scene, rng, x, z0, z1, height):
    """A hedge along the street, clump by clump from far to near."""
    colour = scene.look.leaf * rng.uniform(0.7, 0.95)
    for z in np.arange(z1, max(z0, 2.2), -max(0.9, (z1 - z0) / 10)):
        paint_leaves(scene, rng, upright(scene, x, height * 0.5, z), z, height * 0.62, TREE, colour, clumps=5)


def paint_potted_plant(scene, rng, x, z, code):
    """A flower pot with a bushy plant, about 1 m tall."""
    place, clay = upright(scene, x, 0, z), np.array((178, 98, 66), float)
    pot = np.array([(-0.16, 0), (0.16, 0), (0.23, 0.36), (-0.23, 0.36)])
    rim = boxes(-0.26, 0.34, 0.26, 0.44)[0]
    parts = [(pot, clay), (pot * [0.5, 1] + [0.09, 0], clay * 1.12), (rim, clay * 1.05)]
    paint_parts(scene, place, z, code, parts)
    green = np.array((74, 126, 58), float) + rng.normal(0, 10, 3)
    paint_leaves(scene, rng, upright(scene, x, 0.72, z), z, rng.uniform(0.3, 0.42), code, green, clumps=9, flat=1.0)


def paint_fence(scene, rng, x, z0, z1, height, kind):
    """Boards, railings (one label for bars and gaps, as CamVid has it) or a low wall (Building) along the street."""
    mid, light = (z0 + z1) / 2, scene.look.light((-np.sign(x), 0, 0))
    z0 = max(z0, NEAR)

    def face(local):  # along the street and up from the pavement
        return scene.camera.follow(x, 0.12 + local[..., 1], local[..., 0])

    z = np.linspace(z0, z1, 6)
    whole = face(np.concatenate([np.stack([z, np.zeros(6)], -1), np.stack([z, np.full(6, height)], -1)[::-1]]))
    if kind == "wall":
        colour = np.array(WALLS[rng.integers(len(WALLS))], float)
        scene.fill(whole, scene.tone(colour, light, mid), BUILDING)
        scene.fill(face(boxes(z0, height - 0.12, z1, height)), scene.tone(colour * 1.15, light, mid), BUILDING)
    elif kind == "boards":
        colour = np.array([(150, 112, 76), (124, 100, 82), (170, 160, 146), (104, 116, 92)][rng.integers(4)], float)
        scene.fill(whole, scene.tone(colour, light, mid), FENCE)
        gaps = np.arange(z0, z1, 0.22)
        scene.fill(face(boxes(gaps, 0, gaps + 0.045, height)), scene.tone(colour * 0.6, light, mid), FENCE)
        posts = np.arange(z0, z1, 2.2)
        scene.fill(face(boxes(posts, 0, posts + 0.14, height)), scene.tone(colour * 1.1, light, mid), FENCE)
    else:
        colour = np.array([(44, 46, 50), (196, 198, 196), (52, 84, 66), (120, 122, 126)][rng.integers(4)], float)
        tone = scene.tone(colour, light, mid)
        scene.veil(whole, tone, 0.3, FENCE)
        bars = np.arange(z0, z1, 0.25)
        scene.fill(face(boxes(bars, 0, bars + 0.05, height)), tone, FENCE)
        scene.fill(face(boxes(z0, [0.12, height - 0.08], z1, [0.18, height])), tone, FENCE)


def paint_pole(scene, x, z, height, width=0.13, colour=(108, 112, 116), lamp=0.0):
    """A post with a sunny and a shaded side; lamp = length of its arm towards the road."""
    light, place = scene.look.light((0, 0, -1)), upright(scene, x, 0.1, z)
    width = max(width, 0.0062 * z / scene.camera.focal)  # at least a pixel at 240 x 180
    shaded, reach = scene.tone(colour, light * 0.85, z), -np.sign(x) * lamp
    scene.fill(place(boxes(-width / 2, 0, width / 2, height)), shaded, POLE)
    if lamp:
        scene.fill(place(limbs([(0, height - 0.05, reach, height + 0.35, width * 0.9)])), shaded, POLE)
        scene.fill(place(boxes(-width * 0.8, 0, width * 0.8, 0.9)), shaded, POLE)
    bright = boxes(*((0, 0, width / 2, height) if scene.look.sun[0] > 0 else (-width / 2, 0, 0, height)))
    scene.fill(place(bright), scene.tone(np.array(colour) * 1.25, light, z), POLE)
    if lamp:
        head = np.array([reach, height + 0.33])
        shade = scene.tone((250, 240, 214) if scene.look.dusk else (160, 162, 164), 1.0, z)
        scene.fill(place(limbs([(head[0] - 0.3, head[1], head[0] + 0.3, head[1], 0.2)])), shade, POLE)
        if scene.look.dusk:
            scene.glow(place(head), 0.9, (130, 104, 60), POLE)


def paint_sign(scene, rng, x, z, kind=None):
    """A sign or traffic light on its pole: the pole is Pole, the rest SignSymbol."""
    kind = kind or ("round", "triangle", "square", "light", "blue", "name")[rng.integers(6)]
    height, size = rng.uniform(2.2, 2.9), rng.uniform(0.36, 0.5)
    light = scene.look.light((0, 0, -1)) * 1.08
    paint_pole(scene, x, z, height + (0.9 if kind == "light" else 0.3), 0.10, (128, 130, 132))
    place = upright(scene, x, height + 0.1, z)

    def paint(shape, colour, shine=light):
        scene.fill(place(shape), scene.tone(colour, shine, z), SIGN)

    if kind == "light":
        paint(boxes(-0.26, -0.4, 0.26, 1.0), (34, 36, 40))
        on = rng.integers(3)
        for i, colour in enumerate(((236, 60, 48), (246, 180, 50), (70, 214, 120))):
            paint(disc(0, 0.75 - 0.42 * i, 0.15), colour if i == on else (62, 60, 58), 1.0 if i == on else light)
            if i == on and scene.look.dusk:
                scene.glow(place(np.array([0, 0.75 - 0.42 * i])), 0.5, np.array(colour) * 0.5, SIGN)
    elif kind == "triangle":
        corners = np.array([(-1, -0.75), (1, -0.75), (0, 1)]) * size * 1.15
        paint(corners, (196, 40, 40))
        paint(corners * 0.62, WHITE)
        paint(boxes(-0.04, -0.18 * size, 0.04, 0.3 * size), BLACK)
    elif kind in ("round", "blue"):
        paint(disc(0, 0, size), (196, 40, 40) if kind == "round" else (36, 84, 170))
        paint(disc(0, 0, size * 0.72), WHITE if kind == "round" else (36, 84, 170))
        bar = limbs([(-size * 0.3, -size * 0.3, size * 0.3, size * 0.3, size * 0.22)])
        paint(bar, BLACK if kind == "round" else WHITE)
    else:
        wide = size * (1.7 if kind == "name" else 1.0)
        colour = (240, 236, 220) if kind == "name" else PAINTS[rng.integers(4)]
        paint(boxes(-wide, -size * 0.7, wide, size * 0.7), colour)
        lines = boxes(-wide * 0.75, [-0.2 * size, 0.15 * size], wide * 0.7, [0, 0.35 * size])
        paint(lines, BLACK if kind == "name" else WHITE)


CLUTTER = ("bin", "phone", "statue", "crates", "advert")


def paint_clutter(scene, rng, x, z, kind):
    """What CamVid leaves unlabelled: bins, phone boxes, statues, crates (void); an advert panel is a SignSymbol."""
    light, place = scene.look.light((0, 0, -1)), upright(scene, x, 0.1, z)
    shade = scene.look.light((-np.sign(x), 0, 0))

    def block(width, height, depth, colour, code=VOID):
        near = place(boxes(-width / 2, 0, width / 2, height)[0])
        inner = near[[1, 2] if x < 0 else [0, 3]]
        flank = np.concatenate([inner, inner[::-1] + [0, 0, depth]])
        scene.fill(flank, scene.tone(colour, shade, z), code)
        scene.fill(near, scene.tone(colour, light, z), code)

    if kind == "bin":
        block(0.55, 1.05, 0.6, [(52, 74, 58), (60, 62, 68), (44, 66, 104)][rng.integers(3)])
        scene.fill(place(boxes(-0.32, 1.0, 0.32, 1.14)), scene.tone((44, 46, 48), light, z), VOID)
    elif kind == "phone":
        block(0.9, 2.3, 0.9, (176, 38, 38))
        grid = np.array([(a, b) for a in (-0.34, 0.04) for b in (0.5, 0.95, 1.4)])
        panes = boxes(grid[:, 0], grid[:, 1], grid[:, 0] + 0.3, grid[:, 1] + 0.36)
        scene.fill(place(panes), scene.tone((120, 136, 146), light, z), VOID)
    elif kind == "statue":
        block(1.0, 1.2, 1.0, (150, 148, 142))
        paint_person(scene, rng, upright(scene, x, 1.3, z, 1.15), z, VOID, stone=(128, 132, 126))
    elif kind == "crates":
        block(1.2, 0.6, 0.8, (150, 116, 76))
        place = upright(scene, x + 0.2, 0.7, z)
        block(0.6, 0.5, 0.5, (168, 132, 88))
    else:
        block(1.3, 2.4, 0.2, (52, 56, 60), SIGN)
        poster = PAINTS[rng.integers(len(PAINTS))]
        scene.fill(place(boxes(-0.56, 0.3, 0.56, 2.28)), scene.tone(poster, light, z), SIGN)
        paint_person(scene, rng, upright(scene, x, 0.45, z), z, SIGN)
