"""Configs of any values: refused in one line, or what is built of them works."""

import dataclasses
import functools
import json
import math
import time
import typing

import alone
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxseg import config as config_lib
from jaxseg import errors, optim, validate
from jaxseg.models import build, names

COUNT = 2000
SECONDS = 5
HOSTILE = (
    *(
        None,
        True,
        False,
        "",
        "\0",
        "\x1b[31m\n",
        "__import__('os').abort()",
        "x" * 10**5,
    ),
    *(0, -1, 1, 2, 3, 2**31 - 1, 2**31, 2**63, -(2**63), 10**30, 10**400, -(10**400)),
    *(0.0, -0.0, 1e-300, 0.1, 0.9, 1.5, 1e300, 1e39, math.nan, math.inf, -math.inf),
    *((), (1,), (1, 2), (2, 1), (0, 0), (-1, 5), (1e300, 1e300), (1, 2, 3), ("a", "b")),
    *((math.nan, 1), (((),),), ("backbone",), ("*",), (True, False), (10**30, 10**30)),
    *([], [1], {}, {"a": 1}, b"x", 1j, object, ..., np.float32(1), np.int64(5)),
)


def sections(config):
    """The config and its sections."""
    fields = (getattr(config, field.name) for field in dataclasses.fields(config))
    return [config, *filter(dataclasses.is_dataclass, fields)]


def allowed(rng, field):
    """A value that the field's own rules allow, at their ends or in between."""
    rules = field.metadata
    if "choices" in rules:
        return rules["choices"][rng.integers(len(rules["choices"]))]
    if field.type is bool:
        return bool(rng.integers(2))
    if field.type is str:
        return str(rng.choice(["", "train", "val", "x.pth", "backbone"]))
    low = rules.get("low", rules.get("above", 0))
    high = rules.get("high", 10.0 ** rng.integers(-3, 12))
    item = field.type
    if typing.get_origin(item) is tuple:
        items = typing.get_args(item)
        count = rng.integers(4) if items[-1] is Ellipsis else len(items)
        if items[0] is str:
            return tuple(rng.choice(["backbone", "head", "*"], count).tolist())
        return tuple(sorted(_number(rng, items[0], low, high) for _ in range(count)))
    return _number(rng, item, low, high)


def _number(rng, kind, low, high):
    value = rng.choice([low, high, low + (high - low) * rng.random()])
    return int(value) if kind is int else float(value)


def make_config(rng):
    """One to six fields of the defaults have other values, some of them allowed."""
    config = config_lib.Config()
    for _ in range(rng.integers(1, 7)):
        parts = sections(config)
        section = parts[rng.integers(len(parts))]
        fields = dataclasses.fields(section)
        field = fields[rng.integers(len(fields))]
        is_section = dataclasses.is_dataclass(getattr(section, field.name))
        if is_section and rng.integers(10):
            continue
        if rng.integers(5) == 0 or is_section:
            value = HOSTILE[rng.integers(len(HOSTILE))]
        else:
            value = allowed(rng, field)
        setattr(section, field.name, value)
        if is_section:
            break
    return config


@functools.lru_cache(maxsize=64)
def trace_model(*settings):
    """Shapes of the variables; nothing is computed."""
    model = config_lib.Model(**dict(settings))
    return names.split(
        nnx.eval_shape(lambda: build.build_model(model, rngs=nnx.Rngs(0)))
    )


def use(config, *, model):
    """What a run does with a config before it needs data."""
    assert config_lib.flatten(json.loads(config_lib.to_json(config)))
    steps = config.train.steps
    schedule = optim.make_schedule(config.optim, steps)
    for step in (0, 1, steps):
        assert math.isfinite(schedule(step)), step
    params = {"backbone.conv.kernel": jnp.ones((2, 2)), "head.bias": jnp.ones(2)}
    update = optim.make_optimizer(config.optim, schedule, params)
    changes, _ = jax.eval_shape(update.update, params, update.init(params), params)
    assert changes.keys() == params.keys()
    if model:
        section = config_lib.with_classes(config.model, config.model.num_classes or 9)
        _, found, _ = trace_model(*dataclasses.asdict(section).items())
        optim.split_frozen(found, config.freeze)


def use_many(seeds, *, models):
    """Makes a config of each seed; returns how many were accepted and refused."""
    done = {"accepted": 0, "refused": 0}
    for seed in seeds:
        config = make_config(np.random.default_rng(seed))
        begin = time.process_time()
        try:
            validate.validate(config)
            use(config, model=models and done["accepted"] % 10 == 0)
        except errors.UserError:
            done["refused"] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}: {config}") from error
        else:
            done["accepted"] += 1
        assert time.process_time() - begin < SECONDS, f"seed {seed}"
    return done


def test_some():
    done = use_many(range(COUNT, COUNT + 100), models=False)
    assert min(done.values()) > 20, done


@pytest.mark.slow
def test_all():
    done, peak = alone.run(functools.partial(use_many, range(COUNT), models=True))
    assert sum(done.values()) == COUNT
    assert min(done.values()) > COUNT // 5, done
    assert peak < alone.GIB, peak
