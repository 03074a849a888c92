"""How long a training crop takes to cut out of a 2048x1024 image, on one core.

    python scripts/bench/warp.py > warp.jsonl

Decoding is left out. At each scale: `ours`, the crop's image as the loader makes it;
`warp_affine`, OpenCV's warp of the crop alone; `whole`, the image resized and then
cropped, as torchvision's and mmsegmentation's transforms do; labels by themselves; and
`example`, all that is done for one example, with and without a limit on a class.
"""

import argparse
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
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
    offset = (max(new[0] - crop[0], 0) // 2, max(new[1] - crop[1], 0) // 2)
    geometry = transforms.Geometry(
        size=new, angle=0.0, flip=False, vflip=False, offset=offset
    )
    matrix = transforms.crop_to_image(geometry, SIZE)
    down, right = offset

    def whole():
        resized = cv2.resize(image, new[::-1], interpolation=cv2.INTER_LINEAR)
        return resized[down : down + crop[0], right : right + crop[1]].copy()

    return {
        "ours": lambda: transforms.warp_image(image, matrix, crop, fill=(0, 0, 0)),
        "warp_affine": lambda: cv2.warpAffine(image, matrix, crop[::-1], flags=LINEAR),
        "whole": whole,
        "ours_label": lambda: transforms.warp_label(label, matrix, crop, ignore=255),
        "warp_affine_label": lambda: cv2.warpAffine(
            label, matrix, crop[::-1], flags=NEAREST, borderValue=255
        ),
    }


if __name__ == "__main__":
    main()
