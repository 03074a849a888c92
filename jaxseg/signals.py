"""SIGTERM and SIGINT: whether a run is to stop, and where all its processes do."""

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
from jax._src import distributed  # as in hosts.py
from jax.experimental import multihost_utils


class Stop(NamedTuple):
    """Whether a run was told to end."""

    agreed: Callable[[], bool]  # asked by all processes equally often: all get the same
    heard: Callable[[], bool]  # of this process alone, at any time


@contextlib.contextmanager
def watched() -> Iterator[Stop]:
    """Whether one process or all were told to stop.

    The first SIGTERM or SIGINT counts; one that comes a second later, or more, acts as
    usual. (Schedulers signal a program and who started it, who may pass it on.)
    """
    got, before = [], {}

    def handle(number, frame):
        got.append(time.monotonic())
        if got[-1] - got[0] > 1:
            signal.signal(number, before[number])
            signal.raise_signal(number)
        elif jax.process_count() > 1:  # JAX spreads this one
            os.kill(os.getpid(), signal.SIGTERM)

    # With several processes JAX takes SIGTERM itself.
    numbers = [signal.SIGINT] + [signal.SIGTERM] * (jax.process_count() == 1)
    for number in numbers:
        before[number] = signal.signal(number, handle)
    calls = itertools.count(1)  # JAX counts from 0 in a process that has not asked yet
    try:
        if jax.process_count() == 1:
            yield Stop(lambda: bool(got), lambda: bool(got))
        else:
            yield Stop(
                lambda: multihost_utils.reached_preemption_sync_point(next(calls)),
                _notice_came,
            )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _notice_came() -> bool:
    """Whether JAX has spread the signal of some process."""
    client: Any = distributed.global_state.client
    try:
        return bool(client.key_value_try_get("RECEIVED_PREEMPTION_NOTICE"))
    except jax.errors.JaxRuntimeError:  # there is none
        return False
