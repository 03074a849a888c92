"""Geometry of training examples, on the host in uint8: resize, rotate, flip, crop.

One affine map moves image and label together, so they cannot move apart: the image is
interpolated bilinearly, the label takes the nearest pixel, and what lies outside is
the fill color and the ignore value. The map is drawn first and applied once, to the
crop alone: no resized or rotated image is ever made.
"""

import dataclasses

import cv2
import grain
import numpy as np
from jaxtyping import Float, UInt8

from jaxseg import config as config_lib
from jaxseg.data import sources

MAX_TRIES = 10  # crops drawn for `cat_max_ratio`; the last one is taken as it is
MARGIN = 2  # pixels around what a crop shows: more than interpolation reads


@dataclasses.dataclass(frozen=True)
class Geometry:
    """One draw: how an image becomes a crop. Rotated, resized, flipped, cropped."""

    size: tuple[int, int]  # of the resized image: height, width
    angle: float  # degrees, counterclockwise, about the center of the image
    flip: bool  # left and right
    vflip: bool  # up and down
    offset: tuple[int, int]  # of the crop in the resized image: down, right; pixels


def crop_to_image(
    geometry: Geometry, size: tuple[int, int]
) -> Float[np.ndarray, "2 3"]:
    """The affine map from crop pixels (x, y) to those of an image of `size`.

    By the centers of pixels, as a resize with half-pixel centers has it.
    """
    (height, width), new, (down, right) = size, geometry.size, geometry.offset
    # Crop to resized image, corners of pixels at integers.
    move = np.array([[1, 0, right + 0.5], [0, 1, down + 0.5], [0, 0, 1.0]])
    if geometry.flip:
        move = np.array([[-1, 0, new[1]], [0, 1, 0], [0, 0, 1.0]]) @ move
    if geometry.vflip:
        move = np.array([[1, 0, 0], [0, -1, new[0]], [0, 0, 1.0]]) @ move
    shrink = np.diag([width / new[1], height / new[0], 1.0])
    cos, sin = np.cos(np.radians(geometry.angle)), np.sin(np.radians(geometry.angle))
    to_center = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1.0]])
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])
    back = np.array([[1, 0, width / 2 - 0.5], [0, 1, height / 2 - 0.5], [0, 0, 1.0]])
    return (back @ turn @ to_center @ shrink @ move)[:2]


