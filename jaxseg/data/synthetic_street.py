"""The layout of a synthetic street: what stands where, its size and colors."""

import math
import random

from jaxseg.data import synthetic_canvas as canvas
from jaxseg.data import synthetic_objects as objects

_WALLS = (
    *((150, 150, 152), (112, 116, 122), (196, 178, 148), (160, 92, 72)),
    *((122, 138, 112), (206, 200, 190), (128, 146, 166), (188, 140, 104)),
)
_LEAVES = ((74, 118, 58), (54, 96, 62), (108, 132, 58), (176, 128, 52), (128, 112, 92))
_METAL = ((92, 94, 96), (60, 66, 62), (150, 152, 150))
_SKIN = ((224, 180, 150), (150, 104, 78), (96, 66, 52))
_ROOFS = ((130, 70, 56), (84, 86, 94))
_RED, _BLUE, _YELLOW = (190, 40, 40), (40, 80, 170), (225, 180, 40)
_WHITE, _DARK, _WARM = (232, 232, 228), (38, 40, 46), (255, 214, 140)
_SIGNS = (  # rim, face, mark
    *((_RED, _WHITE, _DARK), (_RED, _WHITE, _DARK), (_WHITE, _RED, _WHITE)),
    *((_WHITE, _YELLOW, _DARK), (_WHITE, _BLUE, _WHITE)),
)


def build(scene: canvas.Canvas, rng: random.Random):
    """Ground, then houses, then what stands before them, each from far to near."""
    curb = rng.uniform(3, 4.6)
    front = curb + rng.uniform(2, 3.6)
    _ground(scene, rng, curb)
    skyline = objects.skyline(rng.randrange(8))
    palette = [_pick(rng, _WALLS) for _ in range(3)]
    scene.place(skyline, (200, 24, 1), (-100, 0, 110), palette)
    houses, things = [], []
    for side in (-1, 1):
        z = rng.uniform(2, 6)
        while z < 60:
            length = rng.uniform(7, 15)
            if rng.random() < 0.8:
                houses.append((z, z + length, side * front))
            else:
                things.append((z + length / 2, _tree, side * (front + 2)))
            z += length + 3 * (rng.random() < 0.3)
    for near, far, x in sorted(houses, reverse=True):
        _house(scene, rng, x, near, far)
    things += _roadside(rng, curb, front) + _traffic(rng, curb)
    for z, add, x in sorted(things, key=lambda thing: -thing[0]):
        add(scene, rng, x, z)


def _pick(rng: random.Random, colors: tuple[canvas.Color, ...]) -> canvas.Color:
    """One of the colors, varied."""
    return canvas.vary(rng, rng.choice(colors), 0.14)


def _any(rng: random.Random, low: float, high: float) -> canvas.Color:
    """A color of three channels drawn alike."""
    return rng.uniform(low, high), rng.uniform(low, high), rng.uniform(low, high)


def _ground(scene: canvas.Canvas, rng: random.Random, curb: float):
    """Pavement everywhere, the road on it, and markings on the road."""
    road = canvas.vary(rng, (104, 104, 108), 0.14)
    stone = canvas.vary(rng, (150, 144, 138), 0.14)
    paint = canvas.vary(rng, (214, 212, 204), 0.06)

    def fill(x, z, wide, long, color, code, cells=(1, 1, 1, 1)):
        """Cells of a rectangle that is centered at x and begins at z."""
        model = objects.cells(*cells, code)
        scene.place(model, (wide, 1, long), (x - wide / 2, 0, z), [color])

    near, far, line = 0.6, 400, curb - 0.25
    fill(0, near, 600, far, stone, canvas.PAVEMENT)
    joints, joint = (1, 18, 1, 0.05), canvas.shade(stone, 0.82)
    fill(0, rng.uniform(1, 3), 24, 32, joint, canvas.PAVEMENT, joints)
    edge = canvas.shade(stone, 1.15)
    fill(0, near, 2 * curb + 0.5, far, edge, canvas.PAVEMENT)
    fill(0, near, 2 * curb, far, road, canvas.ROAD)
    fill(-line, near, 0.12, 90, paint, canvas.ROAD)
    fill(line, near, 0.12, 90, paint, canvas.ROAD)
    fill(0, rng.uniform(-1, 3), 0.16, 80, paint, canvas.ROAD, (1, 16, 1, 0.45))
    z = rng.uniform(6, 16)
    if rng.random() < 0.35:
        zebra = round(2 * curb), 1, 0.5, 1
        fill(0, z, 2 * curb - 1, 2.6, paint, canvas.ROAD, zebra)


def _house(scene: canvas.Canvas, rng: random.Random, x: float, near: float, far: float):
    """A house along the street from z `near` to `far`, its wall standing at `x`."""
    side, height, length = math.copysign(1, x), rng.uniform(5, 17), far - near
    bare = _pick(rng, _WALLS)
    paint = canvas.shade(bare, rng.uniform(0.7, 1))
    if rng.random() < 0.45:
        size = side * 10, rng.uniform(1.5, 3), length
        scene.place(objects.roof(), size, (x, height, near), [bare, _pick(rng, _ROOFS)])
    floors, variant = round(height / 3), rng.randrange(6)
    columns = round(length / max(rng.uniform(1.8, 3), near / 8))  # fewer if far away
    glass = canvas.vary(rng, (70, 84, 100), 0.3)
    bulb = canvas.shade(canvas.vary(rng, _WARM, 0.12), 0.9)
    shining = bulb if scene.lit else canvas.shade(glass, 1.15)
    if not scene.lit and variant % 3 == 1:
        glass = canvas.shade(paint, 1.3)  # mirrors the sky
    bands = canvas.shade(paint, rng.uniform(0.86, 1.08))
    palette = paint, bands, glass, shining, canvas.vary(rng, _RED, 0.5), bare
    model = objects.house(max(1, columns), floors, variant)
    scene.place(model, (side * 14, height, length), (x, 0, near), palette)


