"""What stands in a synthetic street: a model of each object, cached once drawn up.

A model lists flat shapes from far to near; the palette that colors it is named in its
docstring, slot by slot.
"""

import functools
import math

import numpy as np
from jaxtyping import Float

from jaxseg.data import synthetic_canvas as canvas

# Side views from rear to front as (length, height) fractions: sedan, hatchback, van.
# Of the seven edges from point to point, 2 is the rear window and 4 the windshield.
_REAR, _NOSE = (0.0, 0.18), ((1.0, 0.52), (1.0, 0.18))
_PROFILES = (
    (_REAR, (0, 0.58), (0.15, 0.64), (0.27, 1), (0.6, 1), (0.77, 0.63), *_NOSE),
    (_REAR, (0, 0.56), (0.02, 0.62), (0.12, 1), (0.64, 1), (0.79, 0.62), *_NOSE),
    (_REAR, (0, 0.54), (0, 0.58), (0.02, 1), (0.8, 1), (0.93, 0.6), *_NOSE),
)


def _swapped(parts: list[canvas.Part]) -> list[canvas.Part]:
    """The parts with x and z swapped."""
    return [(solid[..., ::-1], *look) for solid, *look in parts]  # pyright: ignore


@functools.cache
def moon() -> canvas.Model:
    """A disc of radius 1; palette: its color."""
    disc = canvas.upright(canvas.disc(0, 0, 1, 1))
    return canvas.model((disc, 0, 1.0, canvas.SKY + 15 * canvas.GLOW))


@functools.cache
def cells(columns: int, rows: int, wide: float, long: float, code: int) -> canvas.Model:
    """The unit square of the ground as a `canvas.grid`; palette: its color."""
    flat = canvas.grid(columns, rows, wide, long)
    return canvas.model((canvas.ground(flat), 0, 1.0, code))


@functools.cache
def roof() -> canvas.Model:
    """A gable at z = 0 and the slope x < 0.5 behind it; palette: gable, slope."""
    gable = np.array([[(0, 0, 0), (0.5, 1, 0), (1, 0, 0)]], float)
    slope = np.array([[(-0.03, 0, 0), (-0.03, 0, 1), (0.5, 1, 1), (0.5, 1, 0)]])
    return canvas.model(
        (gable, 0, 1.0, canvas.BUILDING), (slope, 1, 1.0, canvas.BUILDING)
    )


