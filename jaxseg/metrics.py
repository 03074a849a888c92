"""Segmentation metrics from a confusion matrix, counted in integers, divided once.

mIoU is the mean over classes of dataset-level IoU. A class absent from labels and
predictions has no IoU and is left out of the means.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Num


def confusion_matrix(
    labels: Int[Array, "b h w"],
    predictions: Int[Array, "b h w"],
    *,
    num_classes: int,
    ignore: int = 255,
) -> Int[Array, "c c"]:
    """Pixels by label (row) and prediction (column), int32; `ignore` is not counted.

    Labels and predictions are in 0..num_classes-1. Exact below 2^31 pixels.
    """
    cells = num_classes * num_classes
    cell = jnp.where(labels == ignore, cells, labels * num_classes + predictions)
    ones = jnp.ones(cell.size, jnp.int32)
    counts = jax.ops.segment_sum(ones, cell.ravel(), cells + 1)
    return counts[:cells].reshape(num_classes, num_classes)


def summarize(confusion: Num[np.ndarray, "c c"], names: Sequence[str]) -> dict:
    """All figures of a confusion matrix (rows: labels), as fractions in 0..1.

    Undefined ones are None: precision of a class never predicted, recall of one never
    labelled, IoU and F1 of one absent from both. Means leave None out.
    """
    confusion = np.asarray(confusion, np.int64)
    hits, labelled = np.diag(confusion), confusion.sum(1)
    predicted = confusion.sum(0)
    iou = _divide(hits, labelled + predicted - hits)
    columns = {
        "iou": iou,
        "precision": _divide(hits, predicted),
        "recall": _divide(hits, labelled),
        "f1": _divide(2 * hits, labelled + predicted),
    }
    total = labelled.sum()
    per_class: dict[str, dict[str, Any]] = {
        name: {key: _number(column[i]) for key, column in columns.items()}
        | {"pixels": int(labelled[i])}
        for i, name in enumerate(names)
    }
    return {
        "miou": _mean(iou),
        "pixel_accuracy": _number(_divide(hits.sum(), total)),
        "mean_accuracy": _mean(columns["recall"]),
        "mean_f1": _mean(columns["f1"]),
        "frequency_weighted_iou": _number(
            _divide((labelled * np.nan_to_num(iou)).sum(), total)
        ),
        "per_class": per_class,
    }


def _divide(part, whole) -> np.ndarray:
    """Quotient in float64, NaN where whole is 0."""
    whole = np.asarray(whole, np.float64)
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)


def _mean(values: np.ndarray) -> float | None:
    return None if np.isnan(values).all() else float(np.nanmean(values))


def _number(value: np.ndarray | float) -> float | None:
    return None if np.isnan(value) else float(value)
