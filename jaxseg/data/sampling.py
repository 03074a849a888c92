"""Which example stands at which place of training where some are shown more often.

Each example has a rate. An epoch takes example i floor(rate) or ceil(rate) times, on
average `rate` times exactly, by systematic sampling: the rates lie end to end on a
line, and points one apart, from a random start that is new in every epoch, take the
examples that they meet.
"""

import dataclasses
import hashlib
import os
import pathlib
import zipfile
from collections.abc import Sequence

import grain
import numpy as np
from jaxtyping import Float64

from jaxseg import config as config_lib
from jaxseg import errors, pictures
from jaxseg.data import archives, balance, combined, examine, sources

Rates = Float64[np.ndarray, "examples"]


def make_rates(
    source: sources.Source,
    data: config_lib.Data,
    *,
    num_classes: int,
    cache: pathlib.Path | None,
) -> Rates | None:
    """How often an epoch shows each example by the config; None: each once.

    For config.data.sampling it opens every example, but where `cache`, a .npy file,
    holds the counts of these; else writes it. Raises UserError if an example cannot
    be read and none may be skipped, or if no class fits.
    """
    rates = None
    if data.sampling != "uniform":
        counts = _class_counts(source, data, num_classes, cache)
        rates = _balanced(counts, data)
    if isinstance(source, combined.Joined) and data.mix_weights:
        rates = np.ones(len(source)) if rates is None else rates
        rates = weigh_parts(rates, [*map(len, source.parts)], data.mix_weights)
    return rates


def weigh_parts(rates: Rates, lengths: list[int], weights: Sequence[float]) -> Rates:
    """Rates that give each part of the examples its weight's share of all."""
    parts = np.split(rates, np.cumsum(lengths)[:-1])
    share = np.array(weights) / sum(weights)
    scaled = [
        part * (wanted * len(rates) / max(part.sum(), 1e-9))
        for part, wanted in zip(parts, share, strict=True)
    ]
    return np.concatenate(scaled)


def _class_counts(
    source: sources.Source,
    data: config_lib.Data,
    num_classes: int,
    cache: pathlib.Path | None,
) -> balance.Counts:
    digest = _digest(source)
    kept = _read_counts(cache, (len(source), num_classes), digest) if cache else None
    if kept is not None:
        return kept
    print(f"counting the classes of {len(source)} examples")
    seen = [*examine.examine_all(source, len(source), timeout=data.timeout)]
    problems = [each.problem for each in seen if each.problem]
    if problems and data.on_error == "stop":
        raise errors.UserError(problems[0])
    counts = examine.class_counts(seen, source, num_classes)
    if cache:
        with pictures.atomic_path(cache) as part, part.open("wb") as file:
            np.save(file, counts)
            file.write(digest)  # NumPy does not read beyond the array
    return counts


def _digest(source: sources.Source) -> bytes:
    """Of what decides the counts; instead of files' contents their times."""
    told: list = [examine.train_values(source)]
    for part in source.parts if isinstance(source, combined.Joined) else [source]:
        if isinstance(part, sources.Files):
            told += [archives.state(file) for pair in part.pairs for file in pair]
        else:
            told += [part.name(index) for index in range(len(part))]
            told.append(getattr(part, "size", None))  # of scenes
    return hashlib.blake2b(repr(told).encode()).digest()


def _read_counts(
    cache: pathlib.Path, shape: tuple[int, int], digest: bytes
) -> balance.Counts | None:
    """The counts kept there, if they are of this shape and digest."""
    try:
        with cache.open("rb") as file:
            file.seek(-len(digest), os.SEEK_END)
            if file.read() != digest:
                return None
        # Mapped, an array that is larger than its file is an error, and takes nothing.
        counts = np.load(cache, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    is_ours = isinstance(counts, np.ndarray) and counts.dtype == np.int64
    if not is_ours or counts.shape != shape or counts.min(initial=0) < 0:
        return None
    return np.array(counts)


def _balanced(counts: balance.Counts, data: config_lib.Data) -> Rates:
    if data.sampling == "repeat_factor":
        return balance.repeat_factors(counts, data.repeat_threshold)
    rates = balance.rare_class_rates(counts, data.rare_temperature, data.rare_pixels)
    if not rates.any():
        raise errors.UserError(
            f"config.data.rare_pixels={data.rare_pixels}: no training example has as "
            "many pixels of one class; make it smaller"
        )
    return rates


def make_order(rates: Rates, seed: int) -> grain.MapDataset:
    """Endless indices of examples, a function of the place, the rates and the seed."""
    length = max(round(rates.sum()), 1)
    ends = np.cumsum(rates) * (length / rates.sum())
    places = grain.MapDataset.range(length).seed(seed).shuffle().repeat()
    return places.map_with_index(_Systematic(ends, seed))


@dataclasses.dataclass(frozen=True)
class _Systematic(grain.transforms.MapWithIndex):
    """The example met by the point at a place of an epoch's line."""

    ends: np.ndarray  # where each example's stretch ends; the last is whole
    seed: int

    def map_with_index(self, index: int, element: int) -> int:
        epoch = index // round(self.ends[-1])
        start = np.random.default_rng((self.seed, epoch)).random()
        found = np.searchsorted(self.ends, element + start, side="right")
        last = np.searchsorted(self.ends, self.ends[-1])  # rounding may lead beyond
        return int(min(found, last))
