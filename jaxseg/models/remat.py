"""Parts of a network whose backward pass computes again what was not kept.

A part does so when the backward pass has come to it, from its inputs, which are always
kept. So no more than one part's are there at a time.
"""

from collections.abc import Callable, Iterable
from typing import Any

import jax
from flax import nnx

_only = jax.checkpoint_policies.save_only_these_names

# By config.train.keep: names that checkpoint_name gave to what is kept.
_POLICIES = {
    "convolutions": _only("conv", "statistics"),
    "blocks": _only("block", "statistics"),
}


def part(function: Callable, keep: str) -> Callable:
    """A function of modules and arrays, as a part that keeps what `keep` says.

    `keep` is one of config.train.keep; with "all" it is the function itself.
    """
    if keep == "auto":
        keep = "convolutions" if jax.default_backend() == "cpu" else "all"
    if keep == "all":
        return function
    return nnx.remat(function, policy=_POLICIES[keep])


def in_turn(modules: Iterable[Callable], x: Any) -> Any:
    """What the last module gives, each being given what the one before gave."""
    for module in modules:
        x = module(x)
    return x
