"""What training minimizes."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def cross_entropy(
    logits: Float[Array, "b h w c"],
    labels: Int[Array, "b h w"],
    *,
    ignore: int = 255,
    class_weights: Sequence[float] = (),
    label_smoothing: float = 0.0,
) -> Float[Array, ""]:
    """Mean cross-entropy over the pixels whose label is not `ignore`.

    With `class_weights` the mean is weighted by the weight of each pixel's label, and
    `label_smoothing` mixes in the uniform distribution: both as
    torch.nn.functional.cross_entropy. 0 where no pixel counts.
    """
    num_classes = logits.shape[-1]
    counts = labels != ignore
    labels = jnp.where(counts, labels, 0)
    log_p = jax.nn.log_softmax(logits)
    weights = jnp.asarray(class_weights or [1.0] * num_classes, logits.dtype)
    picked = jnp.take_along_axis(log_p, labels[..., None], -1)[..., 0]
    weight = jnp.where(counts, weights[labels], 0)
    loss = -weight * picked
    if label_smoothing:
        uniform = jnp.where(counts, -(log_p * weights).mean(-1), 0)
        loss = (1 - label_smoothing) * loss + label_smoothing * uniform
    total = weight.sum()
    return loss.sum() / jnp.where(total > 0, total, 1)
