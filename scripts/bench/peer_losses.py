"""The losses in PyTorch, of logits [B C H W] at full size; labels of 255 do not count.

Written for speed: no one-hot labels, no loop over classes.
"""

from typing import Any

import timing

from jaxseg import config

torch = timing.import_torch()


def upsampled_loss(logits: Any, labels: Any, settings: config.Loss) -> Any:
    """What losses.segmentation_loss gives, from logits [B C h w]."""
    functional = torch.nn.functional
    big = functional.interpolate(logits, labels.shape[1:], mode="bilinear")
    if settings.ohem_threshold:
        loss = _hard_examples(big, labels, settings)
    else:
        loss = functional.cross_entropy(big, labels, ignore_index=255)
    if settings.dice_weight:
        loss = loss + settings.dice_weight * _dice(big, labels)
    return loss


def _hard_examples(big: Any, labels: Any, settings: config.Loss) -> Any:
    """As mmsegmentation's OHEMPixelSampler: all probabilities sorted."""
    counts = labels != 255
    with torch.no_grad():
        p = _of_labels(big.softmax(1), labels, counts)
        order, _ = p[counts].sort()
        place = min(settings.ohem_min_kept * len(labels), len(order) - 1)
        kept = counts & (p < order[place].clamp_min(settings.ohem_threshold))
    each = torch.nn.functional.cross_entropy(
        big, labels, ignore_index=255, reduction="none"
    )
    return (each * kept).sum() / counts.sum()


def _dice(big: Any, labels: Any) -> Any:
    num_classes, counts = big.shape[1], labels != 255
    p = big.softmax(1)
    predicted = (p * counts[:, None]).sum((0, 2, 3))
    classes = labels[counts]
    common = torch.zeros_like(predicted)
    common = common.index_add(0, classes, _of_labels(p, labels, counts)[counts])
    labeled = classes.bincount(minlength=num_classes)
    loss = 1 - 2 * common / (predicted + labeled)
    return loss.where(labeled > 0, 0).mean()


def _of_labels(p: Any, labels: Any, counts: Any) -> Any:
    """The probabilities [B H W] of the labels."""
    return p.gather(1, labels.where(counts, 0)[:, None])[:, 0]
