"""Images a second from files to batches, on one core: ours and others.

    python scripts/bench/input.py --source=CAMVID [--images=8] [--workers 0 1 2]

CAMVID is a folder data set of photographs. They are enlarged to 2048x1024, given the
noise that enlarging took from them, and written as PNG, which is the size and kind of
Cityscapes. Then decoding, a random scale of 0.5 to 2, a crop of 769x769, a flip and a
batch: from the PNGs, and from what `jaxseg.data.prepare` makes of them; against the
same done by Pillow as torchvision's references do it, and by OpenCV as mmsegmentation
does, which both resize the whole image and then crop. All of it once in this process,
as our threads read, and once in a process as our workers are, where PNG has a faster
decoder (the extra `png`). First a line for each way to store an image. Times are those
of the processor.

With --workers the loaders are timed instead, by the clock: ours with so many processes,
0 standing for its threads, and torch's DataLoader, where it is installed, with as many
and reading as those two do.
"""

import argparse
import contextlib
import functools
import importlib.util
import io
import multiprocessing
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import cv2
import input_ways
import numpy as np
import timing
from PIL import Image

from jaxseg import config
from jaxseg.data import archives, datasets, encoded, images, prepare

FORMS = tuple(encoded.FORMS)
SECONDS = 4  # that a loader is timed for, in each round


