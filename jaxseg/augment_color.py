"""Changes of color, light and sharpness on the device: labels stay as they are.

Images are RGB in 0..255, [B H W 3]; results are float32 in 0..255.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Num

# RGB to luma and two chroma axes (YIQ), in which a change of hue is a rotation.
_TO_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
_FROM_YIQ = np.linalg.inv(np.array(_TO_YIQ)).astype(np.float32)

Images = Num[Array, "b h w 3"]
Colors = Float[Array, "b h w 3"]
Factors = Float[Array, " b"]  # one for each image


def random_color(
    key: Array,
    images: Images,
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
) -> Colors:
    """Draws a change of color for each image and applies it.

    The arguments are the largest relative changes, and the largest shift of hue in
    turns, as torchvision's ColorJitter has them. Every image is changed in all four
    ways; `photometric_distortion` is the other custom of the field.
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
    images: Images,
    *,
    brightness: Factors,
    contrast: Factors,
    saturation: Factors,
    hue: Factors,
) -> Colors:
    """Scales by brightness, about the mean by contrast, about gray by saturation.

    Then turns the hue by a fraction of a full turn (in YIQ) and clips to 0..255.
    """
    to_yiq = jnp.array(_TO_YIQ)
    x = images.astype(jnp.float32) * _each(brightness)
    luma = (x * to_yiq[0]).sum(-1)
    mean = _each(luma.mean((1, 2)))
    x = mean + (x - mean) * _each(contrast)
    angle = 2 * jnp.pi * hue
    cos, sin = saturation * jnp.cos(angle), saturation * jnp.sin(angle)
    zero, one = jnp.zeros_like(cos), jnp.ones_like(cos)
    turn = jnp.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], -1)
    matrix = _FROM_YIQ @ turn.reshape(-1, 3, 3) @ to_yiq
    # Added up, as products of matrices so small take 40 times as long on a CPU.
    columns = [matrix[:, None, None, :, i] * x[..., i, None] for i in range(3)]
    return jnp.clip(sum(columns), 0, 255)


def photometric_distortion(key: Array, images: Images) -> Colors:
    """SSD's distortion of colors with the numbers of mmsegmentation's recipes.

    Each with probability 1/2: up to 32 of 255 is added, contrast times 0.5 to 1.5
    (before all that follows or after it), saturation times 0.5 to 1.5, hue turned by up
    to a tenth. Liu et al., 2016; mmseg's PhotoMetricDistortion, whose rounding to uint8
    after each change, and of hue to two degrees, is left out. Unlike `random_color`,
    it adds brightness, scales contrast about black, and works in HSV.
    """
    low, high = jnp.array([-32, 0.5, 0.5, -0.1]), jnp.array([32, 1.5, 1.5, 0.1])
    neutral = jnp.array([0.0, 1.0, 1.0, 0.0])
    value_key, coin_key = jax.random.split(key)
    values = jax.random.uniform(value_key, (len(images), 4), minval=low, maxval=high)
    coins = jax.random.bernoulli(coin_key, shape=(len(images), 5))
    values = jnp.where(coins[:, :4], values, neutral)
    return distort(
        images,
        brightness=values[:, 0],
        contrast=values[:, 1],
        saturation=values[:, 2],
        hue=values[:, 3],
        contrast_first=coins[:, 4],
    )


def distort(
    images: Images,
    *,
    brightness: Factors,
    contrast: Factors,
    saturation: Factors,
    hue: Factors,
    contrast_first: Bool[Array, " b"],
) -> Colors:
    """Adds brightness; multiplies all by contrast, and HSV's saturation; turns its hue.

    Hue is in turns. Clips to 0..255 after each change, as uint8 would.
    """
    x = jnp.clip(images.astype(jnp.float32) + _each(brightness), 0, 255)
    first = jnp.where(contrast_first, contrast, 1)
    last = jnp.where(contrast_first, 1, contrast)
    x = jnp.clip(x * _each(first), 0, 255)
    value, chroma = x.max(-1), x.max(-1) - x.min(-1)
    sextant = (_hue(x, value, chroma) + 6 * hue[:, None, None]) % 6
    # Saturation is chroma / value, and at most 1.
    chroma = jnp.minimum(chroma * saturation[:, None, None], value)
    # Each channel falls from `value` by chroma where the hue is far from its own.
    k = (jnp.array([5.0, 3.0, 1.0]) + sextant[..., None]) % 6
    fall = jnp.clip(jnp.minimum(k, 4 - k), 0, 1)
    x = value[..., None] - chroma[..., None] * fall
    return jnp.clip(x * _each(last), 0, 255)


def _hue(x, value, chroma):
    """The hue in 0..6, red at 0; of gray 0."""
    red, green, blue = x[..., 0], x[..., 1], x[..., 2]
    span = jnp.where(chroma == 0, 1, chroma)
    of_red, of_green = (green - blue) / span, (blue - red) / span + 2
    of_blue = (red - green) / span + 4
    return jnp.where(
        value == red, of_red % 6, jnp.where(value == green, of_green, of_blue)
    )


def random_blur(
    key: Array,
    images: Images,
    *,
    probability: float,
    sigma: tuple[float, float],
) -> Colors:
    """Blurs each image with this probability, by a Gaussian of sigma (low, high)."""
    coin_key, sigma_key = jax.random.split(key)
    low, high = sigma
    drawn = jax.random.uniform(sigma_key, (len(images),), minval=low, maxval=high)
    coin = jax.random.bernoulli(coin_key, probability, (len(images),))
    return blur(images, sigma=jnp.where(coin, drawn, 0), radius=math.ceil(3 * high))


def blur(images: Images, *, sigma: Factors, radius: int) -> Colors:
    """Convolves with a Gaussian of `sigma` pixels, cut off at `radius`; 0 leaves all.

    Edges are mirrored about their pixels' centers, as in torchvision and OpenCV.
    """
    x, offsets = images.astype(jnp.float32), jnp.arange(-radius, radius + 1)
    # A tiny sigma has all its weight at offset 0.
    exponents = -((offsets / jnp.maximum(sigma, 1e-3)[:, None]) ** 2) / 2
    weights = jax.nn.softmax(exponents, axis=1)
    for axis in (1, 2):
        size, pad = x.shape[axis], [(0, 0)] * 4
        pad[axis] = (radius, radius)
        padded = jnp.pad(x, pad, mode="reflect")
        shifted = (
            jax.lax.slice_in_dim(padded, i, i + size, axis=axis)
            for i in range(len(offsets))
        )
        x = jnp.zeros_like(x)
        for weight, part in zip(weights.T, shifted, strict=True):
            x += _each(weight) * part
    return jnp.clip(x, 0, 255)  # the sums are exact to rounding alone


def _each(values: Factors) -> Float[Array, "b 1 1 1"]:
    return values[:, None, None, None]
