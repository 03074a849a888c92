"""The Dice loss, with no more than a band of logits at full resolution.

It depends on the logits through two sums for each class. A first pass over the bands
makes the sums; JAX derives the loss for them; a second pass turns that into the
gradient for the logits, computing each band again.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxseg import resize


def dice(
    logits: Float[Array, "b h w c"],
    labels: Int[Array, "b y x"],
    *,
    ignore: int = 255,
    class_weights: Sequence[float] = (),
    align_corners: bool = False,
) -> Float[Array, ""]:
    """The soft Dice loss (Milletari et al., 2016) of the softmax over the classes.

    Of a class: 1 - 2 sum(p y) / (sum(p) + sum(y)), with probability p and label y (0 or
    1), over all pixels of the batch whose label is not `ignore`; 0 for a class that no
    label has. The mean over all classes, weighted by `class_weights`. The logits are
    upsampled bilinearly to the labels' size. As segmentation_models_pytorch's
    DiceLoss("multiclass").
    """
    bands = resize.make_bands(
        logits.shape, labels.shape[1:], align_corners=align_corners
    )
    num_classes = logits.shape[-1]
    counts = labels != ignore
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    sums: Any = _sums(bands, ignore, logits, labels)
    common, predicted = sums
    labeled = jax.ops.segment_sum(
        counts.ravel().astype(jnp.int32), labels.ravel(), num_classes
    )
    weights = jnp.asarray(class_weights or [1.0] * num_classes, common.dtype)
    score = 2 * common / jnp.where(labeled > 0, predicted + labeled, 1)
    return (weights * jnp.where(labeled > 0, 1 - score, 0)).sum() / weights.sum()


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _sums(
    bands: resize.Bands, ignore: int, logits: Array, labels: Array
) -> tuple[Array, Array]:
    """(sum of p y, sum of p), each float [C], over the pixels that count."""
    columns = bands.columns(logits)

    def add_band(i, sums):
        common, predicted = sums
        y, p = _of_band(bands, ignore, columns, labels, i)
        return common + jnp.where(y, p, 0).sum((1, 3)), predicted + p.sum((1, 3))

    b, _, _, c = logits.shape
    start = jnp.zeros((b, c), logits.dtype)  # images apart, as devices share them
    common, predicted = jax.lax.fori_loop(0, bands.count, add_band, (start, start))
    return common.sum(0), predicted.sum(0)


def _forward(bands: resize.Bands, ignore: int, logits: Array, labels: Array):
    return _sums(bands, ignore, logits, labels), (logits, labels)


def _backward(bands: resize.Bands, ignore: int, residuals, cotangents):
    """For slopes s of a pixel's probabilities p, those of its logits: p s - p (p.s)."""
    logits, labels = residuals
    columns = bands.columns(logits)
    of_common, of_predicted = (each[:, None] for each in cotangents)

    def add_band(i, gradient):
        y, p = _of_band(bands, ignore, columns, labels, i)
        ps = jnp.where(y, p * (of_common + of_predicted), p * of_predicted)
        slope = ps - p * ps.sum(2, keepdims=True)
        return bands.add_transposed(gradient, slope, i)

    start = jnp.zeros_like(columns)
    gradient = jax.lax.fori_loop(0, bands.count, add_band, start)
    return bands.columns_transposed(gradient), None


_sums.defvjp(_forward, _backward)


def _of_band(
    bands: resize.Bands,
    ignore: int,
    columns: Float[Array, "b h c x"],
    labels: Int[Array, "b y x"],
    i: Int[Array, ""],
) -> tuple[Bool[Array, "b rows c x"], Float[Array, "b rows c x"]]:
    """(y, p) of band `i`; p is 0 where the label is `ignore`, or seen in another."""
    logits = bands.band(columns, i)
    labels = bands.take_new(labels, i, ignore)[:, :, None]
    p = jax.nn.softmax(logits, axis=2)
    y = labels == jnp.arange(logits.shape[2])[:, None]
    return y, jnp.where(labels != ignore, p, 0)
