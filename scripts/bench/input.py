"""From files to batches on one core: images a second, beside others' ways.

    python scripts/bench/input.py --source=FOLDER > input.jsonl

FOLDER is a data set in the folder layout. Its first photographs are enlarged to
2048x1024, and get noise of a camera's size, without which enlarged ones compress far
too well. Decoding, a random scale of 0.5 to 2, a crop of 769x769, a flip and a batch:
from the PNGs, and from what `jaxseg.data.prepare` makes of them; against the same done
by Pillow as torchvision's references do it, and by OpenCV as mmsegmentation does, which
both resize the whole image and then crop. First a line for each way to store an image.
Times are those of the processor. With --workers the loader is timed instead, by the
clock, with so many processes.
"""

import argparse
import contextlib
import io
import os
import pathlib
import statistics
import sys
import tempfile
import time

import cv2
import numpy as np
import timing
from PIL import Image

from jaxseg import config
from jaxseg.data import (
    archives,
    datasets,
    encoded,
    loader,
    prepare,
    sources,
    transforms,
)

SIZE, CROP, SCALE, BATCH = (1024, 2048), (769, 769), (0.5, 2.0), 8
FORMS = tuple(encoded.FORMS)


def main() -> None:
    """Prints a line for each way to store, and one for all ways to read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=pathlib.Path, required=True)
    parser.add_argument("--images", type=int, default=BATCH)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--noise", type=float, default=2.0, help="sigma, of 0..255")
    parser.add_argument("--workers", type=int, nargs="*", default=[])
    args = parser.parse_args()
    cv2.setNumThreads(1)
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
            compare_workers(root, args.workers, facts)
            return
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        compare_forms(root, args.rounds, facts)
        compare_reading(root, args.rounds, facts)


def write_pngs(
    source: pathlib.Path, root: pathlib.Path, count: int, noise: float
) -> None:
    """The first examples of a folder data set, evenly spaced, as PNGs of SIZE."""
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
            cv2.resize(example[key], SIZE[::-1], interpolation=how)
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
    path = min((root / "train/images").iterdir())
    pixels = sources.read_image(path)
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
            "ours": lambda file=file: encoded.read_image(file),
            "pillow": lambda file=file: sources.read_image(file),
            "opencv": lambda array=array: cv2.imdecode(array, cv2.IMREAD_COLOR),
        }
        size = round(len(content) / len(contents["png of level 6"]), 3)
        ms = cpu_time(ways, rounds=rounds)
        timing.emit(case="decoding", form=name, bytes=size, ms=ms, **facts)


def compare_reading(root: pathlib.Path, rounds: int, facts: dict) -> None:
    """Images a second of each way from files to batches, and bytes on disk."""
    pngs = sum(path.stat().st_size for path in (root / "train").rglob("*.png"))
    count, ours = facts["images"], {"png": open_source(root)}
    ours |= {f"prepared, {form}": open_source(root, form) for form in FORMS}
    runs: timing.Contestants = {n: batches_of(source) for n, source in ours.items()}
    runs["pillow"] = batches_of(Peer(root, read_pillow))
    runs["opencv"] = batches_of(Peer(root, read_opencv))
    ms = cpu_time(runs, rounds=rounds)
    records = {form: prepared(root, form).glob("*array_record*") for form in FORMS}
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


def compare_workers(root: pathlib.Path, workers: list[int], facts: dict) -> None:
    """Images a second of the loader, with processes; 0 stands for threads."""
    for form in (None, *FORMS):
        rates, source = {}, open_source(root, form)
        for number in workers:
            data = config.Data(crop=CROP, scale=SCALE, workers=number)
            batches = loader.train_batches(
                source, data, batch_size=BATCH, seed=0, ignore=255, start=0
            )
            with contextlib.closing(batches):
                for _ in range(4 * max(number, 1)):  # started, and buffers full
                    next(batches)
                begin, count = time.perf_counter(), 0
                while time.perf_counter() - begin < 8:
                    next(batches)
                    count += BATCH
                rates[number] = round(count / (time.perf_counter() - begin), 1)
        timing.emit(case="workers", form=form or "png", images_per_s=rates, **facts)


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


def prepared(root: pathlib.Path, form: str) -> pathlib.Path:
    """The folder of a prepared data set."""
    config_name = "semantic_segmentation_train" + f"_{form}" * (form != "original")
    return root / "tfds/folder" / config_name / "1.0.0"


def open_source(root: pathlib.Path, form: str | None = None) -> sources.Source:
    """The PNGs, or what was prepared in a form."""
    data = config.Data(name="folder", root=str(root))
    if form is not None:
        data = config.Data(name="tfds", root=str(prepared(root, form)))
    return datasets.open_dataset(data, ignore=255).split("train")


def batches_of(source):
    """A function that reads every example, changes it and makes batches."""
    data = config.Data(crop=CROP, scale=SCALE)
    change = transforms.RandomCrop(data=data, ignore=255)

    def run():
        rng = np.random.default_rng(0)
        for first in range(0, len(source), BATCH):
            batch = []
            for index in range(first, min(first + BATCH, len(source))):
                if isinstance(source, Peer):
                    batch.append(source.read(index, rng))
                else:
                    example = change.random_map(source[index], rng)
                    batch.append((example["image"], example["label"]))
            for each in zip(*batch, strict=True):
                np.stack(each)

    return run


class Peer:
    """The PNGs, each read and changed by one function."""

    def __init__(self, root: pathlib.Path, read):
        self.paths = [
            sorted((root / "train" / kind).iterdir()) for kind in ("images", "labels")
        ]
        self._read = read

    def __len__(self) -> int:
        return len(self.paths[0])

    def read(self, index: int, rng: np.random.Generator):
        """Image and label, cropped."""
        return self._read(self.paths[0][index], self.paths[1][index], rng)


def read_pillow(image_path, label_path, rng):
    """As torchvision's references: PIL images, resized whole, flipped, padded, cut."""
    image = Image.open(image_path).convert("RGB")
    label = Image.open(label_path)
    factor = rng.uniform(*SCALE)
    size = round(SIZE[1] * factor), round(SIZE[0] * factor)
    image = image.resize(size, Image.Resampling.BILINEAR)
    label = label.resize(size, Image.Resampling.NEAREST)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        label = label.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    left, top = (
        int(rng.integers(max(side - crop, 0) + 1))
        for side, crop in zip(size, CROP[::-1], strict=True)
    )
    box = (left, top, left + CROP[1], top + CROP[0])
    image, label = np.asarray(image.crop(box)), np.asarray(label.crop(box)).copy()
    label[size[1] :], label[:, size[0] :] = 255, 255
    return image, label


def read_opencv(image_path, label_path, rng):
    """As mmsegmentation: decoded and resized whole by OpenCV, cut, flipped, padded."""
    content = np.frombuffer(image_path.read_bytes(), np.uint8)
    image = np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR))
    label = np.asarray(Image.open(label_path))
    factor = rng.uniform(*SCALE)
    size = round(SIZE[1] * factor), round(SIZE[0] * factor)
    image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    label = cv2.resize(label, size, interpolation=cv2.INTER_NEAREST)
    left, top = (
        int(rng.integers(max(side - crop, 0) + 1))
        for side, crop in zip(size, CROP[::-1], strict=True)
    )
    area = slice(top, top + CROP[0]), slice(left, left + CROP[1])
    image, label = image[area], label[area]
    if rng.random() < 0.5:
        image, label = cv2.flip(image, 1), cv2.flip(label, 1)
    missing = CROP[0] - label.shape[0], CROP[1] - label.shape[1]
    if any(missing):
        border = (0, missing[0], 0, missing[1], cv2.BORDER_CONSTANT)
        image = cv2.copyMakeBorder(image, *border, value=(0, 0, 0))
        label = cv2.copyMakeBorder(label, *border, value=255)
    return image, label


if __name__ == "__main__":
    main()
