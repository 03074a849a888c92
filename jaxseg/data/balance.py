"""Rare classes: weights of the loss, and how often each example is shown.

All are made of the pixels of each class in each example, integers [examples classes].
"""

import numpy as np
from jaxtyping import Float64, Int64

Counts = Int64[np.ndarray, "examples classes"]
ENET_C = 1.02


def median_frequency(counts: Counts) -> Float64[np.ndarray, "classes"]:
    """Weights of median frequency balancing (Eigen and Fergus, ICCV 2015, 6.3.2).

    A class's frequency is its share of the counted pixels of the examples that show it;
    its weight is the median of all classes' frequencies over its own. 0 for a class
    without pixels, which no weight could change.
    """
    within = (counts > 0).T @ counts.sum(1)
    pixels = counts.sum(0)
    frequency = pixels / np.maximum(within, 1)
    present = pixels > 0
    median = np.median(frequency[present]) if present.any() else 0.0
    return np.where(present, median / np.where(present, frequency, 1), 0.0)


def inverse_log(counts: Counts) -> Float64[np.ndarray, "classes"]:
    """1 / ln(1.02 + share of all counted pixels) (ENet, Paszke et al., 2016, 5.2)."""
    return 1 / np.log(ENET_C + class_shares(counts))


def class_shares(counts: Counts) -> Float64[np.ndarray, "classes"]:
    """Each class's share of all counted pixels."""
    return counts.sum(0) / max(counts.sum(), 1)
