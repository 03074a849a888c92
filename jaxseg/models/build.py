"""A network from its config: a backbone, a head, perhaps an auxiliary head."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxseg import config as config_lib
from jaxseg import errors, resize
from jaxseg.models import deeplab, fcn, mobilenet, remat, resnet


class Output(NamedTuple):
    """Logits [B h w C] and the auxiliary head's, or None where there is none."""

    logits: Array
    aux: Array | None


class Segmenter(nnx.Module):
    """A backbone giving {stride: features} and the heads that read them."""

    def __init__(self, backbone, head, aux_head, *, align_corners: bool):
        self.backbone = backbone
        self.head = head
        self.aux_head = aux_head
        self.align_corners = align_corners

    def features(
        self,
        images: Float[Array, "b h w 3"],
        *,
        rngs: nnx.Rngs | None = None,
        keep: str = "all",
    ) -> Output:
        """Logits at the heads' own strides, in the dtype of computation.

        `images` are normalized; `rngs` feeds dropout and is needed in training mode;
        `keep` says what the backward pass finds (config.train.keep).
        """
        run = remat.part(lambda head, features, rngs: head(features, rngs), keep)
        features = self.backbone(images, keep=keep)
        logits = run(self.head, features, rngs)
        aux = run(self.aux_head, features, rngs) if self.aux_head else None
        return Output(logits, aux)

    def __call__(
        self, images: Float[Array, "b h w 3"], *, rngs: nnx.Rngs | None = None
    ) -> Output:
        """Float32 logits of the images' size (bilinear); `images` are normalized."""
        return self.upsample(self.features(images, rngs=rngs), images.shape[1:3])

    def upsample(self, output: Output, size: Sequence[int]) -> Output:
        """Brings both heads' logits to `size` = (height, width), in float32."""

        def grow(logits: Array) -> Array:
            logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
            return resize.resize(logits, size, align_corners=self.align_corners)

        aux = None if output.aux is None else grow(output.aux)
        return Output(grow(output.logits), aux)


def _resnet(model: config_lib.Model, rngs: nnx.Rngs) -> resnet.ResNet:
    return resnet.ResNet(
        model.backbone,
        output_stride=model.output_stride,
        stem=model.stem,
        width=model.width,
        padding=model.padding,
        contract_dilation=model.contract_dilation,
        dtype=model.dtype,
        rngs=rngs,
    )


def _mobilenet_v2(model: config_lib.Model, rngs: nnx.Rngs) -> mobilenet.MobileNetV2:
    return mobilenet.MobileNetV2(
        output_stride=model.output_stride,
        width=model.width,
        padding=model.padding,
        contract_dilation=model.contract_dilation,
        dtype=model.dtype,
        rngs=rngs,
    )


def _fcn(model: config_lib.Model, channels: dict[int, int], stride: int, rngs):
    return fcn.FCNHead(
        channels[stride],
        model.num_classes,
        stride=stride,
        dropout=model.dropout,
        dtype=model.dtype,
        rngs=rngs,
    )


def _deeplabv3(model: config_lib.Model, channels: dict[int, int], rngs):
    return deeplab.DeepLabV3Head(
        channels[32],
        model.num_classes,
        channels=model.head_channels,
        rates=_atrous_rates(model),
        dropout=model.dropout,
        dtype=model.dtype,
        rngs=rngs,
    )


def _deeplabv3plus(model: config_lib.Model, channels: dict[int, int], rngs):
    return deeplab.DeepLabV3PlusHead(
        channels[32],
        channels[4],
        model.num_classes,
        channels=model.head_channels,
        low_channels=model.low_level_channels,
        rates=_atrous_rates(model),
        separable=model.separable,
        dropout=model.dropout,
        align_corners=model.align_corners,
        dtype=model.dtype,
        rngs=rngs,
    )


def _atrous_rates(model: config_lib.Model) -> tuple[int, ...]:
    """12, 24 and 36 at output stride 8 and as many pixels apart at the others."""
    scale = 8 / model.output_stride
    return model.atrous_rates or tuple(int(rate * scale) for rate in (12, 24, 36))


BACKBONES: dict[str, Callable] = {
    "resnet18": _resnet,
    "resnet34": _resnet,
    "resnet50": _resnet,
    "resnet101": _resnet,
    "resnet152": _resnet,
    "mobilenet_v2": _mobilenet_v2,
}

HEADS: dict[str, Callable] = {
    "fcn": functools.partial(_fcn, stride=32),
    "deeplabv3": _deeplabv3,
    "deeplabv3plus": _deeplabv3plus,
}


def build_model(model: config_lib.Model, *, rngs: nnx.Rngs) -> Segmenter:
    """The network of a config, with random weights drawn from `rngs`, training mode.

    Raises UserError for unknown names or a missing class count.
    """
    for table, name in ((BACKBONES, model.backbone), (HEADS, model.head)):
        if name not in table:
            raise errors.UserError(f"{name!r} is not one of {', '.join(table)}")
    if model.num_classes < 2:
        raise errors.UserError(
            f"model.num_classes={model.num_classes} must be at least 2"
        )
    if model.dtype == "auto":
        dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
        model = dataclasses.replace(model, dtype=dtype)
    backbone = BACKBONES[model.backbone](model, rngs=rngs)
    head = HEADS[model.head](model, backbone.channels, rngs=rngs)
    aux_head = None
    if model.aux_head:
        aux_head = _fcn(model, backbone.channels, stride=16, rngs=rngs)
    return Segmenter(backbone, head, aux_head, align_corners=model.align_corners)