@functools.cache
def house(columns: int, floors: int, variant: int) -> canvas.Model:
    """Two unit walls: a bare one at z = 0, and windows above a shop at x = 0.

    Palette: wall, bands, glass, lit glass, awning, bare wall.
    """
    rng = np.random.default_rng(variant)
    wide, high = rng.uniform(0.4, 0.7, 2)
    courses = canvas.grid(1, floors * int(rng.choice((1, 2, 4))), 1, 0.3)
    panes = canvas.grid(columns, floors, wide, high)
    lit = rng.random(len(panes)) < rng.uniform(0.1, 0.5)
    lit[0] = True  # no part is empty
    shop, story = canvas.grid(max(1, columns // 2), 1, 0.85, 0.75), 1 / floors
    open_late, kind = variant % 2, canvas.BUILDING
    wall = canvas.upright(canvas.rect(0, 0, 1, 1))
    parts: list[canvas.Part] = [
        (wall, 0, 1.0, kind),
        (canvas.upright(courses), 1, 1.0, kind),
        (canvas.upright(panes), 2, 1.0, kind),
        (canvas.upright(panes[lit]), 3, 0.8, kind + 13 * canvas.GLOW),
        (canvas.upright(canvas.rect(0, 0, 1, story)), 0, 0.85, kind),
    ]
    slot, glow = (3, 14) if open_late else (2, 0)
    parts.append(
        (canvas.upright(shop * (1, story)), slot, 0.9, kind + glow * canvas.GLOW)
    )
    if variant % 3 == 0:
        awning = canvas.rect(0.03, 0.85 * story, 0.97, story)
        parts.append((canvas.upright(awning), 4, 1.0, kind))
    return canvas.model((wall, 5, 1.0, kind), *_swapped(parts))


@functools.cache
def skyline(variant: int) -> canvas.Model:
    """Far towers in a unit square; palette: three paints."""
    rng = np.random.default_rng(variant)
    parts = []
    for left in np.arange(0, 1, 0.07):
        right, top = left + rng.uniform(0.05, 0.11), rng.uniform(0.15, 1)
        tower = canvas.upright(canvas.rect(left, 0, right, top))
        panes = canvas.grid(3, 4, 0.5, 0.45) * (right - left, top) + (left, 0)
        slot = int(rng.integers(3))
        parts.append((tower, slot, 1.0, canvas.BUILDING))
        parts.append((canvas.upright(panes), slot, 0.8, canvas.BUILDING))
    return canvas.model(*parts)


@functools.cache
def tree(variant: int) -> canvas.Model:
    """A tree, 1 high and 2 wide; palette: bark, leaves, shadow."""
    rng = np.random.default_rng(variant)
    stem = np.array([[(-0.14, 0), (0.14, 0), (0.08, 0.6), (-0.08, 0.6)]])
    shadow = canvas.ground(canvas.disc(0, 0, 0.6, 0.4))
    parts = [
        (shadow, 2, 1.0, canvas.PAVEMENT),
        (canvas.upright(stem), 0, 1.0, canvas.TREE),
    ]
    if variant % 4 == 0:  # pointed
        for low, wide, gain in ((0.18, 1, 0.8), (0.4, 0.8, 0.95), (0.6, 0.55, 1.1)):
            cone = np.array([[(-wide, low), (wide, low), (0, low + 0.4)]])
            parts.append((canvas.upright(cone), 1, gain, canvas.TREE))
        return canvas.model(*parts)
    for gain in np.linspace(0.75, 1.2, 6):
        x, y = rng.uniform(-0.5, 0.5), 0.68 + 0.5 * (gain - 0.95) + rng.normal(0, 0.03)
        blob = canvas.disc(x, y, rng.uniform(0.45, 0.65), rng.uniform(0.12, 0.18))
        parts.append((canvas.upright(blob), 1, gain, canvas.TREE))
    return canvas.model(*parts)


@functools.cache
def lamp() -> canvas.Model:
    """A street lamp, 1 high, that leans 1 to the right; palette: paint, light."""
    arm = np.array([[(0, 0.97), (1, 1.01), (1, 1.03), (0, 1)]])
    head = canvas.upright(canvas.disc(1, 1.01, 0.36, 0.022))
    return canvas.model(
        (canvas.upright(canvas.rect(-0.08, 0, 0.08, 1)), 0, 1.0, canvas.POLE),
        (canvas.upright(canvas.rect(-0.14, 0, 0.14, 0.14)), 0, 0.8, canvas.POLE),
        (canvas.upright(arm), 0, 1.0, canvas.POLE),
        (head, 1, 1.0, canvas.POLE + 15 * canvas.GLOW),
    )


@functools.cache
def sign(shape: int) -> canvas.Model:
    """A ring, triangle, octagon, diamond or board; palette: post, rim, face, mark."""
    corners = (14, 3, 8, 4, 4)[shape]
    turn = np.arange(corners) * (2 * math.pi / corners)
    turn += (0, math.pi / 2, math.pi / 8, 0, math.pi / 4)[shape]
    outline, center = np.stack([np.cos(turn), np.sin(turn)], -1)[None], (0, 2.5)
    mirror = canvas.SIGN + 2 * canvas.GLOW  # signs throw a little light back
    return canvas.model(
        (canvas.upright(canvas.rect(-0.05, 0, 0.05, 2.5)), 0, 1.0, canvas.POLE),
        (canvas.upright(outline * 0.45 + center), 1, 1.0, mirror),
        (canvas.upright(outline * 0.34 + center), 2, 1.0, mirror),
        (canvas.upright(canvas.rect(-0.2, 2.45, 0.2, 2.56)), 3, 1.0, mirror),
    )


@functools.cache
def person(variant: int, floor: int) -> canvas.Model:
    """A walker, 1 high; palette: coat, legs, skin, hair, shadow."""
    step = 0.03 + 0.04 * variant
    leg = np.array([(-0.09, 0.5), (0, 0.5), (0.02 - step, 0), (-0.07 - step, 0)])
    arm = np.array([(0.1, 0.8), (0.14, 0.76), (0.12 + step, 0.45), (0.07 + step, 0.46)])
    coat = [(-0.09, 0.42), (0.09, 0.42), (0.12, 0.78), (0.07, 0.84), (-0.07, 0.84)]
    return canvas.model(
        (canvas.ground(canvas.disc(0, 0, 0.22, 0.14)), 4, 1.0, floor),
        (canvas.upright(np.stack([leg, leg * (-1, 1)])), 1, 1.0, canvas.PERSON),
        (canvas.upright(np.stack([arm, arm * (-1, 1)])), 0, 0.8, canvas.PERSON),
        (canvas.upright(np.array([[*coat, (-0.12, 0.78)]])), 0, 1.0, canvas.PERSON),
        (canvas.upright(canvas.disc(0, 0.93, 0.062, 0.076)), 3, 1.0, canvas.PERSON),
        (canvas.upright(canvas.disc(0, 0.915, 0.05, 0.06)), 2, 1.0, canvas.PERSON),
    )


@functools.cache
def car(kind: int, rear: bool, side: int) -> canvas.Model:
    """A car as seen from its rear or front, and from its side -1, 0 (none) or 1.

    Axes: across -1..1, height 0..1, length -0.5..0.5 to its front. Palette: paint,
    glass, lights, plate, tires.
    """
    outline = np.array(_PROFILES[kind]) - (0.5, 0)
    shadow = [(-0.52, 0, -1.02), (-0.52, 0, 1.02), (0.52, 0, 1.02), (0.52, 0, -1.02)]
    parts: list[canvas.Part] = [(np.array([shadow]), 4, 1.0, canvas.ROAD)]
    for edge in (3, 2, 1, 0) if rear else (3, 4, 5, 6):  # far to near
        strip = canvas.upright(outline[None, [edge, edge, edge + 1, edge + 1]])
        strip[..., 2] = (-1, 1, 1, -1)
        gain = (0.8, 1.1, 1.0, 1.15, 1.0, 1.1, 0.85)[edge]
        parts.append((strip, int(edge in (2, 4)), gain, canvas.CAR))
    end, both = -0.5 if rear else 0.5, (-1, 1)
    light, tire = canvas.rect(-1, 0.36, -0.66, 0.47), canvas.rect(-0.95, 0, -0.7, 0.2)
    for flat, slot, code in (
        (np.concatenate([tire, tire * both]), 4, canvas.CAR),
        (np.concatenate([light, light * both]), 2, canvas.CAR + 15 * canvas.GLOW),
        (canvas.rect(-0.3, 0.26, 0.3, 0.35), 3, canvas.CAR),
    ):
        parts.append((canvas.upright(flat, end)[..., ::-1], slot, 1.0, code))
    if side:
        parts += _car_side(outline, side)
    return canvas.model(*_swapped(parts))


def _car_side(outline: Float[np.ndarray, "8 2"], side: int) -> list[canvas.Part]:
    """The body's side, two windows and two wheels."""
    (rear, _), (rear_top, _), (nose_top, _), (nose, _) = outline[2:6]
    middle, low, high = (rear_top + nose_top) / 2, 0.66, 0.93
    back = [(rear + 0.05, low), (rear_top + 0.03, high), (middle - 0.01, high)]
    ahead = [(nose - 0.06, low), (nose_top - 0.02, high), (middle + 0.02, high)]
    panes = np.array([[*back, (middle - 0.01, low)], [*ahead, (middle + 0.02, low)]])
    tires, rims = (
        np.concatenate([canvas.disc(x, 0.2, r / 4.3, r / 1.6) for x in (-0.31, 0.3)])
        for r in (0.33, 0.18)
    )
    return [
        (canvas.upright(outline[None], side), 0, 0.92, canvas.CAR),
        (canvas.upright(panes, side), 1, 1.0, canvas.CAR),
        (canvas.upright(tires, side), 4, 0.6, canvas.CAR),
        (canvas.upright(rims, side), 3, 0.6, canvas.CAR),
    ]
