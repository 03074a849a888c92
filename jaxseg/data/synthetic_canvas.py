"""The canvas of the synthetic street: polygons in meters, painted as color and class.

World: x to the right, y up, z away from the camera; the ground is y = 0. Color and
class are channels of one array and painted together, so they cannot move apart.
"""

import dataclasses
import math
import random

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

SKY, BUILDING, ROAD, PAVEMENT, TREE, POLE, CAR, PERSON, SIGN = range(9)
FINE = 2  # painted pixels from one final pixel's center to the next
GLOW = 16  # a code is the class plus GLOW times how much a surface shines, 0..15
_TURN = np.arange(14) * (2 * math.pi / 14)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], -1)

Real = int | float
Color = tuple[Real, Real, Real]
Flat = Float[np.ndarray, "_ _ 2"]
Solid = Float[np.ndarray, "_ _ 3"]
Part = tuple[Solid, int, float, int]  # shapes, slot of the palette, its gain, code


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """Parts in local units; an object's palette gives the color of each slot."""

    points: Float32[np.ndarray, "4 _"]  # x, y, z and 1 of each corner
    parts: Float[np.ndarray, "5 _"]  # polygons, corners of each, slot, gain, code


@dataclasses.dataclass(kw_only=True, slots=True)
class Canvas:
    """A list of placed models, later ones nearer, and the camera that will see them."""

    focal: float  # pixels
    vanish: tuple[float, float]  # pixels (x, y): where parallels of the street meet
    eye: tuple[float, float]  # meters (x, y)
    haze: Color
    lit: bool  # lamps, windows and cars shine
    models: list[Model] = dataclasses.field(default_factory=list)
    places: list[tuple[float, ...]] = dataclasses.field(default_factory=list)
    palette: list[Color] = dataclasses.field(default_factory=list)
    lights: list[tuple[float, ...]] = dataclasses.field(default_factory=list)

    def place(self, model: Model, size, origin, palette, turn: float = 0.0):
        """Adds a model: scaled to `size`, turned from z toward x, moved to `origin`."""
        self.models.append(model)
        self.places.append((*size, *origin, turn, len(self.palette)))
        self.palette += palette

    def shine(self, x: float, y: float, z: float, radius: float, color: Color):
        """Adds a light of `radius` meters, which never changes a label."""
        self.lights.append((x, y, z, radius, *color))

    def project(self, x, y, z):
        """Positions x and y in the image; the first pixel spans 0..1."""
        scale = self.focal / np.maximum(z, 0.6)
        right, down = (x - self.eye[0]) * scale, (self.eye[1] - y) * scale
        return right + self.vanish[0], down + self.vanish[1]

    def paint(self, fine: UInt8[np.ndarray, "fh fw 4"]):
        """Paints everything over `fine`: color, and the code as fourth channel."""
        wide, high, long, x, y, z, turn, slots = np.array(self.places).T
        cos, sin, none = np.cos(turn), np.sin(turn), 0 * turn
        matrices = np.array(
            [
                *(wide * cos, none, long * sin, x),
                *(none, high, none, y),
                *(-wide * sin, none, long * cos, z),
            ],
            np.float32,
        )
        matrices = matrices.T.copy().reshape(-1, 3, 4)
        solids = zip(matrices, self.models, strict=True)
        x, y, z = np.concatenate([to @ model.points for to, model in solids], 1)
        parts = np.concatenate([model.parts for model in self.models], 1)
        slots = np.repeat(slots, [model.parts.shape[1] for model in self.models])
        colors = np.array(self.palette)[(slots + parts[2]).astype(int)]
        colors = (colors * parts[3][:, None]).clip(12, 250) - self.haze
        # OpenCV: whole numbers are pixel centers, and 4 bits are below the point
        fixed = (np.stack(self.project(x, y, z)) - 0.5) * (16 * FINE)
        fixed = np.rint(fixed).astype(np.int32)
        shapes = parts[:2].T.astype(int)
        stops = np.cumsum(shapes[:, 0] * shapes[:, 1])
        starts = np.append(0, stops[:-1])
        clear = np.exp(z[starts, None] / -160)  # a part is as hazy as its first point
        codes = parts[4] if self.lit else parts[4] % GLOW
        rows = np.column_stack([colors * clear + self.haze, codes]).tolist()
        # most of the time goes into the calls below: none for what cannot be seen
        high, low = (f.reduceat(fixed, starts, 1) for f in (np.maximum, np.minimum))
        bounds = np.array(fine.shape[1::-1])[:, None] * 16
        seen = ((high > 0) & (low < bounds)).all(0) & (high - low > 16).any(0)
        fixed, shapes = np.ascontiguousarray(fixed.T), shapes.tolist()
        for part in np.flatnonzero(seen).tolist():
            outline = fixed[starts[part] : stops[part]].reshape(*shapes[part], 2)
            cv2.fillPoly(fine, outline, rows[part], cv2.LINE_8, 4)  # pyright: ignore


def shade(color: Color, gain: float) -> Color:
    """The color times `gain`."""
    return color[0] * gain, color[1] * gain, color[2] * gain


def vary(rng: random.Random, color: Color, spread: float) -> Color:
    """The color with its brightness and each channel moved at random."""
    (r, g, b), draw, most = color, rng.random, spread * 1.7  # so `spread` is the RMS
    gain, least, shift = 1 + most * (2 * draw() - 1), -60 * most, 120 * most
    return (
        r * gain + least + shift * draw(),
        g * gain + least + shift * draw(),
        b * gain + least + shift * draw(),
    )


def rect(left: Real, bottom: Real, right: Real, top: Real) -> Flat:
    """One rectangle."""
    corners = (left, bottom), (right, bottom), (right, top), (left, top)
    return np.array([corners], float)


def disc(x: Real, y: Real, rx: Real, ry: Real) -> Flat:
    """One ellipse, as a polygon."""
    return (_CIRCLE * (rx, ry) + (x, y))[None]


def grid(columns: int, rows: int, wide: Real, high: Real) -> Flat:
    """The unit square cut into cells, a centered share of each being a rectangle."""
    corner = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1)
    inner = (rect(0, 0, 1, 1)[0] - 0.5) * (wide, high) + 0.5
    return (corner.reshape(-1, 1, 2) + inner) / (columns, rows)


def upright(flat: Flat, z: Real = 0) -> Solid:
    """Flat (x, y) shapes on a plane that faces the camera."""
    solid = np.full((*flat.shape[:2], 3), z, float)
    solid[..., :2] = flat
    return solid


def ground(flat: Flat) -> Solid:
    """Flat (x, z) shapes on the ground."""
    solid = np.zeros((*flat.shape[:2], 3))
    solid[..., ::2] = flat
    return solid


def model(*parts: Part) -> Model:
    """Joins parts, listed from far to near."""
    points = np.concatenate([solid.reshape(-1, 3) for solid, *_ in parts]).T
    points = np.vstack([points, np.ones_like(points[0])]).astype(np.float32)
    looks = [(*solid.shape[:2], *look) for solid, *look in parts]
    return Model(points=points, parts=np.array(looks, float).T)
