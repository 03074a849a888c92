"""Our networks by the names of peers.py, with steps as users run them."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxseg import augment, config, inference, losses, optim, sharding, step
from jaxseg import state as state_lib
from jaxseg.models import build, names

NETWORKS: dict[str, dict[str, Any]] = {
    "fcn_resnet50": {"head": "fcn"},
    "deeplabv3_resnet50": {"head": "deeplabv3"},
    "deeplabv3_resnet101": {"head": "deeplabv3", "backbone": "resnet101"},
    "deeplabv3_resnet18": {
        "head": "deeplabv3",
        "backbone": "resnet18",
        "contract_dilation": False,
    },
    "deeplabv3plus_mobilenet_v2": {
        "head": "deeplabv3plus",
        "backbone": "mobilenet_v2",
        "output_stride": 16,
        "atrous_rates": (12, 24, 36),
        "contract_dilation": False,
        "align_corners": True,
    },
}


def make_batch(batch: int, size: tuple[int, int], num_classes: int) -> dict:
    """Noise: images uint8 [B H W 3], labels int32 [B H W], one in 20 ignored."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, num_classes, (batch, *size), np.int32)
    labels[rng.random(labels.shape) < 0.05] = 255
    return {
        "images": rng.integers(0, 256, (batch, *size, 3), np.uint8),
        "labels": labels,
    }


def normalized(images: np.ndarray) -> np.ndarray:
    """What torch gets: float32, normalized on the host beforehand, not timed."""
    data = config.Data()
    return ((images - np.array(data.mean)) / np.array(data.std)).astype(np.float32)


class Ours:
    """A network with random weights; programs are compiled before memory is taken."""

    def __init__(self, name: str, num_classes: int, *, dtype: str, keep: str = "auto"):
        self.config = config.Config()
        self.config.data.augment = "none"
        self.config.optim.lr = 0.01
        self.num_classes = num_classes
        self.config.model = config.Model(
            num_classes=num_classes, dtype=dtype, **NETWORKS[name]
        )
        self.config.train.keep = keep
        self.model = nnx.eval_shape(
            lambda: build.build_model(self.config.model, rngs=nnx.Rngs(0))
        )

    def prepare_train_step(self, batch: dict) -> Callable[[], Callable[[], object]]:
        """Compiles a step of SGD; call the result to make its state."""
        self.model.train()
        graphdef, params, stats = names.split(self.model)
        schedule = optim.make_schedule(self.config.optim, 1000)
        tx = optim.make_optimizer(self.config.optim, schedule, params)
        train_step = step.make_train_step(
            graphdef,
            tx,
            schedule,
            sharding.make_mesh(),
            self.config,
        )
        make_state = functools.partial(
            state_lib.make_train_state, tx=tx, num_classes=self.num_classes
        )
        shapes = jax.eval_shape(make_state, params, {}, stats)
        compiled = train_step.lower(shapes, batch).compile()

        def start() -> Callable[[], object]:
            state = fill(shapes)
            on_device = sharding.put_batch(sharding.make_mesh(), batch)

            def run():
                nonlocal state
                state, metrics = compiled(state, on_device)
                return float(metrics["loss"])

            return run

        return start

    def train_step(self, batch: dict) -> Callable[[], object]:
        """A step of SGD, with normalization and confusion matrix."""
        return self.prepare_train_step(batch)()

    def parts(self, batch: dict) -> dict[str, Callable[[], object]]:
        """Shares of a step by themselves: forward; loss with its gradient; both.

        "gradient" is the forward pass, the loss and the whole backward pass.
        """
        self.model.train()
        graphdef, params, stats = names.split(self.model)
        data, labels = self.config.data, batch["labels"]

        def forward(params, stats, images):
            model = names.merge(graphdef, {**params, **stats})
            images = augment.normalize(images, mean=data.mean, std=data.std)
            logits = model.features(images, rngs=nnx.Rngs(dropout=0)).logits
            return logits, names.split(model)[2]

        def loss(logits, labels):
            return losses.segmentation_loss(logits, labels, self.config.loss)

        def loss_of(params, stats, images, labels):
            logits, stats = forward(params, stats, images)
            value, predictions = loss(logits, labels)
            return value, (predictions, stats)

        inputs = fill(params), fill(stats), jax.device_put(batch["images"])
        logits = fill(jax.eval_shape(forward, *inputs)[0])
        gradient = functools.partial(jax.value_and_grad, has_aux=True)
        return {
            "forward": _compiled(forward, *inputs),
            "loss": _compiled(gradient(loss), logits, labels),
            "gradient": _compiled(gradient(loss_of), *inputs, labels),
        }

    def forward(self, images: np.ndarray, *, argmax: bool) -> Callable[[], object]:
        """Logits of the images' size, or the class of the largest."""
        self.model.eval()
        graphdef, params, stats = names.split(self.model)
        data = self.config.data

        def logits_of(variables: names.Variables, images: jax.Array) -> jax.Array:
            return names.merge(graphdef, variables)(images).logits

        program = logits_of
        if argmax:
            program = inference.make_predictor(graphdef, mean=data.mean, std=data.std)
        else:
            images = normalized(images)
        variables, images = fill({**params, **stats}), jax.device_put(images)
        compiled = jax.jit(program).lower(variables, images).compile()
        return lambda: jax.block_until_ready(compiled(variables, images))


def _compiled(program: Callable, *arguments: Any) -> Callable[[], object]:
    compiled = jax.jit(program).lower(*arguments).compile()
    return lambda: jax.block_until_ready(compiled(*arguments))


def fill(tree: Any) -> Any:
    """Arrays for shapes: noise for kernels, 1 for scales and variances, else 0.

    They are JAX's own, as those of a run: NumPy's memory could not be given to a step.
    """
    rng = np.random.default_rng(0)

    def value(path, leaf):
        name = jax.tree_util.keystr(path)
        if name.endswith(".kernel']") and "opt_state" not in name:
            noise = rng.standard_normal(leaf.shape, np.float32)
            fan_out = leaf.shape[0] * leaf.shape[1] * leaf.shape[3]
            return (noise * np.sqrt(2 / fan_out)).astype(leaf.dtype)
        constant = name.endswith((".scale']", ".var']")) and "opt_state" not in name
        return np.full(leaf.shape, int(constant), leaf.dtype)

    arrays = jax.tree_util.tree_map_with_path(value, tree)
    return jax.device_put(arrays, may_alias=False)
