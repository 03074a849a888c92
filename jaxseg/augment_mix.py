"""Mixing images of a batch, and holes in them; labels go where their pixels go.

No pixel changes its place within its image: what is mixed is chosen pixel by pixel, the
same for image and label.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

Images = Num[Array, "b h w 3"]
Labels = Int[Array, "b h w"]
Mask = Bool[Array, "b h w"]


def mosaic(
    key: Array, images: Images, labels: Labels, *, probability: float
) -> tuple[Images, Labels]:
    """Puts four images of the batch together at a point, with this probability.

    Its own in the upper left, and clockwise those of the next three in the batch. The
    point lies in the middle half of the height and of the width. As the mosaic of
    YOLOv4 (Bochkovskiy et al., 2020), but each part shows the same place as in its own
    image, which was cropped and scaled at random already: nothing is padded.
    """
    count, height, width = labels.shape
    coin_key, point_key = jax.random.split(key)
    coin = jax.random.bernoulli(coin_key, probability, (count,))
    point = jax.random.uniform(point_key, (count, 2), minval=0.25, maxval=0.75)
    low = jnp.arange(height)[:, None] + 0.5 > (height * point[:, 0])[:, None, None]
    right = jnp.arange(width) + 0.5 > (width * point[:, 1])[:, None, None]
    coin = coin[:, None, None]
    quarters = (~low & right, low & right, low & ~right)
    mixed, mixed_labels = images, labels
    for distance, quarter in enumerate(quarters, start=1):
        donors, donor_labels = (jnp.roll(x, -distance, 0) for x in (images, labels))
        mixed, mixed_labels = paste(
            coin & quarter, donors, donor_labels, mixed, mixed_labels
        )
    return mixed, mixed_labels


def classmix(
    key: Array, images: Images, labels: Labels, *, probability: float, ignore: int
) -> tuple[Images, Labels]:
    """Pastes half of the classes of the next image in the batch, with this probability.

    All pixels of the chosen classes; of an odd number of classes the larger half, and
    never what is ignored. ClassMix (Olsson et al., 2021) as DACS does it, with true
    labels: copy-paste of whole classes.
    """
    coin_key, class_key = jax.random.split(key)
    coin = jax.random.bernoulli(coin_key, probability, (len(labels),))
    donors, donor_labels = (jnp.roll(x, -1, axis=0) for x in (images, labels))
    which = jnp.arange(len(labels))[:, None, None]
    present = jnp.zeros((len(labels), 256), bool).at[which, donor_labels].set(True)
    present = present.at[:, ignore].set(False)
    # The classes in random order, those that are absent last.
    draws = jax.random.uniform(class_key, present.shape)
    place = jnp.argsort(jnp.argsort(jnp.where(present, draws, 2)))
    chosen = present & (2 * place < present.sum(1, keepdims=True))
    mask = coin[:, None, None] & chosen[which, donor_labels]
    return paste(mask, donors, donor_labels, images, labels)


def paste(
    mask: Mask, donors: Images, donor_labels: Labels, images: Images, labels: Labels
) -> tuple[Images, Labels]:
    """Images and labels, where the mask is set those of the donors."""
    return (
        jnp.where(mask[..., None], donors, images),
        jnp.where(mask, donor_labels, labels),
    )


def cutout(
    key: Array,
    images: Images,
    labels: Labels,
    *,
    probability: float,
    holes: int,
    size: tuple[float, float],
    fill: tuple[float, float, float],
    ignore: int | None,
) -> tuple[Float[Array, "b h w 3"], Labels]:
    """Fills rectangles with a color, with this probability.

    Their centers lie anywhere in the image; their sides are a share in `size` (low,
    high) of the image's, the same for height and width. Labels in them become `ignore`;
    None keeps them, so that the network learns to fill the holes: the custom for
    labelled images (mmseg's RandomCutOut, albumentations' CoarseDropout). DeVries and
    Taylor, 2017.
    """
    count, height, width = labels.shape
    coin_key, center_key, size_key = jax.random.split(key, 3)
    coin = jax.random.bernoulli(coin_key, probability, (count,))
    centers = jax.random.uniform(center_key, (count, holes, 2))
    low, high = size
    sides = jax.random.uniform(size_key, (count, holes), minval=low, maxval=high)
    mask = coin[:, None, None] & rectangles(centers, sides, (height, width))
    filled = jnp.where(mask[..., None], jnp.array(fill), images.astype(jnp.float32))
    return filled, labels if ignore is None else jnp.where(mask, ignore, labels)


def rectangles(
    centers: Float[Array, "b n 2"], sides: Float[Array, "b n"], size: tuple[int, int]
) -> Mask:
    """Where an image of `size` lies in one of its n rectangles.

    Centers (down, right) and sides are shares of the height and the width; a pixel
    belongs to a rectangle that holds its center.
    """
    within = [
        jnp.abs((jnp.arange(length) + 0.5) / length - centers[..., axis, None])
        < sides[..., None] / 2
        for axis, length in enumerate(size)
    ]
    return (within[0][..., :, None] & within[1][..., None, :]).any(1)
