"""Class maps from images, as one program."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Int, UInt8

from jaxseg import augment
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
        output = model(augment.normalize(images, mean=mean, std=std))
        return jnp.argmax(output.logits, -1).astype(jnp.int32)

    return predict
