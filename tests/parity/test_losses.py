"""Cross-entropy and its gradient against torch's."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import losses

torch = pytest.importorskip("torch")

SHAPE = (2, 5, 7)
NUM_CLASSES = 6
WEIGHTS = (0.5, 1.0, 2.0, 0.0, 3.0, 0.1)


@pytest.mark.parametrize(
    ("ignore", "class_weights", "label_smoothing", "shift"),
    [*itertools.product((255, 0, 4), ((), WEIGHTS), (0.0, 0.1, 0.9), (0.0, 1e3))],
)
def test_cross_entropy(ignore, class_weights, label_smoothing, shift):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(*SHAPE, NUM_CLASSES), scale=4) + shift
    logits = logits.astype(np.float32)
    labels = rng.integers(0, NUM_CLASSES, SHAPE).astype(np.int32)
    labels[rng.random(SHAPE) < 0.3] = ignore

    def loss(logits):
        return losses.cross_entropy(
            logits,
            jnp.asarray(labels),
            ignore=ignore,
            class_weights=class_weights,
            label_smoothing=label_smoothing,
        )[0]

    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.asarray(logits))
    leaf = torch.from_numpy(logits.astype(np.float64)).requires_grad_()
    expected = torch.nn.functional.cross_entropy(
        leaf.permute(0, 3, 1, 2),
        torch.from_numpy(labels).long(),
        weight=torch.tensor(class_weights, dtype=torch.float64)
        if class_weights
        else None,
        ignore_index=ignore,
        label_smoothing=label_smoothing,
    )
    expected.backward()
    np.testing.assert_allclose(value, expected.item(), rtol=5e-6)
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=2e-4, atol=2e-7)
