"""The look of a scene: palettes, weather, season and light, and the noise that clouds and asphalt are made of."""

import cv2
import numpy as np

WHITE, BLACK = (236, 234, 226), (28, 28, 32)
WALLS = ((164, 98, 78), (178, 128, 96), (196, 178, 146), (214, 206, 190), (140, 136, 134), (118, 120, 126),
         (186, 160, 128), (150, 84, 70), (168, 176, 180), (202, 186, 168), (206, 172, 150),
         (134, 150, 158))  # fmt: skip
PAINTS = ((40, 92, 74), (150, 46, 44), (36, 62, 110), (196, 150, 60), (70, 64, 72), (92, 120, 140), (222, 214, 196))


def noise(rng, octaves=(4, 8, 16, 32, 64), shape=(144, 192)):
    """Cloud-like noise in 0..1: random grids of growing fineness, each half as strong as the one before."""
    total = np.zeros(shape, np.float32)
    for i, cells in enumerate(octaves):
        grid = rng.random((max(2, cells * 3 // 4), cells), np.float32)
        total += cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC) * 0.5**i
    return cv2.normalize(total, None, 0, 1, cv2.NORM_MINMAX)


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
