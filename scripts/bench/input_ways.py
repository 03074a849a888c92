"""The ways from files to batches that input.py compares: ours and those of others."""

import contextlib
import importlib
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from PIL import Image

from jaxseg import config
from jaxseg.data import datasets, loader, sources, transforms

SIZE, CROP, SCALE, BATCH = (1024, 2048), (769, 769), (0.5, 2.0), 8

Pair = tuple[np.ndarray, np.ndarray]


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


class Ours:
    """A source of ours, each example changed by our transform."""

    def __init__(self, source: sources.Source):
        self.source = source
        self._change = transforms.RandomCrop(
            data=config.Data(crop=CROP, scale=SCALE), ignore=255
        )

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int, rng: np.random.Generator) -> Pair:
        """Image and label, cropped."""
        example = self._change.random_map(self.source[index], rng)
        return example["image"], example["label"]


class Peer:
    """The PNGs, each read and changed by one function."""

    def __init__(self, root: pathlib.Path, read: Callable[..., Pair]):
        self.paths = [
            sorted((root / "train" / kind).iterdir()) for kind in ("images", "labels")
        ]
        self._read = read

    def __len__(self) -> int:
        return len(self.paths[0])

    def read(self, index: int, rng: np.random.Generator) -> Pair:
        """Image and label, cropped."""
        return self._read(self.paths[0][index], self.paths[1][index], rng)


def batches_of(way: Ours | Peer) -> Callable[[], None]:
    """A function that reads every example, changes it and makes batches."""

    def run() -> None:
        rng = np.random.default_rng(0)
        for first in range(0, len(way), BATCH):
            last = min(first + BATCH, len(way))
            batch = [way.read(index, rng) for index in range(first, last)]
            for each in zip(*batch, strict=True):
                np.stack(each)

    return run


def read_pillow(image_path, label_path, rng) -> Pair:
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
    image, label = np.array(image.crop(box)), np.array(label.crop(box))
    label[size[1] :], label[:, size[0] :] = 255, 255
    return image, label


def read_opencv(image_path, label_path, rng) -> Pair:
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


@contextlib.contextmanager
def our_loader(source: sources.Source, workers: int) -> Iterator[Iterator[Any]]:
    """Endless batches of ours, by worker processes; 0 stands for threads."""
    data = config.Data(crop=CROP, scale=SCALE, workers=workers)
    batches = loader.train_batches(
        source, data, batch_size=BATCH, seed=0, ignore=255, start=0
    )
    with contextlib.closing(batches):
        yield batches


@contextlib.contextmanager
def torch_loader(peer: Peer, workers: int) -> Iterator[Iterator[Any]]:
    """Endless batches of torch's DataLoader; with 0 workers it reads when asked."""
    torch = importlib.import_module("torch")
    yield iter(
        torch.utils.data.DataLoader(
            Endless(peer),
            batch_size=BATCH,
            num_workers=workers,
            multiprocessing_context="spawn" if workers else None,
            worker_init_fn=use_one_thread,
        )
    )


class Endless:
    """A data set as torch's DataLoader takes it, so long that no epoch ends."""

    def __init__(self, peer: Peer):
        self.peer = peer

    def __len__(self) -> int:
        return 1 << 30

    def __getitem__(self, index: int) -> Pair:
        rng = np.random.default_rng(index)
        return self.peer.read(index % len(self.peer), rng)


def use_one_thread(worker: int) -> None:
    """What mmsegmentation does in its workers."""
    cv2.setNumThreads(1)
