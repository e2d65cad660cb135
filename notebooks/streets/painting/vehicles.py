"""Cars, vans and buses in true perspective, and the bonnet of our own."""

from itertools import pairwise

import cv2
import numpy as np

from .canvas import SUBPIXEL, VOID
from .look import PAINTS, WHITE
from .shapes import boxes, disc

# kind: length, width, outlines of body and cabin from the rear over the top to the front as (part of length, metres up)
VEHICLES = {
    "hatch": (3.9, 1.72,
              ((-0.5, 0.26), (-0.5, 0.78), (-0.47, 0.92), (0.22, 0.93), (0.45, 0.78), (0.5, 0.6), (0.5, 0.26)),
              ((-0.47, 0.9), (-0.39, 1.42), (0.03, 1.47), (0.25, 0.92))),
    "saloon": (4.5, 1.8,
               ((-0.5, 0.26), (-0.5, 0.8), (-0.46, 0.92), (0.2, 0.93), (0.46, 0.74), (0.5, 0.56), (0.5, 0.26)),
               ((-0.35, 0.9), (-0.22, 1.4), (0.03, 1.43), (0.22, 0.92))),
    "suv": (4.5, 1.9, ((-0.5, 0.32), (-0.5, 0.95), (-0.48, 1.08), (0.24, 1.1), (0.46, 0.98), (0.5, 0.8), (0.5, 0.32)),
            ((-0.48, 1.06), (-0.43, 1.68), (0.05, 1.72), (0.23, 1.08))),
    "van": (5.2, 2.0,
            ((-0.5, 0.34), (-0.5, 2.1), (-0.48, 2.24), (0.28, 2.24), (0.42, 1.4), (0.5, 0.8), (0.5, 0.34)), None),
    "bus": (9.5, 2.5, ((-0.5, 0.36), (-0.5, 2.9), (-0.48, 3.05), (0.48, 3.05), (0.5, 2.8), (0.5, 0.36)), None),
}  # fmt: skip
COLOURS = ((176, 40, 42), (40, 62, 112), (196, 198, 202), (60, 64, 70), (232, 232, 228), (120, 126, 132), (36, 38, 42),
           (92, 116, 140), (64, 92, 78), (206, 170, 70), (150, 152, 150), (112, 60, 56))  # fmt: skip


def paint_vehicle(scene, rng, x, z, heading, kind, code):
    """A vehicle in true perspective; heading 0 drives away from us, pi towards us, pi/2 to the right."""
    look, camera = scene.look, scene.camera
    length, width, body, cabin = VEHICLES[kind]
    body_colour = np.array(COLOURS[rng.integers(len(COLOURS))] if kind != "bus" else PAINTS[rng.integers(5)], float)
    origin = camera.follow(x, 0, z)
    heading += np.arctan(2 * camera.bend * z)
    ahead, across = np.array([np.sin(heading), 0, np.cos(heading)]), np.array([np.cos(heading), 0, -np.sin(heading)])
    to_camera = np.array([camera.x, camera.eye, 0]) - origin
    near_side = 1 if to_camera @ across > 0 else -1
    up, glass = np.array([0, 1.0, 0]), np.array((52, 62, 74), float)

    def world(points, w):  # (n, 2) along and up, at w metres to the vehicle's right
        points = np.asarray(points, float)
        return origin + points[:, :1] * ahead + np.reshape(w, (-1, 1)) * across + points[:, 1:] * up

    def paint(points, w, colour, light):
        scene.fill(world(points, w), scene.tone(colour, light, z), code)

    def prism(outline, half, colour, window=None):
        outline = np.array(outline) * [length, 1]
        for (a, ha), (b, hb) in pairwise(zip(outline, half, strict=True)):
            along = b - a
            normal = (-along[1] * ahead + along[0] * up) / np.hypot(*along)
            if normal @ (to_camera - (a[0] * ahead + a[1] * up)) > 0:
                ring = np.array([a, b, b, a]), np.array([-ha, -hb, hb, ha])
                paint(*ring, colour, look.light(normal))
                if window and along[1] ** 2 > 0.1 * along[0] ** 2:  # a steep pane, not the roof
                    inner = 0.84 * ring[0] + 0.16 * ring[0].mean(0)
                    shine = 0.6 + 0.3 * look.ambient
                    paint(inner, ring[1] * 0.88, glass * 0.75 + look.low * 0.22, shine)
                    streak = ring[1] * [0.1, -0.2, 0.4, 0.55]
                    paint(inner[[0, 1, 1, 0]], streak, glass * 0.6 + look.low * 0.36, shine)
        side = look.light(across * near_side)
        paint(outline, near_side * half, colour, side)
        if window:
            inner = outline.mean(0) + (outline - outline.mean(0)) * [0.86, 0.74]
            paint(inner, near_side * half * 0.99, glass, side)
            top = np.array([inner[0] * 0.45 + inner[1] * 0.55, inner[1], inner[2], inner[3] * 0.45 + inner[2] * 0.55])
            paint(top, near_side * half * 0.99, glass * 0.6 + look.low * 0.3, side)
            post = outline[:, 0].mean() + np.array([-0.04, 0.04, 0.04, -0.04])
            low, high = outline[:, 1].min(), outline[:, 1].max()
            paint(np.stack([post, [low, low, high, high]], -1), near_side * np.take(half, (0, 0, 1, 1)), colour, side)

    half = width / 2
    wheel = 0.31 if cabin else 0.4
    axles = (-0.31 * length, 0.31 * length)
    for axle in axles:  # dark tyres below, later the near side's rims
        for w in (-half, half):
            tyre = np.concatenate([world(disc(axle, wheel, wheel), w * depth) for depth in (0.98, 0.76)])
            scene.fill(tyre, scene.tone((30, 30, 34), 0.8, z), code, hull=True)
    belly = np.array([(-0.47 * length, 0.2), (0.47 * length, 0.2), (0.47 * length, 0.4), (-0.47 * length, 0.4)])
    end_w = np.array([-0.9, 0.9, 0.9, -0.9]) * half
    toward = 1 if to_camera @ ahead > 0 else -1  # do we see its front (1) or its back (-1)?
    paint(belly, near_side * half * 0.94, (32, 32, 36), 0.8)
    paint(np.array([(0.47 * length * toward, y) for y in (0.2, 0.2, 0.4, 0.4)]), end_w, (32, 32, 36), 0.8)
    prism(body, np.full(len(body), half), body_colour)
    side_light = look.light(across * near_side)
    if cabin:
        prism(cabin, np.array([0.93, 0.74, 0.74, 0.93]) * half, body_colour * 0.96, window=True)
        crease = np.array([(-0.46, 0.60), (0.46, 0.58), (0.46, 0.55), (-0.46, 0.57)]) * [length, body[1][1] / 0.78]
        paint(crease, near_side * half, body_colour * 0.72, side_light)
    else:

        def panel(a0, y0, a1, y1, colour):
            paint(boxes(a0 * length, y0, a1 * length, y1)[0], near_side * half, colour, side_light)

        if kind == "van":
            door = np.array([(0.14, 1.3), (0.14, 2.0), (0.27, 2.0), (0.375, 1.3)]) * [length, 1]
            paint(door, near_side * half, glass, side_light)
            panel(-0.45, 0.8, 0.1, 0.84, body_colour * 0.8)
            if rng.random() < 0.5:
                panel(-0.4, 1.2, 0.0, 1.7, PAINTS[rng.integers(5)])
        else:
            for left in np.linspace(-0.46, 0.34, 6):
                panel(left, 1.35, left + 0.13, 2.4, glass + 14)
            panel(-0.5, 0.75, 0.5, 0.95, WHITE)
    paint_vehicle_end(scene, paint, kind, length, half, body, toward, ahead, world, code)
    for axle in axles:
        for radius, colour in ((wheel, (34, 34, 38)), (wheel * 0.62, (150, 152, 156)), (wheel * 0.2, (70, 72, 76))):
            paint(disc(axle, wheel, radius), near_side * half * 1.005, colour, side_light * 0.95)


