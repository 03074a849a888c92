"""Evaluation against each image on its own, counted with NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import weights

from jaxseg import config, evaluate, metrics, sharding, step
from jaxseg.data import datasets
from jaxseg.models import names

SIZES = [(32, 32), (40, 24), (32, 32), (40, 24), (32, 32)]


class Mixed:
    """Random images of two sizes."""

    def __len__(self):
        return len(SIZES)

    def name(self, index):
        return str(index)

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        label = rng.integers(0, 3, SIZES[index]).astype(np.uint8)
        label[rng.random(label.shape) < 0.2] = 255
        return {
            "image": rng.integers(0, 256, (*SIZES[index], 3), np.uint8),
            "label": label,
        }


@pytest.mark.parametrize("batch_size", [1, pytest.param(2, marks=pytest.mark.slow), 4])
def test_every_pixel_of_every_image_at_its_own_size(batch_size):
    settings = config.Config()
    settings.eval.batch_size = batch_size
    model = weights.make_tiny(seed=None)
    graphdef, params, stats = names.split(model)
    rng = np.random.default_rng(0)
    variables = {
        name: jnp.asarray(rng.normal(size=v.shape), jnp.float32)
        for name, v in params.items()
    } | {name: jnp.ones(v.shape) for name, v in stats.items()}
    model = names.merge(graphdef, variables)
    model.eval()
    graphdef = names.split(model)[0]
    logits_of = jax.jit(lambda image: names.merge(graphdef, variables)(image).logits)
    mesh = sharding.make_mesh()
    eval_step = step.make_eval_step(
        graphdef, mesh, data=settings.data, num_classes=3, ignore=255
    )
    source = Mixed()
    dataset = datasets.Dataset(
        ("a", "b", "c"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)), lambda split: source
    )
    found = evaluate.evaluate(eval_step, variables, dataset, settings, mesh)
    counts = np.zeros((3, 3), np.int64)
    for index in range(len(source)):
        example = source[index]
        mean, std = np.float32(settings.data.mean), np.float32(settings.data.std)
        image = jnp.asarray((example["image"] - mean) / std)[None]
        classes = np.argmax(np.asarray(logits_of(image)[0]), -1)
        counted = example["label"] != 255
        np.add.at(counts, (example["label"][counted], classes[counted]), 1)
    expected = metrics.summarize(counts, ("a", "b", "c"))
    assert found.pop("images") == len(SIZES)
    assert found == expected