def warp_image(
    image: UInt8[np.ndarray, "h w 3"],
    matrix: Float[np.ndarray, "2 3"],
    crop: tuple[int, int],
    *,
    fill: tuple[float, ...],
) -> UInt8[np.ndarray, "y x 3"]:
    """The image seen through an affine map from crop pixels to image pixels.

    Bilinear, without antialiasing; what lies outside has the color `fill`.
    """
    part, matrix = _cut_out(image, matrix, crop)
    # A rim of copied pixels keeps the fill color out of the outermost half pixel.
    part = cv2.copyMakeBorder(part, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    return cv2.warpAffine(
        part,
        matrix + np.array([[0, 0, 1], [0, 0, 1]]),
        (crop[1], crop[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderValue=fill,
    )


def warp_label(
    label: UInt8[np.ndarray, "h w"],
    matrix: Float[np.ndarray, "2 3"],
    crop: tuple[int, int],
    *,
    ignore: int,
) -> UInt8[np.ndarray, "y x"]:
    """The label seen through the same map, of nearest pixels; `ignore` outside."""
    part, matrix = _cut_out(label, matrix, crop)
    return cv2.warpAffine(
        part,
        matrix,
        (crop[1], crop[0]),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderValue=ignore,
    )


def _cut_out(array, matrix, crop: tuple[int, int]):
    """The box of an image that the crop shows, as a view, and the map to it."""
    height, width = crop
    corners = np.array([[0, width - 1, 0, width - 1], [0, 0, height - 1, height - 1]])
    shown = matrix[:, :2] @ corners + matrix[:, 2:]
    end = np.array(array.shape[1::-1])
    start = np.clip(np.floor(shown.min(1)) - MARGIN, 0, end - 1).astype(int)
    stop = np.clip(np.ceil(shown.max(1)) + MARGIN + 1, start + 1, end).astype(int)
    part = array[start[1] : stop[1], start[0] : stop[0]]
    return part, matrix - np.pad(start[:, None], ((0, 0), (2, 0)))


def resized(
    size: tuple[int, int], resize: tuple[int, ...], *, keep_ratio: bool
) -> tuple[float, float]:
    """The size (height, width) that config.data.resize gives an image of `size`.

    (side,) is that of the shorter side, as in torchvision's references; (height, width)
    is met exactly, or with keep_ratio fitted into, the longer side along the longer,
    as mmsegmentation's Resize does.
    """
    if not resize:
        return size
    if len(resize) == 2 and not keep_ratio:
        return resize[0], resize[1]
    factor = min(resize) / min(size)
    if len(resize) == 2:
        factor = min(factor, max(resize) / max(size))
    return factor * size[0], factor * size[1]


def largest_share(label: UInt8[np.ndarray, "h w"], *, ignore: int) -> float:
    """The share of the commonest class in the counted pixels; 1 if none counts."""
    counts = cv2.calcHist([label], [0], None, [256], [0, 256]).ravel().astype(int)
    counts[ignore] = 0
    return float(counts.max() / counts.sum()) if counts.any() else 1.0


@dataclasses.dataclass(frozen=True)
class RandomCrop(grain.transforms.RandomMap):
    """Draws size, angle, flips and place of a crop by the config, and applies them."""

    data: config_lib.Data
    ignore: int

    def random_map(
        self, element: sources.Example, rng: np.random.Generator
    ) -> sources.Example:
        """Maps an example of any size to one of the crop's size."""
        crop, label = self.data.crop, element["label"]
        geometry = self.draw(label.shape, rng)
        # Judged by the labels: the image is warped once, for the crop that is taken.
        for tries in range(1, MAX_TRIES + 1):
            matrix = crop_to_image(geometry, label.shape)
            cropped = warp_label(label, matrix, crop, ignore=self.ignore)
            if tries == MAX_TRIES or self._is_balanced(cropped):
                break
            offset = self._draw_offset(geometry.size, rng)
            geometry = dataclasses.replace(geometry, offset=offset)
        fill = tuple(round(value) for value in self.data.mean)
        image = warp_image(element["image"], matrix, crop, fill=fill)
        return {"image": image, "label": cropped}

    def draw(self, size: tuple[int, int], rng: np.random.Generator) -> Geometry:
        """A crop that lies within the resized image where that is large enough."""
        data, scale = self.data, self._draw_scale(rng)
        base = resized(size, data.resize, keep_ratio=data.keep_ratio)
        new = (max(round(base[0] * scale), 1), max(round(base[1] * scale), 1))
        return Geometry(
            size=new,
            angle=rng.uniform(-data.rotate, data.rotate),
            flip=rng.random() < data.flip,
            vflip=rng.random() < data.vflip,
            offset=self._draw_offset(new, rng),
        )

    def _draw_scale(self, rng: np.random.Generator) -> float:
        (low, high), step = self.data.scale, self.data.scale_step
        if not step:
            return rng.uniform(low, high)
        count = int((high - low) / step + 1e-6) + 1  # 0.3 / 0.1 is less than 3
        return low + step * rng.integers(count)

    def _draw_offset(self, size: tuple[int, int], rng) -> tuple[int, int]:
        room = [max(a - b, 0) for a, b in zip(size, self.data.crop, strict=True)]
        return int(rng.integers(room[0] + 1)), int(rng.integers(room[1] + 1))

    def _is_balanced(self, label: UInt8[np.ndarray, "h w"]) -> bool:
        limit = self.data.cat_max_ratio
        return limit == 1 or largest_share(label, ignore=self.ignore) <= limit
