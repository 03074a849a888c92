"""RandAugment for segmentation: a few changes of color, drawn anew for each image.

RandAugment (Cubuk et al., 2020) also shears, shifts and rotates. Those would move
labels and resample images a second time; here the host's one warp does all geometry
(config.data.rotate, scale, crop), and the policy has the changes of color alone, as
that of AugSeg (Zhao et al., 2023). All but two are tables from old values to new, made
of the image's histogram, so that an image is looked up once for whichever is drawn.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

OPS = (
    *("identity", "autocontrast", "equalize", "posterize", "solarize"),
    *("brightness", "contrast", "color", "sharpness"),
)
_LUMA = (0.299, 0.587, 0.114)


def randaugment(
    key: Array, images: Num[Array, "b h w 3"], *, num_ops: int, magnitude: float
) -> Float[Array, "b h w 3"]:
    """Applies `num_ops` changes at `magnitude` (0..30) to each image.

    Strengths are torchvision's: factors of 1 ± 0.9 magnitude / 30 for brightness,
    contrast, color and sharpness; 8 down to 4 bits; inverted from 255 down to 0 up.
    """
    for each in jax.random.split(key, num_ops):
        op_key, sign_key = jax.random.split(each)
        images = apply_op(
            images,
            op=jax.random.randint(op_key, (len(images),), 0, len(OPS)),
            stronger=jax.random.bernoulli(sign_key, shape=(len(images),)),
            magnitude=magnitude,
        )
    return images.astype(jnp.float32)


def apply_op(
    images: Num[Array, "b h w 3"],
    *,
    op: Int[Array, " b"],
    stronger: Bool[Array, " b"],
    magnitude: float,
) -> Float[Array, "b h w 3"]:
    """One of OPS for each image, as Pillow does it: on whole values, which remain so.

    `stronger` tells whether a factor is above 1 or below.
    """
    whole = jnp.round(images).astype(jnp.int32)
    share = magnitude / 30
    factor = 1 + 0.9 * share * jnp.where(stronger, 1, -1)
    image, channel = jnp.arange(len(images))[:, None, None, None], jnp.arange(3)
    histograms = jnp.zeros((len(images), 3, 256)).at[image, channel, whole].add(1)
    tables = jnp.select(
        [op[:, None, None] == i for i in range(len(OPS))],
        _tables(histograms, factor, share),
    )
    x = _whole(tables)[image, channel, whole]
    gray = (x @ jnp.array(_LUMA))[..., None]
    plain = jnp.where(_is(op, "color"), gray, x)
    plain = jnp.where(_is(op, "sharpness"), _smooth(x), plain)
    return _whole(plain + factor[:, None, None, None] * (x - plain))


def _is(op: Int[Array, " b"], name: str) -> Bool[Array, "b 1 1 1"]:
    return (op == OPS.index(name))[:, None, None, None]


def _tables(
    histograms: Float[Array, "b 3 256"], factor: Float[Array, " b"], share: float
) -> list[Float[Array, "#b #3 256"]]:
    """What each op makes of the values 0..255 of a channel, in the order of OPS."""
    values, factor = jnp.arange(256), factor[:, None, None]
    step = 2 ** round(4 * share)  # of the values that so many bits fewer can hold
    means = (histograms @ values) / histograms.sum(-1)
    gray = jnp.round(means @ jnp.array(_LUMA))[:, None, None]
    same = values[None, None].astype(jnp.float32)
    return [
        same,
        _autocontrast(histograms),
        _equalize(histograms),
        (same // step) * step,
        jnp.where(same < 255 * (1 - share), same, 255 - same),
        factor * same,
        gray + factor * (same - gray),
        same,  # color and sharpness look at more than one value
        same,
    ]


def _autocontrast(histograms: Float[Array, "b 3 256"]) -> Float[Array, "b 3 256"]:
    """Stretches the values found to 0..255."""
    found, values = histograms > 0, jnp.arange(256)
    low = jnp.argmax(found, -1, keepdims=True)
    high = 255 - jnp.argmax(found[..., ::-1], -1, keepdims=True)
    stretched = jnp.floor((values - low) * 255 / jnp.maximum(high - low, 1))
    return jnp.where(high > low, stretched, values)


def _equalize(histograms: Float[Array, "b 3 256"]) -> Float[Array, "b 3 256"]:
    """Spreads the values by their cumulative counts, as Pillow does."""
    total = histograms.sum(-1, keepdims=True)
    last = 255 - jnp.argmax(histograms[..., ::-1] > 0, -1, keepdims=True)
    step = (total - jnp.take_along_axis(histograms, last, -1)) // 255
    below = jnp.cumsum(histograms, -1) - histograms
    spread = (step // 2 + below) // jnp.maximum(step, 1)
    return jnp.where(step > 0, spread, jnp.arange(256))


def _smooth(x: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """Means over 3x3, the middle counted five times; the outermost pixels as they are.

    Pillow's SMOOTH, by which its Sharpness measures.
    """
    rows = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
    box = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    return x.at[:, 1:-1, 1:-1].set((box + 4 * x[:, 1:-1, 1:-1]) / 13)


def _whole(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.clip(jnp.round(x), 0, 255)
