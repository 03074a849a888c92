"""Class maps from images, as one program."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, UInt8

from jaxseg import augment, resize
from jaxseg.models import names


def make_predictor(
    graphdef: nnx.GraphDef,
    *,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> Callable[[names.Variables, Array], Array]:
    """A function (variables, images) -> classes, to be jitted by its user.

    `graphdef` is that of a model in evaluation mode.
    """

    def predict(
        variables: names.Variables, images: UInt8[Array, "b h w 3"]
    ) -> Int[Array, "b h w"]:
        model = names.merge(graphdef, variables)
        output = model.features(augment.normalize(images, mean=mean, std=std))
        return upsampled_argmax(
            output.logits, images.shape[1:3], align_corners=model.align_corners
        )

    return predict


def upsampled_argmax(
    logits: Float[Array, "b h w c"],
    size: Sequence[int],
    *,
    align_corners: bool = False,
) -> Int[Array, "b y x"]:
    """The class of the largest logit, int32, after bilinear upsampling to `size`.

    A band of rows at a time: only a band of logits exists at full resolution.
    """
    bands = resize.make_bands(logits.shape, size, align_corners=align_corners)
    columns = bands.columns(logits)

    def put_band(i: Array, classes: Array) -> Array:
        return bands.put(classes, resize.argmax(bands.band(columns, i)), i)

    start = jnp.zeros((len(logits), *size), jnp.int32)
    return jax.lax.fori_loop(0, bands.count, put_band, start)
