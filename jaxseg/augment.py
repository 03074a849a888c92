"""What a step does to its batch before the network sees it: mixing, colors, holes.

Images are [B H W 3], RGB in 0..255 until `normalize`; labels are int32 [B H W]. The
geometry of each image is done before, on the host (data/transforms.py).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer, Num

from jaxseg import augment_color, augment_mix, augment_policy
from jaxseg import config as config_lib

COLORS = ("brightness", "contrast", "saturation", "hue")


def step_keys(seed: int, step: int | Int[Array, ""]) -> tuple[Array, Array]:
    """The keys of a step: for `augment`, and for the network's dropout."""
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), step))
    return keys[0], keys[1]


def augment(
    key: Array,
    images: Num[Array, "b h w 3"],
    labels: Integer[Array, "b h w"],
    *,
    data: config_lib.Data,
    ignore: int,
) -> tuple[Num[Array, "b h w 3"], Int[Array, "b h w"]]:
    """Images, still in 0..255, and labels, changed in the ways that the config names.

    Labels come as bytes, to be little on their way to the device, and leave as int32.
    Each way has a key of its own, so that switching it on leaves the draws of others.
    """
    labels = labels.astype(jnp.int32)
    if data.augment == "none":
        return images, labels
    keys = jax.random.split(key, 7)
    if data.mosaic:
        images, labels = augment_mix.mosaic(
            keys[0], images, labels, probability=data.mosaic
        )
    if data.classmix:
        images, labels = augment_mix.classmix(
            keys[1], images, labels, probability=data.classmix, ignore=ignore
        )
    if data.photometric:
        images = augment_color.photometric_distortion(keys[2], images)
    limits = {name: getattr(data, name) for name in COLORS}
    if any(limits.values()):
        images = augment_color.random_color(keys[3], images, **limits)
    if data.randaug_ops:
        images = augment_policy.randaugment(
            keys[4], images, num_ops=data.randaug_ops, magnitude=data.randaug_magnitude
        )
    if data.blur:
        images = augment_color.random_blur(
            keys[5], images, probability=data.blur, sigma=data.blur_sigma
        )
    if data.cutout:
        images, labels = augment_mix.cutout(
            keys[6],
            images,
            labels,
            probability=data.cutout,
            holes=data.cutout_holes,
            size=data.cutout_size,
            fill=data.mean,
            ignore=ignore if data.cutout_ignore else None,
        )
    return images, labels


def normalize(
    images: Num[Array, "b h w 3"],
    *,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> Float[Array, "b h w 3"]:
    """(images - mean) / std in float32; mean and std are RGB in 0..255."""
    return (images.astype(jnp.float32) - jnp.array(mean)) / jnp.array(std)
