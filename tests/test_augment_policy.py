import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from jaxseg import augment_policy

apply_op = jax.jit(augment_policy.apply_op, static_argnames="magnitude")
randaugment = jax.jit(
    augment_policy.randaugment, static_argnames=("num_ops", "magnitude")
)


def pillow(op, image, factor, share):
    """What Pillow makes of an image, by the strengths of torchvision's RandAugment."""
    picture = Image.fromarray(image)
    enhance = {
        "brightness": ImageEnhance.Brightness,
        "contrast": ImageEnhance.Contrast,
        "color": ImageEnhance.Color,
        "sharpness": ImageEnhance.Sharpness,
    }
    if op in enhance:
        return np.asarray(enhance[op](picture).enhance(factor))
    if op == "posterize":
        return np.asarray(ImageOps.posterize(picture, 8 - round(4 * share)))
    if op == "solarize":
        return np.asarray(ImageOps.solarize(picture, 255 * (1 - share)))
    return np.asarray(getattr(ImageOps, op)(picture))


@pytest.fixture(scope="module")
def images():
    """Noise of several grains, one image dark and one of a single color."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (4, 60, 80, 3)).astype(np.uint8)
    smooth = [cv2.GaussianBlur(x, (0, 0), 0.5 + i) for i, x in enumerate(noise)]
    smooth[2] = smooth[2] // 3
    smooth[3][:] = (12, 200, 77)
    return np.stack(smooth)


def apply(images, ops, stronger=True, magnitude=9.0):
    return np.asarray(
        apply_op(
            jnp.asarray(images),
            op=jnp.array([augment_policy.OPS.index(op) for op in ops]),
            stronger=jnp.full(len(images), stronger),
            magnitude=magnitude,
        )
    )


@pytest.mark.parametrize("magnitude", [0, 9, 21, 30])
@pytest.mark.parametrize("stronger", [True, False])
def test_ops_are_those_of_pillow(images, stronger, magnitude):
    """Pillow cuts off where whole values are rounded here: at most 1 of 255 apart."""
    share = magnitude / 30
    factor = 1 + 0.9 * share * (1 if stronger else -1)
    for op in augment_policy.OPS:
        found = apply(images, [op] * 4, stronger, float(magnitude))
        for image, one in zip(images, found, strict=True):
            expected = image if op == "identity" else pillow(op, image, factor, share)
            difference = np.abs(one - expected)
            assert difference.max() <= 1, op
            if op not in ("brightness", "contrast", "color", "sharpness"):
                assert difference.mean() < 0.02, op


def test_each_image_its_own_op(images):
    ops = ["solarize", "sharpness", "equalize", "color"]
    together = apply(images, ops)
    for i, op in enumerate(ops):
        np.testing.assert_array_equal(together[i], apply(images[i : i + 1], [op])[0])


def test_ops_are_drawn_evenly():
    """One image that each op changes in its own way, 3,000 times."""
    rng = np.random.default_rng(1)
    image = rng.integers(30, 200, (20, 20, 3)).astype(np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 1)
    images = np.tile(image, (3000, 1, 1, 1))
    found = randaugment(
        jax.random.key(0), jnp.asarray(images), num_ops=1, magnitude=15.0
    )
    kinds, counts = np.unique(
        np.asarray(found).reshape(3000, -1), axis=0, return_counts=True
    )
    # Four of the nine are stronger or weaker, each half as often.
    assert len(kinds) == 5 + 2 * 4
    counts = np.sort(counts)
    assert 3000 / 18 * 0.75 < counts[0] < counts[7] < 3000 / 18 * 1.3
    assert 3000 / 9 * 0.8 < counts[8] < counts[-1] < 3000 / 9 * 1.2


def test_two_ops_follow_each_other(images):
    key = jax.random.key(3)
    found = randaugment(key, jnp.asarray(images), num_ops=2, magnitude=9.0)
    step = jnp.asarray(images)
    for each in jax.random.split(key, 2):
        op_key, sign_key = jax.random.split(each)
        step = apply_op(
            step,
            op=jax.random.randint(op_key, (4,), 0, 9),
            stronger=jax.random.bernoulli(sign_key, shape=(4,)),
            magnitude=9.0,
        )
    np.testing.assert_array_equal(found, step)
    assert found.dtype == jnp.float32


@pytest.mark.parametrize("axis", [1, 2])
def test_nothing_moves(images, axis):
    """What moved pixels down or right would move them up or left in mirrored images."""
    for op in augment_policy.OPS:
        mirrored = np.flip(apply(np.flip(images, axis), [op] * 4), axis)
        assert np.abs(mirrored - apply(images, [op] * 4)).max() <= 1, op