def paint_vehicle_end(scene, paint, kind, length, half, body, toward, ahead, world, code):
    """Lamps, number plate, grille and the big panes of vans and buses, on the end that we see."""
    light, at = scene.look.light(ahead * toward), toward * 0.5 * length * 1.003
    belt = body[-2][1] if toward > 0 else body[1][1]

    def panel(w0, y0, w1, y1, colour, shine=light):
        paint(np.array([(at, y0), (at, y0), (at, y1), (at, y1)]), np.array([w0, w1, w1, w0]) * half, colour, shine)

    if kind in ("van", "bus"):
        belt, top = 0.95, body[1][1]
        if toward < 0 or kind == "bus":
            panel(-0.86, 1.35, 0.86, top - 0.3, (52, 62, 74))
            panel(-0.5, 1.7, 0.8, top - 0.32, (96, 110, 122))
        if kind == "bus":
            panel(-0.6, top - 0.26, 0.6, top - 0.04, (40, 40, 36))
            panel(-0.45, top - 0.2, 0.4, top - 0.1, (250, 196, 70), 1.0)
    panel(-0.98, 0.3, 0.98, 0.46, (58, 60, 64))
    lamp = (246, 244, 226) if toward > 0 else (206, 38, 34)
    night = scene.look.dusk
    for w in (-0.94, 0.64):
        panel(w, belt - 0.2, w + 0.3, belt - 0.03, lamp, 1.0 if night else light * 1.05)
        if night:
            point = world([(at, belt - 0.12)], (w + 0.15) * half)[0]
            scene.glow(point, 0.8 if toward > 0 else 0.45, (150, 140, 104) if toward > 0 else (120, 18, 14), code)
    panel(-0.26, 0.47, 0.26, 0.58, WHITE if toward > 0 else (232, 200, 70))
    if toward > 0:
        panel(-0.55, belt - 0.19, 0.55, belt - 0.05, (40, 42, 46))


def paint_bonnet(scene, rng):
    """The edge of our own car at the bottom of the picture: void."""
    scene.flush()
    height, width = scene.pixels.shape[:2]
    x = np.linspace(-0.1, 1.1, 14)
    y = 1 - rng.uniform(0.025, 0.06) + 0.06 * (2 * x - 1) ** 2
    for drop, light in ((0, 0.9), (0.012, 0.62)):
        edge = np.concatenate([np.stack([x, y + drop], -1), [(1.1, 1.2), (-0.1, 1.2)]]) * [width, height] * SUBPIXEL
        colour = scene.tone(np.array((70, 74, 84)) * light, scene.look.light((0, 1, 0)))
        cv2.fillPoly(scene.pixels, [edge.astype(np.int32)], (*colour, VOID), shift=4)
