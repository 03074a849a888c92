"""Cross-entropy against a reference in float64, and band by band against at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import losses, resize

SHAPE = (2, 3, 4)
NUM_CLASSES = 5
WEIGHTS = (0.5, 1.0, 2.0, 0.0, 3.0)


def loss_alone(*args, **options):
    return losses.cross_entropy(*args, **options)[0]


def draw(ignore, seed=0):
    """Logits float32 [B H W C] and labels with a third of them ignored."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(*SHAPE, NUM_CLASSES), scale=3).astype(np.float32)
    labels = rng.integers(0, NUM_CLASSES, SHAPE).astype(np.int32)
    labels[rng.random(SHAPE) < 0.33] = ignore
    return logits, labels


def reference(logits, labels, *, ignore, class_weights, label_smoothing):
    """The same pixel by pixel in float64."""
    weights = np.ones(NUM_CLASSES) if not class_weights else np.array(class_weights)
    loss, total = 0.0, 0.0
    for x, label in zip(logits.reshape(-1, NUM_CLASSES), labels.ravel(), strict=True):
        if label == ignore:
            continue
        x = x.astype(np.float64)
        log_p = x - x.max() - np.log(np.exp(x - x.max()).sum())
        target = np.full(NUM_CLASSES, label_smoothing / NUM_CLASSES)
        target[label] += 1 - label_smoothing
        loss -= (weights * target * log_p).sum()
        total += weights[label]
    return loss / total if total else 0.0


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("ignore", [255, 0, 3])
@pytest.mark.parametrize("class_weights", [(), WEIGHTS])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_reference(compiled, ignore, class_weights, label_smoothing):
    options = {
        "ignore": ignore,
        "class_weights": class_weights,
        "label_smoothing": label_smoothing,
    }
    logits, labels = draw(ignore)

    def loss(logits, labels):
        return losses.cross_entropy(logits, labels, **options)[0]

    run = jax.jit(loss) if compiled else loss
    value = run(jnp.asarray(logits), jnp.asarray(labels))
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, reference(logits, labels, **options), rtol=2e-6)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("class_weights", [(), WEIGHTS])
def test_no_pixel_counts(label_smoothing, class_weights):
    logits, _ = draw(255)
    value, gradient = jax.value_and_grad(loss_alone)(
        jnp.asarray(logits),
        jnp.full(SHAPE, 255),
        class_weights=class_weights,
        label_smoothing=label_smoothing,
    )
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_only_classes_of_weight_zero(label_smoothing):
    logits, _ = draw(255)
    value, gradient = jax.value_and_grad(loss_alone)(
        jnp.asarray(logits),
        jnp.full(SHAPE, 3),
        class_weights=WEIGHTS,
        label_smoothing=label_smoothing,
    )
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_ignored_pixels_have_no_gradient():
    logits, labels = draw(255)
    gradient = jax.grad(loss_alone)(jnp.asarray(logits), jnp.asarray(labels))
    np.testing.assert_array_equal(gradient[labels == 255], 0)
    assert (np.abs(gradient[labels != 255]).sum(-1) > 0).all()
    np.testing.assert_allclose(gradient.sum(-1), 0, atol=1e-7)


def test_ignored_logits_do_not_count():
    logits, labels = draw(255)
    first = loss_alone(jnp.asarray(logits), jnp.asarray(labels))
    logits[labels == 255] = 100
    second = loss_alone(jnp.asarray(logits), jnp.asarray(labels))
    assert first == second


def test_large_logits_stay_finite():
    logits = jnp.asarray(np.eye(NUM_CLASSES, dtype=np.float32)[None, None] * 1e4)
    labels = jnp.arange(NUM_CLASSES)[None, None]
    assert loss_alone(logits, labels) == 0
    np.testing.assert_allclose(loss_alone(-logits, labels), 1e4, rtol=1e-3)


def at_once(logits, labels, *, ignore, class_weights, label_smoothing, align_corners):
    """The same with all logits at full resolution, by JAX's own derivatives."""
    big = resize.resize(logits, labels.shape[1:], align_corners=align_corners)
    log_p = jax.nn.log_softmax(big)
    num_classes = big.shape[-1]
    weights = jnp.asarray(class_weights or [1.0] * num_classes)
    one_hot = jax.nn.one_hot(labels, num_classes)  # all 0 where the label is 255
    counts = (labels != ignore)[..., None]
    target = (1 - label_smoothing) * one_hot + label_smoothing / num_classes
    total = (one_hot * weights * counts).sum()
    return -(target * weights * counts * log_p).sum() / total, big.argmax(-1)


@pytest.mark.parametrize("band_size", [1, 2 * 37 * 5 * 7, 1 << 20])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("class_weights", "label_smoothing"), [((), 0.0), (WEIGHTS, 0.1)]
)
def test_bands_equal_all_at_once(
    band_size, align_corners, class_weights, label_smoothing, monkeypatch
):
    """Bands of 1 row, of 7 (which 31 rows are no multiple of), and of all rows."""
    monkeypatch.setitem(resize._LIMITS, jax.default_backend(), (band_size, 1, 99))
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(2, 5, 6, 5), scale=3), "float32")
    labels = rng.integers(0, 5, (2, 31, 37), np.int32)
    labels[rng.random(labels.shape) < 0.2] = 255
    options = {
        "ignore": 255,
        "class_weights": class_weights,
        "label_smoothing": label_smoothing,
        "align_corners": align_corners,
    }

    def both(loss):
        run = jax.value_and_grad(loss, has_aux=True)
        return jax.jit(lambda x: run(x, jnp.asarray(labels), **options))(logits)

    (value, predictions), gradient = both(losses.cross_entropy)
    (expected, classes), slope = both(at_once)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_array_equal(predictions, classes)
    error = np.linalg.norm(gradient - slope)
    assert error < 1e-6 * np.linalg.norm(slope)


def test_logits_never_exist_at_full_resolution():
    def temporaries(loss):
        run = jax.value_and_grad(lambda x, y: loss(x, y)[0])
        labels = jax.ShapeDtypeStruct((2, 513, 513), "int32")
        logits = jax.ShapeDtypeStruct((2, 65, 65, 19), "float32")
        compiled = jax.jit(run).lower(logits, labels).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporaries(losses.cross_entropy) < 2 * 513 * 513 * 19 * 4
