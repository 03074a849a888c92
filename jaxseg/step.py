"""One step of training and of evaluation, each one jitted program."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array

from jaxseg import augment, inference, losses, metrics, sharding
from jaxseg import config as config_lib
from jaxseg.models import build, names

ByName = Mapping[str, Any]  # arrays, or what JAX puts in their place while tracing


@jax.tree_util.register_dataclass
@dataclasses.dataclass(kw_only=True, frozen=True)
class TrainState:
    """All that a step changes, and the frozen parameters; dicts by dotted name."""

    step: Any  # int32: steps done
    params: ByName  # trained
    frozen: ByName
    stats: ByName  # BatchNorm's running mean and variance
    opt_state: Any
    window: ByName  # sums of metrics since the last row of the log

    @property
    def variables(self) -> dict[str, Array]:
        """All variables of the model."""
        return {**self.params, **self.frozen, **self.stats}


_policies = jax.checkpoint_policies

# What the forward pass keeps for the backward one; the rest is computed again.
KEEP: dict[str, Callable[[Callable], Callable]] = {
    "all": lambda function: function,
    "convolutions": functools.partial(
        jax.checkpoint, policy=_policies.save_only_these_names("conv")
    ),
    "blocks": functools.partial(
        jax.checkpoint, policy=_policies.save_only_these_names("block")
    ),
}

Batch = dict[str, Array]  # images uint8 [B H W 3], labels int32 [B H W]


def make_train_state(
    params: Mapping[str, Array],
    frozen: Mapping[str, Array],
    stats: Mapping[str, Array],
    tx: optax.GradientTransformation,
    *,
    num_classes: int,
) -> TrainState:
    """The state before the first step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        frozen=frozen,
        stats=stats,
        opt_state=tx.init(params),
        window={
            "loss": jnp.zeros(()),
            "confusion": jnp.zeros((num_classes, num_classes)),
        },
    )


def make_train_step(
    graphdef: nnx.GraphDef,
    tx: optax.GradientTransformation,
    schedule: optax.Schedule,
    mesh: Mesh,
    config: config_lib.Config,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]:
    """A jitted (state, batch) -> (state, metrics) that consumes the state.

    Metrics are those of the state before the update: grad_norm and lr, and the mean
    loss and the confusion matrix (float32 [C C]) since the last multiple of
    config.train.log_every.
    """
    kept = KEEP[config.train.keep]

    def train_step(state: TrainState, batch: Batch):
        key, dropout_key = augment.step_keys(config.seed, state.step)
        images, labels = augment.augment(
            key,
            batch["images"],
            batch["labels"],
            data=config.data,
            ignore=config.loss.ignore,
        )
        images = augment.normalize(images, mean=config.data.mean, std=config.data.std)

        def features_of(params):
            model = names.merge(graphdef, {**state.variables, **params})
            output = model.features(images, rngs=nnx.Rngs(dropout=dropout_key))
            return output, names.split(model)[2]

        def loss_of(params):
            output, stats = kept(features_of)(params)
            value, predictions = _total_loss(output, labels, config)
            return value, (predictions, stats)

        grad_of = jax.value_and_grad(loss_of, has_aux=True)
        (value, (predictions, stats)), grads = grad_of(state.params)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params: Any = optax.apply_updates(state.params, updates)
        confusion = metrics.confusion_matrix(
            labels,
            predictions,
            num_classes=len(state.window["confusion"]),
            ignore=config.loss.ignore,
        )
        since = state.step % config.train.log_every
        window = {
            name: jnp.where(since == 0, 0, state.window[name]) + new
            for name, new in {"loss": value, "confusion": confusion}.items()
        }
        new_state = TrainState(
            step=state.step + 1,
            params=params,
            frozen=state.frozen,
            stats=stats,
            opt_state=opt_state,
            window=window,
        )
        return new_state, {
            "loss": window["loss"] / (since + 1),
            "confusion": window["confusion"],
            "grad_norm": optax.tree.norm(grads),
            "lr": schedule(state.step),
        }

    everywhere = sharding.replicated(mesh)
    return jax.jit(train_step, donate_argnums=0, out_shardings=(everywhere, everywhere))


def make_eval_step(
    graphdef: nnx.GraphDef,
    mesh: Mesh,
    *,
    data: config_lib.Data,
    num_classes: int,
    ignore: int,
) -> Callable[[names.Variables, Batch], Array]:
    """A jitted (variables, batch) -> confusion matrix, int32 [C C].

    The batch has besides `valid`, bool [B]: False for images that only fill it up.
    """
    predict = inference.make_predictor(graphdef, mean=data.mean, std=data.std)

    def eval_step(variables: names.Variables, batch: Batch) -> Array:
        labels = jnp.where(batch["valid"][:, None, None], batch["labels"], ignore)
        return metrics.confusion_matrix(
            labels,
            predict(variables, batch["images"]),
            num_classes=num_classes,
            ignore=ignore,
        )

    return jax.jit(eval_step, out_shardings=sharding.replicated(mesh))


def _total_loss(
    output: build.Output, labels: Array, config: config_lib.Config
) -> tuple[Array, Array]:
    """(loss of the head and its share of the auxiliary one's, predictions).

    Hard examples are mined for the head alone, as in HRNet, CCNet and the examples of
    mmsegmentation; the Dice loss is of both, as in mmsegmentation's recipes.
    """
    settings, corners = config.loss, config.model.align_corners
    value, predictions = losses.segmentation_loss(
        output.logits, labels, settings, align_corners=corners
    )
    if output.aux is not None:
        settings = dataclasses.replace(settings, ohem_threshold=0.0)
        aux, _ = losses.segmentation_loss(
            output.aux, labels, settings, align_corners=corners
        )
        value = value + settings.aux_weight * aux
    return value, predictions
