"""Batches are read in a thread of their own, ahead of the step that takes them.

It is also what the training program waits on, so that reading that dies or stalls
ends the run instead of holding it.
"""

import collections
import contextlib
import logging
import multiprocessing
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxseg import errors

AHEAD = 1  # batches ready besides the one on its way: the buffer is double
CLOSE_SECONDS = 5  # for reading that failed to come to its end
PATIENCE_SECONDS = 10  # before it is told what is waited for
NAMES_TOLD = 4
_WORKER = "grain-process-prefetch"  # what grain calls its processes
_DIED = "terminated unexpectedly"  # what grain tells of one that is no more


@runtime_checkable
class Batches(Protocol):
    """What is read: an iterator that holds threads or processes."""

    def __iter__(self) -> Iterator[Any]: ...

    def close(self) -> None:
        """Ends them."""
        ...


class ReadAhead(Iterator[Any]):
    """What `batches` yields, passed through `put` in another thread; to be closed.

    Raises UserError when the next batch did not come within `timeout` seconds, or never
    will as its worker process died; errors.Stalled where threads hang that read it.
    `names` tells which examples are in batch number 0, 1, ... of `batches`. Examples
    that the batches' "skipped" tells of are logged, each once.
    """

    def __init__(
        self,
        batches: Batches,
        *,
        workers: int,
        timeout: float,
        names: Callable[[int], Sequence[str]],
        put: Callable[[Any], Any] = lambda batch: batch,
    ):
        self._batches, self._workers, self._timeout = batches, workers, timeout
        self.names, self._put = names, put
        self._ready: queue.Queue = queue.Queue(AHEAD)
        self._taken = 0
        self._error: BaseException | None = None
        self._stop, self._failed = threading.Event(), False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.skipped: collections.Counter[str] = collections.Counter()

    def ready(self) -> bool:
        """Whether the next batch is there."""
        return not self._ready.empty()

    def __next__(self) -> Any:
        if not self._thread.ident:
            self._thread.start()
        if self._error is not None:  # nothing comes after it
            raise self._error
        batch, skipped, error = self._take()
        if isinstance(error, RuntimeError) and _DIED in str(error):
            raise errors.UserError(
                f"{self._awaited()} died; see that memory suffices, or take fewer "
                "config.data.workers"
            ) from error
        if error is not None:
            self._error = error
            raise error
        self._taken += 1
        for told in skipped:
            if told not in self.skipped:
                logging.warning("skipped: %s", told)
            self.skipped[told] += 1
        return batch

    def close(self) -> None:
        """Ends threads and worker processes, however they stand."""
        self._stop.set()
        if self.skipped:
            count, times = len(self.skipped), self.skipped.total()
            logging.warning("skipped: %d in all, %d times", count, times)
        if not self._thread.ident:
            return self._batches.close()
        closing = threading.Thread(target=self._close, daemon=True)
        if self._failed:
            _kill_workers()
        closing.start()
        closing.join(CLOSE_SECONDS if self._failed else self._timeout)
        if closing.is_alive() and not self._failed:
            _kill_workers()
            closing.join(CLOSE_SECONDS)
        return None

    def _close(self) -> None:
        self._thread.join()
        self._batches.close()

    def _read(self) -> None:
        """Hands over (batch, what was skipped, None), at the end (None, (), error)."""
        try:
            for batch in self._batches:
                skipped = batch.pop("skipped", np.array([])).tolist()
                if not self._hand_over((self._put(batch), skipped, None)):
                    return
            self._hand_over((None, (), StopIteration()))
        except BaseException as error:
            self._hand_over((None, (), error))

    def _hand_over(self, item: tuple) -> bool:
        while not self._stop.is_set():
            try:
                self._ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def _take(self) -> tuple:
        """What was handed over next; raises UserError if that is nothing."""
        early = min(PATIENCE_SECONDS, self._timeout)
        with contextlib.suppress(queue.Empty):
            return self._ready.get(timeout=early)
        if early < self._timeout:
            logging.warning("still waiting for %s", self._awaited())
            with contextlib.suppress(queue.Empty):
                return self._ready.get(timeout=self._timeout - early)
        self._failed = True
        # Processes can be killed, threads not.
        kind = errors.UserError if self._workers else errors.Stalled
        raise kind(
            f"{self._awaited()} gave nothing in {self._timeout:g} s; see that these "
            "files can be read, or raise config.data.timeout"
        )

    def _awaited(self) -> str:
        """Who has to give the next batch, and of which files."""
        names = self.names(self._taken)
        told = ", ".join(names[:NAMES_TOLD])
        if len(names) > NAMES_TOLD:
            told += f" and {len(names) - NAMES_TOLD} more"
        who = "the data threads"
        if self._workers:
            who = f"data worker {self._taken % self._workers} of {self._workers}"
        return f"{who} (reading {told})"


def _kill_workers() -> None:
    for process in multiprocessing.active_children():
        if process.name.startswith(_WORKER):
            process.kill()
