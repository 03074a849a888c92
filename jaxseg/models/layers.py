"""The parts all networks share, with torch's conventions: padding, epsilon, momentum.

Images are NHWC. Parameters and statistics are float32; `dtype` is that of computation.
"""

from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from jaxseg.models import batch_norm, convolution

# He initialization with fan-out, as torchvision's ResNet; and torch's default, for the
# classifiers, which no BatchNorm follows: the first loss is then near log(classes).
KERNEL_INIT = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")
CLASSIFIER_INIT = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


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
        kernel_init=CLASSIFIER_INIT if bias else KERNEL_INIT,
        conv_general_dilated=convolution.convolve,
        rngs=rngs,
    )


def block_output(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Names the output of a block for policies of what is kept (remat.py)."""
    return checkpoint_name(x, "block")


class BatchNorm(nnx.BatchNorm):
    """nnx.BatchNorm with torch's momentum and epsilon, computed in float32.

    The running variance is the biased one, where torch keeps n / (n - 1) times that.
    """

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        super().__init__(channels, momentum=0.9, epsilon=1e-5, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b h w c"], *, running: bool = False
    ) -> Float[Array, "b h w c"]:
        """Normalizes over batch and pixels; the result has the dtype of `x`.

        By the running statistics in evaluation, or where `running` asks for them.
        """
        if running or self.use_running_average:
            return super().__call__(x, use_running_average=True).astype(x.dtype)
        scale, bias = self.scale, self.bias
        assert scale is not None  # BatchNorm without is not made here
        assert bias is not None
        out, mean, variance = batch_norm.normalize(
            x, scale[...], bias[...], self.epsilon
        )
        for moving, new in ((self.mean, mean), (self.var, variance)):
            moving[...] = self.momentum * moving[...] + (1 - self.momentum) * new
        return out


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
