"""MobileNetV2 (Sandler et al., arXiv 1801.04381) as a backbone.

The last 1x1 convolution (320 to 1280 channels) belongs to the classifier and is left
out, as in DeepLab; strides become dilation as in resnet.py.
"""

from flax import nnx
from jaxtyping import Array, Float

from jaxseg.models import layers, remat

# (expansion, channels, blocks, stride) of each group: Table 2 of the paper.
GROUPS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def scale_channels(channels: int, width: int) -> int:
    """Channels at another width (64 is published): a multiple of 8, at most 10 % off.

    The rounding of tensorflow/models' mobilenet, which torchvision follows.
    """
    exact = channels * width / 64
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


class InvertedResidual(nnx.Module):
    """1x1 expansion, 3x3 depthwise and linear 1x1 convolution; shortcut if it fits."""

    def __init__(
        self, in_channels, channels, *, expansion, stride, dilation, padding, **options
    ):
        hidden = in_channels * expansion
        self.expand = (
            layers.ConvNorm(in_channels, hidden, 1, activation=nnx.relu6, **options)
            if expansion > 1
            else None
        )
        self.depthwise = layers.ConvNorm(
            hidden,
            hidden,
            3,
            stride=stride,
            dilation=dilation,
            groups=hidden,
            padding=padding,
            activation=nnx.relu6,
            **options,
        )
        self.project = layers.ConvNorm(hidden, channels, 1, activation=None, **options)
        self.has_shortcut = stride == 1 and in_channels == channels

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b y x o"]:
        """Maps [B H W in] to [B H/stride W/stride channels]."""
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return layers.block_output(x + y if self.has_shortcut else y)


class MobileNetV2(nnx.Module):
    """Returns the last map of each stride of the undilated network: 2, 4, .., 32."""

    def __init__(
        self,
        *,
        output_stride: int,
        width: int,
        padding: str,
        contract_dilation: bool,
        dtype: str,
        rngs: nnx.Rngs,
    ):
        options = {"padding": padding, "dtype": dtype, "rngs": rngs}
        in_channels = scale_channels(32, width)
        self.stem = layers.ConvNorm(
            3, in_channels, 3, stride=2, activation=nnx.relu6, **options
        )
        self.channels: dict[int, int] = {}
        blocks, strides = [], []
        nominal, dilation = 2, 1
        for expansion, channels, num_blocks, group_stride in GROUPS:
            nominal, stride, before = nominal * group_stride, group_stride, dilation
            if nominal > output_stride and group_stride > 1:
                stride, dilation = 1, dilation * group_stride
            first = before if contract_dilation else dilation
            channels = scale_channels(channels, width)
            for j in range(num_blocks):
                blocks.append(
                    InvertedResidual(
                        in_channels,
                        channels,
                        expansion=expansion,
                        stride=stride if j == 0 else 1,
                        dilation=first if j == 0 else dilation,
                        **options,
                    )
                )
                in_channels = channels
                strides.append(nominal)
            self.channels[nominal] = channels
        self.blocks = nnx.List(blocks)
        self.strides = tuple(strides)

    def __call__(
        self, images: Float[Array, "b h w 3"], *, keep: str = "all"
    ) -> dict[int, Array]:
        """Maps images to {2: .., 4: .., 8: .., 16: .., 32: ..}, each [B h w c].

        `keep` says what the backward pass finds (config.train.keep).
        """
        stages: dict[int, list[nnx.Module]] = {2: [self.stem]}
        for stride, block in zip(self.strides, self.blocks, strict=True):
            stages.setdefault(stride, []).append(block)
        x, features = images, {}
        for stride, stage in stages.items():
            x = features[stride] = remat.part(remat.in_turn, keep)(stage, x)
        return features