def _tree(scene: canvas.Canvas, rng: random.Random, x: float, z: float):
    spread, height = rng.uniform(1.1, 2), rng.uniform(4, 8)
    palette = canvas.vary(rng, (92, 72, 56), 0.15), _pick(rng, _LEAVES), _DARK
    model = objects.tree(rng.randrange(12))
    scene.place(model, (spread, height, spread), (x, 0, z), palette)


def _lamp(scene: canvas.Canvas, rng: random.Random, x: float, z: float):
    reach, height = -math.copysign(rng.uniform(0.7, 1.4), x), rng.uniform(4.5, 7)
    paint = _pick(rng, _METAL)
    palette = paint, _WARM if scene.lit else paint
    scene.place(objects.lamp(), (reach, height, 1), (x, 0, z), palette)
    scene.shine(x + reach, height, z, 1.6, _WARM)


def _sign(scene: canvas.Canvas, rng: random.Random, x: float, z: float):
    shape, scale = rng.randrange(5), rng.uniform(0.85, 1.15)
    colors = [canvas.vary(rng, color, 0.06) for color in _SIGNS[shape]]
    palette = (128, 130, 132), *colors
    scene.place(objects.sign(shape), (scale, scale, 1), (x, 0, z), palette)


def _person(scene: canvas.Canvas, rng: random.Random, x: float, z: float):
    tall, coat = rng.uniform(1.5, 1.9), _any(rng, 30, 210)
    legs, hair = canvas.vary(rng, _DARK, 0.5), canvas.vary(rng, (80, 60, 48), 0.4)
    palette = coat, legs, _pick(rng, _SKIN), hair, _DARK
    floor = canvas.ROAD if abs(x) < 3 else canvas.PAVEMENT  # no curb is nearer
    model = objects.person(rng.randrange(4), floor)
    scene.place(model, (tall, tall, tall), (x, 0, z), palette)


def _car(scene: canvas.Canvas, rng: random.Random, x: float, z: float):
    """A car on the right drives away, on the left comes closer, in between crosses."""
    turn = rng.gauss(0, 0.03) + math.pi * (0.5 if abs(x) < 1 else x < 0)
    length, height = rng.uniform(3.8, 4.8), rng.uniform(1.4, 1.9)
    half = rng.uniform(0.85, 0.98)
    paint, gray = _any(rng, 25, 225), rng.uniform(30, 230)
    if rng.random() < 0.6:  # most cars are white, gray or black
        paint = canvas.vary(rng, (gray, gray, gray), 0.05)
    sin, cos = math.sin(turn), math.cos(turn)
    ahead = (scene.eye[0] - x) * sin - z * cos  # the camera's place in the car's axes
    aside = (scene.eye[0] - x) * cos + z * sin
    lights = (200, 30, 30) if ahead < 0 else (255, 244, 214)
    side = 0 if abs(aside) < half else int(math.copysign(1, aside))
    model = objects.car(rng.randrange(3), ahead < 0, side)
    palette = paint, _DARK, lights, _WHITE, _DARK
    scene.place(model, (half, height, length), (x, 0, z), palette, turn)
    along, radius = math.copysign(0.52 * length, ahead), 0.35 if ahead < 0 else 0.6
    for across in (-0.8 * half, 0.8 * half):
        at = x + across * cos + along * sin, z + along * cos - across * sin
        scene.shine(at[0], 0.42 * height, at[1], radius, lights)


def _roadside(rng: random.Random, curb: float, front: float) -> list[tuple]:
    """(z, function that adds it, x) of lamps, trees, signs and people."""
    things = []
    for side in (-1, 1):
        edge, gap = side * (curb + 0.5), rng.uniform(9, 16)
        z = rng.uniform(5, 12)
        while z < 50:
            if rng.random() < 0.7:
                things.append((z, _lamp, edge))
            if rng.random() < 0.5:
                things.append((z + gap / 2, _tree, side * (curb + 1.3)))
            z += gap
        for _ in range(rng.randint(1, 3)):
            things.append((rng.uniform(5, 26), _sign, edge))
        for _ in range(rng.randint(1, 4)):
            x = side * rng.uniform(curb + 0.4, front - 0.3)
            things.append((rng.uniform(4.5, 24), _person, x))
    if rng.random() < 0.4:
        things.append((rng.uniform(7, 18), _person, rng.uniform(-2.6, 2.6)))
    return things


def _traffic(rng: random.Random, curb: float) -> list[tuple]:
    """(z, function that adds it, x) of cars in both lanes, and at times across."""
    things = []
    for side in (-1, 1):
        z = rng.uniform(6, 14)
        while z < 48:
            things.append((z, _car, side * rng.uniform(0.45, 0.65) * curb))
            z += rng.uniform(8, 28)
    if rng.random() < 0.25:
        things.append((rng.uniform(16, 30), _car, rng.uniform(-0.6, 0.6)))
    return things
