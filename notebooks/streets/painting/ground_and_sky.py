"""Sky, road, pavements and markings, with shadows and haze over them."""

import cv2
import numpy as np

from .canvas import FAR, NEAR, PAVEMENT, ROAD, SKY, SUBPIXEL, TREE
from .look import WHITE, noise
from .shapes import ahead_of_us, boxes, disc, ground


def paint_sky(scene):
    """A gradient, clouds and the sun's glow."""
    look, camera = scene.look, scene.camera
    rng = np.random.default_rng((scene.seed, 3))
    clouds = noise(rng, (3, 6, 12, 24, 48))
    rows, columns = clouds.shape
    down = np.clip(np.linspace(0, 1, rows) / camera.horizon, 0, 1)[:, None] ** 1.3
    body = np.clip((clouds - 0.62 + 0.28 * look.cover) * 4.5, 0, 1) * (1 - 0.45 * down)
    beside = np.pad(clouds, ((5, 0), (3, 3)), mode="edge")[:-5, 0 if look.sun[0] > 0 else 6 :][:, :columns]
    shine = np.clip(0.55 + (clouds - beside) * 4, 0, 1)
    shaded, shine = (1 - shine).astype(float), shine.astype(float)
    halo = 0.0
    if look.sun[2] > 0 and not look.cloudy:  # the sun is before us
        y, x = np.mgrid[0:rows, 0:columns] / rows
        at = 0.667 + look.sun[0] / max(look.sun[2], 0.3) * camera.focal, camera.horizon * (0.85 if look.dusk else 0.25)
        halo = np.exp(-3.5 * np.hypot(x - at[0], y - at[1]))
    sky = np.empty((rows, columns, 3), np.uint8)
    for channel, glow in enumerate((80, 62, 30)):
        clear = look.zenith[channel] * (1 - down) + look.low[channel] * down
        cloud = look.cloud[0, channel] * shaded + look.cloud[1, channel] * shine
        sky[..., channel] = np.clip(clear * (1 - body) + cloud * body + halo * glow, 0, 255)
    sky = cv2.resize(sky, scene.pixels.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    cv2.cvtColor(sky, cv2.COLOR_RGB2RGBA, dst=scene.pixels)
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
        scene.fill(ground(scene, lines, 0.12), scene.tone(look.paving * 0.84, flat), PAVEMENT)
        slabs, z = side * rng.uniform(half + 0.6, outer, 14), rng.choice(joints, 14)
        patches = boxes(slabs - side * 0.6, z, slabs, z + 1.2)
        scene.fill(ground(scene, patches, 0.12), scene.tone(look.paving * 0.92, flat), PAVEMENT)
        strip(scene, side * (half + 0.15), side * half, 0.12, look.paving * 1.12, PAVEMENT)
    strip(scene, -half, half, 0.0, look.asphalt, ROAD)
    for side in (-1, 1):  # the kerb's face and the gutter before it
        z = np.geomspace(NEAR, FAR, 22)
        low, high = (ground(scene, np.stack([np.full(22, side * half), z], -1), y) for y in (0, 0.12))
        scene.fill(np.concatenate([low, high[::-1]]), scene.tone(look.paving * 0.72, flat), PAVEMENT)
        strip(scene, side * (half - 0.3), side * half, 0.0, look.asphalt * 0.86, ROAD)
    if plan["crossing"]:
        z0, z1 = plan["crossing"], plan["crossing"] + plan["crossing_width"]
        scene.fill(ground(scene, boxes(-80, z0, 80, z1)), scene.tone(look.asphalt * 1.02, flat, z0), ROAD)
    paint_markings(scene, plan, flat)
    finish_ground(scene)


def paint_markings(scene, plan, flat):
    """Lane dashes, edge lines, zebra or hatching, patches, cracks, manholes and puddles: all Road."""
    rng, look, half = scene.rng, scene.look, plan["half"]
    for _ in range(rng.integers(2, 6)):
        x, z, w, d = rng.uniform(-half, half - 1.5), rng.uniform(3, 30), rng.uniform(0.8, 2.2), rng.uniform(1, 6)
        patch = boxes(x, z, min(x + w, half), z + d)
        scene.fill(ground(scene, patch), scene.tone(look.asphalt * rng.choice([0.84, 0.9, 1.09]), flat, z), ROAD)
    for _ in range(rng.integers(1, 4)):
        z = np.linspace(0, rng.uniform(1, 5), 7) + rng.uniform(2.5, 12)
        x = np.clip(rng.uniform(-half, half) + np.cumsum(rng.normal(0, 0.2, 7)), -half, half - 0.04)
        crack = np.concatenate([np.stack([x, z], -1), np.stack([x + 0.035, z], -1)[::-1]])
        scene.fill(ground(scene, crack), scene.tone(look.asphalt * 0.66, flat), ROAD)
    paint = scene.tone(look.asphalt * (1 - plan["paint"]) + np.array(WHITE) * plan["paint"], flat)
    dash = np.arange(rng.uniform(0, 4), 90, plan["dash"])
    if plan["lanes"]:
        scene.fill(ground(scene, boxes(-0.06, dash, 0.06, dash + 0.45 * plan["dash"])), paint, ROAD)
    if plan["edge"]:
        yellow = scene.tone(look.asphalt * 0.35 + np.array((228, 182, 60)) * 0.65, flat)
        for x in (0.35, 0.6)[: plan["edge"]]:
            for side in (-1, 1):
                z = np.geomspace(1, 80, 24)
                middle = side * (half - x)
                band = boxes(middle - 0.05, z[:-1], middle + 0.05, z[1:])
                scene.fill(ground(scene, band), yellow, ROAD)
    if plan["crossing"]:
        x = np.arange(-half + 0.3, half - 0.5, 1.0)
        z0 = plan["crossing"] - 3.6
        scene.fill(ground(scene, boxes(x, z0, x + 0.5, z0 + 2.6)), paint, ROAD)
        scene.fill(ground(scene, boxes(-half, z0 - 1.3, 0, z0 - 1.0)), paint, ROAD)
    elif plan["hatch"]:
        z = np.arange(plan["hatch"], plan["hatch"] + 9, 1.3)
        slant = boxes(-0.5, z, 0.5, z + 0.35)
        slant[:, (1, 2), 1] += 0.9
        scene.fill(ground(scene, slant), paint, ROAD)
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
    scene.flush()
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
    shadows = [(ahead_of_us(outline), strength) for outline, strength in sorted(scene.shadows, key=lambda one: one[1])]
    scene.paint([(ground(scene, outline), int(255 * s), False) for outline, s in shadows if len(outline) > 2], dark)
    dark = cv2.blur(dark, (2 * (height // 140) + 1,) * 2)[top:]
    air = cv2.resize(np.exp(-distance / look.visibility), (width, height - top))
    for channel, blue in enumerate((1.0, 0.95, 0.84)):  # shadows are lit by the blue sky
        clear = np.arange(256, dtype=np.float32) * (-blue / 255) + 1
        gain = cv2.multiply(cv2.multiply(cv2.LUT(dark, clear), grain + 1), air)
        below = cv2.extractChannel(scene.pixels[top:], channel)
        lit = cv2.multiply(below, gain, dtype=cv2.CV_32F) + look.haze[channel] * (1 - air)
        scene.pixels[top:, :, channel] = cv2.convertScaleAbs(lit)
