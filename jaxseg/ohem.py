"""Online hard example mining: the pixels whose labels are least expected.

Shrivastava et al., 2016, for pixels as mmsegmentation's OHEMPixelSampler with a
threshold.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxseg import resize


def hard_pixels(
    logits: Float[Array, "b h w c"],
    labels: Int[Array, "b y x"],
    *,
    threshold: float,
    min_kept: int,
    ignore: int = 255,
    align_corners: bool = False,
) -> Bool[Array, "b y x"]:
    """Where the probability of the label is below `threshold`, or among the smallest.

    Of the whole batch at least the `min_kept` hardest pixels an image are hard, fewer
    where their probabilities are equal; where there are no more pixels than that, all
    but the easiest. Pixels whose label is `ignore` are not. The logits are upsampled
    bilinearly to the labels' size; no gradient passes through the choice.
    """
    probability = _of_labels(jax.lax.stop_gradient(logits), labels, align_corners)
    counts = labels != ignore
    probability = jnp.where(counts, probability, jnp.inf)
    place = min(min_kept * len(labels), labels.size)
    place = jnp.minimum(place, counts.sum() - 1)
    return probability < jnp.maximum(_smallest(probability, place), threshold)


def _of_labels(
    logits: Float[Array, "b h w c"], labels: Int[Array, "b y x"], align_corners: bool
) -> Float[Array, "b y x"]:
    """The probability of each pixel's label, a band of rows at a time."""
    bands = resize.make_bands(
        logits.shape, labels.shape[1:], align_corners=align_corners
    )
    columns = bands.columns(logits)
    classes = jnp.arange(logits.shape[-1])[:, None]

    def put_band(i: Array, probability: Array) -> Array:
        p = jax.nn.softmax(bands.band(columns, i), axis=2)
        hit = bands.take(labels, i)[:, :, None] == classes
        return bands.put(probability, jnp.where(hit, p, 0).sum(2), i)

    start = jnp.zeros(labels.shape, columns.dtype)
    return jax.lax.fori_loop(0, bands.count, put_band, start)


def _smallest(values: Float[Array, "b y x"], place: Int[Array, ""]) -> Float[Array, ""]:
    """The value at `place`, counted from 0, of all (>= 0) in rising order.

    Found bit by bit: floats of one sign are ordered as their bits are. This takes a
    count for each bit, where sorting took longer and would gather what devices share.
    """
    width = 8 * values.dtype.itemsize
    bits = jax.lax.bitcast_convert_type(values, f"int{width}")

    def next_bit(i: Array, found: Array) -> Array:
        trial = found | (jnp.ones((), bits.dtype) << (width - 2 - i))
        return jnp.where((bits < trial).sum() <= place, trial, found)

    found = jax.lax.fori_loop(0, width - 1, next_bit, jnp.zeros((), bits.dtype))
    return jax.lax.bitcast_convert_type(found, values.dtype)
