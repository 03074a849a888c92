"""How long a training crop takes to cut out of a 2048x1024 image, on one core.

    python scripts/bench/warp.py > warp.jsonl

Decoding is left out. At each scale: `ours`, the crop's image as the loader makes it,
flipped too, and as where it is rotated; `warp_affine`, OpenCV's warp of the crop alone;
`whole`, the image resized and then cropped, as torchvision's and mmsegmentation's
transforms do; labels by themselves. Last, all that is done for an example at random
scales, with and without a limit on a class.
"""

import argparse
import dataclasses
import functools

import cv2
import numpy as np
import timing

from jaxseg import config
from jaxseg.data import transforms

SIZE = (1024, 2048)
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
LINEAR = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
NEAREST = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP


def main() -> None:
    """Prints a line for each scale, and one for examples of random scale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crop", type=int, nargs=2, default=(769, 769))
    parser.add_argument("--rounds", type=int, default=101)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    crop, facts = tuple(args.crop), {"crop": args.crop, "opencv": cv2.__version__}
    image, label = make_example()
    for scale in SCALES:
        times = timing.interleave(
            contestants(image, label, scale, crop), rounds=args.rounds
        )
        timing.emit(scale=scale, ms=times, **facts)
    rng = np.random.default_rng(0)
    examples = {}
    for limit in (1.0, 0.75):
        data = config.Data(crop=crop, cat_max_ratio=limit)
        random_crop = transforms.RandomCrop(data=data, ignore=255)
        examples[f"cat_max_ratio={limit}"] = functools.partial(
            random_crop.random_map, {"image": image, "label": label}, rng
        )
    times = timing.interleave(examples, rounds=args.rounds)
    timing.emit(scale=[0.5, 2.0], ms=times, **facts)


def make_example() -> tuple[np.ndarray, np.ndarray]:
    """Blurred noise, and a label whose commonest class has three quarters of it."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    label = np.zeros(SIZE, np.uint8)
    label[: SIZE[0] // 4] = rng.integers(1, 19, (SIZE[0] // 4, SIZE[1]))
    return cv2.GaussianBlur(image, (0, 0), 2), label


def contestants(
    image: np.ndarray, label: np.ndarray, scale: float, crop: tuple[int, int]
) -> timing.Contestants:
    """Ways to the same crop, in the middle of the scaled image."""
    new = (round(SIZE[0] * scale), round(SIZE[1] * scale))
    down, right = max(new[0] - crop[0], 0) // 2, max(new[1] - crop[1], 0) // 2
    (top, rest_down), (left, rest_right) = (
        transforms.place_crop(place, old=old, new=side)
        for place, old, side in zip((down, right), SIZE, new, strict=True)
    )
    geometry = transforms.Geometry(
        size=new, start=(top, left), offset=(rest_down, rest_right)
    )
    flipped = dataclasses.replace(geometry, flip=True)
    turned = dataclasses.replace(geometry, angle=1e-9)
    matrix = transforms.crop_to_image(geometry, SIZE, crop)

    def whole():
        resized = cv2.resize(image, new[::-1], interpolation=cv2.INTER_LINEAR)
        return resized[down : down + crop[0], right : right + crop[1]].copy()

    return {
        "ours": lambda: transforms.warp_image(image, geometry, crop, fill=(0, 0, 0)),
        "ours_flip": lambda: transforms.warp_image(
            image, flipped, crop, fill=(0, 0, 0)
        ),
        "ours_rotated": lambda: transforms.warp_image(
            image, turned, crop, fill=(0, 0, 0)
        ),
        "warp_affine": lambda: cv2.warpAffine(image, matrix, crop[::-1], flags=LINEAR),
        "whole": whole,
        "ours_label": lambda: transforms.warp_label(label, geometry, crop, ignore=255),
        "warp_affine_label": lambda: cv2.warpAffine(
            label, matrix, crop[::-1], flags=NEAREST, borderValue=255
        ),
    }


if __name__ == "__main__":
    main()
