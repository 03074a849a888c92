"""The maximum written out gives what XLA's own gives, and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.models import pool


@pytest.mark.parametrize("padding", ["symmetric", "same"])
@pytest.mark.parametrize("size", [(8, 8), (9, 13), (1, 2)])
def test_as_a_window_of_xla(monkeypatch, size, padding):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(0, 3, (2, *size, 3)), "float32")  # with equal ones

    def run(x):
        out = pool.max_pool(x, padding)
        return (out * jnp.arange(out.size).reshape(out.shape)).sum(), out

    (_, found), slope = jax.value_and_grad(run, has_aux=True)(x)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    (_, expected), expected_slope = jax.value_and_grad(run, has_aux=True)(x)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(slope, expected_slope)


def test_nan_is_passed_on():
    x = jnp.ones((1, 6, 6, 1)).at[0, 2, 3, 0].set(jnp.nan)
    found = np.isnan(pool.max_pool(x, "symmetric")[0, :, :, 0])
    np.testing.assert_array_equal(np.argwhere(found), [[1, 1], [1, 2]])
