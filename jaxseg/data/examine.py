"""What a split's files hold, example by example: label values, sizes, mistakes."""

import collections
import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent import futures
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64, UInt8

from jaxseg import errors
from jaxseg.data import sources


@runtime_checkable
class Stored(Protocol):
    """A source that tells what its files hold before the label map."""

    label_map: sources.LabelMap

    def stored(self, index: int) -> tuple[bytes, bytes]:
        """The image file and the label file as they are."""
        ...

    def raw_label(self, index: int) -> UInt8[np.ndarray, "h w"]:
        """The label's values before the map."""
        ...


@dataclasses.dataclass(frozen=True)
class Seen:
    """One example: its raw label values, and what is wrong with it."""

    name: str
    values: Int64[np.ndarray, "256"]  # pixels of each raw value
    size: tuple[int, int] | None = None  # height, width; None: could not be read
    digest: str = ""  # of the image file's bytes; empty: there is no file
    problem: str = ""  # in one line that names the file; empty: none


def examine(source: sources.Source, index: int) -> Seen:
    """Opens an example as training would. Raises nothing for what is wrong with it."""
    seen = Seen(source.name(index), np.zeros(256, np.int64))
    try:
        if isinstance(source, Stored):
            digest = hashlib.blake2b(source.stored(index)[0]).hexdigest()
            seen = dataclasses.replace(seen, digest=digest)
            seen = dataclasses.replace(seen, values=_count(source.raw_label(index)))
            example = source[index]
        else:
            example = source[index]
            seen = dataclasses.replace(seen, values=_count(example["label"]))
    except (errors.UserError, OSError) as error:
        problem = str(error) + _unknown(seen.values, source)
        return dataclasses.replace(seen, problem=problem)
    return dataclasses.replace(seen, size=example["label"].shape)


def examine_all(source: sources.Source, count: int) -> Iterator[Seen]:
    """The first `count` examples in order, opened by as many threads as cores."""
    with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(lambda index: examine(source, index), range(count))


def class_counts(
    seen: Sequence[Seen], source: sources.Source, num_classes: int
) -> Int64[np.ndarray, "examples classes"]:
    """Pixels of each class in each example; what is ignored counts nowhere."""
    values = np.stack([each.values for each in seen])
    train = train_values(source)
    counts = np.zeros((len(seen), num_classes), np.int64)
    for raw, label in train.items():
        if label < num_classes:
            counts[:, label] += values[:, raw]
    return counts


def train_values(source: sources.Source) -> dict[int, int]:
    """What each raw value becomes."""
    if not isinstance(source, Stored):
        return {value: value for value in range(256)}
    known = source.label_map.known
    train = source.label_map(np.array([known], np.uint8), "the label map")[0]
    return dict(zip(known, map(int, train), strict=True))


def strange_labels(
    seen: Sequence[Seen], source: sources.Source, num_classes: int
) -> list[str]:
    """What no single example shows: labels of another kind than the data set's.

    Each in one line that begins with the name of an example.
    """
    read = [each for each in seen if each.size]
    if not read:
        return []
    train = train_values(source)
    found = {int(value) for each in read for value in np.flatnonzero(each.values)}
    return [
        f"{read[0].name}: {told}, in all {len(read)} labels read"
        for told in (
            _black_and_white(found, train, num_classes),
            _train_ids(found, train, num_classes),
            _nothing_counts(found, train, num_classes),
        )
        if told
    ][:1]


def duplicates(splits: dict[str, Sequence[Seen]]) -> list[str]:
    """Image files of one split that are in another one too, byte for byte."""
    places = collections.defaultdict(dict)
    for split, seen in splits.items():
        for each in seen:
            if each.digest:
                places[each.digest].setdefault(split, each.name)
    return [
        f"{' and '.join(names.values())} are the same image, in {' and '.join(names)}"
        for names in places.values()
        if len(names) > 1
    ]


def _count(label: np.ndarray) -> Int64[np.ndarray, "256"]:
    return np.bincount(label.ravel(), minlength=256).astype(np.int64)


def _unknown(values: np.ndarray, source: sources.Source) -> str:
    """All values that are in no class, where there are several."""
    known = train_values(source)
    unknown = [int(raw) for raw in np.flatnonzero(values) if raw not in known]
    told = ", ".join(f"{raw} ({values[raw]} pixels)" for raw in unknown)
    return f"; all such values: {told}" if len(unknown) > 1 else ""


def _black_and_white(found, train, num_classes: int) -> str:
    if found - {0} == {255} and train.get(255, 0) >= num_classes:
        return (
            "the only label value that is not 0 is 255, which is ignored, so that "
            "nothing but 0 would be learned; give 255 a class (in classes.json: "
            '"map": {"0": 0, "255": 1}, "ignore": [])'
        )
    return ""


def _train_ids(found, train, num_classes: int) -> str:
    """Such as Cityscapes' labelTrainIds under the names of labelIds.

    Class numbers end below num_classes; raw values that have a class go on beyond.
    """
    raw = {value for value, label in train.items() if label < num_classes}
    high = {value for value in raw if value >= num_classes}
    usual = len(high) >= num_classes / 2 and len(found & {*range(num_classes)}) > 2
    if usual and not found & high:
        return (
            f"no label value from {num_classes} on that has a class "
            f"({len(high)} of them do); these look like class numbers 0-"
            f"{num_classes - 1}, where the data set wants its raw label values"
        )
    return ""


def _nothing_counts(found, train, num_classes: int) -> str:
    if not any(train.get(value, 255) < num_classes for value in found):
        return f"every label value ({sorted(found)}) is ignored; nothing can be learned"
    return ""
