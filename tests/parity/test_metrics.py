"""The figures against torchmetrics, which keeps them in float32.

It counts a class absent from labels and predictions as 0 in its per-class figures, and
leaves it out of macro means, as we do; but of macro recall it leaves out only classes
absent from both, where we leave out every class without a label.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import metrics
from parity import helpers

torch = helpers.torch  # with torchvision in place, which torchmetrics imports
classification = pytest.importorskip("torchmetrics.classification")

NUM_CLASSES = 6
NAMES = [str(i) for i in range(NUM_CLASSES)]
KINDS = {
    "iou": classification.MulticlassJaccardIndex,
    "precision": classification.MulticlassPrecision,
    "recall": classification.MulticlassRecall,
    "f1": classification.MulticlassF1Score,
}


def draw(labelled, predicted, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.choice(labelled, (3, 16, 16)).astype(np.int32)
    predictions = rng.choice(predicted, (3, 16, 16)).astype(np.int32)
    labels[rng.random(labels.shape) < 0.2] = 255
    return labels, predictions


def ours(labels, predictions):
    confusion = metrics.confusion_matrix(
        jnp.asarray(labels), jnp.asarray(predictions), num_classes=NUM_CLASSES
    )
    return metrics.summarize(np.asarray(confusion), NAMES)


def theirs(kind, labels, predictions, average):
    metric = kind(NUM_CLASSES, average=average, ignore_index=255)
    maps = zip(predictions, labels, strict=True)
    for prediction, label in maps:  # image by image
        metric.update(torch.tensor(prediction)[None], torch.tensor(label)[None])
    return metric.compute().numpy()


CASES = [
    (range(6), range(6)),
    ([0, 1, 2, 4], [0, 1, 2, 4]),  # 3 and 5 absent from both
    ([0, 1, 2], [0, 1, 2, 5]),  # 5 only predicted
    ([0, 1, 2, 5], [0, 1, 2]),  # 5 only labelled
]


@pytest.mark.parametrize(("labelled", "predicted"), CASES)
@pytest.mark.parametrize("name", KINDS)
def test_per_class(name, labelled, predicted):
    labels, predictions = draw([*labelled], [*predicted])
    found = ours(labels, predictions)["per_class"].values()
    values = [row[name] or 0.0 for row in found]
    expected = theirs(KINDS[name], labels, predictions, "none")
    np.testing.assert_allclose(values, expected, rtol=1e-6)


@pytest.mark.parametrize(("labelled", "predicted"), CASES)
def test_means(labelled, predicted):
    labels, predictions = draw([*labelled], [*predicted])
    found = ours(labels, predictions)
    for name, key in [("miou", "iou"), ("mean_f1", "f1")]:
        expected = theirs(KINDS[key], labels, predictions, "macro")
        np.testing.assert_allclose(found[name], expected, rtol=1e-6)
    expected = theirs(classification.MulticlassAccuracy, labels, predictions, "micro")
    np.testing.assert_allclose(found["pixel_accuracy"], expected, rtol=1e-6)
    if set(predicted) <= set(labelled):
        expected = theirs(
            classification.MulticlassAccuracy, labels, predictions, "macro"
        )
        np.testing.assert_allclose(found["mean_accuracy"], expected, rtol=1e-6)
