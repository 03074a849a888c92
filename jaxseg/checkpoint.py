"""Saving and restoring of the training state; the only file that knows orbax.

A checkpoint has these parts: `model`, the variables by name; `ema`, the same of the
moving average, if one is kept; and `training`, the rest of the state. The position in
the data is the step (data/loader.py) and needs no part.
"""

import contextlib
import logging
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh
from orbax.checkpoint import v1 as ocp

from jaxseg import config as config_lib
from jaxseg import errors, sharding
from jaxseg.models import build, names

# orbax types its own arguments more narrowly than what it takes.
_training: Any = ocp.training
_policies: Any = ocp.training.preservation_policies


class Checkpoints:
    """The checkpoints of a workdir: the latest `keep` and the best by mIoU.

    Saving goes on in the background; a checkpoint appears whole or not at all.
    """

    def __init__(self, workdir: pathlib.Path, *, keep: int):
        logging.getLogger("absl").setLevel(logging.ERROR)  # orbax tells every save
        best = _policies.BestN(
            get_metric_fn=lambda metrics: metrics["miou"],
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        folder = (workdir / "checkpoints").absolute()
        self._orbax = _training.Checkpointer(
            folder,
            preservation_policy=_policies.AnyPreservationPolicy(
                [_policies.LatestN(keep), best]
            ),
        )

    def save(
        self,
        step: int,
        parts: dict[str, Any],
        *,
        miou: float | None = None,
    ) -> None:
        """Starts to save the state after `step` steps, with its mIoU if evaluated."""
        self._orbax.save_checkpointables_async(
            step,
            parts,
            metrics=None if miou is None else {"miou": miou},
            force=True,
            overwrite=True,
        )

    @property
    def steps(self) -> list[int]:
        """The steps that can be restored, rising."""
        return sorted(each.step for each in self._orbax.checkpoints)

    @property
    def best_step(self) -> int:
        """The step with the highest mIoU; where none was evaluated, the latest."""
        rated = [each for each in self._orbax.checkpoints if each.metrics]
        if not rated:
            return max(self.steps)
        return max(rated, key=lambda each: (each.metrics["miou"], each.step)).step

    def restore(self, step: int, template: dict[str, Any], mesh: Mesh) -> dict:
        """The parts that `template` ({part: arrays, or their shapes}) asks for.

        Arrays come to lie as the template's, or where those tell nothing on all of the
        mesh, wherever they lay when saved. Raises UserError if there is no such step
        or its arrays differ from the template's.
        """
        if step not in self.steps:
            known = ", ".join(map(str, self.steps)) or "none"
            raise errors.UserError(
                f"{self._orbax.directory} has no checkpoint of step {step}; "
                f"it has {known}"
            )
        everywhere = sharding.replicated(mesh)
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(
                x.shape, x.dtype, sharding=getattr(x, "sharding", None) or everywhere
            ),
            template,
        )
        try:
            return self._orbax.load_checkpointables(step, abstract)
        except Exception as error:  # orbax raises many kinds; the cause tells why
            reason = " ".join(str(error.__cause__ or error).split())[:300]
            raise errors.UserError(
                f"checkpoint {step} in {self._orbax.directory} does not fit this "
                f"config: {reason}"
            ) from error

    def close(self) -> None:
        """Waits until all that was started is on disk, then lets go."""
        self._orbax.close()


@contextlib.contextmanager
def open_all(workdir: pathlib.Path, *, keep: int) -> Iterator[Checkpoints]:
    """The checkpoints of a workdir, closed at the end."""
    with contextlib.closing(Checkpoints(workdir, keep=keep)) as checkpoints:
        yield checkpoints


def exists(workdir: pathlib.Path) -> bool:
    """Whether the workdir has a checkpoint to go on from."""
    return any(path.name.isdecimal() for path in (workdir / "checkpoints").glob("*"))


def remove_unfinished(workdir: pathlib.Path) -> None:
    """Removes what a killed run was writing; only for who alone writes there."""
    for unfinished in (workdir / "checkpoints").glob("*.orbax-checkpoint-tmp"):
        shutil.rmtree(unfinished, ignore_errors=True)


def restore_model(
    workdir: pathlib.Path, config: config_lib.Config, mesh: Mesh, *, step: int | None
) -> tuple[nnx.Module, int]:
    """The trained model in evaluation mode and its step, the best unless `step` says.

    Its weights are the moving average, where one was kept and is wanted. Raises
    UserError if the workdir has no such checkpoint, or one of another model.
    """
    if not exists(workdir):
        raise errors.UserError(f"{workdir} has no checkpoints; train there first")
    with open_all(workdir, keep=2**31) as checkpoints:
        step = checkpoints.best_step if step is None else step
        abstract = nnx.eval_shape(
            lambda: build.build_model(config.model, rngs=nnx.Rngs(0))
        )
        abstract.eval()
        graphdef, params, stats = names.split(abstract)
        averaged = config.train.ema and config.eval.weights == "ema"
        part = "ema" if averaged else "model"
        saved = checkpoints.restore(step, {part: params | stats}, mesh)
    return names.merge(graphdef, saved[part]), step
