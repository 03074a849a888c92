"""Random access to labelled images: pairs of files, or rendered scenes.

A source is a sequence of examples {"image": uint8 [H W 3], "label": uint8 [H W]}, the
label in training classes or the ignore value. Sources are pickled to worker processes.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NotRequired, Protocol, TypedDict, runtime_checkable

import cv2
import numpy as np
from jaxtyping import UInt8

from jaxseg import errors
from jaxseg.data import archives, images, synthetic


class Example(TypedDict):
    """An image, uint8 [H W 3] RGB, and its label, uint8 [H W]."""

    image: np.ndarray
    label: np.ndarray
    skipped: NotRequired[tuple[str, ...]]  # why it stands in for others


@runtime_checkable
class Source(Protocol):
    """What the loader needs of a data set's split."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...

    def name(self, index: int) -> str:
        """What errors and pictures call the example."""
        ...


@runtime_checkable
class Stored(Source, Protocol):
    """A source of files, which can be looked at before the label map is applied."""

    label_map: "LabelMap"

    def loaded(self, index: int) -> "Files":
        """One example alone, its files in memory."""
        ...


class LabelMap:
    """What each raw label value (0..255) becomes; a value without entry is an error."""

    def __init__(self, raw_to_train: Mapping[int, int]):
        self.known = sorted(raw_to_train)
        # One byte a value, which OpenCV looks up in a quarter of NumPy's time. As long
        # as a raw value is unknown, not all 256 results can be taken.
        free = sorted(set(range(256)) - set(raw_to_train.values()))
        self._unknown = free[0] if len(self.known) < 256 else None
        table = [raw_to_train.get(raw, self._unknown) for raw in range(256)]
        self._table = np.array(table, np.uint8)

    def __call__(self, raw: UInt8[np.ndarray, "h w"], name: str) -> np.ndarray:
        """Training labels, uint8. Raises UserError naming file and value."""
        label = np.asarray(cv2.LUT(raw, self._table))
        if self._unknown is not None and (label == self._unknown).any():
            value = int(raw[label == self._unknown][0])
            raise errors.UserError(
                f"{name}: label value {value} is in no class; the data set maps "
                f"{_ranges(self.known)}. Give it a class, or list it as ignored"
            )
        return label

    def equals(self, other: "LabelMap") -> bool:
        """Whether both make the same of every value."""
        return np.array_equal(self._table, other._table)


@dataclasses.dataclass(frozen=True)
class Files:
    """Pairs of an image file and a label file."""

    pairs: Sequence[tuple[archives.File, archives.File]]
    label_map: LabelMap
    read_label: Callable[[Any], np.ndarray] = images.read_indices

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        """The image's path."""
        return str(self.pairs[index][0])

    def stored(self, index: int) -> tuple[bytes, bytes]:
        """The image file and the label file as they are."""
        image_file, label_file = self.pairs[index]
        return archives.read(image_file), archives.read(label_file)

    def raw_label(self, index: int) -> UInt8[np.ndarray, "h w"]:
        """The label's values before the map."""
        return self.read_label(self.pairs[index][1])

    def loaded(self, index: int) -> "Files":
        """One example alone, its files in memory: each is read once, here."""
        image, label = (
            archives.InMemory(str(file), content)
            for file, content in zip(self.pairs[index], self.stored(index), strict=True)
        )
        return dataclasses.replace(self, pairs=[(image, label)])

    def __getitem__(self, index: int) -> Example:
        image_file, label_file = self.pairs[index]
        image = images.read_image(image_file)
        label = self.label_map(self.raw_label(index), str(label_file))
        if label.shape != image.shape[:2]:
            turned = images.is_turned(archives.read(image_file))
            raise errors.UserError(
                f"{label_file} is {label.shape[0]}x{label.shape[1]} (height x width), "
                f"its image {image_file} {image.shape[0]}x{image.shape[1]}"
                f"{' as its EXIF orientation turns it' * turned}; "
                "they must be of one size"
            )
        return {"image": image, "label": label}


@dataclasses.dataclass(frozen=True)
class Scenes:
    """Rendered street scenes (synthetic.py), kept where all of them take 64 MiB."""

    count: int
    seed: int
    size: tuple[int, int]
    domain: str
    _kept: dict[int, Example] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        """Domain and number of the scene."""
        return f"{self.domain}_{self.seed}_{index:05d}"

    def __getitem__(self, index: int) -> Example:
        if index in self._kept:
            return self._kept[index]
        image, label = synthetic.render(
            index, seed=self.seed, size=self.size, domain=self.domain
        )
        image.flags.writeable = label.flags.writeable = False
        if self.count * (image.nbytes + label.nbytes) <= 64 << 20:
            self._kept[index] = {"image": image, "label": label}
        return {"image": image, "label": label}


def _ranges(values: Sequence[int]) -> str:
    """[0, 1, 2, 255] -> "0-2, 255"."""
    starts = [v for v in values if v - 1 not in values]
    ends = [v for v in values if v + 1 not in values]
    spans = zip(starts, ends, strict=True)
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
