"""Five steps of each optimizer against torch.optim."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseg import config, optim

torch = pytest.importorskip("torch")

SHAPES = {
    "backbone.conv1.kernel": (3, 4),
    "backbone.bn1.bias": (4,),
    "head.classifier.kernel": (4, 2),
    "head.classifier.bias": (2,),
}
STEPS, LR, WARMUP = 5, 0.05, 2


def gradient(x, target):
    """Of a bowl around the target: sum of sqrt(1 + (x - target)^2)."""
    return (x - target) / (1 + (x - target) ** 2) ** 0.5


def draw(seed):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in SHAPES.items()}


def ours(settings):
    targets = draw(1)
    params = {name: jnp.asarray(v, jnp.float32) for name, v in draw(0).items()}
    schedule = optim.make_schedule(settings, STEPS)
    tx = optim.make_optimizer(settings, schedule, params)
    state = tx.init(params)
    for _ in range(STEPS):
        grads = {name: gradient(x, targets[name]) for name, x in params.items()}
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params


def theirs(settings):
    targets = {name: torch.tensor(v) for name, v in draw(1).items()}
    params = {name: torch.nn.Parameter(torch.tensor(v)) for name, v in draw(0).items()}
    groups = [
        {
            "params": [param],
            "lr": LR * (1 if name.startswith("backbone") else 10),
            "weight_decay": 0 if name.endswith("bias") else settings.weight_decay,
        }
        for name, param in params.items()
    ]
    make = {
        "sgd": lambda: torch.optim.SGD(groups, momentum=settings.momentum),
        "adam": lambda: torch.optim.Adam(groups, betas=settings.betas),
        "adamw": lambda: torch.optim.AdamW(groups, betas=settings.betas),
    }
    optimizer = make[settings.name]()
    scheduler = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: (t + 1) / WARMUP),
            torch.optim.lr_scheduler.PolynomialLR(optimizer, STEPS - WARMUP, 0.9),
        ],
        milestones=[WARMUP],
    )
    for _ in range(STEPS):
        for name, param in params.items():
            param.grad = gradient(param.detach(), targets[name])
        if settings.clip_norm:
            torch.nn.utils.clip_grad_norm_(params.values(), settings.clip_norm)
        optimizer.step()
        scheduler.step()
    return {name: param.detach().numpy() for name, param in params.items()}


@pytest.mark.parametrize("clip_norm", [0.0, 0.5])
@pytest.mark.parametrize(
    "optimizer",
    [
        {"name": "sgd", "momentum": 0.9},
        {"name": "sgd", "momentum": 0.0},
        {"name": "adam"},
        {"name": "adamw", "betas": (0.8, 0.95)},
    ],
    ids=lambda o: "-".join(map(str, o.values())),
)
def test_five_steps(optimizer, clip_norm):
    settings = config.Optim(
        lr=LR,
        weight_decay=0.1,
        decay_exclude=("*.bias",),
        warmup_steps=WARMUP,
        head_lr_multiplier=10.0,
        clip_norm=clip_norm,
        **optimizer,
    )
    found, expected = ours(settings), theirs(settings)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5)
        assert np.abs(value - draw(0)[name]).max() > 1e-3  # it did move
