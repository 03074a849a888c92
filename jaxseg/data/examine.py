"""What a split's files hold, example by example: label values, sizes, mistakes."""

import dataclasses
import functools
import hashlib
import io
from collections.abc import Iterator, Sequence
from concurrent import futures

import numpy as np
from jaxtyping import Int64
from PIL import Image

from jaxseg import errors
from jaxseg.data import cores, images, labels, sources


@dataclasses.dataclass(frozen=True)
class Seen:
    """One example: its raw label values, and what is wrong with it."""

    name: str
    values: Int64[np.ndarray, "256"]  # pixels of each raw value
    size: tuple[int, int] | None = None  # height, width; None: could not be read
    digest: str = ""  # of the image file's bytes; empty: there is no file
    palette: bytes = b""  # RGB of each value in the label file; empty: it has none
    turned: bool = False  # the image is, by its EXIF orientation; labels never are
    problem: str = ""  # in one line that names the file; empty: none


def examine(source: sources.Source, index: int) -> Seen:
    """Opens an example as training would. Raises nothing for what is wrong with it."""
    seen = Seen(source.name(index), np.zeros(256, np.int64))
    try:
        if isinstance(source, sources.Stored):
            files = source.loaded(index)
            content = files.stored(0)[0]
            digest = hashlib.blake2b(content).hexdigest()
            seen = dataclasses.replace(seen, digest=digest)
            seen = dataclasses.replace(seen, turned=images.is_turned(content))
            seen = dataclasses.replace(seen, values=_count(files.raw_label(0)))
            seen = dataclasses.replace(seen, palette=_palette(files))
            example = files[0]
        else:
            example = source[index]
            seen = dataclasses.replace(seen, values=_count(example["label"]))
    except (errors.UserError, OSError) as error:
        problem = str(error) + _unknown(seen.values, source)
        return dataclasses.replace(seen, problem=problem)
    return dataclasses.replace(seen, size=example["label"].shape)


def examine_all(
    source: sources.Source, count: int, *, timeout: float
) -> Iterator[Seen]:
    """The first `count` examples in order, opened by as many threads as cores.

    Raises errors.Stalled if the next one does not come within `timeout` seconds.
    """
    pool = futures.ThreadPoolExecutor(cores.count())
    try:
        opened = [pool.submit(examine, source, index) for index in range(count)]
        for index in range(count):
            _await(opened[index], source, index, timeout)
            yield opened[index].result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _await(
    opened: futures.Future, source: sources.Source, index: int, timeout: float
) -> None:
    if not futures.wait([opened], timeout).done:
        raise errors.Stalled(
            f"{source.name(index)} or its label was not read in {timeout:g} s; see "
            "that these files can be read, or raise config.data.timeout"
        )


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
    if not isinstance(source, sources.Stored):
        return {value: value for value in range(256)}
    known = source.label_map.known
    train = source.label_map(np.array([known], np.uint8), "the label map")[0]
    return dict(zip(known, map(int, train), strict=True))


def _count(label: np.ndarray) -> Int64[np.ndarray, "256"]:
    return np.bincount(label.ravel(), minlength=256).astype(np.int64)


def _unknown(values: np.ndarray, source: sources.Source) -> str:
    """All values that are in no class, where there are several."""
    known = train_values(source)
    unknown = [int(raw) for raw in np.flatnonzero(values) if raw not in known]
    told = ", ".join(f"{raw} ({values[raw]} pixels)" for raw in unknown)
    return f"; all such values: {told}" if len(unknown) > 1 else ""


def _palette(files: sources.Files) -> bytes:
    """The palette that the label file brings along, where its values are indices."""
    if isinstance(files.read_label, labels.ColorCode):
        return b""
    try:
        content = io.BytesIO(files.stored(0)[1])
        with Image.open(content, formats=images.FORMATS) as picture:
            colors = picture.getpalette() if picture.mode == "P" else None
    except Exception:  # Pillow stumbles in many ways over MATLAB's files and outlines
        return b""
    return _shared(bytes(colors or ()))


@functools.lru_cache(maxsize=8)
def _shared(palette: bytes) -> bytes:
    """One copy for the many labels that have the same."""
    return palette
