"""The canvas: class codes, a pin-hole camera, and the scene that all painters paint on."""

from functools import partial
from math import exp

import cv2
import numpy as np

from .look import Look, noise

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST, VOID = range(12)
STYLES = ("day", "dusk")
NEAR, FAR = 0.7, 130.0  # metres; what lies behind NEAR is far outside the picture's left and right edge
SUBPIXEL = 16  # cv2 takes polygon corners as integers with 4 fractional bits
# How much the fine noise shows on each class: none in the sky, most in leaves and brick.
GRAIN = np.array([0.015, 0.10, 0.05, 0.07, 0.09, 0.15, 0.04, 0.10, 0.03, 0.06, 0.06, 0.06], np.float32)


def points3(x, y, z):
    """Three coordinates, numbers or arrays, to points (..., 3)."""
    points = np.empty((*np.broadcast(x, y, z).shape, 3))
    points[..., 0], points[..., 1], points[..., 2] = x, y, z
    return points


class Camera:
    """Pin-hole camera at (x, eye, 0) that looks along z over a street that may bend and climb."""

    def __init__(self, rng, size, zoom=1.0):
        width, height = size
        self.x = 0.0
        self.eye = rng.uniform(1.45, 2.1)
        self.focal = zoom * rng.uniform(1.0, 1.25)  # in picture heights
        self.horizon = rng.uniform(0.42, 0.52)
        self.shift = rng.normal(0, 0.06)
        self.bend = float(rng.choice([0, 0, 1]) * rng.normal(0, 0.0016))  # the street's middle is at x = bend * z^2
        self.hill = rng.normal(0, 0.00016)
        roll = rng.normal(0, 0.012)
        self.unit = height * SUBPIXEL
        self.centre = width * SUBPIXEL / 2 + self.shift * self.unit, self.horizon * self.unit
        self.turn = float(np.cos(roll)), float(np.sin(roll))

    def follow(self, x, y, z):
        """Coordinates in a straight street, numbers or arrays -> world points (..., 3) in the bent, climbing one."""
        far = np.minimum(z, FAR) ** 2
        return points3(np.add(x, self.bend * far), np.add(y, self.hill * far), z)

    def project(self, points):
        """World points (..., 3) -> canvas points (..., 2) in int32 sub-pixels."""
        scale = self.focal * self.unit / np.maximum(points[..., 2], NEAR)
        u, v = (points[..., 0] - self.x) * scale, (self.eye - points[..., 1]) * scale
        (cos, sin), (cu, cv) = self.turn, self.centre
        corners = np.empty((*u.shape, 2), np.int32)
        corners[..., 0] = cu + cos * u - sin * v
        corners[..., 1] = cv + sin * u + cos * v
        return corners


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
        self.items, self.fills, self.shadows, self.glows = [], [], [], []
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
        r, g, b = colour.tolist() if isinstance(colour, np.ndarray) else colour  # numpy's own numbers are slow
        (tr, tg, tb), (hr, hg, hb) = self.look.tint, self.look.haze
        r, g, b = r * tr * lit + hr * veil, g * tg * lit + hg * veil, b * tb * lit + hb * veil
        return min(255.0, r), min(255.0, g), min(255.0, b)

    def fill(self, polygons, colour, code, *, hull=False):
        """Queue one polygon, world points (n, 3), or many (m, n, 3) that do not overlap; colour as `tone` returns it.

        hull=True paints the convex hull of the points as the camera sees them.
        """
        if len(polygons):
            self.fills.append((polygons, (*colour, code), hull))

    def paint(self, fills, pixels):
        """Paint polygons in turn: one projection of them all is much faster than a thousand small ones."""
        if not fills:
            return
        corners = self.camera.project(np.concatenate([polygons.reshape(-1, 3) for polygons, _, _ in fills]))
        start = 0
        for polygons, colour, hull in fills:
            stop = start + polygons.size // 3
            outlines = corners[start:stop].reshape(-1, polygons.shape[-2], 2)
            cv2.fillPoly(pixels, [cv2.convexHull(outlines[0])] if hull else list(outlines), colour, shift=4)
            start = stop

    def flush(self):
        """Paint what `fill` has queued; due before anything that reads or writes the pixels themselves."""
        fills, self.fills = self.fills, []
        self.paint(fills, self.pixels)

    def veil(self, points, colour, alpha, code=None):
        """Paint one see-through polygon at once; code=None keeps the labels below it."""
        self.flush()
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
        self.flush()
        step, rng = self.oversample, np.random.default_rng((self.seed, 2))
        height, width = self.pixels.shape[0] // step, self.pixels.shape[1] // step
        codes = self.pixels[step // 2 :: step, step // 2 :: step, 3].copy()
        image = cv2.cvtColor(self.pixels, cv2.COLOR_RGBA2RGB)
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
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
