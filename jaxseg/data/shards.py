"""The files of a split that is being prepared, and what is kept of them after a stop.

Until a data set is complete each of its files goes by a digest of all that decides what
is in it. Begun again, a run keeps those that it would write once more, and no others.
"""

import contextlib
import dataclasses
import hashlib
import math
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from jaxseg.data import archives, records, sources

FOLDER = f"{records.UNFINISHED}shards"  # beside the data set that they will be of
MAX_EXAMPLES = 256  # in one file


@dataclasses.dataclass(frozen=True)
class Shard:
    """Examples of a split that are written to one file."""

    path: pathlib.Path  # until the data set is complete
    examples: Sequence[int]


def plan(
    folder: pathlib.Path, split: str, source: sources.Files, *, made_by: str
) -> list[Shard]:
    """Shards of equal numbers of examples, in the order in which TFDS shuffles a split.

    `made_by` tells all that decides a file's content besides the files read for it.
    """
    order = sorted(
        range(len(source)),
        key=lambda i: hashlib.md5(
            (split + key(source, i)).encode(), usedforsecurity=False
        ).digest(),
    )
    parts = np.array_split(order, math.ceil(len(order) / MAX_EXAMPLES))
    shards = []
    for examples in (part.tolist() for part in parts):
        states = [archives.state(file) for i in examples for file in source.pairs[i]]
        told = repr((made_by, split, states)).encode()
        name = hashlib.blake2b(told, digest_size=16).hexdigest()
        shards.append(Shard(folder / f"{split}-{name}", examples))
    return shards


@contextlib.contextmanager
def kept(folder: pathlib.Path, planned: Sequence[Shard]) -> Iterator[None]:
    """The folder, with planned shards alone in it; removed at the end if empty."""
    folder.mkdir(exist_ok=True)
    for left in {*folder.iterdir()} - {shard.path for shard in planned}:
        left.unlink()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()


def key(source: sources.Files, index: int) -> str:
    """What an example is called in the data set: the stem of its image's name."""
    name = str(source.pairs[index][0])
    return pathlib.PurePath(name).stem.removesuffix("_leftImg8bit")
