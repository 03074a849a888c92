"""One convolution, in whichever of five forms is fastest for its shape and device.

All forms compute the same sums (to rounding). The rule of `choose_form` rests on
scripts/bench/conv.py; its table is in docs/performance.md.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from jaxseg.models import depthwise, kernel_gradient

Pair = tuple[int, int]

# Least dilation, as a share of the map's smaller side, for which so many taps of a 3x3
# kernel fall outside the map that it pays to compute the others one by one.
_LARGE_DILATION = 0.2


def convolve(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "ky kx g o"],
    strides: Sequence[int],
    padding: str | Sequence[Pair],
    *,
    rhs_dilation: Sequence[int],
    feature_group_count: int,
    **_: Any,
) -> Float[Array, "b y x o"]:
    """What lax.conv_general_dilated gives for NHWC images and HWIO kernels.

    Has that function's signature, so that nnx.Conv can call it. The result is named
    "conv" for policies of what the backward pass keeps (remat.py).
    """
    if isinstance(padding, str):
        spans = _spans(kernel, rhs_dilation)
        padding = jax.lax.padtype_to_pads(x.shape[1:3], spans, strides, padding)
    settings = {
        "strides": tuple(strides),
        "dilation": tuple(rhs_dilation),
        "groups": feature_group_count,
    }
    form = choose_form(kernel.shape, x.shape[1:3], **settings)
    pads = tuple(map(tuple, padding))
    function = functools.partial(FORMS[form], padding=pads, **settings)
    if jax.default_backend() == "cpu":
        function = _gradients_together(function)
    return checkpoint_name(function(x, kernel), "conv")


def choose_form(
    kernel_shape: Sequence[int],
    size: Sequence[int],
    *,
    strides: Pair,
    dilation: Pair,
    groups: int,
) -> str:
    """The name of the form for images of `size`; elsewhere than on the CPU `plain`."""
    possible = possible_forms(kernel_shape, strides=strides, groups=groups)
    if jax.default_backend() != "cpu":
        return "plain"
    if "taps" in possible and max(dilation) < _LARGE_DILATION * min(size):
        possible.remove("taps")
    return possible[-1]


def possible_forms(
    kernel_shape: Sequence[int], *, strides: Pair, groups: int
) -> list[str]:
    """The names of the forms that can compute it, the most special last."""
    if kernel_shape[2] == 1 and groups == kernel_shape[3] > 1:
        return ["plain", "depthwise"]
    if groups > 1:
        return ["plain"]
    if tuple(kernel_shape[:2]) == (1, 1):
        return ["plain", "mixed", "matmul"]
    if tuple(strides) == (1, 1):
        return ["plain", "mixed", "taps"]
    return ["plain", "mixed"]


def _gradients_together(function):
    """A function of image and kernel whose two gradients are there at once.

    XLA's CPU backend would put off the kernels' gradients of all layers to the end of
    the backward pass, and keep until then what they are made from.
    """

    def forward(*inputs):
        # Of an input that nothing asks the gradient of, none is computed.
        values = [each.value for each in inputs]
        wanted = {i: each.value for i, each in enumerate(inputs) if each.perturbed}

        def of_wanted(wanted):
            return function(*[wanted.get(i, v) for i, v in enumerate(values)])

        return jax.vjp(of_wanted, wanted)

    def backward(pull, slope):
        (slopes,) = jax.lax.optimization_barrier(pull(slope))
        return tuple(slopes.get(i) for i in range(2))

    together = jax.custom_vjp(function)
    together.defvjp(forward, backward, symbolic_zeros=True)
    return together


def _plain(x, kernel, *, strides, padding, dilation, groups):
    """XLA's own."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        rhs_dilation=dilation,
        feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _mixed(x, kernel, *, groups, **settings):
    """XLA's own, but for the kernel's gradient."""
    plain = functools.partial(_plain, groups=groups, **settings)

    def forward(x, kernel):
        return plain(x, kernel), (x, kernel)

    def backward(saved, slope):
        x, kernel = saved
        _, pull = jax.vjp(lambda x: plain(x, kernel), x)
        size = kernel.shape[:2]
        return *pull(slope), kernel_gradient.kernel_gradient(x, slope, size, **settings)

    mixed = jax.custom_vjp(plain)
    mixed.defvjp(forward, backward)
    return mixed(x, kernel)


def _matmul(x, kernel, *, strides, padding, dilation, groups):
    """A 1x1 convolution as a product of matrices, of the pixels it keeps alone."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))[:, :: strides[0], :: strides[1]]
    return _product(x, kernel[0, 0])


def _taps(x, kernel, *, strides, padding, dilation, groups):
    """A matrix product a tap, over only the pixels whose input lies inside the image.

    At stride 1. Taps that see nothing but padding cost nothing.
    """
    (rows, height), (columns, width) = (
        _tap_ranges(
            x.shape[axis + 1], kernel.shape[axis], dilation[axis], padding[axis]
        )
        for axis in (0, 1)
    )
    out = jnp.zeros((x.shape[0], height, width, kernel.shape[3]), x.dtype)
    # Split, as the gradient of a piece is then no sum over arrays of the whole kernel.
    pieces = jnp.split(kernel.reshape(-1, *kernel.shape[2:]), len(rows) * len(columns))
    for i, (top, bottom, y) in enumerate(rows):
        for j, (left, right, z) in enumerate(columns):
            if top < bottom and left < right:
                part = x[:, top + y : bottom + y, left + z : right + z]
                part = _product(part, pieces[i * len(columns) + j][0])
                around = ((top, height - bottom), (left, width - right))
                out += jnp.pad(part, ((0, 0), *around, (0, 0)))
    return out


def _tap_ranges(size: int, taps: int, dilation: int, padding: Pair):
    """([(first output, end, offset of its input) of each tap], size of the output)."""
    out_size = size + sum(padding) - dilation * (taps - 1)
    offsets = [i * dilation - padding[0] for i in range(taps)]
    ranges = [(max(0, -k), min(out_size, size - k), k) for k in offsets]
    return ranges, out_size


def _spans(kernel: Array, dilation: Sequence[int]) -> list[int]:
    """How many pixels the dilated kernel covers, by axis."""
    return [d * (k - 1) + 1 for d, k in zip(dilation, kernel.shape[:2], strict=True)]


def _product(x: Float[Array, "b h w i"], matrix: Float[Array, "i o"]) -> Array:
    """Every pixel's channels times a matrix."""
    flat = x.reshape(-1, x.shape[-1]) @ matrix
    return flat.reshape(*x.shape[:-1], -1)


FORMS = {
    "plain": _plain,
    "mixed": _mixed,
    "matmul": _matmul,
    "depthwise": depthwise.convolve,
    "taps": _taps,
}
