"""Street scenes drawn by a program, each pixel's class known exactly.

They stand in for a real data set in tests, demos and transfer experiments: "day" and
"night" share shapes and texture, while color and contrast differ.
"""

import functools
import random

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from jaxseg import errors
from jaxseg.data import synthetic_canvas as canvas
from jaxseg.data import synthetic_objects as objects
from jaxseg.data import synthetic_street as street

NAMES = (
    *("sky", "building", "road", "pavement", "tree"),
    *("pole", "car", "person", "sign"),
)
PALETTE = (
    *((70, 130, 180), (70, 70, 70), (128, 64, 128), (244, 35, 232), (107, 142, 35)),
    *((153, 153, 153), (0, 0, 142), (220, 20, 60), (220, 220, 0)),
)
DOMAINS = ("day", "night")
# (zenith, horizon, light) of the weathers that a domain draws from
_WEATHER = {
    "day": (
        ((86, 142, 214), (196, 220, 238), (1.06, 1.03, 0.98)),
        ((166, 174, 184), (206, 210, 212), (0.86, 0.88, 0.92)),
        ((120, 136, 186), (244, 200, 150), (1.02, 0.92, 0.78)),
    ),
    "night": (
        ((8, 12, 34), (34, 44, 78), (0.24, 0.29, 0.42)),
        ((20, 14, 22), (76, 52, 44), (0.38, 0.29, 0.22)),
        ((16, 10, 36), (58, 40, 72), (0.31, 0.26, 0.38)),
    ),
}
# How rough each class looks, in shares of its brightness: in patches and in grains
_PATCHY = (0, 0.05, 0.05, 0.04, 0.12, 0.02, 0.02, 0.04, 0.02)
_GRAINY = (0, 0.03, 0.05, 0.03, 0.12, 0.02, 0.01, 0.04, 0.01)
_GRID = 24  # rows of the coarse maps of light and clouds
_STARTS = 1 << 16  # different crops of the grain


def _tables() -> tuple[np.ndarray, ...]:
    """Class, patches, grains and dullness of each code, to be looked up by OpenCV."""
    glow, label = np.divmod(np.arange(256, dtype=np.uint8), canvas.GLOW)
    rough = np.zeros((2, canvas.GLOW), np.float32)
    rough[:, : len(NAMES)] = _PATCHY, _GRAINY
    return label, *rough[:, label], 1 - glow / np.float32(canvas.GLOW - 1)


_LABEL, _PATCHES, _GRAINS, _DULL = _tables()


