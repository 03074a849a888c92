"""The Dice loss in bands against the textbook's formula at once, and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import dice, resize

SIZE = (31, 37)
WEIGHTS = (0.5, 1.0, 0.0, 3.0, 2.0)

value_and_gradient = jax.jit(jax.value_and_grad(dice.dice))


def at_once(logits, labels, *, ignore, class_weights, align_corners):
    """The same with all logits at full resolution, by JAX's own derivatives."""
    p = jax.nn.softmax(resize.resize(logits, SIZE, align_corners=align_corners))
    num_classes = p.shape[-1]
    counts = (labels != ignore)[..., None]
    p, y = p * counts, jax.nn.one_hot(labels, num_classes, dtype=p.dtype) * counts
    pixels = (0, 1, 2)
    score = 2 * (p * y).sum(pixels) / (p.sum(pixels) + y.sum(pixels))
    loss = jnp.where(y.sum(pixels) > 0, 1 - score, 0)
    weights = jnp.asarray(class_weights or [1.0] * num_classes, p.dtype)
    return (weights * loss).sum() / weights.sum()


def draw(num_classes, ignore, dtype="float32"):
    """Logits [2 5 6 C] and labels without the last class, a fifth ignored."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 5, 6, num_classes), scale=3)
    labels = rng.integers(0, num_classes - 1, (2, *SIZE), np.int32)
    labels[rng.random(labels.shape) < 0.2] = ignore
    return jnp.asarray(logits, dtype), jnp.asarray(labels)


@pytest.mark.parametrize(
    ("dtype", "band_size", "num_classes", "ignore", "class_weights", "align_corners"),
    [
        ("float64", 1, 2, 255, (), False),
        ("float64", 2 * 37 * 5 * 7, 5, 1, WEIGHTS, True),
        ("float64", 1 << 20, 5, 255, WEIGHTS, False),
        ("float32", 2 * 37 * 19 * 7, 19, 255, (), False),
    ],
)
def test_bands_equal_all_at_once(
    dtype, band_size, num_classes, ignore, class_weights, align_corners, monkeypatch
):
    """Bands of 1 row, of 7 (which 31 rows are no multiple of), and of all rows."""
    monkeypatch.setitem(resize._LIMITS, jax.default_backend(), (band_size, 1, 99))
    options = {
        "ignore": ignore,
        "class_weights": class_weights,
        "align_corners": align_corners,
    }
    with jax.enable_x64(dtype == "float64"):
        data = draw(num_classes, ignore, dtype)

        def both(loss):
            run = jax.value_and_grad(lambda *data: loss(*data, **options))
            return jax.jit(run)(*data)

        (value, gradient), (expected, slope) = both(dice.dice), both(at_once)
        assert value.dtype == gradient.dtype == dtype
        error = 1e-13 if dtype == "float64" else 1e-6
        assert abs(value - expected) < error
        assert np.linalg.norm(gradient - slope) < error * np.linalg.norm(slope)


def test_guessing():
    """All probabilities 1 / 4, of 90 pixels 60 of class 0 and 30 of class 2."""
    labels = np.zeros((1, 9, 10), np.int32)
    labels[:, 6:] = 2
    value, _ = value_and_gradient(jnp.zeros((1, 3, 5, 4)), jnp.asarray(labels))
    scores = 2 * 15 / (22.5 + 60), 2 * 7.5 / (22.5 + 30)
    assert float(value) == pytest.approx((2 - sum(scores)) / 4, rel=1e-6)


def test_certainty():
    labels = jnp.arange(12).reshape(1, 3, 4) % 3
    logits = 200 * jax.nn.one_hot(labels, 3)
    for sign, expected in ((1, 0), (-1, 1)):
        value, gradient = value_and_gradient(sign * logits, labels)
        assert value == expected
        np.testing.assert_array_equal(gradient, 0)


def test_no_pixel_counts():
    logits, labels = draw(5, 255)
    value, gradient = value_and_gradient(logits, jnp.full_like(labels, 255))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_ignored_pixels_have_no_gradient():
    _, labels = draw(5, 255)
    logits = jax.random.normal(jax.random.key(0), (*labels.shape, 5))
    gradient = np.asarray(value_and_gradient(logits, labels)[1])
    ignored = np.asarray(labels) == 255
    np.testing.assert_array_equal(gradient[ignored], 0)
    assert (np.abs(gradient[~ignored]).sum(-1) > 0).all()


def test_logits_never_exist_at_full_resolution():
    labels = jax.ShapeDtypeStruct((2, 513, 513), "int32")
    logits = jax.ShapeDtypeStruct((2, 65, 65, 19), "float32")
    usage = value_and_gradient.lower(logits, labels).compile().memory_analysis()
    assert usage.temp_size_in_bytes < 0.6 * 2 * 513 * 513 * 19 * 4
