"""What XLA gets for a step: memory reused, bfloat16 where it pays, nothing twice."""

import re

import jax
import numpy as np
import pytest
import weights

from jaxseg import config, optim, sharding, step
from jaxseg import state as state_lib
from jaxseg.models import names

SIZE = (48, 40)
NUM_CLASSES = 7


def make(dtype="float32"):
    """(jitted step, its arguments) of a tiny DeepLabV3+ with auxiliary head."""
    settings = config.Config()
    settings.model.dtype = dtype
    model = weights.make_tiny(
        head="deeplabv3plus", aux_head=True, num_classes=NUM_CLASSES, dtype=dtype
    )
    model.train()
    graphdef, params, stats = names.split(model)
    schedule = optim.make_schedule(settings.optim, 100)
    tx = optim.make_optimizer(settings.optim, schedule, params)
    state = state_lib.make_train_state(params, {}, stats, tx, num_classes=NUM_CLASSES)
    batch = {
        "images": np.zeros((2, *SIZE, 3), np.uint8),
        "labels": np.zeros((2, *SIZE), np.uint8),
    }
    mesh = sharding.make_mesh()
    train_step = step.make_train_step(graphdef, tx, schedule, mesh, settings)
    return train_step, (state, batch)


@pytest.fixture(scope="module")
def compiled():
    train_step, arguments = make()
    return train_step.lower(*arguments).compile(), arguments


def test_the_state_is_updated_in_place(compiled):
    program, (state, _) = compiled
    arrays = jax.tree.leaves(state)
    # Scalars and the like may be copied; weights, statistics and momentum may not.
    large = sum(array.nbytes for array in arrays if array.ndim)
    assert program.memory_analysis().alias_size_in_bytes >= large


def test_nothing_waits_for_the_host(compiled):
    program, _ = compiled
    text = program.as_text()
    for operation in ("infeed", "outfeed", "send", "recv", "callback"):
        assert not re.search(rf"\b{operation}\b|_{operation}", text), operation


def test_no_logits_of_full_size(compiled):
    program, _ = compiled
    shapes = re.findall(r"f32\[([\d,]+)\]", program.as_text())
    elements = {int(np.prod([int(n) for n in shape.split(",")])) for shape in shapes}
    images = 2 * SIZE[0] * SIZE[1] * 3
    assert images in elements  # the parsing finds what is there
    assert 2 * SIZE[0] * SIZE[1] * NUM_CLASSES not in elements


@pytest.mark.slow
def test_one_program_for_all_steps():
    train_step, (state, batch) = make()
    mesh = sharding.make_mesh()
    state = jax.device_put(state, sharding.replicated(mesh))  # as train.py does
    for _ in range(3):
        state, _ = train_step(state, sharding.put_batch(mesh, batch))
    assert train_step._cache_size() == 1


@pytest.fixture(scope="module")
def on_gpu():
    """The program in bfloat16 as a GPU's compiler gets it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "default_backend", lambda: "gpu")
        train_step, arguments = make("auto")
        lowered = train_step.trace(*arguments).lower(lowering_platforms=("cuda",))
    return lowered.as_text()


def test_convolutions_are_in_bfloat16(on_gpu):
    lines = [line for line in on_gpu.splitlines() if "stablehlo.convolution" in line]
    assert len(lines) > 60  # forward, input gradient and kernel gradient
    for line in lines:
        types = re.findall(r"tensor<[\dx]+(\w+)>", line)
        assert set(types) == {"bf16"}, line


def test_features_stay_nhwc(on_gpu):
    """Kernels and logits (to the loss's columns) are transposed, features never."""
    transposed = re.findall(r"stablehlo\.transpose .*: \(tensor<([\dx]+)x\w+>", on_gpu)
    shapes = [[int(size) for size in shape.split("x")] for shape in transposed]
    maps = [shape for shape in shapes if len(shape) == 4 and shape[0] == 2]
    assert maps
    columns = 2 * (SIZE[0] // 4) * SIZE[1] * NUM_CLASSES  # of logits at stride 4
    assert max(np.prod(shape) for shape in maps) <= columns


def test_parameters_and_statistics_stay_float32():
    train_step, (state, batch) = make("bfloat16")
    state, metrics = jax.eval_shape(train_step, state, batch)
    kept = jax.tree.leaves((state.params, state.stats, state.opt_state, metrics))
    assert {str(leaf.dtype) for leaf in kept} <= {"float32", "int32", "bool"}
