"""BatchNorm's written-out gradient against JAX's own derivative, and nnx.BatchNorm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxseg.models import batch_norm, layers

EPSILON = 1e-5


def plain(x, scale, bias):
    """The definition, for JAX to derive."""
    wide = x.astype("float32")
    mean = wide.mean((0, 1, 2))
    variance = jnp.square(wide - mean).mean((0, 1, 2))
    out = (wide - mean) / jnp.sqrt(variance + EPSILON) * scale + bias
    return out.astype(x.dtype)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 1e-2)]
)
def test_gradient(dtype, tolerance):
    rng = np.random.default_rng(0)
    x = jnp.asarray(3 + rng.normal(size=(2, 5, 7, 4)), dtype)
    scale, bias, weights = (
        jnp.asarray(rng.normal(size=shape), "float32")
        for shape in ((4,), (4,), x.shape)
    )

    def slopes(function):
        def total(*inputs):
            return (function(*inputs).astype("float32") * weights).sum()

        return jax.jit(jax.grad(total, (0, 1, 2)))(x, scale, bias)

    found = slopes(lambda *inputs: batch_norm.normalize(*inputs, EPSILON)[0])
    for a, b in zip(found, slopes(plain), strict=True):
        assert a.dtype == b.dtype
        a, b = (np.asarray(value, np.float64) for value in (a, b))
        assert np.linalg.norm(a - b) < tolerance * np.linalg.norm(b)


def test_layer_is_that_of_flax():
    """Output, running statistics, and evaluation with them."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(3 + rng.normal(size=(2, 5, 7, 4)), "float32")
    ours = layers.BatchNorm(4, rngs=nnx.Rngs(0))
    flax = nnx.BatchNorm(
        4, momentum=0.9, epsilon=EPSILON, use_fast_variance=False, rngs=nnx.Rngs(0)
    )
    for _ in range(2):
        np.testing.assert_allclose(ours(x), flax(x), atol=1e-5)
    for name in ("mean", "var"):
        a, b = getattr(ours, name)[...], getattr(flax, name)[...]
        np.testing.assert_allclose(a, b, rtol=1e-6)
    ours.eval(), flax.eval()
    np.testing.assert_allclose(ours(x), flax(x), atol=1e-5)
    assert ours(x.astype("bfloat16")).dtype == jnp.bfloat16
