"""The parts all networks share, with torch's conventions: padding, epsilon, momentum.

Images are NHWC. Parameters and statistics are float32; `dtype` is that of computation.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

# He initialization with fan-out, as torchvision's ResNet.
KERNEL_INIT = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")


def conv(
    in_channels: int,
    out_channels: int,
    kernel: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = False,
    padding: str = "symmetric",
    dtype: str = "float32",
    rngs: nnx.Rngs,
) -> nnx.Conv:
    """A convolution padded by dilation * (kernel - 1) / 2 on every side, as in torch.

    With padding="same" TensorFlow's rule holds: as little as the output's size
    ceil(size / stride) needs, the odd pixel after the image.
    """
    pad = dilation * (kernel - 1) // 2
    return nnx.Conv(
        in_channels,
        out_channels,
        (kernel, kernel),
        strides=stride,
        padding="SAME" if padding == "same" else ((pad, pad), (pad, pad)),
        kernel_dilation=dilation,
        feature_group_count=groups,
        use_bias=bias,
        dtype=dtype,
        kernel_init=KERNEL_INIT,
        conv_general_dilated=_convolve,
        rngs=rngs,
    )


def _convolve(x: Array, kernel: Array, strides, padding, **options) -> Array:
    """lax.conv_general_dilated, but for depthwise convolutions on the CPU.

    XLA's CPU backend takes 10 to 40 times as long for these as for the sum of their
    taps, 7 times with gradients (measured at 64x80x192 and 16x20x576, d = 1 and 12).
    """
    depthwise = kernel.shape[2] == 1 and kernel.shape[3] == x.shape[3] > 1
    if depthwise and jax.default_backend() == "cpu":
        return _sum_of_taps(x, kernel, strides, padding, options["rhs_dilation"])
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)


def _sum_of_taps(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "k k 1 c"],
    strides,
    padding,
    dilation,
) -> Float[Array, "b y x c"]:
    """A depthwise convolution as shifted images, each scaled by one tap, added up."""
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel.shape[:2], strict=True)]
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(x.shape[1:3], spans, strides, padding)
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    rows, columns = (
        [slice(i * d, n - span + i * d + 1, stride) for i in range(k)]
        for d, k, n, span, stride in zip(
            dilation, kernel.shape[:2], x.shape[1:3], spans, strides, strict=True
        )
    )
    taps = [
        x[:, row, column] * kernel[i, j, 0]
        for i, row in enumerate(rows)
        for j, column in enumerate(columns)
    ]
    return functools.reduce(jnp.add, taps)


class BatchNorm(nnx.BatchNorm):
    """nnx.BatchNorm with torch's momentum and epsilon, computed in float32.

    The running variance is the biased one, where torch keeps n / (n - 1) times that.
    """

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        super().__init__(
            channels, momentum=0.9, epsilon=1e-5, use_fast_variance=False, rngs=rngs
        )

    def __call__(self, x: Float[Array, "b h w c"], **kwargs) -> Float[Array, "b h w c"]:
        """Normalizes over batch and pixels; the result has the dtype of `x`."""
        return super().__call__(x, **kwargs).astype(x.dtype)


class ConvNorm(nnx.Module):
    """Convolution and BatchNorm, then ReLU (or another activation, or None)."""

    def __init__(
        self, in_channels, out_channels, kernel, *, activation=nnx.relu, rngs, **options
    ):
        self.conv = conv(in_channels, out_channels, kernel, rngs=rngs, **options)
        self.bn = BatchNorm(out_channels, rngs=rngs)
        self.activation = activation

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b y x o"]:
        """Maps [B H W in] to [B H/stride W/stride out]."""
        x = self.bn(self.conv(x))
        return x if self.activation is None else self.activation(x)


class SeparableConvNorm(nnx.Module):
    """A depthwise and a 1x1 convolution, then BatchNorm and ReLU."""

    def __init__(
        self, in_channels, out_channels, kernel, *, dilation=1, dtype="float32", rngs
    ):
        self.depthwise = conv(
            in_channels,
            in_channels,
            kernel,
            dilation=dilation,
            groups=in_channels,
            dtype=dtype,
            rngs=rngs,
        )
        self.pointwise = conv(in_channels, out_channels, 1, dtype=dtype, rngs=rngs)
        self.bn = BatchNorm(out_channels, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h w o"]:
        """Maps [B H W in] to [B H W out]."""
        return nnx.relu(self.bn(self.pointwise(self.depthwise(x))))


def max_pool(x: Float[Array, "b h w c"], padding: str) -> Float[Array, "b y x c"]:
    """3x3 maximum at stride 2, padded by 1 (or by TensorFlow's rule) with -inf."""
    pad: Any = "SAME" if padding == "same" else ((1, 1), (1, 1))
    return nnx.max_pool(x, window_shape=(3, 3), strides=(2, 2), padding=pad)


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


def interpolation_matrix(
    size: int, new_size: int, *, align_corners: bool = False, dtype="float32"
) -> Float[Array, "new old"]:
    """Rows of bilinear weights that resample `size` samples at `new_size` places.

    Half-pixel centers without antialiasing, or with corners aligned: both as
    torch.nn.functional.interpolate. Places are computed in integers, so the weights
    are exact to rounding (float32 places are off by 3e-5 of a pixel at 513).
    """
    i = jnp.arange(new_size)
    if align_corners:
        place, unit = i * (size - 1), max(new_size - 1, 1)
    else:
        place, unit = (2 * i + 1) * size - new_size, 2 * new_size
    place = jnp.clip(place, 0, (size - 1) * unit)
    low, weight = place // unit, (place % unit / unit).astype(dtype)
    columns = jnp.arange(size)
    at_low = columns == low[:, None]
    at_high = columns == jnp.minimum(low + 1, size - 1)[:, None]
    return at_low * (1 - weight)[:, None] + at_high * weight[:, None]


def resize(
    x: Float[Array, "b h w c"], size: Sequence[int], *, align_corners: bool = False
) -> Float[Array, "b y x c"]:
    """Bilinear resampling to `size`, in the dtype of `x`; see interpolation_matrix."""
    options = {"align_corners": align_corners, "dtype": x.dtype}
    rows = interpolation_matrix(x.shape[1], size[0], **options)
    columns = interpolation_matrix(x.shape[2], size[1], **options)
    precision = None if x.dtype == jnp.bfloat16 else jax.lax.Precision.HIGHEST
    x = jnp.einsum("yh,bhwc->bywc", rows, x, precision=precision)
    return jnp.einsum("xw,bywc->byxc", columns, x, precision=precision)
