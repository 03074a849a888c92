"""Geometry of training examples, on the host in uint8: rotate, resize, crop, flip.

One affine map moves image and label together, so they cannot move apart: the image is
interpolated bilinearly, the label takes the nearest pixel, and what lies outside is
the fill color and the ignore value. The map is drawn first and applied to the crop
alone: no whole image is ever resized or rotated.
"""

import dataclasses
import math

import cv2
import grain
import numpy as np
from jaxtyping import Float, UInt8

from jaxseg import config as config_lib
from jaxseg.data import sources

MAX_TRIES = 10  # crops drawn for `cat_max_ratio`; the last one is taken as it is
MARGIN = 2  # pixels around what a crop shows: more than interpolation reads

Image = UInt8[np.ndarray, "h w 3"]
Label = UInt8[np.ndarray, "h w"]
Matrix = Float[np.ndarray, "2 3"]


@dataclasses.dataclass(frozen=True)
class Geometry:
    """One draw: how an image becomes a crop. Rotated, cut, resized, cropped, flipped.

    Pairs are (down, right). What lies above and left of `start` is cut off before the
    rest is resized, so that a crop begins at a whole pixel both of the image and of the
    rest: OpenCV resizes in a quarter of the time of an affine warp, but knows no other
    places to begin.
    """

    size: tuple[int, int]  # of the whole image when resized
    start: tuple[int, int] = (0, 0)  # pixels of the image
    offset: tuple[int, int] = (0, 0)  # of the crop in the rest, in resized pixels
    angle: float = 0.0  # degrees, counterclockwise, about the center of the image
    flip: bool = False  # left and right
    vflip: bool = False  # up and down


def crop_to_image(
    geometry: Geometry, size: tuple[int, int], crop: tuple[int, int]
) -> Matrix:
    """The affine map from crop pixels (x, y) to those of an image of `size`.

    By the centers of pixels, as a resize with half-pixel centers has it.
    """
    (height, width), new = size, geometry.size
    # Crop to resized rest, corners of pixels at integers.
    move = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    if geometry.flip:
        move = np.array([[-1, 0, crop[1]], [0, 1, 0], [0, 0, 1.0]]) @ move
    if geometry.vflip:
        move = np.array([[1, 0, 0], [0, -1, crop[0]], [0, 0, 1.0]]) @ move
    move[:2, 2] += geometry.offset[::-1]
    shrink = np.diag([width / new[1], height / new[0], 1.0])
    shrink[:2, 2] = geometry.start[::-1]
    cos, sin = np.cos(np.radians(geometry.angle)), np.sin(np.radians(geometry.angle))
    to_center = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1.0]])
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])
    back = np.array([[1, 0, width / 2 - 0.5], [0, 1, height / 2 - 0.5], [0, 0, 1.0]])
    return (back @ turn @ to_center @ shrink @ move)[:2]


def warp_image(
    image: Image, geometry: Geometry, crop: tuple[int, int], *, fill: tuple[float, ...]
) -> UInt8[np.ndarray, "y x 3"]:
    """The crop of an image: bilinear without antialiasing, `fill` where none is."""
    if geometry.angle:
        return _warp_affine(image, geometry, crop, fill=fill)
    (height, width), (down, right) = geometry.size, geometry.offset
    fy, fx = height / image.shape[0], width / image.shape[1]
    top, left = geometry.start
    bottom = top + math.ceil((down + crop[0]) / fy) + MARGIN
    end = left + math.ceil((right + crop[1]) / fx) + MARGIN
    # By factors, not to a size: a part of the image would meet it by other factors.
    part = cv2.resize(image[top:bottom, left:end], None, fx=fx, fy=fy)
    part = part[down : down + crop[0], right : right + crop[1]]
    missing = crop[0] - part.shape[0], crop[1] - part.shape[1]
    if any(missing):
        part = cv2.copyMakeBorder(
            part, 0, missing[0], 0, missing[1], cv2.BORDER_CONSTANT, value=fill
        )
    if geometry.flip or geometry.vflip:
        axes = {(True, False): 1, (False, True): 0, (True, True): -1}
        return cv2.flip(part, axes[geometry.flip, geometry.vflip])
    return np.ascontiguousarray(part)


