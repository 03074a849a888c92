"""The FCN head (Long et al., arXiv 1411.4038) as torchvision has it; also auxiliary."""

from flax import nnx
from jaxtyping import Array, Float

from jaxseg.models import layers


class FCNHead(nnx.Module):
    """3x3 convolution to a quarter of the channels, dropout, 1x1 to the classes."""

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        stride: int,
        dropout: float | None,
        dtype: str,
        rngs: nnx.Rngs,
    ):
        self.stride = stride
        hidden = max(in_channels // 4, 1)
        self.block = layers.ConvNorm(in_channels, hidden, 3, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(0.1 if dropout is None else dropout)
        self.classifier = layers.conv(
            hidden, num_classes, 1, bias=True, dtype=dtype, rngs=rngs
        )

    def __call__(
        self, features: dict[int, Array], rngs: nnx.Rngs | None
    ) -> Float[Array, "b h w c"]:
        """Maps {stride: feature map, ..} to logits of that map's size."""
        x = self.dropout(self.block(features[self.stride]), rngs=rngs)
        return self.classifier(x)
