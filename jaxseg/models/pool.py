"""Pooling as in torch."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


def max_pool(x: Float[Array, "b h w c"], padding: str) -> Float[Array, "b y x c"]:
    """3x3 maximum at stride 2, padded by 1 (or by TensorFlow's rule) with -inf.

    Of equal pixels the first one gets the gradient.
    """
    pads: Any = ((1, 1), (1, 1))
    if padding == "same":
        pads = jax.lax.padtype_to_pads(x.shape[1:3], (3, 3), (2, 2), "SAME")
    if jax.default_backend() != "cpu":
        return nnx.max_pool(x, window_shape=(3, 3), strides=(2, 2), padding=pads)
    # XLA's CPU backend takes 4 times as long for the gradient of a window's maximum.
    # Columns first: then of equal ones the first in the order of rows is left.
    return _max_along(1, _max_along(2, x, pads[1]), pads[0])


def _max_along(axis: int, x: Array, pads: tuple[int, int]) -> Array:
    """The largest of three neighbors, at every second pixel."""
    around = [(*pads, 0) if i == axis else (0, 0, 0) for i in range(x.ndim)]
    x = jax.lax.pad(x, jnp.array(-jnp.inf, x.dtype), around)
    end = x.shape[axis] - 2
    parts = [jax.lax.slice_in_dim(x, i, i + end, 2, axis) for i in range(3)]
    return functools.reduce(_larger, parts)


def _larger(a: Array, b: Array) -> Array:
    """The first of equal ones; NaN if one is."""
    return jnp.where((b > a) | jnp.isnan(b), b, a)


def avg_pool(x: Float[Array, "b h w c"], stride: int) -> Float[Array, "b y x c"]:
    """Mean over stride x stride squares, those cut by the edge over what they hold."""
    pad: Any = [(0, -size % stride) for size in x.shape[1:3]]
    return nnx.avg_pool(
        x,
        window_shape=(stride, stride),
        strides=(stride, stride),
        padding=pad,
        count_include_pad=False,
    )
