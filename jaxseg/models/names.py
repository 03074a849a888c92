"""A model's variables as flat dicts, `backbone.layer1.0.conv1.kernel` -> array.

Freezing, weight decay, porting and checkpoints all speak of variables by these names.
A *name rule* is such a name, or a leading part of one, with `*` and `[..]` as in file
names: `backbone`, `backbone.layer[12]`, `*.bias`.
"""

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any

import jax
from flax import nnx

Variables = Mapping[str, jax.Array]


def matches(name: str, rules: Iterable[str]) -> bool:
    """Whether any of the rules names the variable or a part that holds it."""
    return any(
        fnmatch.fnmatchcase(name, rule) or fnmatch.fnmatchcase(name, rule + ".*")
        for rule in rules
    )


def join(path: Iterable[object]) -> str:
    """("backbone", "layer1", 0) -> "backbone.layer1.0"."""
    return ".".join(map(str, path))


def split(model: nnx.Module) -> tuple[nnx.GraphDef, dict, dict]:
    """(graph definition, parameters, batch statistics), the last two by name."""
    graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
    return graphdef, _flat(params), _flat(stats)


def merge(graphdef: nnx.GraphDef, variables: Variables) -> Any:
    """The model that `split` took apart, holding copies of these variables."""
    state: dict = {}
    for name, value in variables.items():
        *parents, leaf = [int(p) if p.isdigit() else p for p in name.split(".")]
        node = state
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return nnx.merge(graphdef, state, copy=True)


def update(model: nnx.Module, variables: Variables) -> None:
    """Sets the named variables of a model, in place."""
    for path, variable in nnx.to_flat_state(nnx.state(model)):
        if (name := join(path)) in variables:
            variable.set_value(variables[name])


def _flat(state: Any) -> dict[str, jax.Array]:
    return {join(path): v.get_value() for path, v in nnx.to_flat_state(state)}
