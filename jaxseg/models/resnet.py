"""ResNet (He et al., arXiv 1512.03385) in its v1.5 form: stride in the 3x3 convolution.

Output strides below 32 replace strides by dilation (torchvision/models/resnet.py).
`stem` "c" and "d" are ResNet-C and ResNet-D of He et al., arXiv 1812.01187.
"""

from flax import nnx
from jaxtyping import Array, Float

from jaxseg.models import layers, pool, remat

STAGE_SIZES = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}


class Shortcut(nnx.Module):
    """1x1 convolution where a block changes shape; ResNet-D pools before it."""

    def __init__(self, in_channels, channels, stride, *, pool, dtype, rngs):
        self.pool_stride = stride if pool else 1
        self.conv = layers.conv(
            in_channels,
            channels,
            1,
            stride=1 if pool else stride,
            dtype=dtype,
            rngs=rngs,
        )
        self.bn = layers.BatchNorm(channels, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b y x o"]:
        """Maps [B H W in] to the shape of the block's output."""
        if self.pool_stride > 1:
            x = pool.avg_pool(x, self.pool_stride)
        return self.bn(self.conv(x))


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions, the first with the block's stride."""

    expansion = 1

    def __init__(self, in_channels, channels, *, stride, dilations, pool, dtype, rngs):
        first, second = dilations
        self.conv1 = layers.conv(
            in_channels,
            channels,
            3,
            stride=stride,
            dilation=first,
            dtype=dtype,
            rngs=rngs,
        )
        self.bn1 = layers.BatchNorm(channels, rngs=rngs)
        self.conv2 = layers.conv(
            channels, channels, 3, dilation=second, dtype=dtype, rngs=rngs
        )
        self.bn2 = layers.BatchNorm(channels, rngs=rngs)
        self.downsample = (
            Shortcut(in_channels, channels, stride, pool=pool, dtype=dtype, rngs=rngs)
            if stride > 1 or in_channels != channels
            else None
        )

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b y x o"]:
        """Maps [B H W in] to [B H/stride W/stride channels]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = nnx.relu(self.bn1(self.conv1(x)))
        return layers.block_output(nnx.relu(self.bn2(self.conv2(x)) + shortcut))


class Bottleneck(nnx.Module):
    """1x1, 3x3 (with the block's stride and dilation) and 1x1 convolution."""

    expansion = 4

    def __init__(self, in_channels, channels, *, stride, dilations, pool, dtype, rngs):
        out_channels = channels * self.expansion
        self.conv1 = layers.conv(in_channels, channels, 1, dtype=dtype, rngs=rngs)
        self.bn1 = layers.BatchNorm(channels, rngs=rngs)
        self.conv2 = layers.conv(
            channels,
            channels,
            3,
            stride=stride,
            dilation=dilations[0],
            dtype=dtype,
            rngs=rngs,
        )
        self.bn2 = layers.BatchNorm(channels, rngs=rngs)
        self.conv3 = layers.conv(channels, out_channels, 1, dtype=dtype, rngs=rngs)
        self.bn3 = layers.BatchNorm(out_channels, rngs=rngs)
        self.downsample = (
            Shortcut(
                in_channels, out_channels, stride, pool=pool, dtype=dtype, rngs=rngs
            )
            if stride > 1 or in_channels != out_channels
            else None
        )

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b y x o"]:
        """Maps [B H W in] to [B H/stride W/stride 4*channels]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = nnx.relu(self.bn1(self.conv1(x)))
        x = nnx.relu(self.bn2(self.conv2(x)))
        return layers.block_output(nnx.relu(self.bn3(self.conv3(x)) + shortcut))


class DeepStem(nnx.Module):
    """Three 3x3 convolutions in place of the 7x7, the first at stride 2."""

    def __init__(self, width, *, padding, dtype, rngs):
        half = width // 2
        self.conv1 = layers.ConvNorm(
            3, half, 3, stride=2, padding=padding, dtype=dtype, rngs=rngs
        )
        self.conv2 = layers.ConvNorm(half, half, 3, dtype=dtype, rngs=rngs)
        self.conv3 = layers.conv(half, width, 3, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w 3"]) -> Float[Array, "b y x c"]:
        """Maps [B H W 3] to [B H/2 W/2 width], before normalization."""
        return self.conv3(self.conv2(self.conv1(x)))


class ResNet(nnx.Module):
    """Returns the output of every stage by its stride in the undilated network.

    The keys 4, 8, 16 and 32 name stages 1 to 4 at any output stride; with
    output_stride=8 the maps of 16 and 32 are no smaller than that of 8.
    """

    def __init__(
        self,
        name: str,
        *,
        output_stride: int,
        stem: str,
        width: int,
        padding: str,
        contract_dilation: bool,
        dtype: str,
        rngs: nnx.Rngs,
    ):
        block = BasicBlock if name in ("resnet18", "resnet34") else Bottleneck
        self.channels = {4 << i: width * block.expansion << i for i in range(4)}
        self.padding = padding
        if stem == "7x7":
            self.conv1 = layers.conv(
                3, width, 7, stride=2, padding=padding, dtype=dtype, rngs=rngs
            )
        else:
            self.conv1 = DeepStem(width, padding=padding, dtype=dtype, rngs=rngs)
        self.bn1 = layers.BatchNorm(width, rngs=rngs)
        stages, in_channels, dilation = [], width, 1
        for i, num_blocks in enumerate(STAGE_SIZES[name]):
            stride, before = (1 if i == 0 else 2), dilation
            if 4 << i > output_stride:
                stride, dilation = 1, dilation * stride
            first = before if contract_dilation else dilation
            stage = []
            for j in range(num_blocks):
                stage.append(
                    block(
                        in_channels,
                        width << i,
                        stride=stride if j == 0 else 1,
                        dilations=(first if j == 0 else dilation, dilation),
                        pool=stem == "d",
                        dtype=dtype,
                        rngs=rngs,
                    )
                )
                in_channels = (width << i) * block.expansion
            stages.append(nnx.List(stage))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages

    def __call__(
        self, images: Float[Array, "b h w 3"], *, keep: str = "all"
    ) -> dict[int, Array]:
        """Maps images to {4: .., 8: .., 16: .., 32: ..}, each [B h w channels].

        `keep` says what the backward pass finds (config.train.keep).
        """

        def stem(conv, bn, images):
            return pool.max_pool(nnx.relu(bn(conv(images))), self.padding)

        x = remat.part(stem, keep)(self.conv1, self.bn1, images)
        features = {}
        stages = (self.layer1, self.layer2, self.layer3, self.layer4)
        for stride, stage in zip((4, 8, 16, 32), stages, strict=True):
            x = features[stride] = remat.part(remat.in_turn, keep)(stage, x)
        return features