def main() -> None:
    """Prints a line for each way to store, and one for all ways to read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=pathlib.Path, required=True)
    parser.add_argument("--images", type=int, default=input_ways.BATCH)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--noise", type=float, default=2.0, help="sigma, of 0..255")
    parser.add_argument("--workers", type=int, nargs="*", default=[])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        write_pngs(args.source, root, args.images, args.noise)
        with contextlib.redirect_stdout(sys.stderr):
            for form in FORMS:
                prepare.run(
                    "folder", folder, root / "tfds", store=form, splits=["train"]
                )
        facts = {"images": args.images, "noise": args.noise, "opencv": cv2.__version__}
        if args.workers:
            compare_workers(root, args.workers, args.rounds, facts)
            return
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            for compare in (compare_forms, compare_reading):
                compare(root, args.rounds, facts | {"worker": False})
                pool.apply(compare, (root, args.rounds, facts | {"worker": True}))


def write_pngs(
    source: pathlib.Path, root: pathlib.Path, count: int, noise: float
) -> None:
    """The first examples of a folder data set, evenly spaced, as PNGs of that size."""
    data = config.Data(name="folder", root=str(source))
    dataset = datasets.open_dataset(data, ignore=255)
    examples = dataset.split("train")
    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (root / "train" / kind).mkdir(parents=True)
    datasets.write_classes(root / "classes.json", dataset)
    for index in range(count):
        example = examples[index * len(examples) // count]
        image, label = (
            cv2.resize(example[key], input_ways.SIZE[::-1], interpolation=how)
            for key, how in (
                ("image", cv2.INTER_CUBIC),
                ("label", cv2.INTER_NEAREST_EXACT),
            )
        )
        image = image + rng.normal(0, noise, image.shape)
        image = np.rint(image).clip(0, 255).astype(np.uint8)
        for kind, pixels in (("images", image), ("labels", label)):
            path = root / "train" / kind / f"{index:03d}.png"
            path.write_bytes(encoded.encode_png(pixels))


def compare_forms(root: pathlib.Path, rounds: int, facts: dict) -> None:
    """Bytes, over those of the PNG, and milliseconds to decode one image."""
    cv2.setNumThreads(1)
    path = min((root / "train/images").iterdir())
    pixels = images.read_image(path)
    contents = {"png of level 6": path.read_bytes()}
    for name, kind, options in (
        ("png of level 1", "PNG", {"compress_level": 1}),
        ("webp, lossless", "WEBP", {"lossless": True, "quality": 0, "method": 0}),
        ("jpeg 95 4:4:4", "JPEG", {"quality": 95, "subsampling": "4:4:4"}),
        ("jpeg 95 4:2:0", "JPEG", {"quality": 95, "subsampling": "4:2:0"}),
        ("raw", "PPM", {}),
    ):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind, **options)
        contents[name] = buffer.getvalue()
    for name, content in contents.items():
        array = np.frombuffer(content, np.uint8)
        file = archives.InMemory(name, content)
        ways = {
            "ours": lambda file=file: images.read_image(file),
            "pillow": lambda file=file: np.asarray(images.decode(file)),
            "opencv": lambda array=array: cv2.imdecode(array, cv2.IMREAD_COLOR),
        }
        size = round(len(content) / len(contents["png of level 6"]), 3)
        ms = cpu_time(ways, rounds=rounds)
        timing.emit(case="decoding", form=name, bytes=size, ms=ms, **facts)


def compare_reading(root: pathlib.Path, rounds: int, facts: dict) -> None:
    """Images a second of each way from files to batches, and bytes on disk."""
    cv2.setNumThreads(1)
    pngs = sum(path.stat().st_size for path in (root / "train").rglob("*.png"))
    ways: dict[str, input_ways.Ours | input_ways.Peer] = {
        "png": input_ways.Ours(input_ways.open_source(root))
    }
    for form in FORMS:
        ways[form] = input_ways.Ours(input_ways.open_source(root, form))
    ways["pillow"] = input_ways.Peer(root, input_ways.read_pillow)
    ways["opencv"] = input_ways.Peer(root, input_ways.read_opencv)
    ms = cpu_time(
        {name: input_ways.batches_of(way) for name, way in ways.items()}, rounds=rounds
    )
    records = {
        form: input_ways.prepared(root, form).glob("*array_record*") for form in FORMS
    }
    count = facts["images"]
    timing.emit(
        case="batches",
        images_per_s={name: round(1e3 * count / time, 1) for name, time in ms.items()},
        over_pillow={name: round(ms["pillow"] / time, 2) for name, time in ms.items()},
        over_opencv={name: round(ms["opencv"] / time, 2) for name, time in ms.items()},
        bytes_over_png={
            form: round(sum(path.stat().st_size for path in paths) / pngs, 3)
            for form, paths in records.items()
        },
        **facts,
    )


def compare_workers(
    root: pathlib.Path, workers: list[int], rounds: int, facts: dict
) -> None:
    """Images a second of each loader by numbers of workers, in turns."""
    starts = {
        form: functools.partial(
            input_ways.our_loader,
            input_ways.open_source(root, None if form == "png" else form),
        )
        for form in ("png", "jpeg", "raw")
    }
    if importlib.util.find_spec("torch") is not None:
        for name, read in (
            ("torch, pillow", input_ways.read_pillow),
            ("torch, opencv", input_ways.read_opencv),
        ):
            peer = input_ways.Peer(root, read)
            starts[name] = functools.partial(input_ways.torch_loader, peer)
    rates = {(name, number): [] for name in starts for number in workers}
    for _ in range(rounds):
        for (name, number), found in rates.items():
            with starts[name](number) as batches:
                found.append(images_per_s(batches, max(number, 1)))
    for name in starts:
        timing.emit(
            case="workers",
            loader=name,
            images_per_s={
                number: round(statistics.median(rates[name, number]), 1)
                for number in workers
            },
            **facts,
        )


def images_per_s(batches: Iterator[Any], workers: int) -> float:
    """What a loader gives after what it has ready; in whole turns of its workers."""
    for _ in range(4 * workers):
        next(batches)
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < SECONDS or count % workers:
        next(batches)
        count += 1
    return input_ways.BATCH * count / (time.perf_counter() - begin)


def cpu_time(runs: timing.Contestants, *, rounds: int) -> dict[str, float]:
    """As timing.interleave, but what the processor spent: others may use it too."""
    times = {name: [] for name in runs}
    for i in range(rounds + 1):
        for name, run in runs.items():
            begin = time.process_time()
            run()
            if i:
                times[name].append(1e3 * (time.process_time() - begin))
    return {name: round(statistics.median(t), 3) for name, t in times.items()}


if __name__ == "__main__":
    main()
