import jax.numpy as jnp
import numpy as np
import pytest
import weights
from flax import nnx

from jaxseg.models import names


@pytest.mark.parametrize(
    ("name", "rule", "expected"),
    [
        ("backbone.layer1.0.conv1.kernel", "backbone", True),
        ("backbone.layer1.0.conv1.kernel", "backbone.layer1", True),
        ("backbone.layer1.0.conv1.kernel", "backbone.layer1.0.conv1.kernel", True),
        ("backbone.layer1.0.conv1.kernel", "backbone.layer[12]", True),
        ("backbone.layer3.0.conv1.kernel", "backbone.layer[12]", False),
        ("backbone.layer10.0.conv1.kernel", "backbone.layer1", False),
        ("backbone.layer1.0.conv1.kernel", "back", False),
        ("backbone.layer1.0.conv1.kernel", "layer1", False),
        ("backbone.layer1.0.conv1.kernel", "*.layer1", True),
        ("backbone.layer1.0.bn1.bias", "*.bias", True),
        ("backbone.layer1.0.bn1.bias_of", "*.bias", False),
        ("head.classifier.bias", "*", True),
        ("head.classifier.bias", "Head", False),
        ("head.classifier.bias", "head.*.bias", True),
        ("head.classifier.bias", "head.?lassifier", True),
        ("head.classifier.bias", "", False),
    ],
)
def test_matches(name, rule, expected):
    assert names.matches(name, (rule,)) == expected
    assert names.matches(name, ("nothing", rule)) == expected


def test_no_rule_matches_nothing():
    assert not names.matches("head.classifier.bias", ())


def test_join():
    assert names.join(("backbone", "layer1", 0, "conv1")) == "backbone.layer1.0.conv1"


@pytest.fixture
def model():
    return weights.make_tiny(seed=2)


def test_split_names_every_variable_once(model):
    _, params, stats = names.split(model)
    state = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    assert len(params) + len(stats) == len(nnx.to_flat_state(state))
    assert not params.keys() & stats.keys()
    assert {name.rsplit(".", 1)[1] for name in params} == {"kernel", "scale", "bias"}
    assert {name.rsplit(".", 1)[1] for name in stats} == {"mean", "var"}
    assert params["backbone.conv1.kernel"].shape == (7, 7, 3, 8)
    assert stats["backbone.layer1.0.bn1.mean"].shape == (8,)


def test_merge_is_the_inverse_of_split(model):
    graphdef, params, stats = names.split(model)
    merged = names.merge(graphdef, params | stats)
    weights.assert_same(merged, weights.variables_of(model))
    assert names.split(merged)[0] == graphdef  # the modes of its layers too
    model.eval()
    assert names.split(model)[0] != graphdef


def test_merged_models_share_nothing(model):
    graphdef, params, stats = names.split(model)
    first, second = (names.merge(graphdef, params | stats) for _ in range(2))
    name = next(iter(params))
    names.update(first, {name: jnp.zeros_like(params[name])})
    np.testing.assert_array_equal(weights.variables_of(first)[name], 0)
    weights.assert_same(second, weights.variables_of(model))


def test_update_sets_what_is_named(model):
    before = weights.variables_of(model)
    changes = {
        name: jnp.asarray(value + 1)
        for name, value in before.items()
        if names.matches(name, ("backbone.layer2", "*.mean"))
    }
    assert 0 < len(changes) < len(before)
    names.update(model, changes)
    weights.assert_same(model, before | {k: np.asarray(v) for k, v in changes.items()})
