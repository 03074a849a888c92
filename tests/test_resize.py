"""Bands of rows put together are the whole; the rest is in parity/test_resize.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import inference, resize


@pytest.mark.parametrize("rows", [1, 4, 9, 31])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(5, 6), (40, 50), (1, 1), (31, 37)])
def test_bands_are_the_whole_and_their_transpose_its_gradient(
    rows, align_corners, size
):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, *size, 3)), "float32")
    bands = resize.Bands(size, (31, 37), rows, align_corners)
    slope = jnp.asarray(rng.normal(size=(2, 31, 37, 3)), "float32")

    @jax.jit
    def run(x, slope):
        columns, transpose = jax.vjp(bands.columns, x)

        def add_band(i, sums):
            whole, gradient = sums
            first = jnp.minimum(i * rows, 31 - rows)
            part = bands.band(columns, i)
            whole = jax.lax.dynamic_update_slice_in_dim(whole, part, first, 1)
            part = jax.lax.dynamic_slice_in_dim(slope, first, rows, 1).swapaxes(2, 3)
            new = bands.take_new(jnp.ones((2, 31, 37), int), i, fill=0)[:, :, None]
            return whole, bands.add_transposed(gradient, part * new, i)

        start = jnp.zeros((2, 31, 3, 37)), jnp.zeros_like(columns)
        whole, gradient = jax.lax.fori_loop(0, bands.count, add_band, start)
        return whole, bands.columns_transposed(gradient), transpose(gradient)[0]

    @jax.jit
    def at_once(x, slope):
        whole, transpose = jax.vjp(
            lambda x: resize.resize(x, (31, 37), align_corners=align_corners), x
        )
        gradient = transpose(slope)[0]
        return whole.swapaxes(2, 3), gradient, gradient

    for found, expected in zip(run(x, slope), at_once(x, slope), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 4, 31])
def test_labels_are_taken_once_and_put_together_again(rows):
    bands = resize.Bands((5, 6), (31, 37), rows, align_corners=False)
    labels = jnp.arange(2 * 31 * 37).reshape(2, 31, 37)
    found, taken = jnp.full_like(labels, -1), []
    for i in range(bands.count):
        found = bands.put(found, bands.take(labels, i), i)
        taken.append(bands.take_new(labels, i, fill=-1))
        assert taken[-1].shape == (2, rows, 37)
    np.testing.assert_array_equal(found, labels)
    taken = jnp.concatenate(taken, 1).ravel()
    np.testing.assert_array_equal(jnp.sort(taken[taken >= 0]), labels.ravel())


def test_a_band_holds_as_much_as_the_device_likes(monkeypatch):
    monkeypatch.setitem(resize._LIMITS, jax.default_backend(), (1000, 2, 30))
    assert resize.make_bands((2, 5, 5, 10), (40, 10)).rows == 5
    assert resize.make_bands((2, 5, 5, 1000), (40, 10)).rows == 2  # at least
    assert resize.make_bands((2, 5, 5, 1000), (1, 10)).rows == 1
    assert resize.make_bands((1, 5, 5, 1), (40, 10)).rows == 20  # 2 of at most 30


def test_argmax_takes_the_first_of_equals():
    x = np.random.default_rng(0).integers(0, 3, (2, 4, 9, 5)).astype(np.float32)
    np.testing.assert_array_equal(resize.argmax(jnp.asarray(x)), x.argmax(2))
    assert int(resize.argmax(jnp.full((1, 1, 3, 1), jnp.nan)).max()) == 2


@pytest.mark.parametrize("align_corners", [False, True])
def test_upsampled_argmax(align_corners):
    logits = np.random.default_rng(0).normal(size=(2, 5, 6, 7)).astype(np.float32)
    big = resize.resize(jnp.asarray(logits), (31, 37), align_corners=align_corners)
    found = inference.upsampled_argmax(
        jnp.asarray(logits), (31, 37), align_corners=align_corners
    )
    assert found.dtype == jnp.int32
    np.testing.assert_array_equal(found, big.argmax(-1))
