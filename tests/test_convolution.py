"""Every form of a convolution gives what XLA's own gives, forward and backward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.models import convolution

# size, in, out, kernel, stride, dilation, groups
CASES = [
    ((9, 12), 5, 7, 1, 1, 1, 1),
    ((9, 12), 5, 7, 1, 2, 1, 1),
    ((9, 12), 5, 7, 3, 1, 1, 1),
    ((9, 12), 5, 7, 3, 2, 1, 1),
    ((9, 12), 3, 7, 7, 2, 1, 1),
    ((9, 12), 5, 7, 3, 2, 4, 1),
    ((9, 12), 5, 7, 2, 1, 1, 1),
    ((9, 12), 5, 7, 3, 1, 4, 1),
    ((9, 12), 5, 7, 3, 1, 10, 1),  # some taps outside in one direction only
    ((9, 12), 5, 7, 3, 1, 30, 1),  # all but the middle one
    ((9, 12), 6, 6, 3, 1, 1, 6),
    ((9, 12), 6, 6, 3, 2, 1, 6),
    ((9, 12), 6, 6, 3, 1, 3, 6),
    ((9, 12), 6, 6, 3, 2, 3, 6),
]


@pytest.mark.parametrize("padding", ["symmetric", "same"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_forms_are_equal(case, padding):
    size, cin, cout, k, stride, dilation, groups = case
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, *size, cin)), "float32")
    kernel = jnp.asarray(rng.normal(size=(k, k, cin // groups, cout)), "float32")
    span = dilation * (k - 1) + 1
    pads = ((span // 2, span // 2),) * 2
    if padding == "same":
        pads = tuple(jax.lax.padtype_to_pads(size, [span] * 2, [stride] * 2, "SAME"))
    shape = {"strides": (stride, stride), "groups": groups}
    forms = convolution.possible_forms(kernel.shape, **shape)
    assert len(forms) > 1
    results = []
    for form in forms:

        def run(x, kernel, form=form):
            out = convolution.FORMS[form](
                x, kernel, padding=pads, dilation=(dilation, dilation), **shape
            )
            return out, (out**2).sum()

        out, _ = jax.jit(run)(x, kernel)
        slopes = jax.jit(jax.grad(lambda *a: run(*a)[1], argnums=(0, 1)))(x, kernel)
        results.append((out, *slopes))
    for found in results[1:]:
        for a, b in zip(found, results[0], strict=True):
            assert a.shape == b.shape
            assert np.linalg.norm(a - b) < 1e-5 * np.linalg.norm(b)


def choose(k, size, *, stride=1, dilation=1, groups=1, channels=8):
    return convolution.choose_form(
        (k, k, channels // groups, channels),
        (size, size),
        strides=(stride, stride),
        dilation=(dilation, dilation),
        groups=groups,
    )


def test_choice():
    assert choose(1, 33) == choose(1, 33, stride=2) == "matmul"
    for plain in (choose(3, 33), choose(3, 33, stride=2), choose(3, 65, dilation=4)):
        assert plain == "mixed"
    assert choose(3, 33, dilation=24) == "taps"
    assert choose(3, 33, groups=8) == "depthwise"
    assert choose(3, 33, groups=2) == "plain"


def test_choice_elsewhere(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert choose(1, 33) == choose(3, 33, groups=8) == "plain"


def test_long_sums_in_bfloat16():
    """A sum of 300 rows kept in bfloat16 would stand still after some of them."""
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 300, 4, 2)), "bfloat16")
    kernel = jnp.ones((3, 3, 1, 2), "bfloat16")
    settings = {"strides": (1, 1), "dilation": (1, 1), "padding": ((1, 1), (1, 1))}

    def slope(dtype):
        def run(kernel):
            out = convolution.FORMS["depthwise"](
                x.astype(dtype), kernel, groups=2, **settings
            )
            return out.astype("float32").sum()

        return np.asarray(jax.grad(run)(kernel.astype(dtype)), np.float32)

    np.testing.assert_allclose(slope("bfloat16"), slope("float32"), rtol=1e-2)


def test_only_the_gradients_that_are_asked_for():
    """A frozen kernel, or an image, costs no work; both together come at once."""
    x, kernel = jnp.ones((1, 8, 8, 3)), jnp.ones((3, 3, 3, 4))
    options = {"rhs_dilation": (1, 1), "feature_group_count": 1}

    def total(x, kernel):
        return convolution.convolve(x, kernel, (1, 1), "SAME", **options).sum()

    def text(argnums):
        return jax.jit(jax.grad(total, argnums)).lower(x, kernel).as_text()

    # Linear: no forward pass. The kernel's gradient is a product for each tap.
    for argnums, convolutions, products in ((0, 1, 0), (1, 0, 9), ((0, 1), 1, 9)):
        assert text(argnums).count("stablehlo.convolution(") == convolutions
        assert text(argnums).count("stablehlo.dot_general ") == products
    assert "optimization_barrier" in text((0, 1))
