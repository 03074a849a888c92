"""Hard pixels against a sort of all of them in NumPy, and their cross-entropy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import config, losses, ohem, resize

SIZE = (31, 37)
WEIGHTS = (0.5, 1.0, 2.0, 0.0, 3.0)


def draw(ignore=255, dtype="float32"):
    """Logits [2 5 6 C] and labels, a fifth of them ignored."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 5, 6, 5), scale=2)
    labels = rng.integers(0, 5, (2, *SIZE), np.int32)
    labels[rng.random(labels.shape) < 0.2] = ignore
    return jnp.asarray(logits, dtype), jnp.asarray(labels)


def at_once(logits, labels, *, threshold, min_kept, ignore, align_corners):
    """The same from all probabilities sorted, in NumPy."""
    big = resize.resize(logits, SIZE, align_corners=align_corners)
    labels, p = np.asarray(labels), np.asarray(jax.nn.softmax(big))
    counts = labels != ignore
    p = np.take_along_axis(p, np.where(counts, labels, 0)[..., None], -1)[..., 0]
    order = np.sort(p[counts])
    if len(order):
        place = min(min_kept * len(labels), len(order) - 1)
        threshold = max(threshold, order[place])
    return counts & (p < threshold)


@pytest.mark.parametrize(
    ("band_size", "ignore", "align_corners", "threshold", "min_kept"),
    [
        (1, 255, False, 0.3, 10),
        (2 * 37 * 5 * 7, 2, True, 0.05, 300),
        (1 << 20, 255, False, 0.2, 31 * 37),
    ],
)
def test_bands_equal_all_at_once(
    band_size, ignore, align_corners, threshold, min_kept, monkeypatch
):
    """The threshold decides, the number kept, and there are no more than to keep."""
    monkeypatch.setitem(resize._LIMITS, jax.default_backend(), (band_size, 1, 99))
    options = {
        "threshold": threshold,
        "min_kept": min_kept,
        "ignore": ignore,
        "align_corners": align_corners,
    }
    with jax.enable_x64(True):
        data = draw(ignore, "float64")
        found = jax.jit(lambda *data: ohem.hard_pixels(*data, **options))(*data)
        expected = at_once(*data, **options)
    np.testing.assert_array_equal(found, expected)
    counted = int((np.asarray(data[1]) != ignore).sum())
    least = min(2 * min_kept, counted - 1)
    assert least <= expected.sum() < counted
    assert (expected.sum() > least) == (min_kept == 10)


def test_no_pixel_counts():
    logits, labels = draw()
    run = jax.jit(lambda *data: ohem.hard_pixels(*data, threshold=0.7, min_kept=9))
    assert not run(logits, jnp.full_like(labels, 255)).any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_smallest(dtype):
    values = np.random.default_rng(0).random((3, 4, 5)).astype(dtype)
    values[0] = [[0, 1, np.inf, 0.25, np.finfo(dtype).tiny]]  # each of them four times
    with jax.enable_x64(dtype == "float64"):
        of_place = jax.vmap(ohem._smallest, (None, 0))
        found = jax.jit(of_place)(jnp.asarray(values), jnp.arange(values.size))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.sort(values, axis=None))


@pytest.mark.parametrize(
    ("class_weights", "label_smoothing", "band_size"),
    [((), 0.0, 1), (WEIGHTS, 0.1, 2 * 37 * 5 * 7)],
)
def test_cross_entropy(class_weights, label_smoothing, band_size, monkeypatch):
    """The sum over hard pixels, divided by the weights of all that count."""
    monkeypatch.setitem(resize._LIMITS, jax.default_backend(), (band_size, 1, 99))
    settings = config.Loss(
        ohem_threshold=0.3,
        ohem_min_kept=400,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
    )
    with jax.enable_x64(True):
        logits, labels = draw(dtype="float64")
        hard = at_once(
            logits, labels, threshold=0.3, min_kept=400, ignore=255, align_corners=False
        )
        weights = jnp.asarray(class_weights or [1.0] * 5)

        def plain(logits):
            log_p = jax.nn.log_softmax(resize.resize(logits, SIZE))
            target = (1 - label_smoothing) * jax.nn.one_hot(labels, 5)
            target = weights * (target + label_smoothing / 5)
            total = (weights * jax.nn.one_hot(labels, 5)).sum()
            return -(target * log_p).sum(-1, where=hard[..., None]).sum() / total

        def ours(logits):
            return losses.segmentation_loss(logits, labels, settings)

        expected, slope = jax.value_and_grad(plain)(logits)
        run = jax.jit(jax.value_and_grad(ours, has_aux=True))
        (value, predictions), gradient = run(logits)
        everywhere = resize.resize(logits, SIZE).argmax(-1)
    assert 0.4 < hard.mean() < 0.7
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient, slope, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(predictions, everywhere)


def test_logits_never_exist_at_full_resolution():
    settings = config.Loss(ohem_threshold=0.7)
    labels = jax.ShapeDtypeStruct((2, 513, 513), "int32")
    logits = jax.ShapeDtypeStruct((2, 65, 65, 19), "float32")
    run = jax.value_and_grad(lambda x, y: losses.segmentation_loss(x, y, settings)[0])
    usage = jax.jit(run).lower(logits, labels).compile().memory_analysis()
    assert usage.temp_size_in_bytes < 0.6 * 2 * 513 * 513 * 19 * 4
