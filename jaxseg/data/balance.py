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


def rare_class_rates(
    counts: Counts, temperature: float, min_pixels: int
) -> Float64[np.ndarray, "examples"]:
    """How often each example is shown in as many draws as there are examples.

    Rare class sampling (DAFormer, Hoyer et al., CVPR 2022, eq. 8-9): a class by the
    softmax of (1 - its share of counted pixels) / temperature, then any of the examples
    that have `min_pixels` of it. Classes that no example has so many of are left out;
    all 0 if there is no class at all.
    """
    shows = counts >= min_pixels
    examples = shows.sum(0)
    logits = (1 - class_shares(counts)) / temperature
    chances = np.where(examples > 0, np.exp(logits - logits.max()), 0.0)
    if not chances.any():
        return np.zeros(len(counts))
    each = chances / chances.sum() / np.maximum(examples, 1)
    return len(counts) * (shows @ each)


def repeat_factors(counts: Counts, threshold: float) -> Float64[np.ndarray, "examples"]:
    """How often an epoch shows each example (LVIS, Gupta et al., CVPR 2019, B.2).

    A class that the share f of the examples shows has max(1, sqrt(threshold / f)); an
    example takes the largest of its classes, 1 if it shows none.
    """
    shows = counts > 0
    share = np.maximum(shows.mean(0), 1 / len(counts))
    of_class = np.maximum(1, np.sqrt(threshold / share))
    return np.where(shows, of_class, 1.0).max(1)
