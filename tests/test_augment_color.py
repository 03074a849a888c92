import colorsys

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import augment_color

# Compiled as in a step, which also costs less time here than op by op.
apply_distortion = jax.jit(augment_color.distort)
photometric_distortion = jax.jit(augment_color.photometric_distortion)
blur = jax.jit(augment_color.blur, static_argnames="radius")
random_blur = jax.jit(
    augment_color.random_blur, static_argnames=("probability", "sigma")
)
random_color = jax.jit(
    augment_color.random_color,
    static_argnames=("brightness", "contrast", "saturation", "hue"),
)

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
    return np.asarray(augment_color.color(jnp.asarray(images), **arrays))


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
    found = random_color(
        jax.random.key(0), jnp.asarray(draw(batch=64)), **dict.fromkeys(LIMITS, 0.5)
    )
    assert found.dtype == jnp.float32
    assert found.min() >= 0
    assert found.max() <= 255


def test_draws():
    images = jnp.asarray(np.repeat(draw(low=80, high=160, batch=1), 4, 0))
    found = random_color(jax.random.key(3), images, **LIMITS)
    again = random_color(jax.random.key(3), images, **LIMITS)
    np.testing.assert_array_equal(found, again)
    other = random_color(jax.random.key(4), images, **LIMITS)
    assert np.abs(found - other).max() > 1
    for i in range(4):
        for j in range(i):  # one image, four changes
            assert np.abs(found[i] - found[j]).max() > 1
    plain = augment_color.random_color(jax.random.key(3), images, **LIMITS)
    np.testing.assert_allclose(plain, found, atol=1e-3)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_draws_fill_the_limits(name):
    images = np.repeat(draw(low=80, high=120, batch=1), 300, 0)
    limits = dict.fromkeys(LIMITS, 0.0) | {name: 0.2}
    key = jax.random.key(0)
    found = random_color(key, jnp.asarray(images), **limits) - images
    unit = change(images[:1], **{name: 2.0}) - images[:1]  # these three are linear
    drawn = (found * unit).sum((1, 2, 3)) / (unit * unit).sum()
    np.testing.assert_allclose(found, drawn[:, None, None, None] * unit, atol=0.01)
    assert -0.201 < drawn.min() < -0.19
    assert 0.19 < drawn.max() < 0.201
    assert abs(drawn.mean()) < 0.02


