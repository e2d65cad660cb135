"""Flat shapes in metres, and how they are put into the street: upright as cards, on the ground, as shadows."""

from functools import lru_cache

import cv2
import numpy as np

from .canvas import NEAR, points3


def boxes(a0, b0, a1, b1):
    """Rectangles as corners (n, 4, 2), from arrays or numbers that broadcast."""
    corners = np.empty((np.broadcast(a0, b0, a1, b1).size, 4, 2))
    corners[:, 0, 0] = corners[:, 3, 0] = a0
    corners[:, 0, 1] = corners[:, 1, 1] = b0
    corners[:, 1, 0] = corners[:, 2, 0] = a1
    corners[:, 2, 1] = corners[:, 3, 1] = b1
    return corners


@lru_cache
def unit_circle(corners):
    """Cosine and sine of so many angles."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.cos(angle), np.sin(angle)


def disc(x, y, rx, ry=None, corners=14):
    """An ellipse as corners (n, 2)."""
    cos, sin = unit_circle(corners)
    points = np.empty((corners, 2))
    points[:, 0], points[:, 1] = x + rx * cos, y + (rx if ry is None else ry) * sin
    return points


# A limb's eight corners, left side first: at its start (0) or end (1), and how far along and across, in half widths.
LIMB = np.array([(0, 0, 1), (1, 0, 1), (1, 0.8, 0.6), (1, 0.8, -0.6), (1, 0, -1), (0, 0, -1), (0, -0.8, -0.6),
                 (0, -0.8, 0.6)])  # fmt: skip


def limbs(rows):
    """Limbs (x0, y0, x1, y1, w0[, w1]), w0 thick at their start and w1 (or w0) at their end, as corners (n, 8, 2)."""
    rows = np.array([row if len(row) == 6 else (*row, row[4]) for row in rows], float).reshape(-1, 1, 6)
    start, end = rows[..., :2], rows[..., 2:4]
    along = end - start
    along /= np.maximum(np.hypot(along[..., :1], along[..., 1:]), 1e-6)
    across = along[..., ::-1] * (-1, 1)
    at_end = LIMB[:, :1] == 1
    width = np.where(at_end, rows[..., 5:], rows[..., 4:5])
    return np.where(at_end, end, start) + (along * LIMB[:, 1:2] + across * LIMB[:, 2:]) * width / 2


def upright(scene, x, y, z, size=1.0, flip=1):
    """Local metres (..., 2) -> world, on an upright card at (x, y, z) that faces the camera."""
    x, y, z = scene.camera.follow(x, y, z).tolist()
    return lambda local: points3(x + local[..., 0] * (size * flip), y + local[..., 1] * size, z)


def ground(scene, local, y=0.0):
    """Street coordinates (..., 2) as x, z -> world points on the ground, y metres up."""
    return scene.camera.follow(local[..., 0], y, local[..., 1])


def cast(scene, x, z, width, height, depth=0.0):
    """The shadow on the ground of something width x depth x height metres large."""
    sun = scene.look.sun
    offset = -np.array([sun[0], sun[2]]) / max(sun[1], 0.25) * height
    base = boxes(x - width / 2, z - depth / 2, x + width / 2, z + depth / 2)[0]
    outline = cv2.convexHull(np.concatenate([base, base + offset]).astype(np.float32))[:, 0]
    scene.shadows.append((outline, scene.look.shadow))


def ahead_of_us(polygon):
    """The part of a ground polygon (n, 2) of x, z that lies beyond z = NEAR."""
    if (polygon[:, 1] > NEAR).all():
        return polygon
    kept = []
    for p, q in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        if p[1] > NEAR:
            kept.append(p)
        if (p[1] > NEAR) != (q[1] > NEAR):
            kept.append(p + (q - p) * (NEAR - p[1]) / (q[1] - p[1]))
    return np.array(kept)
