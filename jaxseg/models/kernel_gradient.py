"""The gradient of a convolution's kernel, as products of matrices.

On the CPU XLA's own takes 1 to 3 times as long (scripts/bench/conv.py).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Pair = tuple[int, int]


def kernel_gradient(
    x: Float[Array, "b h w i"],
    slope: Float[Array, "b y x o"],
    size: Sequence[int],
    *,
    strides: Pair,
    padding: tuple[Pair, Pair],
    dilation: Pair,
) -> Float[Array, "ky kx i o"]:
    """What a kernel of `size` (ky, kx) gets for the gradient `slope` of the output.

    Every tap's is the product of the pixels that it saw with the slope.
    """
    if tuple(strides) == (1, 1):
        return _by_slopes(x, slope, size, padding, dilation)
    return _by_windows(x, slope, size, strides, padding, dilation)


def _by_slopes(x, slope, size, padding, dilation):
    """A product for each tap, with the slope moved to the pixels that the tap saw.

    One copy of `x` with pixels last serves all of them.
    """
    spans = [d * (k - 1) for d, k in zip(dilation, size, strict=True)]
    around = [
        (span - low, span - high, 0)
        for span, (low, high) in zip(spans, padding, strict=True)
    ]
    zero = jnp.zeros((), slope.dtype)
    slope = jax.lax.pad(slope, zero, [(0, 0, 0), *around, (0, 0, 0)])
    rows, columns = (
        [slice(span - i * d, span - i * d + n) for i in range(k)]
        for span, d, k, n in zip(spans, dilation, size, x.shape[1:3], strict=True)
    )
    # Barriers, as else every product would make that copy anew, from what makes `x`.
    turned = _kept(_kept(x).reshape(-1, x.shape[-1]).T)
    taps = [
        turned @ _kept(slope[:, row, column].reshape(-1, slope.shape[-1]))
        for row in rows
        for column in columns
    ]
    return jnp.stack(taps).reshape(*size, *taps[0].shape)


def _by_windows(x, slope, size, strides, padding, dilation):
    """A product for each row of taps, their pixels side by side."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    rows, columns = (
        [slice(i * d, i * d + stride * (m - 1) + 1, stride) for i in range(k)]
        for d, k, m, stride in zip(
            dilation, size, slope.shape[1:3], strides, strict=True
        )
    )
    flat = slope.reshape(-1, slope.shape[-1])
    taps = []
    for row in rows:
        seen = jnp.concatenate([x[:, row, column] for column in columns], -1)
        taps.append((flat.T @ seen.reshape(len(flat), -1)).T)
    return jnp.stack(taps).reshape(*size, x.shape[-1], slope.shape[-1])


_kept = jax.lax.optimization_barrier
