import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import weights

from jaxseg import config, errors, optim
from jaxseg.models import names

LR, STEPS = 0.2, 101


def rates(settings, steps=STEPS):
    """The rate at each step."""
    schedule = optim.make_schedule(config.Optim(lr=LR, **settings), steps)
    return np.array([schedule(step) for step in range(steps)], np.float64)


CURVES = {
    "constant": ({}, lambda t: 1.0),
    "polynomial": ({"power": 0.9}, lambda t: (1 - t) ** 0.9),
    "polynomial to end_lr": (
        {"power": 2.0, "end_lr": 0.02},
        lambda t: 0.9 * (1 - t) ** 2 + 0.1,
    ),
    "cosine": ({}, lambda t: 0.5 + 0.5 * np.cos(np.pi * t)),
    "cosine to end_lr": (
        {"end_lr": 0.02},
        lambda t: 0.1 + 0.9 * (0.5 + 0.5 * np.cos(np.pi * t)),
    ),
    "exponential": ({"end_lr": 0.002}, lambda t: 0.01**t),
}


@pytest.mark.parametrize("warmup", [0, 20])
@pytest.mark.parametrize("case", CURVES)
def test_curves(case, warmup):
    settings, curve = CURVES[case]
    found = rates({"schedule": case.split()[0], "warmup_steps": warmup, **settings})
    for step in (warmup, (warmup + STEPS) // 2, STEPS - 1):
        share = (step - warmup) / (STEPS - warmup)  # of the curve's span done
        expected = pytest.approx(LR * curve(share), rel=1e-5, abs=1e-7)
        assert found[step] == expected, step
    expected = LR * np.arange(1, warmup + 1) / max(warmup, 1)
    np.testing.assert_allclose(found[:warmup], expected, rtol=1e-6)


@pytest.mark.parametrize("warmup", [0, 10])
def test_steps(warmup):
    settings = {"schedule": "step", "milestones": (30, 60), "gamma": 0.5}
    found = rates({"warmup_steps": warmup, **settings})
    expected = LR * 0.5 ** np.digitize(np.arange(STEPS), (30, 60))
    np.testing.assert_allclose(found[warmup:], expected[warmup:], rtol=1e-6)


def test_a_run_of_no_steps_has_a_schedule():
    for schedule in config.SCHEDULES:
        settings = config.Optim(schedule=schedule, end_lr=1e-4, milestones=(1,))
        assert np.isfinite(optim.make_schedule(settings, 0)(0))


PARAMS = {
    "backbone.conv1.kernel": jnp.array([1.0, -2.0]),
    "backbone.bn1.bias": jnp.array([0.5]),
    "head.classifier.kernel": jnp.array([3.0, 4.0]),
}


def update(gradients, **settings):
    """The change of one step at rate 1."""
    settings = config.Optim(**{"momentum": 0.0, "weight_decay": 0.0} | settings)
    tx = optim.make_optimizer(settings, optax.constant_schedule(1.0), PARAMS)
    return tx.update(gradients, tx.init(PARAMS), PARAMS)[0]


def ones(value=1.0):
    return {name: jnp.full_like(param, value) for name, param in PARAMS.items()}


def test_weight_decay_and_its_exceptions():
    found = update(ones(0.0), weight_decay=0.1, decay_exclude=("*.bias", "head"))
    np.testing.assert_allclose(found["backbone.conv1.kernel"], [-0.1, 0.2])
    np.testing.assert_array_equal(found["backbone.bn1.bias"], 0)
    np.testing.assert_array_equal(found["head.classifier.kernel"], 0)


def test_head_multiplier_scales_decay_too():
    found = update(ones(), weight_decay=0.1, head_lr_multiplier=10.0)
    np.testing.assert_allclose(found["backbone.conv1.kernel"], [-1.1, -0.8])
    np.testing.assert_allclose(found["head.classifier.kernel"], [-13, -14])


def test_clipping_is_of_all_gradients_together():
    found = update(ones(2.0), clip_norm=1.0)
    size = np.sqrt(sum(np.sum(np.square(value)) for value in found.values()))
    assert size == pytest.approx(1.0, rel=1e-6)
    small = update(ones(0.1), clip_norm=1.0)
    np.testing.assert_allclose(small["head.classifier.kernel"], [-0.1, -0.1])


def test_split_frozen():
    trained, frozen = optim.split_frozen(PARAMS, ("backbone.conv1", "*.bias"))
    assert set(frozen) == {"backbone.conv1.kernel", "backbone.bn1.bias"}
    assert set(trained) == {"head.classifier.kernel"}
    assert trained["head.classifier.kernel"] is PARAMS["head.classifier.kernel"]
    trained, frozen = optim.split_frozen(PARAMS, ())
    assert (trained, frozen) == (PARAMS, {})


def test_split_frozen_refuses_what_names_nothing():
    with pytest.raises(errors.UserError) as raised:
        optim.split_frozen(PARAMS, ("backbone", "backbone.layer9"))
    message = str(raised.value)
    assert "\n" not in message
    assert "config.freeze names 'backbone.layer9'" in message
    assert "backbone.bn1, backbone.conv1, head.classifier" in message


def test_split_frozen_leaves_something():
    with pytest.raises(errors.UserError, match=r"\('backbone', 'head'\).*nothing"):
        optim.split_frozen(PARAMS, ("backbone", "head"))


def forward(model):
    """The statistics after a forward pass, and those before."""
    graphdef, params, stats = names.split(model)

    @jax.jit
    def run(variables, images):
        merged = names.merge(graphdef, variables)
        merged.backbone(images)
        return names.split(merged)[2]

    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3))
    return run(params | stats, jnp.asarray(images, jnp.float32)), stats


def moved(model):
    after, before = forward(model)
    return {name for name in before if not np.array_equal(after[name], before[name])}


@pytest.mark.parametrize("rule", ["backbone.layer1", "backbone.layer1.*", "*"])
def test_freeze_statistics(rule):
    model = weights.make_tiny(seed=0, aux_head=False)
    model.train()
    backbone = {name for name in names.split(model)[2] if name.startswith("backbone")}
    optim.freeze_statistics(model, (rule,))
    held = {name for name in backbone if names.matches(name, (rule,))}
    assert held
    assert moved(model) == backbone - held
    model.train()
    assert moved(model) == backbone
    model.eval()
    assert moved(model) == set()


@pytest.mark.parametrize(
    ("rule", "expected"), [("none", 0.01), ("linear", 0.04), ("sqrt", 0.02)]
)
def test_scaled(rule, expected):
    settings = config.Optim(lr=0.01, lr_scaling=rule, lr_batch_size=8, end_lr=1e-4)
    found = optim.scaled(settings, 32)
    assert found.lr == pytest.approx(expected)
    assert found.end_lr / found.lr == pytest.approx(0.01)
    assert optim.scaled(found, 32) == found  # once and no more
