"""Sheets of pictures that show what the network will see in training.

    python -m jaxseg.data.browse --config=FILE --output=DIR [--count=N]

They hold the first examples of the run that the config describes, changed on the host
and in the step as they will be then, but not normalized.
"""

import contextlib
import math
import pathlib

import jax
import numpy as np
from absl import flags
from jaxtyping import UInt8

from jaxseg import augment, command, errors, pictures
from jaxseg import config as config_lib
from jaxseg.data import datasets, loader, sampling, sources

PER_SHEET = 16
GAP = 8  # pixels between pictures


def run(config: config_lib.Config, output: pathlib.Path, *, count: int) -> None:
    """Writes sheet_00.png and so on, each of 16 examples: image, image with labels.

    Pixels that count nowhere keep the image's color. Raises UserError as training would
    for data that it could not use.
    """
    if count < 1:
        raise errors.UserError(f"--count={count} must be at least 1")
    dataset = datasets.open_dataset(config.data, ignore=config.loss.ignore)
    config = datasets.with_num_classes(config, dataset)
    examples = augmented_examples(config, dataset.split("train"), count=count)
    output.mkdir(parents=True, exist_ok=True)
    for number, first in enumerate(range(0, count, PER_SHEET)):
        image, classes = tile(examples[first : first + PER_SHEET])
        picture = pictures.overlay(image, classes, dataset.class_names, dataset.palette)
        pictures.save_image(output / f"sheet_{number:02d}.png", picture)
    print(f"{count} examples in {output}: image, and image with labels")


def augmented_examples(
    config: config_lib.Config, source: sources.Source, *, count: int
) -> list[sources.Example]:
    """The first `count` examples of a run as its steps see them; ignored is IGNORE."""

    @jax.jit
    def change(step, images, labels):
        key, _ = augment.step_keys(config.seed, step)
        return augment.augment(
            key, images, labels, data=config.data, ignore=config.loss.ignore
        )

    rates = sampling.make_rates(
        source, config.data, num_classes=config.model.num_classes, cache=None
    )
    batches = loader.train_batches(
        source,
        config.data,
        batch_size=config.train.batch_size,
        seed=config.seed,
        ignore=config.loss.ignore,
        start=0,
        rates=rates,
    )
    examples: list[sources.Example] = []
    with contextlib.closing(batches):
        for step in range(math.ceil(count / config.train.batch_size)):
            batch = next(batches)
            images, labels = change(step, batch["images"], batch["labels"])
            images = np.rint(images).astype(np.uint8)
            labels = np.where(labels == config.loss.ignore, pictures.IGNORE, labels)
            for image, label in zip(images, labels.astype(np.uint8), strict=True):
                examples.append({"image": image, "label": label})
    return examples[:count]


def tile(
    examples: list[sources.Example],
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    """One image of all examples, each shown twice, and classes for the second ones.

    Pairs stand in rows that make the whole about as wide as high.
    """
    sizes = np.array([example["label"].shape for example in examples])
    height, width = sizes.max(0) + GAP
    columns = math.ceil(math.sqrt(len(examples) * height / (2 * width)))
    columns = min(columns, len(examples))
    rows = math.ceil(len(examples) / columns)
    shape = (rows * height - GAP, columns * 2 * width - GAP)
    image = np.full((*shape, 3), pictures.PAPER, np.uint8)
    classes = np.full(shape, pictures.IGNORE, np.uint8)
    for i, example in enumerate(examples):
        down, right = i // columns * height, i % columns * 2 * width
        h, w = example["label"].shape
        for start in (right, right + width):
            image[down : down + h, start : start + w] = example["image"]
        classes[down : down + h, start : start + w] = example["label"]
    return image, classes


if __name__ == "__main__":
    _OUTPUT = flags.DEFINE_string("output", None, "Folder to write to.", required=True)
    _COUNT = flags.DEFINE_integer("count", PER_SHEET, "How many examples to show.")
    command.run(
        lambda config: run(config, pathlib.Path(_OUTPUT.value), count=_COUNT.value)
    )
