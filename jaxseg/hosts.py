"""The processes of a run, one a host or one a device: who they are, and their end.

Process 0 writes the files and speaks on the terminal. All of them take every step
together, so that none can go on without the others: a process that fails tells the
others why, and one that falls silent is found out and named by them.
"""

import contextlib
import ctypes
import glob
import importlib.util
import json
import os
import platform
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import jax
from jax._src import distributed  # for its client: JAX has no other way to it

from jaxseg import errors

BEAT_SECONDS = 2.0
SILENT_SECONDS = 40.0  # before a process counts as dead; JAX itself takes 100
_FOLDER = "jaxseg/hosts"  # of the keys in JAX's coordination service
_GO_ON = "the same command on all hosts goes on from the last checkpoint"
_SILENT = f"has not been heard of for {SILENT_SECONDS:g} s; {_GO_ON}"


@contextlib.contextmanager
def joined(
    *,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    stoppable: bool = True,
) -> Iterator[None]:
    """Joins the other processes of the run, if there are any, until the end.

    They are found from what Slurm, Open MPI, Cloud TPU or Kubernetes put into the
    environment, or through the address HOST:PORT of process 0. An error ends this
    process at once, with status 1, and with it all the others. SIGTERM is left to
    `signals.watched`, unless the program is not `stoppable`.
    """
    jax.config.update("jax_enable_preemption_service", stoppable)
    if not _join(coordinator, num_processes, process_id):
        yield
        return
    peers = _Peers()
    peers.follow()
    with open(os.devnull, "w") as nowhere, contextlib.ExitStack() as stack:
        if not is_main():
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        try:
            yield
        except (errors.UserError, OSError) as error:
            peers.fail(str(error))
        except BaseException as error:
            if isinstance(error, jax.errors.JaxRuntimeError):
                # It may be another's death, which JAX does not name: that is found out
                # meanwhile, and ends this process.
                time.sleep(SILENT_SECONDS + 2 * BEAT_SECONDS)
            sys.excepthook(type(error), error, error.__traceback__)
            peers.fail(f"{type(error).__name__}: {error}")
        peers.close()
        jax.distributed.shutdown()


def _join(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> bool:
    """Whether there are other processes, all of which have joined then."""
    counts = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
    several = any(os.environ.get(name, "1") != "1" for name in counts)
    several |= bool(coordinator) or "JAX_COORDINATOR_ADDRESS" in os.environ
    if not several and ((num_processes or 1) > 1 or process_id):
        raise errors.UserError(
            f"--num_processes={num_processes} and --process_id={process_id} need "
            "--coordinator=HOST:PORT, the address of process 0"
        )
    if coordinator and not re.fullmatch(r".+:\d+", coordinator):
        raise errors.UserError(
            f"--coordinator={coordinator} is not HOST:PORT, the address of process 0"
        )
    devices = glob.glob("/dev/accel*") + glob.glob("/dev/vfio/*")
    on_tpu = bool(devices) and importlib.util.find_spec("libtpu") is not None
    if not several and not on_tpu:
        return False
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    except (ValueError, RuntimeError) as error:
        if not several:  # a TPU of a single host
            return False
        raise errors.UserError(
            f"the processes of the run do not come together: {error}; give each "
            "--coordinator=HOST:PORT, --num_processes and --process_id"
        ) from error
    return jax.process_count() > 1


def is_main() -> bool:
    """Whether this process writes the files."""
    return jax.process_index() == 0


class _Peers:
    """Tells the other processes that this one lives, or why it fails, and hears them.

    All that is said goes through the coordination service, which is in process 0; where
    that one dies, JAX aborts the others at once, unless its whole host falls silent.
    """

    def __init__(self):
        self._client: Any = distributed.global_state.client
        self._me, self._beat = jax.process_index(), 0
        self._who = f"process {self._me} on {platform.node()}, pid {os.getpid()}"
        self._first = "process 0"
        self._ended = threading.Event()
        self._heard: dict[str, tuple[str, float]] = {}  # last words, and when they came
        self._served = time.monotonic()  # when the service last answered
        self._tell("")
        self._threads = [
            threading.Thread(target=target, daemon=True)
            for target in (self._listen, self._guard)
        ]
        for thread in self._threads:
            thread.start()

    def follow(self) -> None:
        """Tells who process 0 is, and names it where its death aborts this process."""
        if self._me:
            words = self._client.blocking_key_value_get(f"{_FOLDER}/0", 300_000)
            self._first = json.loads(words)["who"]
            print(f"{self._who}, follows {self._first}", file=sys.stderr, flush=True)
            # Python's own handlers would never run: the thread that aborts is not its.
            self._at_abort = ctypes.CFUNCTYPE(None, ctypes.c_int)(self._name_first)
            ctypes.CDLL(None).signal(signal.SIGABRT, self._at_abort)

    def _name_first(self, number: int) -> None:
        """Ends the process if process 0 is gone; else it goes on to abort."""
        address: Any = distributed.global_state.coordinator_address
        host, port = address.rsplit(":", 1)
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
        except OSError:
            _end(f"{self._first} has ended; {_GO_ON}")

    def fail(self, reason: str) -> NoReturn:
        """Tells why, here and to the others, and ends this process."""
        self._ended.set()
        with contextlib.suppress(Exception):
            self._tell(reason)
        _end(reason)

    def close(self) -> None:
        """Tells that this process is done."""
        self._ended.set()
        for thread in self._threads:
            thread.join(SILENT_SECONDS)
        self._tell("done")

    def _tell(self, end: str) -> None:
        self._beat += 1
        words = json.dumps({"who": self._who, "beat": self._beat, "end": end})
        self._client.key_value_set(f"{_FOLDER}/{self._me}", words, allow_overwrite=True)

    def _listen(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with contextlib.suppress(Exception):
                self._tell("")
                self._hear(dict(self._client.key_value_dir_get(_FOLDER)))
                self._served = time.monotonic()

    def _guard(self) -> None:
        """Sees that the service answers: `_listen` may wait for it."""
        while not self._ended.wait(BEAT_SECONDS):
            if time.monotonic() - self._served > SILENT_SECONDS:
                _end(f"{self._first} {_SILENT}")

    def _hear(self, words: Mapping[str, str]) -> None:
        now = time.monotonic()
        for name, said in words.items():
            before, since = self._heard.get(name, ("", now))
            self._heard[name] = said, now if said != before else since
            facts = json.loads(said)
            if self._ended.is_set() or facts["end"] == "done":
                continue
            if facts["end"]:
                _end(f"{facts['who']} failed: {facts['end']}")
            if now - since > SILENT_SECONDS and said == before:
                _end(f"{facts['who']} {_SILENT}")


def _end(reason: str) -> NoReturn:
    """Ends the process at once: others hang in what they compute together."""
    print(f"error: {errors.one_line(reason)}", file=sys.stderr, flush=True)
    if is_main():  # the others hear through it; without, JAX aborts them
        time.sleep(2 * BEAT_SECONDS)
    os._exit(1)
