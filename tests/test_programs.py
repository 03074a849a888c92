"""The step is compiled once for each shape, before it runs, where it fits."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from jaxseg import config, errors, memory, programs, state

OTHERS = ("params", "frozen", "stats", "ema", "opt_state", "window")
START = state.TrainState(step=jnp.int32(1), **{name: {} for name in OTHERS})


def batch(height, width):
    return {"labels": jnp.zeros((2, height, width), jnp.int32)}


def step(start, batch):
    found = {"sum": batch["labels"].sum()}
    return dataclasses.replace(start, step=start.step + 1), found


@pytest.fixture
def compiled():
    return programs.Programs(jax.jit(step), config.Config())


def test_once_for_each_shape(compiled, capsys):
    again = "compiled again, for labels (2, 6, 8) after (2, 4, 8) in "
    for size, told in (((4, 8), "compiled in"), ((6, 8), again)):
        assert not compiled.has(batch(*size))
        compiled.compile(START, batch(*size))
        assert capsys.readouterr().out.startswith(told)
        assert compiled.has(batch(*size))
    end, found = compiled.run(START, batch(4, 8))
    assert (int(end.step), int(found["sum"])) == (2, 0)


def test_what_does_not_fit_is_refused(compiled, monkeypatch):
    compiled.check_images_fit()
    monkeypatch.setattr(memory, "available", lambda: 100)
    with pytest.raises(errors.UserError, match=r"config\.train\.accumulate=2"):
        compiled.check_images_fit()
    with pytest.raises(errors.UserError, match=r"more than the 0\.0 GiB of a device"):
        compiled.compile(START, batch(4, 8))
    assert not compiled.has(batch(4, 8))
