"""How fast synthetic scenes are drawn on one core; prints one JSON line."""

import argparse
import json
import time

import cv2

from jaxseg.data import synthetic


def main():
    """Draws scenes of both domains in turn and reports images per second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=2, default=(128, 128))
    parser.add_argument("--images", type=int, default=400)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    height, width = args.size
    synthetic.render(0, seed=0, size=(height, width), domain="day")
    start, busy = time.perf_counter(), time.process_time()
    for index in range(args.images):
        domain = synthetic.DOMAINS[index % len(synthetic.DOMAINS)]
        synthetic.render(index, seed=0, size=(height, width), domain=domain)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    line = {
        "images_per_s": round(args.images / seconds, 1),
        "images_per_cpu_s": round(args.images / busy, 1),  # whatever else is running
        "images": args.images,
        "size": [height, width],
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
