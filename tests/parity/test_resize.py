"""Bilinear resampling against torch's, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import resize
from parity import helpers

torch = helpers.torch

# Compiled: each of their many small operations would compile by itself.
RESIZE = jax.jit(resize.resize, static_argnames=("size", "align_corners"))
INTERPOLATION_MATRIX = jax.jit(
    resize.interpolation_matrix, static_argnames=("size", "new_size", "align_corners")
)

SIZES = [((9, 13), (33, 50)), ((33, 50), (9, 13)), ((7, 1), (1, 5))]


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("size", "new_size"), SIZES)
def test_resize(size, new_size, align_corners):
    x = helpers.draw(2, *size, 3)
    expected = torch.nn.functional.interpolate(
        helpers.to_torch64(x), new_size, mode="bilinear", align_corners=align_corners
    )
    found = RESIZE(jnp.asarray(x), new_size, align_corners=align_corners)
    helpers.assert_close(found, expected)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("size", "new_size"), [(65, 513), (513, 65), (129, 2048), (1, 7), (7, 1), (1, 1)]
)
def test_interpolation_matrix(size, new_size, align_corners):
    found = INTERPOLATION_MATRIX(size, new_size, align_corners=align_corners)
    expected = torch.nn.functional.interpolate(
        torch.eye(size, dtype=torch.float64)[None],
        new_size,
        mode="linear",
        align_corners=align_corners,
    )[0].T
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)


def test_resize_keeps_bfloat16():
    x = jnp.asarray(helpers.draw(1, 5, 5, 2), jnp.bfloat16)
    assert resize.resize(x, (9, 9)).dtype == jnp.bfloat16
