"""From a source to batches on the host, the same for any number of workers.

Batch number s is a function of the seed and s alone. Resuming needs no state of the
iterator, only the number of steps done.
"""

import collections
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Any

import cv2
import grain
import numpy as np
from absl import flags

from jaxseg import config as config_lib
from jaxseg import errors
from jaxseg.data import ahead, combined, cores, sampling, sources, transforms

MAX_AUTO_WORKERS = 16
WAITING = 4
# Shared memory that a killed worker leaves is removed by Python's resource tracker,
# which would tell of it after the one line that names the worker.
_QUIET = "ignore:resource_tracker:UserWarning"

HostBatch = dict[str, np.ndarray]


def train_batches(
    source: sources.Source,
    data: config_lib.Data,
    *,
    batch_size: int,
    seed: int,
    ignore: int,
    start: int,
    rates: sampling.Rates | None = None,
    share: tuple[int, int] = (0, 1),
    put: Callable[[HostBatch], Any] = lambda batch: batch,
) -> ahead.ReadAhead:
    """Endless batches from number `start` on.

    images uint8 [B H W 3], labels uint8 [B H W]. Every epoch has a new order; `rates`
    tell how often it shows each example, None: once. With `share` (i, n) only part i
    of n equal parts of each batch is read, in the same order. `put` takes a batch to
    where it is used, ahead of its use. The iterator must be closed.
    """
    if data.on_error == "skip":
        source = combined.SkipUnreadable(source)
    order: Any  # of the examples' numbers, endless
    if rates is None:
        order = grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat()
    else:
        order = sampling.make_order(rates, seed)
    dataset = order.map(source.__getitem__)
    if data.augment != "none":
        dataset = dataset.random_map(transforms.RandomCrop(data=data, ignore=ignore))
    part, parts = share
    size = batch_size // parts
    dataset = dataset.batch(  # endless; but else grain rounds its length in floats
        size, drop_remainder=True, batch_fn=_stack
    )

    def names(number: int) -> list[str]:
        first = (start + number) * batch_size + part * size
        return [source.name(order[first + i]) for i in range(size)]

    return _read_ahead(dataset[start * parts + part :: parts], data, names, put)


def eval_batches(
    source: sources.Source,
    data: config_lib.Data,
    *,
    batch_size: int,
    multiple_of: int,
    share: tuple[int, int] = (0, 1),
) -> Generator[HostBatch, None, None]:
    """Every example once, at its own size, as it is; or part i of n, by `share` (i, n).

    images uint8 [B H W 3], labels uint8 [B H W] and valid bool [B]: images of one size
    are batched. B is batch_size, rounded up to `multiple_of`, or where a size has not
    filled a batch the least multiple that holds its images; valid=False pads. At most
    WAITING batches' images wait for others of their size.
    """
    batch_size = _round_up(batch_size, multiple_of)
    waiting: dict[tuple, list] = collections.defaultdict(list)
    filled = set()  # sizes for which the program of a whole batch is compiled
    part, parts = share

    def take(size: tuple) -> HostBatch:
        group = waiting.pop(size)
        few = _round_up(len(group), multiple_of)
        return _pad(group, batch_size if size in filled else few)

    if part >= len(source):
        return
    dataset = grain.MapDataset.source(source)[part::parts]
    iterator = _read_ahead(
        dataset, data, lambda number: [source.name(number * parts + part)]
    )
    try:
        for example in iterator:
            size = example["label"].shape
            waiting[size].append(example)
            if len(waiting[size]) == batch_size:
                filled.add(size)
                yield take(size)
            elif sum(map(len, waiting.values())) > WAITING * batch_size:
                yield take(next(iter(waiting)))  # the one that has waited longest
    finally:
        iterator.close()
        if num_workers(data):  # grain leaves shared memory in a reference cycle
            gc.collect()
    for size in [*waiting]:
        yield take(size)


def _round_up(count: int, multiple_of: int) -> int:
    return -(-count // multiple_of) * multiple_of


def num_workers(data: config_lib.Data) -> int:
    """How many worker processes: as told, or with -1 by the cores this process may use.

    One core is left to the training program; where that leaves a single one, threads
    (0) do better than a process.
    """
    if data.workers >= 0:
        return data.workers
    others = min(cores.count() - 1, MAX_AUTO_WORKERS)
    return others if others > 1 else 0


def _read_ahead(
    dataset: grain.MapDataset,
    data: config_lib.Data,
    names: Callable[[int], list[str]],
    put: Callable[[Any], Any] = lambda element: element,
) -> ahead.ReadAhead:
    """Reads with threads, or with worker processes that keep the order."""
    workers = num_workers(data)
    iterator = _with_workers(dataset, workers) if workers else _with_threads(dataset)
    return ahead.ReadAhead(
        iterator, workers=workers, timeout=data.timeout, names=names, put=put
    )


def _with_threads(dataset: grain.MapDataset) -> grain.DatasetIterator:
    threads = min(4, cores.count())
    reading = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return iter(dataset.to_iter_dataset(reading))


def _with_workers(dataset: grain.MapDataset, workers: int) -> grain.DatasetIterator:
    if not flags.FLAGS.is_parsed():  # grain reads a flag of its own
        flags.FLAGS.mark_as_parsed()
    if _QUIET not in sys.warnoptions:  # Python hands these to the processes it starts
        sys.warnoptions.append(_QUIET)
    reading = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    options = grain.MultiprocessingOptions(
        num_workers=workers, per_worker_buffer_size=2
    )
    ordered = dataset.to_iter_dataset(reading)
    return iter(ordered.mp_prefetch(options, worker_init_fn=_init_worker))


def _init_worker(worker: int, count: int) -> None:
    """Ties a worker's life to that of the training process, and to nothing else.

    OpenCV gets one thread: each worker would start as many as there are cores.

    Signals that reach all at once, Ctrl-C from a terminal or SIGTERM from a scheduler,
    are left to the training process, which then ends the step and saves and still needs
    its workers. Where that process is killed, workers would wait for it forever.
    """
    cv2.setNumThreads(1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _stack(examples: Sequence[sources.Example]) -> HostBatch:
    shapes = {example["label"].shape for example in examples}
    if len(shapes) > 1:
        raise errors.UserError(
            f"images of sizes {sorted(shapes)} cannot form a batch as they are; set "
            "config.data.augment=standard to crop them, or config.train.batch_size=1"
        )
    batch = {
        "images": np.stack([example["image"] for example in examples]),
        "labels": np.stack([example["label"] for example in examples]),
    }
    skipped = [told for example in examples for told in example.get("skipped", ())]
    return {**batch, "skipped": np.array(skipped)} if skipped else batch


def _pad(examples: list[sources.Example], batch_size: int) -> HostBatch:
    missing = batch_size - len(examples)
    batch = _stack(examples + [examples[0]] * missing)
    return batch | {"valid": np.arange(batch_size) < len(examples)}