def warp_label(
    label: Label, geometry: Geometry, crop: tuple[int, int], *, ignore: int
) -> UInt8[np.ndarray, "y x"]:
    """The same crop of its label, of nearest pixels; `ignore` where none is."""
    return cv2.warpAffine(
        label,
        crop_to_image(geometry, (label.shape[0], label.shape[1]), crop),
        (crop[1], crop[0]),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderValue=ignore,
    )


def _warp_affine(image, geometry: Geometry, crop: tuple[int, int], *, fill):
    """As `warp_image`, by any angle."""
    (height, width), end = crop, np.array(image.shape[1::-1])
    matrix = crop_to_image(geometry, image.shape[:2], crop)
    corners = np.array([[0, width - 1, 0, width - 1], [0, 0, height - 1, height - 1]])
    shown = matrix[:, :2] @ corners + matrix[:, 2:]
    start = np.clip(np.floor(shown.min(1)) - MARGIN, 0, end - 1).astype(int)
    stop = np.clip(np.ceil(shown.max(1)) + MARGIN + 1, start + 1, end).astype(int)
    part = image[start[1] : stop[1], start[0] : stop[0]]
    # A rim of copied pixels keeps the fill color out of the outermost half pixel.
    part = cv2.copyMakeBorder(part, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    matrix[:, 2] += 1 - start
    return cv2.warpAffine(
        part,
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderValue=fill,
    )


def place_crop(place: int, *, old: int, new: int) -> tuple[int, int]:
    """Start and offset of a crop at `place` on an axis resized from `old` to `new`.

    Its place is then start * new / old + offset: `place`, or less than a pixel before.
    """
    start = max(place * old // new - MARGIN, 0)
    return start, int(place - start * new / old)


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


def largest_share(label: Label, *, ignore: int) -> float:
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
            cropped = warp_label(label, geometry, crop, ignore=self.ignore)
            if tries == MAX_TRIES or self._is_balanced(cropped):
                break
            start, offset = self._draw_place(label.shape, geometry.size, rng)
            geometry = dataclasses.replace(geometry, start=start, offset=offset)
        fill = tuple(round(value) for value in self.data.mean)
        image = warp_image(element["image"], geometry, crop, fill=fill)
        return {**element, "image": image, "label": cropped}

    def draw(self, size: tuple[int, int], rng: np.random.Generator) -> Geometry:
        """A crop that lies within the resized image where that is large enough."""
        data, scale = self.data, self._draw_scale(rng)
        base = resized(size, data.resize, keep_ratio=data.keep_ratio)
        new = (max(round(base[0] * scale), 1), max(round(base[1] * scale), 1))
        start, offset = self._draw_place(size, new, rng)
        return Geometry(
            size=new,
            angle=rng.uniform(-data.rotate, data.rotate),
            flip=rng.random() < data.flip,
            vflip=rng.random() < data.vflip,
            start=start,
            offset=offset,
        )

    def _draw_scale(self, rng: np.random.Generator) -> float:
        (low, high), step = self.data.scale, self.data.scale_step
        if not step:
            return rng.uniform(low, high)
        count = int((high - low) / step + 1e-6) + 1  # 0.3 / 0.1 is less than 3
        return low + step * rng.integers(count)

    def _draw_place(self, size, new, rng) -> tuple[tuple[int, int], tuple[int, int]]:
        places = [
            int(rng.integers(max(side - crop, 0) + 1))
            for side, crop in zip(new, self.data.crop, strict=True)
        ]
        top, down = place_crop(places[0], old=size[0], new=new[0])
        left, right = place_crop(places[1], old=size[1], new=new[1])
        return (top, left), (down, right)

    def _is_balanced(self, label: Label) -> bool:
        limit = self.data.cat_max_ratio
        return limit == 1 or largest_share(label, ignore=self.ignore) <= limit
