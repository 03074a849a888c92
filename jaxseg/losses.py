"""What training minimizes: cross-entropy, of hard pixels or all, and the Dice loss.

Logits come at the network's own resolution. They are upsampled to that of the labels
and reduced a band of rows at a time (resize.py tells how many), so that only a band of
logits and gradient exists at full resolution. The gradient of cross-entropy is formed
in the same pass as its value; ohem.py takes a pass before it, dice.py two of its own.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxseg import config as config_lib
from jaxseg import dice, ohem, resize


def segmentation_loss(
    logits: Float[Array, "b h w c"],
    labels: Int[Array, "b y x"],
    settings: config_lib.Loss,
    *,
    align_corners: bool = False,
) -> tuple[Float[Array, ""], Int[Array, "b y x"]]:
    """(what `settings` ask to minimize for a head's logits, predictions)."""
    common = {"ignore": settings.ignore, "align_corners": align_corners}
    weights = settings.class_weights
    hard = None
    if settings.ohem_threshold:
        hard = ohem.hard_pixels(
            logits,
            labels,
            threshold=settings.ohem_threshold,
            min_kept=settings.ohem_min_kept,
            **common,
        )
    value, predictions = cross_entropy(
        logits,
        labels,
        hard,
        class_weights=weights,
        label_smoothing=settings.label_smoothing,
        **common,
    )
    if settings.dice_weight:
        loss = dice.dice(logits, labels, class_weights=weights, **common)
        value += settings.dice_weight * loss
    return value, predictions


def cross_entropy(
    logits: Float[Array, "b h w c"],
    labels: Int[Array, "b y x"],
    hard: Bool[Array, "b y x"] | None = None,
    *,
    ignore: int = 255,
    class_weights: Sequence[float] = (),
    label_smoothing: float = 0.0,
    align_corners: bool = False,
) -> tuple[Float[Array, ""], Int[Array, "b y x"]]:
    """(mean cross-entropy over the pixels whose label is not `ignore`, predictions).

    The logits are upsampled bilinearly to the labels' size. With `class_weights` the
    mean is weighted by the weight of each pixel's label, and `label_smoothing` mixes in
    the uniform distribution: both as torch.nn.functional.cross_entropy. With `hard`
    only those pixels add to the sum; what it is divided by stays that of all, as in
    mmsegmentation with avg_non_ignore. The loss is 0 where no pixel counts.
    Predictions are the classes of the largest logits, int32; they carry no gradient.
    """
    bands = resize.make_bands(
        logits.shape, labels.shape[1:], align_corners=align_corners
    )
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    weights = jnp.asarray(class_weights or [1.0] * logits.shape[-1], logits.dtype)
    total = _weight(weights, labels, ignore).sum()
    scale = jnp.where(total > 0, 1 / jnp.where(total > 0, total, 1), 0)
    rule = _Rule(bands, ignore, label_smoothing)
    if hard is not None:
        labels = jnp.where(hard, labels, ignore)
    return _cross_entropy(rule, logits, labels, weights * scale)


def total_weight(
    labels: Int[Array, "b y x"], settings: config_lib.Loss
) -> Float[Array, ""]:
    """What `cross_entropy` divides by: the class weights of all pixels that count."""
    if settings.class_weights:
        weights = jnp.asarray(settings.class_weights)
        return _weight(weights, labels, settings.ignore).sum()
    return (labels != settings.ignore).sum().astype(jnp.float32)


class _Rule(NamedTuple):
    """What is known while tracing."""

    bands: resize.Bands
    ignore: int
    label_smoothing: float


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _cross_entropy(rule: _Rule, logits: Array, labels: Array, weights: Array):
    """(sum of weighted cross-entropy, predictions)."""
    return _forward(rule, logits, labels, weights)[0]


def _forward(rule: _Rule, logits: Array, labels: Array, weights: Array):
    """The same and, for `_backward`, the gradient for `logits`."""
    bands, columns = rule.bands, rule.bands.columns(logits)

    def add_band(i, sums):
        loss, predictions, gradient = sums
        new = bands.take_new(labels, i, rule.ignore)
        value, classes, slope = _of_band(rule, columns, new, weights, i)
        predictions = bands.put(predictions, classes, i)
        return loss + value, predictions, bands.add_transposed(gradient, slope, i)

    loss = jnp.zeros(len(logits), logits.dtype)  # images apart, as devices share them
    start = loss, jnp.zeros(labels.shape, jnp.int32), jnp.zeros_like(columns)
    loss, predictions, gradient = jax.lax.fori_loop(0, bands.count, add_band, start)
    return (loss.sum(), predictions), bands.columns_transposed(gradient)


def _backward(rule: _Rule, gradient: Array, cotangents):
    return gradient * cotangents[0], None, None


_cross_entropy.defvjp(_forward, _backward)


def _of_band(
    rule: _Rule,
    columns: Float[Array, "b h c x"],
    labels: Int[Array, "b y x"],
    weights: Float[Array, " c"],
    i: Array,
) -> tuple[Float[Array, " b"], Int[Array, "b y x"], Float[Array, "b y c x"]]:
    """(loss of each image, predictions, gradient for the logits) of band `i`.

    With target q (the smoothed one-hot label, times class weights) a pixel's loss is
    -sum_c q_c log p_c, and its gradient p sum_c q_c - q.
    """
    logits = rule.bands.band(columns, i)
    num_classes = logits.shape[2]
    weight = _weight(weights, labels, rule.ignore)[:, :, None]
    classes = jnp.arange(num_classes)[:, None]
    hit = labels[:, :, None] == classes
    target = (1 - rule.label_smoothing) * jnp.where(hit, weight, 0)
    if rule.label_smoothing:
        share = rule.label_smoothing / num_classes * weights[:, None]
        target += jnp.where(labels[:, :, None] != rule.ignore, share, 0)
    largest = logits.max(2, keepdims=True)
    exp = jnp.exp(logits - largest)
    total = exp.sum(2, keepdims=True)
    log_p = logits - largest - jnp.log(total)
    slope = exp * (target.sum(2, keepdims=True) / total) - target
    return -(target * log_p).sum((1, 2, 3)), resize.argmax(logits), slope


def _weight(weights: Array, labels: Array, ignore: int) -> Array:
    """The weight of every pixel, 0 where the label is `ignore`."""
    counts = labels != ignore
    return jnp.where(counts, weights[jnp.where(counts, labels, 0)], 0)
