"""Looks at each step's loss and gradients, so that none goes wrong in silence."""

import math
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import UInt8

from jaxseg import augment, errors, pictures
from jaxseg import config as config_lib
from jaxseg.models import names

MOST_LEFT_OUT = 10  # steps in succession
MOST_EXPLAINED = 20  # steps; each leaves a file
FIRST_STEPS = 5  # in which a parameter without gradient is noted
SPIKE = 4.0  # times the recent mean of the loss
_SPIKE_AFTER, _KEPT = 20, 0.9  # steps; share of the recent mean that a step leaves


class Watch:
    """Is shown every step, in order; `tell` is given what the user should know.

    `explain` tells what is known of a step that is not finite, given its number and
    its batch.
    """

    def __init__(
        self,
        config: config_lib.Config,
        params: Iterable[str],
        *,
        explain: Callable[[int, Any], str],
        tell: Callable[[str], None],
    ):
        self._config, self._params = config, sorted(params)
        self._explain, self._tell = explain, tell
        self._idle = np.ones(len(self._params), bool)  # no gradient so far
        self._seen = self._left_out = self._in_succession = 0
        self._mean = math.nan  # of the loss, recently

    def look(self, step: int, found: Mapping[str, Any], batch: Any) -> None:
        """Takes a step's metrics, as of step.make_train_step, and its batch.

        Raises UserError for a step that is not finite, where that is to end the run.
        """
        loss = float(found["step_loss"])
        if not found["finite"]:
            self._not_finite(step, loss, float(found["grad_norm"]), batch)
            return
        self._in_succession = 0
        self._seen += 1
        if self._seen <= FIRST_STEPS:
            self._look_at_gradients(np.asarray(found["grad_squares"]))
        if self._seen > _SPIKE_AFTER and loss > SPIKE * self._mean:
            self._tell(
                f"step {step}: the loss {loss:.4g} is {loss / self._mean:.1f} times "
                f"its recent mean {self._mean:.4g}"
            )
        recent = loss if math.isnan(self._mean) else self._mean
        self._mean = _KEPT * recent + (1 - _KEPT) * loss

    def _not_finite(self, step: int, loss: float, norm: float, batch: Any) -> None:
        self._left_out += 1
        self._in_succession += 1
        told = f"step {step}: the loss is {loss:g}, the gradient's norm {norm:g}"
        if self._left_out <= MOST_EXPLAINED:
            told += f"; {self._explain(step, batch)}"
        if self._config.train.nonfinite == "stop":
            raise errors.UserError(
                f"{told}. Lower config.optim.lr, set config.optim.clip_norm, or leave "
                "such steps out with --config.train.nonfinite=skip"
            )
        if self._in_succession > MOST_LEFT_OUT:
            raise errors.UserError(
                f"{told}. {self._in_succession} steps in succession were left out; "
                "lower config.optim.lr or set config.optim.clip_norm"
            )
        self._tell(f"{told}. It is left out, {self._left_out} so far")

    def _look_at_gradients(self, squares: np.ndarray) -> None:
        self._idle &= squares == 0
        if self._seen == FIRST_STEPS and self._idle.any():
            idle = np.array(self._params)[self._idle]
            self._tell(
                f"no gradient reaches {len(idle)} of {len(self._params)} parameters: "
                + _shortened(idle.tolist())
            )


def make_is_finite(
    graphdef: nnx.GraphDef, data: config_lib.Data
) -> Callable[[names.Variables, UInt8[np.ndarray, "b h w 3"]], jax.Array]:
    """Compiles whether the logits of all images are finite.

    `graphdef` is that of the model in evaluation mode.
    """

    @jax.jit
    def is_finite(variables, images):
        images = augment.normalize(images, mean=data.mean, std=data.std)
        logits = names.merge(graphdef, variables).features(images).logits
        return jnp.isfinite(logits).all()

    return is_finite


def explain(
    images: UInt8[np.ndarray, "b h w 3"],
    labels: np.ndarray,
    called: Sequence[str],
    *,
    is_finite: Callable[[UInt8[np.ndarray, "b h w 3"]], jax.Array],
    path: pathlib.Path,
) -> str:
    """Which images are at fault, as far as each alone shows it; saves them in `path`.

    `called` are the images' names; `is_finite` is as of `make_is_finite`, of the
    network's variables.
    """
    kept = f"the batch is in {path}"
    try:
        with pictures.atomic_path(path) as part, part.open("wb") as file:
            np.savez_compressed(
                file, images=images, labels=labels, names=np.array(called)
            )
    except OSError as error:
        kept = f"the batch could not be saved ({error.strerror})"

    at_fault = [
        name
        for name, image in zip(called, images, strict=True)
        if not is_finite(image[None])
    ]
    if at_fault:
        told = f"the network gives no finite logits for {_shortened(at_fault)}"
    else:
        told = f"no image alone is at fault of {_shortened(called)}"
    return f"{told}; {kept}"


def _shortened(told: Sequence[str]) -> str:
    shown = ", ".join(told[:8])
    return shown + (f" and {len(told) - 8} more" if len(told) > 8 else "")
