"""Geometry of training examples, on the host in uint8: scale, rotate, flip, crop.

One affine map moves image and label together, so they cannot move apart: the image is
interpolated bilinearly, the label takes the nearest pixel, and what lies outside is
the fill color and the ignore value.
"""

import dataclasses

import cv2
import grain
import numpy as np

from jaxseg.data import sources


@dataclasses.dataclass(frozen=True)
class Geometry:
    """One draw: how an image of `size` becomes a crop."""

    scale: float  # new size / old size
    angle: float  # degrees, counterclockwise, about the center of the image
    flip: bool
    offset: tuple[int, ...]  # of the crop in the scaled image: down, right; pixels


def crop_to_image(
    geometry: Geometry, size: tuple[int, int], crop: tuple[int, int]
) -> np.ndarray:
    """The affine map [2 3] from crop pixels (x, y) to image pixels, by their centers.

    The scaled image is rounded to whole pixels, as a resize would.
    """
    (height, width), scale = size, geometry.scale
    new = (max(round(height * scale), 1), max(round(width * scale), 1))
    down, right = geometry.offset
    # Crop to scaled image, corners of pixels at integers.
    move = np.array([[1, 0, right + 0.5], [0, 1, down + 0.5], [0, 0, 1.0]])
    if geometry.flip:
        move = np.array([[-1, 0, new[1]], [0, 1, 0], [0, 0, 1.0]]) @ move
    shrink = np.diag([width / new[1], height / new[0], 1.0])
    cos, sin = np.cos(np.radians(geometry.angle)), np.sin(np.radians(geometry.angle))
    to_center = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1.0]])
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])
    back = np.array([[1, 0, width / 2 - 0.5], [0, 1, height / 2 - 0.5], [0, 0, 1.0]])
    return (back @ turn @ to_center @ shrink @ move)[:2]


def warp(
    example: sources.Example,
    matrix: np.ndarray,
    crop: tuple[int, int],
    *,
    fill: tuple[float, ...],
    ignore: int,
) -> sources.Example:
    """Image and label seen through an affine map from crop pixels to image pixels."""
    height, width = crop
    inverse = cv2.WARP_INVERSE_MAP
    # A rim of copied pixels keeps the fill color out of the outermost half pixel.
    rimmed = cv2.copyMakeBorder(example["image"], 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    return {
        "image": cv2.warpAffine(
            rimmed,
            matrix + np.array([[0, 0, 1], [0, 0, 1]]),
            (width, height),
            flags=cv2.INTER_LINEAR | inverse,
            borderValue=fill,
        ),
        "label": cv2.warpAffine(
            example["label"],
            matrix,
            (width, height),
            flags=cv2.INTER_NEAREST | inverse,
            borderValue=ignore,
        ),
    }


@dataclasses.dataclass(frozen=True)
class RandomCrop(grain.transforms.RandomMap):
    """Draws scale, angle, flip and place of the crop, and applies them."""

    crop: tuple[int, int]
    scale: tuple[float, float]
    rotate: float
    flip: float
    fill: tuple[float, ...]  # RGB
    ignore: int

    def random_map(
        self, element: sources.Example, rng: np.random.Generator
    ) -> sources.Example:
        """Maps an example of any size to one of the crop's size."""
        size = element["label"].shape
        geometry = self.draw(size, rng)
        matrix = crop_to_image(geometry, size, self.crop)
        return warp(element, matrix, self.crop, fill=self.fill, ignore=self.ignore)

    def draw(self, size: tuple[int, int], rng: np.random.Generator) -> Geometry:
        """A crop that lies within the scaled image where that is large enough."""
        scale = rng.uniform(*self.scale)
        room = [round(s * scale) - c for s, c in zip(size, self.crop, strict=True)]
        return Geometry(
            scale=scale,
            angle=rng.uniform(-self.rotate, self.rotate),
            flip=rng.random() < self.flip,
            offset=tuple(int(rng.integers(0, max(r, 0) + 1)) for r in room),
        )
