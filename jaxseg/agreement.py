"""What the processes of a run settle among them, or tell each other."""

import hashlib
import json
import platform
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax._src import distributed  # as in hosts.py
from jax.experimental import multihost_utils

from jaxseg import errors

_LONGEST = 500  # bytes of what is told in `failure`
_FOLDER = "jaxseg/agreement"  # of the keys in JAX's coordination service


def decided(decide: Callable[[], Any]) -> Any:
    """What `decide` returns in process 0, in every process; the others do not call it.

    It is plain JSON data. Raises in every process what `decide` raised in process 0,
    in the others as a UserError.
    """
    if jax.process_count() == 1:
        return decide()
    if jax.process_index() > 0:
        told = _from_first(None)
        if "error" in told:
            raise errors.UserError(told["error"])
        return told["value"]
    try:
        value = decide()
    except Exception as error:
        _from_first({"error": str(error) or type(error).__name__})
        raise
    _from_first({"value": value})
    return value


def check_same(facts: str, told: str) -> None:
    """Raises UserError, with what is `told`, if the processes have other facts."""
    if jax.process_count() > 1:
        digest = hashlib.blake2b(facts.encode(), digest_size=16).digest()
        found = multihost_utils.process_allgather(np.frombuffer(digest, np.int32))
        if (found != found[0]).any():
            raise errors.UserError(told)


def failure(told: str | None) -> str | None:
    """What the first process that failed tells, in all; None if none failed."""
    if jax.process_count() == 1:
        return told
    data = np.zeros(_LONGEST, np.uint8)
    text = _signed(told).encode()[:_LONGEST] if told else b""
    data[: len(text)] = np.frombuffer(text, np.uint8)
    for found in multihost_utils.process_allgather(data):
        if found.any():
            return found[found > 0].tobytes().decode(errors="replace")
    return None


def tell_failure(work: str, told: str) -> None:
    """Tells the other processes that this one failed in a work of all."""
    if jax.process_count() > 1:
        client: Any = distributed.global_state.client
        name = f"{_FOLDER}/{work}/{jax.process_index()}"
        client.key_value_set(name, _signed(told), allow_overwrite=True)


def failure_of_others(work: str) -> str | None:
    """What a process told that failed; None if none has so far. Waits for nobody."""
    client: Any = distributed.global_state.client
    found = client.key_value_dir_get(f"{_FOLDER}/{work}")
    return found[0][1] if found else None


def _signed(told: str) -> str:
    return f"process {jax.process_index()} on {platform.node()}: {told}"


def total(counts: np.ndarray) -> np.ndarray:
    """The sum over all processes of their int64 counts."""
    if jax.process_count() == 1:
        return counts
    halves = np.stack([counts >> 31, counts & (2**31 - 1)]).astype(np.int32)
    high, low = np.moveaxis(multihost_utils.process_allgather(halves), 1, 0)
    return (high.astype(np.int64).sum(0) << 31) + low.astype(np.int64).sum(0)


def _from_first(told: dict[str, Any] | None) -> dict[str, Any]:
    """What process 0 gives, in every process."""
    data = np.frombuffer(json.dumps(told).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(data.size)))
    data = np.resize(data, size)  # the others' bytes do not count
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(data)).tobytes())
