"""What a training run changes from step to step, and where it lies on the mesh."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array

from jaxseg import sharding

ByName = Mapping[str, Any]  # arrays, or what JAX puts in their place while tracing


@jax.tree_util.register_dataclass
@dataclasses.dataclass(kw_only=True, frozen=True)
class TrainState:
    """All that a step changes, and the frozen parameters; dicts by dotted name."""

    step: Any  # int32: steps done
    params: ByName  # trained
    frozen: ByName
    stats: ByName  # BatchNorm's running mean and variance
    ema: ByName  # moving average of `params` and `stats`; empty if none is kept
    opt_state: Any
    window: ByName  # sums of metrics since the last row of the log

    @property
    def variables(self) -> dict[str, Array]:
        """All variables of the model."""
        return {**self.params, **self.frozen, **self.stats}

    @property
    def averaged(self) -> dict[str, Array]:
        """The same, with the moving average where one is kept."""
        return {**self.variables, **self.ema}


def make_train_state(
    params: Mapping[str, Array],
    frozen: Mapping[str, Array],
    stats: Mapping[str, Array],
    tx: optax.GradientTransformation,
    *,
    num_classes: int,
    ema: bool = False,
) -> TrainState:
    """The state before the first step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        frozen=frozen,
        stats=stats,
        ema=jax.tree.map(jnp.copy, {**params, **stats} if ema else {}),
        opt_state=tx.init(params),
        window={
            "loss": jnp.zeros(()),
            "steps": jnp.zeros((), jnp.int32),
            "confusion": jnp.zeros((num_classes, num_classes)),
        },
    )


def abstract_on(
    mesh: Mesh, make_state: Callable[..., TrainState], *variables: Mapping[str, Any]
) -> TrainState:
    """What `make_state` makes of the variables, as shapes that lie on the mesh."""
    state = jax.eval_shape(make_state, *variables)
    return jax.tree.map(
        lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
        state,
        layout(mesh, state),
    )


def init_on(
    mesh: Mesh, make_state: Callable[..., TrainState], *variables: Mapping[str, Any]
) -> TrainState:
    """The same as arrays, of (params, frozen, stats) that every process has."""
    places = layout(mesh, jax.eval_shape(make_state, *variables))
    parts = places.params, places.frozen, places.stats
    placed = [
        {name: sharding.put(value, place[name]) for name, value in each.items()}
        for each, place in zip(variables, parts, strict=True)
    ]
    return jax.jit(make_state, out_shardings=places, donate_argnums=(0, 1, 2))(*placed)


def layout(mesh: Mesh, state: TrainState) -> TrainState:
    """Where each array of the state lies: a TrainState of shardings.

    What has the size of the parameters is shared out over the mesh's axis `fsdp`; the
    small rest, which every step reads whole, is everywhere.
    """

    def shared(tree: Any) -> Any:
        return jax.tree.map(lambda x: sharding.of_weights(mesh, x.shape), tree)

    def everywhere(tree: Any) -> Any:
        return jax.tree.map(lambda x: sharding.replicated(mesh), tree)

    return TrainState(
        step=everywhere(state.step),
        params=shared(state.params),
        frozen=shared(state.frozen),
        stats=everywhere(state.stats),
        ema=shared(state.ema),
        opt_state=shared(state.opt_state),
        window=everywhere(state.window),
    )
