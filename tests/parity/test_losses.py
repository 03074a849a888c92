"""Losses and their gradients against torch's and segmentation_models_pytorch's."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import config, dice, losses
from parity import helpers

torch, smp = helpers.torch, helpers.smp

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


def draw(ignore):
    """Logits [2 5 7 C] and labels [2 21 30], a third of them ignored."""
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(*SHAPE, NUM_CLASSES), scale=2).astype(np.float32)
    labels = rng.integers(0, NUM_CLASSES - 1, (2, 21, 30)).astype(np.int32)
    labels[rng.random(labels.shape) < 0.3] = ignore
    return logits, labels


def upsampled(logits, labels):
    """(leaf, logits [B C Y X] of the labels' size, labels), in float64."""
    leaf = torch.from_numpy(logits.astype(np.float64)).requires_grad_()
    big = torch.nn.functional.interpolate(
        leaf.permute(0, 3, 1, 2), labels.shape[1:], mode="bilinear"
    )
    return leaf, big, torch.from_numpy(labels).long()


def assert_same(loss, logits, labels, leaf, expected):
    expected.backward()
    run = jax.jit(jax.value_and_grad(loss))
    value, gradient = run(jnp.asarray(logits), jnp.asarray(labels))
    np.testing.assert_allclose(value, expected.item(), rtol=5e-6)
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=2e-4, atol=2e-8)


@pytest.mark.parametrize(
    ("ignore", "class_weights"), [(255, ()), (255, WEIGHTS), (4, ())]
)
def test_dice(ignore, class_weights):
    logits, labels = draw(ignore)
    leaf, big, target = upsampled(logits, labels)
    criterion = smp.losses.DiceLoss(
        "multiclass",
        ignore_index=ignore,
        class_weights=list(class_weights) if class_weights else None,
    )
    options = {"ignore": ignore, "class_weights": class_weights}
    assert_same(
        lambda x, y: dice.dice(x, y, **options),
        logits,
        labels,
        leaf,
        criterion(big, target),
    )


@pytest.mark.parametrize(
    ("threshold", "min_kept"), [(0.3, 20), (0.01, 200), (0.01, 630)]
)
@pytest.mark.parametrize("class_weights", [(), WEIGHTS])
def test_hard_examples(threshold, min_kept, class_weights):
    """As mmsegmentation's sampler with CrossEntropyLoss(avg_non_ignore=True)."""
    logits, labels = draw(255)
    leaf, big, target = upsampled(logits, labels)
    weight = torch.tensor(class_weights or [1.0] * NUM_CLASSES, dtype=torch.float64)
    each = torch.nn.functional.cross_entropy(
        big, target, weight=weight, ignore_index=255, reduction="none"
    )
    counts = target != 255
    classes = target.where(counts, 0)
    probability = big.softmax(1).gather(1, classes[:, None])[:, 0].detach()
    order, _ = probability[counts].sort()
    least = order[min(2 * min_kept, len(order) - 1)].item()
    kept = counts & (probability < max(threshold, least))
    expected = each[kept].sum() / weight[target[counts]].sum()
    settings = config.Loss(
        ohem_threshold=threshold, ohem_min_kept=min_kept, class_weights=class_weights
    )
    assert_same(
        lambda x, y: losses.segmentation_loss(x, y, settings)[0],
        logits,
        labels,
        leaf,
        expected,
    )
