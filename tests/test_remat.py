"""What is kept for the backward pass: less memory, the same gradient."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import program
import pytest
import weights
from flax import nnx

from jaxseg.models import names

PROGRAM = """
import json, sys
from jaxseg import xla
xla.set_flags()
import jax, jax.numpy as jnp, numpy as np
from flax import nnx
from jaxseg import config
from jaxseg.models import build, names

model = build.build_model(
    config.Model(
        backbone=sys.argv[1], num_classes=3, width=8, head_channels=8, aux_head=True
    ),
    rngs=nnx.Rngs(0),
)
model.train()
graphdef, params, stats = names.split(model)
images = np.random.default_rng(0).normal(size=(2, 96, 96, 3)).astype(np.float32)

def loss(params, keep):
    model = names.merge(graphdef, {**params, **stats})
    output = model.features(images, rngs=nnx.Rngs(dropout=1), keep=keep)
    return (output.logits ** 2).mean() + (output.aux ** 2).mean(), names.split(model)[2]

for keep in ("all", "convolutions", "blocks"):
    run = jax.value_and_grad(lambda params: loss(params, keep), has_aux=True)
    compiled = jax.jit(run).lower(params).compile()
    (value, stats_), grads = compiled(params)
    norm = jnp.sqrt(sum(jnp.square(grad).sum() for grad in grads.values()))
    moved = sum(float(jnp.abs(stats_[name] - stats[name]).sum()) for name in stats)
    memory = compiled.memory_analysis().temp_size_in_bytes
    print(json.dumps([float(value), float(norm), moved, memory]))
"""


@pytest.mark.parametrize(
    "backbone",
    [
        "resnet18",
        pytest.param("resnet50", marks=pytest.mark.slow),
        pytest.param("mobilenet_v2", marks=pytest.mark.slow),
    ],
)
def test_less_is_kept_for_the_same_result(backbone):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, backbone],
        env=program.environment(),
        cwd=program.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    every, convolutions, blocks = map(json.loads, done.stdout.splitlines())
    for found in (convolutions, blocks):
        np.testing.assert_allclose(found[:3], every[:3], rtol=1e-3)
        assert found[3] < 0.9 * every[3]


@pytest.mark.parametrize(
    ("backbone", "count"),
    [
        ("resnet18", 4 + 3),
        pytest.param("mobilenet_v2", 5 + 2, marks=pytest.mark.slow),
    ],
)
def test_stem_stages_and_heads_are_parts_of_their_own(backbone, count):
    graphdef, params, stats = names.split(weights.make_tiny(backbone=backbone))

    def total(params, keep):
        model = names.merge(graphdef, params | stats)
        output = model.features(jnp.zeros((1, 32, 32, 3)), rngs=nnx.Rngs(0), keep=keep)
        return output.logits.sum() + output.aux.sum()

    for keep, expected in (("all", 0), ("convolutions", count)):
        jaxpr = jax.make_jaxpr(jax.grad(total), static_argnums=1)(params, keep)
        parts = [each for each in jaxpr.eqns if "policy" in each.params]
        assert len(parts) == expected
