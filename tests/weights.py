"""Models with given variables, made without drawing them, and files of weights."""

import functools
import pathlib
import tempfile

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors import numpy as safetensors

from jaxseg import config, errors, pretrained
from jaxseg.models import build, names

TINY = {
    "head": "deeplabv3",
    "backbone": "resnet18",
    "num_classes": 3,
    "output_stride": 32,
    "aux_head": True,
    "width": 8,
    "head_channels": 8,
}


@functools.cache
def _trace(settings):
    """(graph definition, {name: shape}) of a model; nothing is computed."""
    model = config.Model(**dict(settings))
    graphdef, state = nnx.split(
        nnx.eval_shape(lambda: build.build_model(model, rngs=nnx.Rngs(0)))
    )
    flat = nnx.to_flat_state(state)
    return graphdef, {names.join(path): v.get_value().shape for path, v in flat}


def make_model(*, seed=None, **settings):
    """A model whose variables are all 0, or drawn from a seed (none 0 nor 1)."""
    graphdef, shapes = _trace(tuple(settings.items()))
    variables = {name: jnp.zeros(shape) for name, shape in shapes.items()}
    if seed is not None:
        rng = np.random.default_rng(seed)
        for name, shape in shapes.items():
            variables[name] = jnp.asarray(rng.uniform(2, 3, shape), "float32")
    return names.merge(graphdef, variables)


def make_tiny(*, seed=0, **settings):
    return make_model(seed=seed, **(TINY | settings))


def variables_of(model):
    _, params, stats = names.split(model)
    return {name: np.asarray(value) for name, value in (params | stats).items()}


def assert_same(model, expected):
    """Whether the model's variables are these, bit for bit."""
    found = variables_of(model)
    assert list(found) == list(expected)
    for name, value in found.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def refuse(model, path, **options):
    """The message with which `load` refuses a file; the model must stay as it is."""
    before = variables_of(model)
    with pytest.raises(errors.UserError) as raised:
        pretrained.load(model, path, **options)
    assert_same(model, before)
    message = str(raised.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def write(folder, tensors):
    """The path of a file that holds these."""
    path = folder / "weights.safetensors"
    tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    safetensors.save_file(tensors, path)
    return path


@functools.cache
def saved():
    """What the file of another tiny model, of seed 1, holds by torchvision's names."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "tiny.safetensors"
        pretrained.save(make_tiny(seed=1), path)
        return safetensors.load_file(path)


def as_backbone(tensors):
    """What the file of the bare backbone holds, with an ImageNet classifier."""
    bare = {
        name.removeprefix("backbone."): value
        for name, value in tensors.items()
        if name.startswith("backbone.")
    }
    return bare | {"fc.weight": np.ones((10, 64)), "fc.bias": np.ones(10)}
