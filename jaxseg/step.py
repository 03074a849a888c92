"""One step of training and of evaluation, each one jitted program."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array

from jaxseg import augment, inference, losses, metrics, sharding
from jaxseg import config as config_lib
from jaxseg import state as state_lib
from jaxseg.models import build, names
from jaxseg.state import TrainState

Batch = dict[str, Array]  # images uint8 [B H W 3], labels uint8 [B H W]


def make_train_step(
    graphdef: nnx.GraphDef,
    tx: optax.GradientTransformation,
    schedule: optax.Schedule,
    mesh: Mesh,
    config: config_lib.Config,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]:
    """A jitted (state, batch) -> (state, metrics) that consumes the state.

    Metrics are those of the state before the update: step_loss, grad_norm and lr;
    grad_squares, [P], the squared norm of each parameter's gradient; finite, whether
    loss and gradients are; and since the last multiple of config.train.log_every the
    mean loss and the confusion matrix (float32 [C C]). A step that is not finite only
    counts as done, also in the schedule: it leaves all else as it was.
    """
    grad_of = jax.value_and_grad(_make_loss(graphdef, mesh, config), has_aux=True)
    combine = _whole_batch if config.train.accumulate == 1 else _by_parts

    def train_step(state: TrainState, batch: Batch):
        key, dropout_key = augment.step_keys(config.seed, state.step)
        images, labels = augment.augment(
            key,
            batch["images"],
            batch["labels"],
            data=config.data,
            ignore=config.loss.ignore,
        )
        found = combine(grad_of, state, images, labels, dropout_key, config)
        places = state_lib.layout(mesh, state)
        grads = jax.lax.with_sharding_constraint(found.grads, places.params)
        squares = jnp.stack([jnp.square(grad).sum() for grad in grads.values()])
        finite = jnp.isfinite(found.loss) & jnp.isfinite(squares.sum())
        since = state.step % config.train.log_every
        window = jax.tree.map(lambda x: jnp.where(since == 0, 0, x), state.window)
        old = dataclasses.replace(state, step=state.step + 1, window=window)

        def go_on() -> TrainState:
            updates, opt_state = tx.update(grads, state.opt_state, state.params)
            params: Any = optax.apply_updates(state.params, updates)
            sums = {"loss": found.loss, "steps": 1, "confusion": found.confusion}
            return dataclasses.replace(
                old,
                params=params,
                stats=found.stats,
                ema=_average(state, {**params, **found.stats}, config.train.ema),
                opt_state=opt_state,
                window=jax.tree.map(jnp.add, window, sums),
            )

        def leave_out() -> TrainState:
            # The optimizer's own counts of steps go on: its schedule is by them.
            _, counted = tx.update(grads, state.opt_state, state.params)
            opt_state = jax.tree.map(
                lambda x, y: y if jnp.issubdtype(y.dtype, jnp.integer) else x,
                state.opt_state,
                counted,
            )
            return dataclasses.replace(old, opt_state=opt_state)

        new = _choose(finite, go_on, leave_out)
        return jax.lax.with_sharding_constraint(new, places), {
            "loss": new.window["loss"] / new.window["steps"],
            "confusion": new.window["confusion"],
            "step_loss": found.loss,
            "finite": finite,
            "grad_norm": jnp.sqrt(squares.sum()),
            "grad_squares": squares,
            "lr": schedule(state.step),
        }

    return jax.jit(train_step, donate_argnums=0)


def _choose(
    which: Array, first: Callable[[], TrainState], second: Callable[[], TrainState]
) -> TrainState:
    """What the first gives, or the second.

    On the CPU by a branch: XLA would copy parameters and optimizer state before it
    selects, 6 % of a step's time. Elsewhere by selection: a branch makes GPUs wait for
    the host.
    """
    if jax.default_backend() == "cpu":
        return jax.lax.cond(which, first, second)
    return jax.tree.map(lambda x, y: jnp.where(which, x, y), first(), second())


class _Found(NamedTuple):
    """What a batch, or a part of it, gives."""

    loss: Array
    grads: Any
    stats: Any
    confusion: Array


def _make_loss(graphdef: nnx.GraphDef, mesh: Mesh, config: config_lib.Config):
    """(params, state, stats, images, labels, key) -> loss, (stats, confusion)."""

    def whole(variables: Any) -> Any:
        """Weights that the devices share out are brought together for the model."""
        if mesh.shape["fsdp"] == 1:
            return variables
        return jax.lax.with_sharding_constraint(variables, sharding.replicated(mesh))

    def loss_of(params, state, stats, images, labels, key):
        images = augment.normalize(images, mean=config.data.mean, std=config.data.std)
        variables = {**whole(state.frozen), **stats, **whole(params)}
        model = names.merge(graphdef, variables)
        rngs = nnx.Rngs(dropout=key)
        output = model.features(images, rngs=rngs, keep=config.train.keep)
        stats = names.split(model)[2]
        value, predictions = _total_loss(output, labels, config)
        confusion = metrics.confusion_matrix(
            labels,
            predictions,
            num_classes=len(state.window["confusion"]),
            ignore=config.loss.ignore,
        )
        return value, (stats, confusion)

    return loss_of


def _whole_batch(grad_of, state, images, labels, key, config) -> _Found:
    (loss, aux), grads = grad_of(state.params, state, state.stats, images, labels, key)
    return _Found(loss, grads, *aux)


def _by_parts(grad_of, state, images, labels, key, config) -> _Found:
    """A part of the batch after the other, each weighed by its share of the pixels.

    So cross-entropy and its gradient are those of the whole batch. What looks at
    several images at once sees a part: BatchNorm, whose running statistics move once
    a part, the Dice loss, and the choice of hard pixels.
    """
    count = config.train.accumulate

    def split(array: Array) -> Array:
        # Every count-th image: then each part lies on all devices as the batch does.
        parts = array.reshape(len(array) // count, count, *array.shape[1:])
        return jnp.swapaxes(parts, 0, 1)

    parts = split(images), split(labels)
    weights = jax.vmap(lambda part: losses.total_weight(part, config.loss))(parts[1])
    shares = weights / jnp.maximum(weights.sum(), jnp.finfo(weights.dtype).tiny)

    def add(sums: _Found, part):
        number, share, images, labels = part
        (loss, (stats, confusion)), grads = grad_of(
            state.params,
            state,
            sums.stats,
            images,
            labels,
            jax.random.fold_in(key, number),
        )
        new = share * loss, jax.tree.map(lambda g: share * g, grads)
        loss, grads = jax.tree.map(jnp.add, (sums.loss, sums.grads), new)
        return _Found(loss, grads, stats, sums.confusion + confusion), None

    start = _Found(
        jnp.zeros(()),
        jax.tree.map(jnp.zeros_like, state.params),
        state.stats,
        jnp.zeros_like(state.window["confusion"], jnp.int32),
    )
    return jax.lax.scan(add, start, (jnp.arange(count), shares, *parts))[0]


def _average(state: TrainState, new: Mapping[str, Array], decay: float) -> Any:
    """The moving average, which follows closely at first.

    The decay of step t is at most (1 + t) / (10 + t), as in TensorFlow's
    ExponentialMovingAverage with `num_updates`.
    """
    if not state.ema:
        return state.ema
    decay_now = jnp.minimum(decay, (1 + state.step) / (10 + state.step))
    return optax.incremental_update(new, state.ema, 1 - decay_now)


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
        labels = batch["labels"].astype(jnp.int32)
        labels = jnp.where(batch["valid"][:, None, None], labels, ignore)
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
