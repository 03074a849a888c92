"""The layers against torch's, and TensorFlow's padding against its rule in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxseg.models import layers, pool
from parity import helpers

torch = helpers.torch

CONVS = [  # kernel, stride, dilation, groups
    (1, 1, 1, 1),
    (1, 2, 1, 1),
    (3, 1, 1, 1),
    (3, 2, 1, 1),
    (3, 1, 4, 1),
    (3, 1, 36, 1),
    (3, 2, 2, 1),
    (7, 2, 1, 1),
    (3, 2, 1, 8),
    (3, 1, 12, 4),
]


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (1, 2)])
def test_max_pool(size):
    x = helpers.draw(2, *size, 3) - 10  # a padding of 0 would win
    expected = torch.nn.functional.max_pool2d(helpers.to_torch64(x), 3, 2, 1)
    helpers.assert_close(pool.max_pool(jnp.asarray(x), "symmetric"), expected)


def test_max_pool_gradient_of_equal_pixels():
    """Of few values many are equal: the first of a window gets the gradient."""
    x = np.random.default_rng(0).integers(0, 3, (2, 9, 14, 3)).astype(np.float64)
    weights = helpers.draw(2, 5, 7, 3)
    image = helpers.to_torch64(x).requires_grad_()
    out = torch.nn.functional.max_pool2d(image, 3, 2, 1)
    (out * helpers.to_torch64(weights)).sum().backward()
    found = jax.grad(lambda x: (pool.max_pool(x, "symmetric") * weights).sum())
    helpers.assert_close(found(jnp.asarray(x)), image.grad)


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("size", [(8, 8), (9, 13), (1, 2)])
def test_avg_pool(size, stride):
    x = helpers.draw(2, *size, 3) + 1
    theirs = torch.nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)
    helpers.assert_close(
        pool.avg_pool(jnp.asarray(x), stride), theirs(helpers.to_torch64(x))
    )


def make_conv(kernel, stride, dilation, groups, padding="symmetric"):
    """(ours, its kernel, its bias), 8 to 16 channels."""
    conv = nnx.eval_shape(
        lambda: layers.conv(
            *(8, 16, kernel),
            stride=stride,
            dilation=dilation,
            groups=groups,
            bias=True,
            padding=padding,
            rngs=nnx.Rngs(0),
        )
    )
    weight, bias = (
        helpers.draw(kernel, kernel, 8 // groups, 16, seed=1),
        helpers.draw(16, seed=2),
    )
    conv.kernel.set_value(jnp.asarray(weight))
    conv.bias.set_value(jnp.asarray(bias))
    return conv, weight, bias


@pytest.mark.parametrize("size", [(17, 40), (5, 1)])
@pytest.mark.parametrize(("kernel", "stride", "dilation", "groups"), CONVS)
def test_conv(kernel, stride, dilation, groups, size):
    conv, weight, bias = make_conv(kernel, stride, dilation, groups)
    x = helpers.draw(2, *size, 8)
    expected = torch.nn.functional.conv2d(
        helpers.to_torch64(x),
        torch.from_numpy(weight.transpose(3, 2, 0, 1)).double(),
        torch.from_numpy(bias).double(),
        stride=stride,
        padding=dilation * (kernel - 1) // 2,
        dilation=dilation,
        groups=groups,
    )
    helpers.assert_close(conv(jnp.asarray(x)), expected)


def windows(x, kernel, stride, dilation, fill):
    """Each kernel place's pixels [k*k B y x C], padded by TensorFlow's rule.

    https://www.tensorflow.org/api_docs/python/tf/nn, "Notes on padding".
    """
    pads, outs = [(0, 0)], []
    for size in x.shape[1:3]:
        out = -(-size // stride)
        extent = dilation * (kernel - 1) + 1
        total = max((out - 1) * stride + extent - size, 0)
        pads.append((total // 2, total - total // 2))
        outs.append(out)
    x = np.pad(x.astype(np.float64), [*pads, (0, 0)], constant_values=fill)
    rows, columns = (stride * np.arange(out) for out in outs)
    places = [dilation * i for i in range(kernel)]
    return np.stack([x[:, rows + i][:, :, columns + j] for i in places for j in places])


@pytest.mark.parametrize("size", [(17, 40), (5, 1)])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [case[:3] for case in CONVS[:8]]
)
def test_conv_same(kernel, stride, dilation, size):
    conv, weight, bias = make_conv(kernel, stride, dilation, 1, padding="same")
    x = helpers.draw(2, *size, 8)
    expected = np.einsum(
        "kbyxi,kio->byxo",
        windows(x, kernel, stride, dilation, fill=0),
        weight.reshape(-1, 8, 16),
    )
    helpers.assert_close(conv(jnp.asarray(x)), expected + bias)


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (1, 2)])
def test_max_pool_same(size):
    x = helpers.draw(2, *size, 3) - 10
    expected = windows(x, 3, 2, 1, fill=-np.inf).max(0)
    helpers.assert_close(pool.max_pool(jnp.asarray(x), "same"), expected)


def make_norms(channels, scale=1.0):
    """(torch's BatchNorm in float64, ours), both with the same random variables."""
    theirs, ours = (
        torch.nn.BatchNorm2d(channels),
        layers.BatchNorm(channels, rngs=nnx.Rngs(0)),
    )
    pairs = {
        "scale": theirs.weight.data,
        "bias": theirs.bias.data,
        "mean": theirs.running_mean,
        "var": theirs.running_var,
    }
    for seed, (name, value) in enumerate(pairs.items()):
        drawn = abs(helpers.draw(channels, seed=seed)) * scale
        value.copy_(torch.from_numpy(drawn))
        getattr(ours, name).set_value(jnp.asarray(drawn))
    return theirs.double(), ours


@pytest.mark.parametrize("offset", [0, 1000])
def test_batch_norm_in_training(offset):
    theirs, ours = make_norms(3)
    before = np.array(ours.var)
    x = helpers.draw(2, 4, 5, 3) + offset
    ours.train()
    # float32 images at 1000 are only told apart to 6e-5 of their spread.
    tolerance = 1e-4 if offset else 1e-6
    helpers.assert_close(ours(jnp.asarray(x)), theirs(helpers.to_torch64(x)), tolerance)
    np.testing.assert_allclose(ours.mean, theirs.running_mean, rtol=1e-6)
    n = 2 * 4 * 5
    change = (theirs.running_var.numpy() - 0.9 * before) * (n - 1) / n
    np.testing.assert_allclose(ours.var, 0.9 * before + change, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_batch_norm_in_evaluation(dtype):
    theirs, ours = make_norms(3, scale=1e-4)  # variances that epsilon, 1e-5, changes
    x = jnp.asarray(helpers.draw(2, 4, 5, 3), dtype)
    ours.eval()
    theirs.eval()
    found = ours(x)
    assert found.dtype == x.dtype
    tolerance = 1e-6 if dtype == "float32" else 4e-3
    expected = theirs(helpers.to_torch64(np.asarray(x, np.float32)))
    helpers.assert_close(np.asarray(found, np.float32), expected, tolerance)
