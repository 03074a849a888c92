import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import metrics

NUM_CLASSES = 7
NAMES = [f"class {i}" for i in range(NUM_CLASSES)]


def draw(seed, labelled, predicted, shape=(4, 13, 17), ignored=0.2, ignore=255):
    """Maps with only these classes; a prediction is right half of the time."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(labelled, shape).astype(np.int32)
    predictions = rng.choice(predicted, shape).astype(np.int32)
    right = (rng.random(shape) < 0.5) & np.isin(labels, predicted)
    predictions[right] = labels[right]
    labels[rng.random(shape) < ignored] = ignore
    return labels, predictions


def count(labels, predictions, ignore=255):
    return metrics.confusion_matrix(
        jnp.asarray(labels),
        jnp.asarray(predictions),
        num_classes=NUM_CLASSES,
        ignore=ignore,
    )


def mean(values):
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def reference(labels, predictions, ignore=255):
    """All figures from the pixels themselves, by sets and without a matrix."""
    counts = labels != ignore
    labels, predictions = labels[counts], predictions[counts]
    per_class = {}
    for i, name in enumerate(NAMES):
        label, prediction = labels == i, predictions == i
        both, either = int((label & prediction).sum()), int((label | prediction).sum())
        pixels, found = int(label.sum()), int(prediction.sum())
        precision = both / found if found else None
        recall = both / pixels if pixels else None
        f1 = None
        if found or pixels:
            f1 = both / (both + 0.5 * (found - both) + 0.5 * (pixels - both))
        per_class[name] = {
            "iou": both / either if either else None,
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "pixels": pixels,
        }
    rows = list(per_class.values())
    total = labels.size
    return {
        "miou": mean([row["iou"] for row in rows]),
        "pixel_accuracy": float((labels == predictions).mean()) if total else None,
        "mean_accuracy": mean([row["recall"] for row in rows]),
        "mean_f1": mean([row["f1"] for row in rows]),
        "frequency_weighted_iou": math.fsum(
            row["pixels"] / total * row["iou"] for row in rows if row["pixels"]
        )
        if total
        else None,
        "per_class": per_class,
    }


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, dict):
            assert_equal(found[key], value)
        elif value is None:
            assert found[key] is None, key
        else:
            assert type(found[key]) is type(value), key
            assert found[key] == pytest.approx(value, rel=1e-12, abs=1e-12), key


CASES = {
    "all classes": (range(7), range(7)),
    "absent from both": ([0, 1, 2, 5], [0, 1, 5]),
    "predicted, never labelled": ([0, 1], [0, 1, 6]),
    "labelled, never predicted": ([0, 1, 3], [0, 1]),
    "always wrong": ([0], [1]),
    "one class": ([4], [4]),
}


@pytest.mark.parametrize("ignore", [255, 2])
@pytest.mark.parametrize("case", CASES)
def test_reference(case, ignore):
    labels, predictions = draw(0, *map(list, CASES[case]), ignore=ignore)
    confusion = count(labels, predictions, ignore)
    assert confusion.dtype == jnp.int32
    assert confusion.sum() == (labels != ignore).sum()
    found = metrics.summarize(np.asarray(confusion), NAMES)
    assert_equal(found, reference(labels, predictions, ignore))


def test_rows_are_labels():
    labels, predictions = np.full((1, 1, 3), 2), np.array([[[2, 5, 5]]])
    confusion = count(labels, predictions)
    assert confusion[2, 2] == 1
    assert confusion[2, 5] == 2
    assert confusion.sum() == 3


def test_a_class_that_is_only_predicted_pulls_the_mean_down():
    labels, predictions = np.zeros((1, 1, 4), int), np.array([[[0, 0, 0, 6]]])
    found = metrics.summarize(np.asarray(count(labels, predictions)), NAMES)
    assert found["miou"] == (0.75 + 0) / 2
    assert found["mean_accuracy"] == 0.75
    assert found["per_class"]["class 6"] == {
        "iou": 0.0,
        "precision": 0.0,
        "recall": None,
        "f1": 0.0,
        "pixels": 0,
    }


def test_all_ignored():
    labels, predictions = draw(0, [0, 1], [0, 1], ignored=1.1)
    found = metrics.summarize(np.asarray(count(labels, predictions)), NAMES)
    row = dict.fromkeys(("iou", "precision", "recall", "f1")) | {"pixels": 0}
    assert found == {
        "miou": None,
        "pixel_accuracy": None,
        "mean_accuracy": None,
        "mean_f1": None,
        "frequency_weighted_iou": None,
        "per_class": dict.fromkeys(NAMES, row),
    }


def test_sum_over_batches_is_the_whole():
    labels, predictions = draw(1, [*range(7)], [*range(7)], shape=(9, 8, 8))
    total = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
    for start in range(0, 9, 2):
        part = slice(start, start + 2)
        total += np.asarray(count(labels[part], predictions[part]))
    np.testing.assert_array_equal(total, count(labels, predictions))
    np.testing.assert_array_equal(total, jax.jit(count)(labels, predictions))


def test_counts_beyond_32_bits():
    confusion = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
    confusion[0, 0], confusion[0, 1], confusion[1, 1] = 3 * 2**40, 2**40, 2**40
    found = metrics.summarize(confusion, NAMES)
    assert found["pixel_accuracy"] == 0.8
    assert found["miou"] == (0.75 + 0.5) / 2
    assert found["per_class"]["class 0"]["pixels"] == 2**42
