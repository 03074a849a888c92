"""What is known of an official data set: the form of the entries in facts/."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import numpy as np

from jaxseg.data import archives, images, layouts, sources

Palette = tuple[tuple[int, int, int], ...]
_FOLDER = pathlib.Path(__file__).parent / "facts"


@dataclasses.dataclass(frozen=True)
class Classes:
    """The classes in order, their RGB colors, and what each raw label value means."""

    names: tuple[str, ...]
    palette: Palette
    raw_to_train: Mapping[int, int]
    ignored: tuple[int, ...]  # raw values that count nowhere

    def label_map(self, ignore: int) -> sources.LabelMap:
        """From raw values to classes, with `ignore` for what counts nowhere."""
        ignored = dict.fromkeys(self.ignored, ignore)
        return sources.LabelMap({**self.raw_to_train, **ignored})


@runtime_checkable
class Part(Protocol):
    """Some examples of a split."""

    def open(self, root: pathlib.Path, address: str) -> list[layouts.Pair]:
        """Their files. Raises UserError for what is missing."""
        ...


@dataclasses.dataclass(frozen=True)
class Split:
    """Examples of training or evaluation."""

    count: int | None  # how many its authors count, where they do
    parts: tuple[Part, ...]


@dataclasses.dataclass(frozen=True)
class Facts:
    """An entry of the table."""

    classes: Classes
    splits: Mapping[str, Split]  # "train", "val" and others
    size: tuple[int, int] | None  # of all images, (height, width); None: they vary
    source: str  # where to get it
    license: str
    cite: str
    read_label: Callable[[archives.File], np.ndarray] = images.read_indices


def read_rows(name: str) -> list[tuple[int, str, tuple[int, int, int], str]]:
    """(raw value, class or "-", color, name) of each line of facts/NAME.txt."""
    rows = []
    for line in (_FOLDER / f"{name}.txt").read_text().splitlines():
        if not line.startswith("#"):
            raw, train, red, green, blue, called = line.split(maxsplit=5)
            rows.append((int(raw), train, (int(red), int(green), int(blue)), called))
    return rows


def read_classes(name: str) -> Classes:
    """The classes of facts/NAME.txt."""
    rows = read_rows(name)
    counted = sorted((int(row[1]), row) for row in rows if row[1] != "-")
    return Classes(
        names=tuple(called for _, (_, _, _, called) in counted),
        palette=tuple(color for _, (_, _, color, _) in counted),
        raw_to_train={raw: train for train, (raw, _, _, _) in counted},
        ignored=tuple(raw for raw, train, _, _ in rows if train == "-"),
    )
