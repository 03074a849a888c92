"""DeepLabV3 (Chen et al., arXiv 1706.05587) and DeepLabV3+ (arXiv 1802.02611) heads.

V3 is torchvision's (models/segmentation/deeplabv3.py); V3+ is that of
segmentation_models.pytorch (decoders/deeplabv3/decoder.py).
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxseg import resize
from jaxseg.models import layers


class ImagePooling(nnx.Module):
    """The mean over the image, through a 1x1 convolution, at every pixel."""

    def __init__(self, in_channels: int, channels: int, *, dtype, rngs: nnx.Rngs):
        self.conv = layers.conv(in_channels, channels, 1, dtype=dtype, rngs=rngs)
        self.bn = layers.BatchNorm(channels, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h w o"]:
        """Maps [B H W in] to [B H W channels], constant over each image."""
        y = self.conv(x.mean((1, 2), keepdims=True))
        # One image gives BatchNorm one value, whose variance is 0: it would learn
        # running statistics that ruin evaluation, so it keeps those it has.
        y = self.bn(y, running=x.shape[0] == 1)
        return jnp.broadcast_to(nnx.relu(y), (*x.shape[:3], y.shape[-1]))


class ASPP(nnx.Module):
    """Atrous spatial pyramid pooling: 1x1, dilated 3x3 and image pooling, projected."""

    def __init__(
        self, in_channels, channels, *, rates, separable, dropout, dtype, rngs
    ):
        options = {"dtype": dtype, "rngs": rngs}
        block = layers.SeparableConvNorm if separable else layers.ConvNorm
        self.convs = nnx.List(
            [layers.ConvNorm(in_channels, channels, 1, **options)]
            + [block(in_channels, channels, 3, dilation=r, **options) for r in rates]
        )
        self.pooling = ImagePooling(in_channels, channels, **options)
        branches = len(rates) + 2
        self.project = layers.ConvNorm(branches * channels, channels, 1, **options)
        self.dropout = nnx.Dropout(0.5 if dropout is None else dropout)

    def __call__(
        self, x: Float[Array, "b h w i"], rngs: nnx.Rngs | None
    ) -> Float[Array, "b h w o"]:
        """Maps [B H W in] to [B H W channels]."""
        branches = [conv(x) for conv in self.convs] + [self.pooling(x)]
        return self.dropout(self.project(jnp.concatenate(branches, -1)), rngs=rngs)


class DeepLabV3Head(nnx.Module):
    """ASPP, a 3x3 and a 1x1 convolution on the last feature map."""

    def __init__(
        self, in_channels, num_classes, *, channels, rates, dropout, **options
    ):
        self.aspp = ASPP(
            in_channels,
            channels,
            rates=rates,
            separable=False,
            dropout=dropout,
            **options,
        )
        self.refine = layers.ConvNorm(channels, channels, 3, **options)
        self.classifier = layers.conv(channels, num_classes, 1, bias=True, **options)

    def __call__(
        self, features: dict[int, Array], rngs: nnx.Rngs | None
    ) -> Float[Array, "b h w c"]:
        """Maps {32: last feature map, ..} to logits of that map's size."""
        return self.classifier(self.refine(self.aspp(features[32], rngs)))


class DeepLabV3PlusHead(nnx.Module):
    """ASPP, joined at stride 4 by low-level features and refined by a 3x3."""

    def __init__(
        self,
        in_channels,
        low_in_channels,
        num_classes,
        *,
        channels,
        low_channels,
        rates,
        separable,
        dropout,
        align_corners,
        **options,
    ):
        block = layers.SeparableConvNorm if separable else layers.ConvNorm
        self.align_corners = align_corners
        self.aspp = ASPP(
            in_channels,
            channels,
            rates=rates,
            separable=separable,
            dropout=dropout,
            **options,
        )
        self.refine = block(channels, channels, 3, **options)
        self.low_level = layers.ConvNorm(low_in_channels, low_channels, 1, **options)
        self.fuse = block(channels + low_channels, channels, 3, **options)
        self.classifier = layers.conv(channels, num_classes, 1, bias=True, **options)

    def __call__(
        self, features: dict[int, Array], rngs: nnx.Rngs | None
    ) -> Float[Array, "b h w c"]:
        """Maps {4: .., 32: ..} to logits at stride 4."""
        low = self.low_level(features[4])
        x = self.refine(self.aspp(features[32], rngs))
        x = resize.resize(x, low.shape[1:3], align_corners=self.align_corners)
        return self.classifier(self.fuse(jnp.concatenate([x, low], -1)))