def render(
    index: int, *, seed: int, size: tuple[int, int], domain: str
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    """One scene of (height, width) pixels: RGB 0..255, and classes 0..8 of `NAMES`.

    The same arguments give the same bits. The domains draw other streets, so the night
    set is no recoloring of the day set.
    """
    if domain not in DOMAINS:
        raise errors.UserError(
            f"synthetic domain {domain!r}: expected one of {', '.join(DOMAINS)}"
        )
    rng = np.random.default_rng([seed, index, DOMAINS.index(domain)])
    weather = _WEATHER[domain]
    zenith, horizon, light = weather[rng.integers(len(weather))]
    height, width = size
    scene = canvas.Canvas(
        focal=height * rng.uniform(0.75, 1.1),
        vanish=(width * rng.uniform(0.38, 0.62), height * rng.uniform(0.4, 0.54)),
        eye=(rng.uniform(-1.5, 1.5), rng.uniform(1.6, 2.6)),
        haze=horizon,
        lit=domain == "night",
    )
    fine = _sky(scene, rng, size, zenith)
    street.build(scene, random.Random(int(rng.integers(1 << 62))))
    scene.paint(fine)
    return _develop(scene, rng, fine, light)


def _coarse(size: tuple[int, int], rows: int) -> tuple[int, int]:
    """The grid of `rows` rows whose cells are about square."""
    return rows, max(2, round(rows * size[1] / size[0]))


def _noise(
    rng: np.random.Generator, size: tuple[int, int], rows: int
) -> Float32[np.ndarray, "h w"]:
    """Soft random blobs, about `rows` of them to the height; mean 0, spread 1."""
    noise = rng.standard_normal(_coarse(size, rows), np.float32)
    return cv2.resize(noise, size[::-1])


@functools.lru_cache(maxsize=2)
def _grains(count: int) -> Float32[np.ndarray, "_"]:
    """Noise of mean 0 and spread 1: `_STARTS` runs of `count` numbers overlap in it."""
    return np.random.default_rng(0).standard_normal(count + _STARTS, np.float32)


def _sky(
    scene: canvas.Canvas,
    rng: np.random.Generator,
    size: tuple[int, int],
    zenith: canvas.Color,
) -> UInt8[np.ndarray, "fh fw 4"]:
    """A gradient behind clouds, and stars and a moon at night, as `paint` expects."""
    grid = _coarse(size, _GRID)
    low, high = np.array(scene.haze), np.array(zenith)
    down = np.linspace(0, size[0] / scene.vanish[1], _GRID)[:, None, None]
    sky = high + (low - high) * down.clip(0, 1)
    cloud = _noise(rng, grid, 4) + 0.5 * _noise(rng, grid, 9) + rng.uniform(-1, 0.5)
    cover = 0.7 * cloud.clip(0, 1)[..., None]
    sky = sky + (low * (0.8 if scene.lit else 1.15) - sky) * cover
    shining = np.full((*grid, 1), canvas.SKY + 15 * canvas.GLOW)
    sky = np.concatenate([sky.clip(0, 255), shining], -1).astype(np.uint8)
    shape = np.array(size) * canvas.FINE - 1  # from the first center to the last
    fine = cv2.resize(sky, tuple(shape[::-1].tolist()))
    if scene.lit:
        rows, columns = (rng.random((50, 2)) * (shape - 1)).astype(int).T
        for below, beside in np.ndindex(2, 2):
            fine[rows + below, columns + beside, :3] = 255
        x, y, radius = rng.uniform(-16, 16), rng.uniform(6, 16), rng.uniform(0.7, 1.1)
        moon = objects.moon()
        scene.place(moon, (radius, radius, 1), (x, y, 30), [(250, 246, 226)])
    return fine


def _develop(
    scene: canvas.Canvas,
    rng: np.random.Generator,
    fine: UInt8[np.ndarray, "fh fw 4"],
    light: canvas.Color,
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    """Image and label: light on surfaces, glow around lamps, noise of the sensor."""
    code = fine[:: canvas.FINE, :: canvas.FINE, 3].copy()
    label, size = cv2.LUT(code, _LABEL), code.shape
    color = cv2.cvtColor(cv2.pyrDown(fine), cv2.COLOR_RGBA2RGB)
    grid = _coarse(size, _GRID)
    uneven = (1 + 0.12 * _noise(rng, grid, 3)[..., None]) * rng.uniform(0.8, 1.15)
    falling = (uneven * light).astype(np.float32)
    lamps = _lamps(scene, size) if scene.lit else np.zeros_like(falling)
    grains = _grains(3 * code.size)[rng.integers(_STARTS) :][: 3 * code.size]
    grains = grains.reshape(*size, 3)
    patches = cv2.LUT(code, _PATCHES) * _noise(rng, size, 40)
    texture = 1 + patches + cv2.LUT(code, _GRAINS) * grains[..., 0]
    # merged to three channels, as NumPy is slow at broadcasting the last axis
    image = cv2.resize(falling + lamps - 1, size[::-1])
    image *= cv2.merge([cv2.LUT(code, _DULL)] * 3)
    image += 1
    image *= cv2.merge([texture] * 3)
    image *= color
    if scene.lit:
        image += cv2.resize(lamps * 22, size[::-1])  # what glows in the air
    noise = rng.uniform(1, 4) + 4 * scene.lit
    return cv2.addWeighted(image, 1, grains, noise, 0, dtype=cv2.CV_8U), label


def _lamps(
    scene: canvas.Canvas, size: tuple[int, int]
) -> Float32[np.ndarray, "gh gw 3"]:
    """What the lamps add to the light, on a coarse grid."""
    grid = _coarse(size, _GRID)
    lights = np.array(scene.lights)
    x, y = (at[:, None] for at in scene.project(*lights[:, :3].T))
    radius = scene.focal * lights[:, 3:4] / lights[:, 2:3]
    radius = np.maximum(radius, size[0] / 40)
    rows, columns = (
        (np.arange(n) + 0.5) * s / n for n, s in zip(grid, size, strict=True)
    )
    down = np.exp(-(((rows - y) / radius) ** 2) / 2)
    along = np.exp(-(((columns - x) / radius) ** 2) / 2)
    colored = along[..., None] * (lights[:, None, 4:] / 255)
    total = np.tensordot(down, colored, (0, 0))
    return total.astype(np.float32)
