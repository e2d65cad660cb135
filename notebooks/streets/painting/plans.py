"""Where everything stands: a street's widths, its houses, furniture and traffic, queued from far to near."""

import numpy as np

from .buildings import paint_backdrop, paint_building
from .canvas import BICYCLIST, CAR, NEAR, PEDESTRIAN, TREE
from .ground_and_sky import paint_ground, paint_sky
from .people_and_animals import paint_cyclist, paint_person
from .plants_and_furniture import CLUTTER, paint_clutter, paint_fence, paint_hedge, paint_pole, paint_sign, paint_tree
from .shapes import boxes, cast, upright
from .vehicles import VEHICLES, paint_bonnet, paint_vehicle


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
