import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import augment

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
LIMITS = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
LUMA = np.array([0.299, 0.587, 0.114])


def draw(seed=0, low=0, high=256, batch=3):
    rng = np.random.default_rng(seed)
    return rng.integers(low, high, (batch, 5, 7, 3)).astype(np.uint8)


def change(images, **settings):
    """`color` with one value for all images; what is not named stays as it is."""
    values = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
    values |= settings
    batch = len(images)
    arrays = {name: jnp.full(batch, value) for name, value in values.items()}
    return np.asarray(augment.color(jnp.asarray(images), **arrays))


def test_normalize():
    images = draw()
    found = augment.normalize(jnp.asarray(images), mean=MEAN, std=STD)
    assert found.dtype == jnp.float32
    expected = (images.astype(np.float64) - MEAN) / STD
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_nothing_changes():
    images = draw()
    np.testing.assert_allclose(change(images), images, atol=1e-3)


def test_brightness():
    images = draw(high=120)
    for factor in (0.0, 0.5, 2.0):
        found = change(images, brightness=factor)
        np.testing.assert_allclose(found, factor * images.astype(float), atol=2e-3)
    assert change(draw(low=200), brightness=3.0).min() == 255  # clipped


def test_contrast():
    images = draw(low=80, high=160)
    mean = (images @ LUMA).mean((1, 2))[:, None, None, None]
    for factor in (0.0, 0.5, 1.5):
        expected = mean + factor * (images - mean)
        found = change(images, contrast=factor)
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_saturation():
    images = draw(low=80, high=160)
    luma = (images @ LUMA)[..., None]
    for factor in (0.0, 0.5, 1.5):
        expected = luma + factor * (images - luma)
        found = change(images, saturation=factor)
        # The published YIQ matrix has three digits: its gray is gray to 1e-3.
        np.testing.assert_allclose(found, expected, atol=0.3)


def test_hue_keeps_luma_and_turns_back():
    images = draw(low=110, high=140)
    turned = change(images, hue=0.3)
    assert np.abs(turned - images).mean() > 2
    np.testing.assert_allclose(turned @ LUMA, images @ LUMA, atol=2e-3)
    np.testing.assert_allclose(change(turned, hue=-0.3), images, atol=2e-3)
    np.testing.assert_allclose(change(images, hue=1.0), images, atol=2e-3)


def test_half_a_turn_mirrors_about_gray():
    images = draw(low=110, high=140)
    gray = (images @ LUMA)[..., None]
    np.testing.assert_allclose(change(images, hue=0.5), 2 * gray - images, atol=0.3)


@pytest.mark.parametrize("settings", [{"saturation": 1.7}, {"hue": 0.4}])
def test_gray_stays_gray(settings):
    gray = np.repeat(draw()[..., :1], 3, -1)
    np.testing.assert_allclose(change(gray, **settings), gray, atol=1.0)


def test_result_is_in_range():
    found = augment.random_color(
        jax.random.key(0), jnp.asarray(draw(batch=64)), **dict.fromkeys(LIMITS, 0.5)
    )
    assert found.dtype == jnp.float32
    assert found.min() >= 0
    assert found.max() <= 255


def test_draws():
    images = jnp.asarray(np.repeat(draw(low=80, high=160, batch=1), 4, 0))
    found = augment.random_color(jax.random.key(3), images, **LIMITS)
    again = augment.random_color(jax.random.key(3), images, **LIMITS)
    np.testing.assert_array_equal(found, again)
    other = augment.random_color(jax.random.key(4), images, **LIMITS)
    assert np.abs(found - other).max() > 1
    for i in range(4):
        for j in range(i):  # one image, four changes
            assert np.abs(found[i] - found[j]).max() > 1
    compiled = jax.jit(lambda key, x: augment.random_color(key, x, **LIMITS))
    np.testing.assert_allclose(compiled(jax.random.key(3), images), found, atol=1e-3)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_draws_fill_the_limits(name):
    images = np.repeat(draw(low=80, high=120, batch=1), 300, 0)
    limits = dict.fromkeys(LIMITS, 0.0) | {name: 0.2}
    key = jax.random.key(0)
    found = augment.random_color(key, jnp.asarray(images), **limits) - images
    unit = change(images[:1], **{name: 2.0}) - images[:1]  # these three are linear
    drawn = (found * unit).sum((1, 2, 3)) / (unit * unit).sum()
    np.testing.assert_allclose(found, drawn[:, None, None, None] * unit, atol=0.01)
    assert -0.201 < drawn.min() < -0.19
    assert 0.19 < drawn.max() < 0.201
    assert abs(drawn.mean()) < 0.02
