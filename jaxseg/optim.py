"""The update of the parameters: schedules, weight decay, freezing.

Parameters are flat dicts by dotted name; see models/names.py for names and rules.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import optax
from flax import nnx
from jaxtyping import Array

from jaxseg import config as config_lib
from jaxseg import errors
from jaxseg.models import names


def scaled(optim: config_lib.Optim, batch_size: int) -> config_lib.Optim:
    """The same with learning rates for batches of this size, scaled already.

    Linear scaling is that of Goyal et al. (2017), section 2.1; by the square root that
    of Krizhevsky (2014), section 3.2, usual with Adam.
    """
    ratio = batch_size / optim.lr_batch_size
    factor = {"none": 1.0, "linear": ratio, "sqrt": ratio**0.5}[optim.lr_scaling]
    lr, end_lr = factor * optim.lr, factor * optim.end_lr
    return dataclasses.replace(optim, lr=lr, end_lr=end_lr, lr_scaling="none")


def make_schedule(optim: config_lib.Optim, steps: int) -> optax.Schedule:
    """Learning rate by step (from 0): linear warm-up, then the chosen curve.

    Warm-up gives lr * (step + 1) / warmup_steps; the curve spans the steps left.
    """
    span = max(steps - optim.warmup_steps, 1)
    end = optim.end_lr
    curves = {
        "constant": lambda: optax.constant_schedule(optim.lr),
        "polynomial": lambda: optax.polynomial_schedule(
            optim.lr, end, optim.power, span
        ),
        "cosine": lambda: optax.cosine_decay_schedule(optim.lr, span, end / optim.lr),
        "step": lambda: optax.piecewise_constant_schedule(
            optim.lr,
            {step - optim.warmup_steps: optim.gamma for step in optim.milestones},
        ),
        "exponential": lambda: optax.exponential_decay(
            optim.lr, span, end / optim.lr, end_value=end
        ),
    }
    curve = curves[optim.schedule]()
    if not optim.warmup_steps:
        return curve
    first = optim.lr / optim.warmup_steps
    last = optim.lr + first
    warmup = optax.linear_schedule(first, last, optim.warmup_steps)
    return optax.join_schedules([warmup, curve], [optim.warmup_steps])


def make_optimizer(
    optim: config_lib.Optim, schedule: optax.Schedule, params: Mapping[str, Array]
) -> optax.GradientTransformation:
    """SGD, Adam or AdamW as torch.optim has them, for these parameters."""
    decayed = {name: not names.matches(name, optim.decay_exclude) for name in params}
    rate = {
        name: 1.0 if name.startswith("backbone.") else optim.head_lr_multiplier
        for name in params
    }

    def scale(updates: Any, _) -> dict[str, Array]:
        return {name: rate[name] * update for name, update in updates.items()}

    decay = optax.add_decayed_weights(optim.weight_decay, decayed)
    adam = optax.scale_by_adam(*optim.betas)
    rules = {
        "sgd": (decay, optax.trace(optim.momentum)),
        "adam": (decay, adam),
        "adamw": (adam, decay),
    }
    clip = optax.clip_by_global_norm(optim.clip_norm) if optim.clip_norm else None
    return optax.chain(
        *([clip] if clip else []),
        *rules[optim.name],
        optax.scale_by_learning_rate(schedule),
        optax.stateless(scale),
    )


def split_frozen(
    params: Mapping[str, Array], rules: Collection[str]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """(trained, frozen) parameters. Raises UserError for a rule that names nothing."""
    for rule in rules:
        if not any(names.matches(name, (rule,)) for name in params):
            parts = sorted({".".join(name.split(".")[:2]) for name in params})
            raise errors.UserError(
                f"config.freeze names {rule!r}, which is no part of the model; "
                f"its parts are {', '.join(parts)}"
            )
    frozen = {name for name in params if names.matches(name, rules)}
    if len(frozen) == len(params):
        raise errors.UserError(f"config.freeze={tuple(rules)} leaves nothing to train")
    return (
        {name: value for name, value in params.items() if name not in frozen},
        {name: value for name, value in params.items() if name in frozen},
    )


def freeze_statistics(model: nnx.Module, rules: Collection[str]) -> None:
    """Puts the BatchNorm of the named parts into evaluation mode, in place.

    Call it after `model.train()`, which undoes it; the rule `*` names all.
    """
    for path, module in nnx.iter_modules(model):
        if isinstance(module, nnx.BatchNorm) and names.matches(names.join(path), rules):
            module.eval()