def distort(images, **settings):
    """`distort` with one value for all images; what is not named stays as it is."""
    values = {"brightness": 0.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
    values |= settings
    first = values.pop("contrast_first", True)
    arrays = {name: jnp.full(len(images), value) for name, value in values.items()}
    return np.asarray(
        apply_distortion(
            jnp.asarray(images), contrast_first=jnp.full(len(images), first), **arrays
        )
    )


def published(image, brightness, contrast, saturation, hue, contrast_first):
    """The distortion in OpenCV's HSV in float32, where a full turn is 360."""
    x = np.clip(image.astype(np.float32) + brightness, 0, 255)
    if contrast_first:
        x = np.clip(x * contrast, 0, 255)
    hsv = cv2.cvtColor(x.astype(np.float32), cv2.COLOR_RGB2HSV)
    hsv[..., 1] = np.clip(hsv[..., 1] * saturation, 0, 1)
    hsv[..., 0] = (hsv[..., 0] + 360 * hue) % 360
    x = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return x if contrast_first else np.clip(x * contrast, 0, 255)


@pytest.mark.parametrize("contrast_first", [True, False])
@pytest.mark.parametrize("hue", [0.0, -0.1, 0.07, 0.45])
@pytest.mark.parametrize("saturation", [0.5, 1.0, 1.5])
def test_distortion_is_that_of_hsv(saturation, hue, contrast_first):
    for brightness, contrast in ((0.0, 1.0), (-32.0, 1.5), (20.0, 0.6)):
        settings = {"brightness": brightness, "contrast": contrast}
        settings |= {"saturation": saturation, "hue": hue}
        settings["contrast_first"] = contrast_first
        images = draw(seed=3)
        images[:, 0] = images[:, 0, :, :1]  # grays too
        for image, found in zip(images, distort(images, **settings), strict=True):
            np.testing.assert_allclose(found, published(image, **settings), atol=0.02)


def test_distortion_by_nothing():
    images = draw()
    np.testing.assert_allclose(distort(images), images, atol=1e-3)


def test_a_third_of_a_turn_swaps_the_channels():
    images = draw()
    np.testing.assert_allclose(
        distort(images, hue=1 / 3), images[..., [2, 0, 1]], atol=2e-3
    )


def test_distortion_is_drawn_as_published():
    """One pixel of gray and one of color tell what each of 4,000 images underwent."""
    pixels = np.array([[100.0, 100.0, 100.0], [100.0, 60.0, 80.0]])
    images = np.tile(pixels[None, None], (4000, 1, 1, 1)).astype(np.float32)
    key = jax.random.key(1)
    found = np.asarray(photometric_distortion(key, jnp.asarray(images)))
    gray, colored = found[:, 0, 0], found[:, 0, 1].astype(float)
    np.testing.assert_allclose(gray, gray[:, :1].repeat(3, 1), atol=1e-3)
    light = gray[:, 0] / 100  # (1 + brightness / 100) * contrast
    assert 0.34 < light.min() < 0.45
    assert 1.85 < light.max() < 1.98
    assert 0.22 < np.mean(np.abs(light - 1) < 1e-5) < 0.28  # neither of the two
    hsv = np.array([colorsys.rgb_to_hsv(*pixel) for pixel in colored])
    before = colorsys.rgb_to_hsv(*pixels[1])
    turned = (hsv[:, 0] - before[0] + 0.5) % 1 - 0.5
    assert -0.1001 < turned.min() < -0.098
    assert 0.098 < turned.max() < 0.1001
    assert 0.46 < np.mean(np.abs(turned) < 1e-5) < 0.54
    # Saturation as drawn, where nothing is added and hue and contrast leave it.
    share = hsv[np.abs(light - 1) < 1e-5, 1] / before[1]
    assert 0.499 < share.min() < 0.53
    assert 1.47 < share.max() < 1.501
    assert 0.42 < np.mean(np.abs(share - 1) < 1e-4) < 0.58


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.0])
def test_blur_is_the_convolution_of_opencv(sigma):
    images = draw(batch=2)
    images = np.concatenate([images] * 3, 1)
    images = np.concatenate([images] * 3, 2)  # 15 x 21
    blurred = blur(jnp.asarray(images), sigma=jnp.array([sigma, 0.0]), radius=6)
    expected = cv2.GaussianBlur(
        images[0].astype(np.float32),
        (13, 13),
        sigma,
        borderType=cv2.BORDER_REFLECT_101,
    )
    np.testing.assert_allclose(blurred[0], expected, atol=2e-3)
    np.testing.assert_array_equal(blurred[1], images[1])


def test_blur_wider_than_the_image():
    images = draw()
    found = blur(jnp.asarray(images), sigma=jnp.full(3, 8.0), radius=24)
    assert found.shape == images.shape
    assert np.ptp(found, axis=(1, 2)).max() < np.ptp(images, axis=(1, 2)).min() / 2


def test_blur_is_drawn():
    """An image of one bright pixel tells its sigma by what is left there."""
    images = np.zeros((600, 33, 33, 3), np.float32)
    images[:, 16, 16] = 255
    settings = {"probability": 0.4, "sigma": (0.5, 2.0)}
    found = random_blur(jax.random.key(0), jnp.asarray(images), **settings)
    peak = np.asarray(found[:, 16, 16, 0] / 255)
    assert 0.34 < np.mean(peak < 1) < 0.46
    sigma = np.sqrt(1 / (2 * np.pi * peak[peak < 0.3]))
    assert sigma.max() == pytest.approx(2.0, rel=0.03)
    assert peak[peak < 1].max() == pytest.approx(0.6196, rel=0.03)  # of sigma 0.5
    np.testing.assert_allclose(found.sum((1, 2)), 255, rtol=1e-5)


CHANGES = {
    "color": lambda key, x: random_color(key, x, **LIMITS),
    "photometric": photometric_distortion,
    "blur": lambda key, x: random_blur(key, x, probability=1.0, sigma=(0.5, 2.0)),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("axis", [1, 2])
def test_nothing_moves(name, axis):
    """What moved pixels down or right would move them up or left in mirrored images."""
    images, key = jnp.asarray(draw(batch=4)), jax.random.key(2)
    found = CHANGES[name](key, images)
    mirrored = jnp.flip(CHANGES[name](key, jnp.flip(images, axis)), axis)
    np.testing.assert_allclose(mirrored, found, atol=1e-2)
    assert found.dtype == jnp.float32
    assert found.min() >= 0
    assert found.max() <= 255
