"""Saving and restoring of the training state; the only file that knows orbax.

A checkpoint is made of parts: `model`, the variables by name; `ema`, the same of the
moving average, if one is kept; and `training`, the rest of the state. The position in
the data is the step (data/loader.py) and needs no part. Beside them lies a manifest
(manifest.py), by which damage is found out.
"""

import contextlib
import logging
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh
from orbax.checkpoint import v1 as ocp

from jaxseg import (
    agreement,
    errors,
    manifest,
    orbax_errors,
    saved,
    sharding,
    writing,
)
from jaxseg import config as config_lib
from jaxseg.models import build, names


class Checkpoints:
    """The checkpoints of a workdir, which one run writes: the latest and the best.

    Saving goes on in the background. A save that fails is told, leaves nothing behind
    and does not stop the caller, who tries again at the next one.
    """

    def __init__(self, workdir: pathlib.Path, config: config_lib.Config):
        orbax_errors.silence()
        self.folder = (workdir / "checkpoints").absolute()
        self._writer = writing.Writer(self.folder, config, _write_async)

    def save(
        self,
        step: int,
        parts: Mapping[str, Any],
        *,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """Starts to save the state after `step` steps.

        Waits for the save before. The arrays may be donated when this returns. `before`
        writes files that must not be older than the checkpoint, in process 0.
        """
        self._writer.start(step, parts, before)

    def latest(self) -> int:
        """The newest step that can be restored; newer ones, damaged, are set aside."""
        return agreement.decided(lambda: saved.settle(self.folder))

    def has(self, step: int) -> bool:
        """Whether there is a checkpoint of this step."""
        self.wait()
        return agreement.decided(lambda: step in saved.steps(self.folder))

    def has_average(self, step: int) -> bool:
        """Whether that checkpoint holds a moving average."""
        return _has_average(self.folder, step)

    def rate(self, step: int, miou: float | None) -> None:
        """Adds the mIoU of a checkpoint, a fraction; the best one is kept."""
        self.wait()
        agreement.decided(lambda: self._rate(step, miou))

    def is_rated(self, step: int) -> bool:
        """Whether the checkpoint of this step has its mIoU."""
        return agreement.decided(lambda: saved.miou(self.folder, step) is not None)

    def restore(self, step: int, template: Mapping[str, Any]) -> dict[str, Any]:
        """As `restore`, from this workdir."""
        return restore(self.folder, step, template)

    def check_saved(self) -> None:
        """Waits for the last save; raises UserError if it failed."""
        self.wait()
        failure = agreement.decided(lambda: self._writer.failure)
        if failure is not None:
            known = agreement.decided(lambda: saved.steps(self.folder))
            newest = f"that of step {known[-1]}" if known else "none"
            raise errors.UserError(
                f"the last checkpoint could not be saved in {self.folder} ({failure}); "
                f"the newest there is {newest}; make room there and run the command "
                "again"
            )

    def wait(self) -> None:
        """Waits until the last save is on disk or has failed."""
        self._writer.wait()

    def close(self) -> None:
        """Waits until all that was started is on disk or has failed."""
        self._writer.close()

    def _rate(self, step: int, miou: float | None) -> None:
        try:
            manifest.rate(self.folder / str(step), miou)
        except (OSError, manifest.DamagedError) as error:
            if self._writer.failure is None:  # else it is told that there is none
                logging.warning("checkpoint %d cannot be rated (%s)", step, error)
        self._writer.keep_some()


@contextlib.contextmanager
def open_all(workdir: pathlib.Path, config: config_lib.Config) -> Iterator[Checkpoints]:
    """The checkpoints of a workdir for the run that writes them.

    Raises UserError at the end if the last save failed.
    """
    with contextlib.closing(Checkpoints(workdir, config)) as checkpoints:
        agreement.decided(lambda: saved.remove_unfinished(checkpoints.folder))
        yield checkpoints
        checkpoints.check_saved()


def exists(workdir: pathlib.Path) -> bool:
    """Whether the workdir has a checkpoint to go on from, be it damaged."""
    return agreement.decided(lambda: saved.exist(workdir / "checkpoints"))


def restore(
    folder: pathlib.Path, step: int, template: Mapping[str, Any]
) -> dict[str, Any]:
    """The parts that `template` ({part: arrays, or their shapes}) asks for.

    Arrays get the shardings of the template's, whatever they were saved from. Raises
    UserError if the arrays differ from the template's in name, shape or number.
    """
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
        dict(template),
    )
    try:
        return ocp.load_checkpointables(str(folder.absolute() / str(step)), abstract)
    except Exception as error:  # orbax raises many kinds; the cause tells why
        raise errors.UserError(
            f"checkpoint {step} in {folder} does not fit this config: "
            f"{orbax_errors.reason(error.__cause__ or error)}"
        ) from error


def restore_model(
    workdir: pathlib.Path, config: config_lib.Config, mesh: Mesh, *, step: int | None
) -> tuple[nnx.Module, int]:
    """The trained model in evaluation mode and its step, the best unless `step` says.

    Its weights are the moving average, where one was kept then and is wanted. Raises
    UserError if the workdir has no such checkpoint, or one of another model.
    """
    orbax_errors.silence()
    folder = workdir / "checkpoints"
    chosen: int = agreement.decided(lambda: saved.choose(folder, step))
    abstract = nnx.eval_shape(lambda: build.build_model(config.model, rngs=nnx.Rngs(0)))
    abstract.eval()
    graphdef, params, stats = names.split(abstract)
    everywhere = sharding.replicated(mesh)
    template = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere),
        params | stats,
    )
    wanted = config.train.ema and config.eval.weights == "ema"
    part = "ema" if wanted and _has_average(folder, chosen) else "model"
    found = restore(folder, chosen, {part: template})
    return names.merge(graphdef, found[part]), chosen


def _has_average(folder: pathlib.Path, step: int) -> bool:
    return agreement.decided(lambda: (folder / str(step) / "ema").is_dir())


def _write_async(path: pathlib.Path, parts: Mapping[str, Any]) -> Any:
    """Begins to write; what it returns has a `result`, as futures have."""
    context = ocp.Context()
    # Else a folder that cannot be made leaves threads that wait for it for minutes.
    context.asynchronous.create_directories_asynchronously = False
    with context:
        return ocp.save_checkpointables_async(str(path), dict(parts))
