"""Arithmetic on images on the device: color changes and normalization.

Images are float32 [B H W 3], RGB in 0..255 until `normalize`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

# RGB to luma and two chroma axes (YIQ), in which a change of hue is a rotation.
_TO_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


def normalize(
    images: Num[Array, "b h w 3"],
    *,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> Float[Array, "b h w 3"]:
    """(images - mean) / std in float32; mean and std are RGB in 0..255."""
    return (images.astype(jnp.float32) - jnp.array(mean)) / jnp.array(std)


def random_color(
    key: Array,
    images: Num[Array, "b h w 3"],
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
) -> Float[Array, "b h w 3"]:
    """Draws a change of color for each image and applies it.

    The arguments are the largest relative changes, and the largest shift of hue in
    turns.
    """
    limits = jnp.array([brightness, contrast, saturation, hue])
    change = jax.random.uniform(key, (len(images), 4), minval=-limits, maxval=limits)
    return color(
        images,
        brightness=1 + change[:, 0],
        contrast=1 + change[:, 1],
        saturation=1 + change[:, 2],
        hue=change[:, 3],
    )


def color(
    images: Num[Array, "b h w 3"],
    *,
    brightness: Float[Array, " b"],
    contrast: Float[Array, " b"],
    saturation: Float[Array, " b"],
    hue: Float[Array, " b"],
) -> Float[Array, "b h w 3"]:
    """Scales by brightness, about the mean by contrast, about gray by saturation.

    Then turns the hue by a fraction of a full turn (in YIQ) and clips to 0..255.
    """
    to_yiq = jnp.array(_TO_YIQ)
    x = images.astype(jnp.float32) * brightness[:, None, None, None]
    luma = x @ to_yiq[0]
    mean = luma.mean((1, 2))[:, None, None, None]
    x = mean + (x - mean) * contrast[:, None, None, None]
    angle = 2 * jnp.pi * hue
    cos, sin = saturation * jnp.cos(angle), saturation * jnp.sin(angle)
    zero, one = jnp.zeros_like(cos), jnp.ones_like(cos)
    turn = jnp.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], -1)
    matrix = jnp.linalg.inv(to_yiq) @ turn.reshape(-1, 3, 3) @ to_yiq
    return jnp.clip(jnp.einsum("bij,bhwj->bhwi", matrix, x), 0, 255)
