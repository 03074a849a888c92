"""The writing of a checkpoint, in the background, by all processes of the run.

Orbax makes the files under another name; when the manifest is written too, the folder
is renamed. So a checkpoint appears whole or not at all, whenever the process dies.
"""

import concurrent.futures
import errno
import json
import logging
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxseg import agreement, errors, manifest, orbax_errors, saved
from jaxseg import config as config_lib

_PATIENCE = 3600  # seconds for one save, in which others are asked whether they failed


class Writer:
    """Writes one checkpoint after the other and keeps the latest and the best.

    A save that fails is told, leaves nothing behind and does not stop the caller.
    `failure` tells why the last one did, in process 0. `write_async` is orbax's.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        config: config_lib.Config,
        write_async: Callable[[pathlib.Path, Mapping[str, Any]], Any],
    ):
        self.failure: str | None = None
        self._folder, self._keep = folder, config.checkpoint.keep
        self._write_async = write_async
        self._config = json.loads(config_lib.to_json(config))
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._pending: concurrent.futures.Future | None = None
        self._count = 0  # of the saves begun, the same in all processes

    def start(
        self, step: int, parts: Mapping[str, Any], before: Callable[[], None]
    ) -> None:
        """Starts to save, once the save before has ended. See Checkpoints.save."""
        self.wait()
        self._count += 1
        self.failure = agreement.decided(lambda: self._prepare(parts, before))
        if self.failure is None:
            self.failure = agreement.failure(self._try_folder(step))
        if self.failure is None:
            self._write(step, parts)
        if self.failure is not None:
            self._tell(step)

    def wait(self) -> None:
        """Waits until the last save is on disk or has failed."""
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def close(self) -> None:
        """Waits until all that was started is on disk or has failed."""
        self.wait()
        self._thread.shutdown()

    def keep_some(self) -> None:
        """Removes all but the latest and the best."""
        try:
            saved.keep_only(self._folder, self._keep)
        except (OSError, errors.UserError) as error:  # one of a later format
            logging.warning("old checkpoints cannot be removed: %s", error)

    def _prepare(
        self, parts: Mapping[str, Any], before: Callable[[], None]
    ) -> str | None:
        """Makes ready for a save; returns why that failed, if it did."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            saved.remove_unfinished(self._folder)
            before()
            _check_room(self._folder, parts)
        except OSError as error:
            return str(error)
        return None

    def _try_folder(self, step: int) -> str | None:
        """Why this process cannot write there, if so: orbax waits minutes for each."""
        trial = self._folder / f"{step}.unfinished-{jax.process_index()}"
        try:
            trial.mkdir()
            trial.rmdir()
        except OSError as error:
            return str(error)
        return None

    def _write(self, step: int, parts: Mapping[str, Any]) -> None:
        path = saved.unfinished(self._folder, step)
        try:
            writing = self._write_async(path, parts)
        except OSError as error:
            self.failure = str(error)
            agreement.tell_failure(self._work(), self.failure)
        else:
            self._pending = self._thread.submit(self._finish, step, writing)

    def _finish(self, step: int, writing: Any) -> None:
        """Waits for orbax, then makes a checkpoint of its files; in the background."""
        try:
            self._wait_for(writing)
            if jax.process_index() > 0:
                return
            path = saved.unfinished(self._folder, step)
            manifest.write(path, step=step, config=self._config)
            saved.commit(self._folder, step)
        except errors.UserError as error:  # of another process
            self.failure = str(error)
        except Exception as error:  # orbax raises many kinds
            self.failure = orbax_errors.reason(error)
            agreement.tell_failure(self._work(), self.failure)
        if self.failure is None:
            self.keep_some()
            return
        self._tell(step)
        if jax.process_count() == 1:  # else others may still be writing there
            saved.remove_unfinished(self._folder)

    def _wait_for(self, writing: Any) -> None:
        """Waits until orbax has written all; raises UserError where others failed.

        Orbax waits for those for minutes. What it has under way then comes to nothing.
        """
        for _ in range(_PATIENCE if jax.process_count() > 1 else 0):
            try:
                return writing.result(timeout=1)
            except TimeoutError:
                if told := agreement.failure_of_others(self._work()):
                    raise errors.UserError(told) from None
        writing.result()

    def _work(self) -> str:
        return f"save-{self._count}"

    def _tell(self, step: int) -> None:
        logging.warning(
            "checkpoint %d could not be saved (%s); training goes on and tries again "
            "at the next one",
            step,
            self.failure,
        )


def _check_room(folder: pathlib.Path, parts: Mapping[str, Any]) -> None:
    """Raises OSError if the disk has no room for them; later that is told less well."""
    needed = sum(array.nbytes for array in jax.tree.leaves(dict(parts)))
    free = shutil.disk_usage(folder).free
    if free < needed:
        reason = f"{free:,} bytes are free, a checkpoint takes {needed:,}"
        told = f"{os.strerror(errno.ENOSPC)}, {reason}"
        raise OSError(errno.ENOSPC, told, str(folder))
