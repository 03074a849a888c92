import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import losses

SHAPE = (2, 3, 4)
NUM_CLASSES = 5
WEIGHTS = (0.5, 1.0, 2.0, 0.0, 3.0)


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
        return losses.cross_entropy(logits, labels, **options)

    run = jax.jit(loss) if compiled else loss
    value = run(jnp.asarray(logits), jnp.asarray(labels))
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, reference(logits, labels, **options), rtol=2e-6)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("class_weights", [(), WEIGHTS])
def test_no_pixel_counts(label_smoothing, class_weights):
    logits, _ = draw(255)
    value, gradient = jax.value_and_grad(losses.cross_entropy)(
        jnp.asarray(logits),
        jnp.full(SHAPE, 255),
        class_weights=class_weights,
        label_smoothing=label_smoothing,
    )
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_only_classes_of_weight_zero():
    logits, _ = draw(255)
    value, gradient = jax.value_and_grad(losses.cross_entropy)(
        jnp.asarray(logits), jnp.full(SHAPE, 3), class_weights=WEIGHTS
    )
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_ignored_pixels_have_no_gradient():
    logits, labels = draw(255)
    gradient = jax.grad(losses.cross_entropy)(jnp.asarray(logits), jnp.asarray(labels))
    np.testing.assert_array_equal(gradient[labels == 255], 0)
    assert (np.abs(gradient[labels != 255]).sum(-1) > 0).all()
    np.testing.assert_allclose(gradient.sum(-1), 0, atol=1e-7)


def test_ignored_logits_do_not_count():
    logits, labels = draw(255)
    first = losses.cross_entropy(jnp.asarray(logits), jnp.asarray(labels))
    logits[labels == 255] = 100
    second = losses.cross_entropy(jnp.asarray(logits), jnp.asarray(labels))
    assert first == second


def test_large_logits_stay_finite():
    logits = jnp.asarray(np.eye(NUM_CLASSES, dtype=np.float32)[None, None] * 1e4)
    labels = jnp.arange(NUM_CLASSES)[None, None]
    assert losses.cross_entropy(logits, labels) == 0
    np.testing.assert_allclose(losses.cross_entropy(-logits, labels), 1e4, rtol=1e-3)
