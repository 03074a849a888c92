"""A depthwise convolution as shifted images, each scaled by one tap, added up.

On the CPU XLA's own takes 10 to 40 times as long (scripts/bench/conv.py).
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Pair = tuple[int, int]


def convolve(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "ky kx 1 c"],
    *,
    strides: Pair,
    padding: tuple[Pair, Pair],
    dilation: Pair,
    groups: int,
) -> Float[Array, "b y x c"]:
    """What lax.conv_general_dilated gives for as many groups as channels."""
    return _sum_of_taps((tuple(strides), tuple(dilation)), padding, x, kernel)


def _add_taps(steps: tuple[Pair, Pair], padding: tuple[Pair, Pair], x, kernel):
    """`steps` are strides and dilation."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    rows, columns = _shifts(steps, x, kernel)
    taps = [
        x[:, row, column] * kernel[i, j, 0]
        for i, row in enumerate(rows)
        for j, column in enumerate(columns)
    ]
    return functools.reduce(jnp.add, taps)


_sum_of_taps = jax.custom_vjp(_add_taps, nondiff_argnums=(0, 1))


def _sum_of_taps_forward(steps, padding, x, kernel):
    return _add_taps(steps, padding, x, kernel), (x, kernel)


def _sum_of_taps_backward(steps, padding, saved, slope):
    """JAX's own derivative for the kernel would keep a copy of `x` for every tap."""
    x, kernel = saved
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    rows, columns = _shifts(steps, padded, kernel)

    def add_row(i, sums):
        image, y = i // slope.shape[1], i % slope.shape[1]
        slope_row = slope[image, y]
        return [
            [
                old + padded[image, row.start + y * steps[0][0]][column] * slope_row
                for old, column in zip(old_row, columns, strict=True)
            ]
            for old_row, row in zip(sums, rows, strict=True)
        ]

    dtype = jnp.promote_types(x.dtype, jnp.float32)  # in bfloat16 long sums stand still
    zeros = [[jnp.zeros(slope.shape[2:], dtype) for _ in columns] for _ in rows]
    sums = jax.lax.fori_loop(0, len(x) * slope.shape[1], add_row, zeros)
    kernel_slope = jnp.array(sums).sum(2)[:, :, None].astype(kernel.dtype)
    return _image_slope(steps, padding, x, kernel, slope), kernel_slope


def _image_slope(steps, padding, x, kernel, slope):
    """The gradient for the image: the slope, spread out, through the turned kernel."""
    sizes = x.shape[1:3], slope.shape[1:3], kernel.shape[:2]
    pads = [
        (d * (k - 1) - low, n + low - stride * (m - 1) - 1, stride - 1)
        for n, m, k, stride, d, (low, _) in zip(*sizes, *steps, padding, strict=True)
    ]
    around = [(0, 0, 0), *pads, (0, 0, 0)]
    spread = jax.lax.pad(slope, jnp.zeros((), slope.dtype), around)
    return _add_taps(((1, 1), steps[1]), ((0, 0), (0, 0)), spread, kernel[::-1, ::-1])


_sum_of_taps.defvjp(_sum_of_taps_forward, _sum_of_taps_backward)


def _shifts(steps, x, kernel) -> list[list[slice]]:
    """For rows and for columns the pixels that each tap sees."""
    return [
        [slice(i * d, n - d * (k - 1) + i * d, stride) for i in range(k)]
        for stride, d, k, n in zip(*steps, kernel.shape[:2], x.shape[1:3], strict=True)
    ]
