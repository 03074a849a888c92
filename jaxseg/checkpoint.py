"""Saving and restoring of the training state; the only file that knows orbax.

A checkpoint is made of parts: `model`, the variables by name; `ema`, the same of the
moving average, if one is kept; and `training`, the rest of the state. The position in
the data is the step (data/loader.py) and needs no part. Beside them lies a manifest
(manifest.py), by which damage is found out.

Orbax makes the files under another name; when the manifest is written too, the folder
is renamed. So a checkpoint appears whole or not at all, whenever the process dies.
"""

import concurrent.futures
import contextlib
import errno
import json
import logging
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh
from orbax.checkpoint import v1 as ocp

from jaxseg import agreement, errors, manifest, orbax_errors, saved, sharding
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
        self._keep = config.checkpoint.keep
        self._config = json.loads(config_lib.to_json(config))
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._pending: concurrent.futures.Future | None = None
        self._failure: str | None = None  # of the last save

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
        self.wait()
        self._failure = agreement.decided(lambda: self._prepare(parts, before))
        if self._failure is None:
            path = saved.unfinished(self.folder, step)
            try:
                with _context():
                    writing = ocp.save_checkpointables_async(str(path), dict(parts))
            except OSError as error:
                self._failure = str(error)
            else:
                self._pending = self._thread.submit(self._finish, step, writing)
        if self._failure is not None:
            self._tell(step)

    def latest(self) -> int:
        """The newest step that can be restored; newer ones, damaged, are set aside."""
        return agreement.decided(lambda: saved.settle(self.folder))

    def has(self, step: int) -> bool:
        """Whether there is a checkpoint of this step."""
        self.wait()
        return agreement.decided(lambda: step in saved.steps(self.folder))

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
        failure = agreement.decided(lambda: self._failure)
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
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def close(self) -> None:
        """Waits until all that was started is on disk or has failed."""
        self.wait()
        self._thread.shutdown()

    def _prepare(
        self, parts: Mapping[str, Any], before: Callable[[], None]
    ) -> str | None:
        """Makes ready for a save; returns why that failed, if it did."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            saved.remove_unfinished(self.folder)
            before()
            _check_room(self.folder, parts)
        except OSError as error:
            return str(error)
        return None

    def _finish(self, step: int, writing: Any) -> None:
        """Waits for orbax, then makes a checkpoint of its files; in the background."""
        try:
            writing.result()
            if jax.process_index() > 0:
                return
            path = saved.unfinished(self.folder, step)
            manifest.write(path, step=step, config=self._config)
            saved.commit(self.folder, step)
        except Exception as error:  # orbax raises many kinds
            self._failure = orbax_errors.reason(error)
            self._tell(step)
            if jax.process_count() == 1:  # else others may still be writing there
                saved.remove_unfinished(self.folder)
            return
        self._keep_some()

    def _keep_some(self) -> None:
        try:
            saved.keep_only(self.folder, self._keep)
        except (OSError, errors.UserError) as error:  # one of a later format
            logging.warning("old checkpoints cannot be removed: %s", error)

    def _rate(self, step: int, miou: float | None) -> None:
        try:
            manifest.rate(self.folder / str(step), miou)
        except (OSError, manifest.DamagedError) as error:
            if self._failure is None:  # else it is told that there is none
                logging.warning("checkpoint %d cannot be rated (%s)", step, error)
        self._keep_some()

    def _tell(self, step: int) -> None:
        logging.warning(
            "checkpoint %d could not be saved (%s); training goes on and tries again "
            "at the next one",
            step,
            self._failure,
        )


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

    Its weights are the moving average, where one was kept and is wanted. Raises
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
    averaged = config.train.ema and config.eval.weights == "ema"
    part = "ema" if averaged else "model"
    found = restore(folder, chosen, {part: template})
    return names.merge(graphdef, found[part]), chosen


def _check_room(folder: pathlib.Path, parts: Mapping[str, Any]) -> None:
    """Raises OSError if the disk has no room for them; later that is told less well."""
    needed = sum(array.nbytes for array in jax.tree.leaves(dict(parts)))
    free = shutil.disk_usage(folder).free
    if free < needed:
        reason = f"{free:,} bytes are free, a checkpoint takes {needed:,}"
        told = f"{os.strerror(errno.ENOSPC)}, {reason}"
        raise OSError(errno.ENOSPC, told, str(folder))


def _context() -> ocp.Context:
    context = ocp.Context()
    # Else a folder that cannot be made leaves threads that wait for it for minutes.
    context.asynchronous.create_directories_asynchronously = False
    return context
