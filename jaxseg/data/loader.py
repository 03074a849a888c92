"""From a source to batches on the host, the same for any number of workers.

Batch number s is a function of the seed and s alone. Resuming needs no state of the
iterator, only the number of steps done; and any number of processes share the same
global batches.
"""

import collections
import gc
import os
from collections.abc import Iterator, Sequence

import grain
import jax
import numpy as np
from absl import flags

from jaxseg import config as config_lib
from jaxseg import errors
from jaxseg.data import sources, transforms

HostBatch = dict[str, np.ndarray]


def train_batches(
    source: sources.Source,
    data: config_lib.Data,
    *,
    batch_size: int,
    seed: int,
    ignore: int,
    start: int,
) -> grain.DatasetIterator:
    """Endless batches from number `start` on: this process's part of each.

    images uint8 [B H W 3], labels int32 [B H W], B = batch_size / processes. Every
    epoch has a new order. The iterator must be closed.
    """
    if data.on_error == "skip":
        source = sources.SkipUnreadable(source)
    dataset = grain.MapDataset.source(source).seed(seed).shuffle().repeat()
    if data.augment != "none":
        dataset = dataset.random_map(
            transforms.RandomCrop(
                crop=data.crop,
                scale=data.scale,
                rotate=data.rotate,
                flip=data.flip,
                fill=tuple(round(value) for value in data.mean),
                ignore=ignore,
            )
        )
    processes = jax.process_count()
    dataset = dataset.batch(  # endless; but else grain rounds its length in floats
        batch_size // processes, drop_remainder=True, batch_fn=_stack
    )
    dataset = dataset[start * processes + jax.process_index() :: processes]
    return iter(_parallel(dataset, data.workers))


def eval_batches(
    source: sources.Source, data: config_lib.Data, *, batch_size: int
) -> Iterator[HostBatch]:
    """Every example of this process's share once, at its own size, as it is.

    images uint8 [B H W 3], labels int32 [B H W] and valid bool [B]: images of one size
    are batched, and a batch that cannot be filled is padded with valid=False.
    """
    dataset = grain.MapDataset.source(source)
    dataset = dataset[jax.process_index() :: jax.process_count()]
    waiting: dict[tuple, list] = collections.defaultdict(list)
    iterator = iter(_parallel(dataset, data.workers))
    try:
        for example in iterator:
            group = waiting[example["label"].shape]
            group.append(example)
            if len(group) == batch_size:
                yield _pad(group, batch_size)
                group.clear()
    finally:
        iterator.close()
        if data.workers:  # grain leaves shared memory in a reference cycle
            gc.collect()
    for group in waiting.values():
        if group:
            yield _pad(group, batch_size)


def _parallel(dataset: grain.MapDataset, workers: int) -> grain.IterDataset:
    """Reads ahead with threads, or with worker processes that keep the order."""
    if not workers:
        threads = min(4, os.cpu_count() or 1)
        return dataset.to_iter_dataset(
            grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
        )
    if not flags.FLAGS.is_parsed():  # grain reads a flag of its own
        flags.FLAGS.mark_as_parsed()
    reading = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    options = grain.MultiprocessingOptions(
        num_workers=workers, per_worker_buffer_size=2
    )
    return dataset.to_iter_dataset(reading).mp_prefetch(options)


def _stack(examples: Sequence[sources.Example]) -> HostBatch:
    shapes = {example["label"].shape for example in examples}
    if len(shapes) > 1:
        raise errors.UserError(
            f"images of sizes {sorted(shapes)} cannot form a batch as they are; set "
            "config.data.augment=standard to crop them, or config.train.batch_size=1"
        )
    return {
        "images": np.stack([example["image"] for example in examples]),
        "labels": np.stack([example["label"] for example in examples]).astype(np.int32),
    }


def _pad(examples: list[sources.Example], batch_size: int) -> HostBatch:
    missing = batch_size - len(examples)
    batch = _stack(examples + [examples[0]] * missing)
    return batch | {"valid": np.arange(batch_size) < len(examples)}
