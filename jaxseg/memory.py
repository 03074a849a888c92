"""Whether a compiled program fits, asked before it runs."""

import contextlib
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax

from jaxseg import config as config_lib
from jaxseg import errors

GIB = 2**30
_CGROUP = pathlib.Path("/sys/fs/cgroup")
_CGROUP_LIMITS = (_CGROUP / "memory.max", _CGROUP / "memory/memory.limit_in_bytes")


def needed(compiled: Any) -> int:
    """Bytes on one device: arguments, results and what lies between."""
    usage = compiled.memory_analysis()
    return (
        usage.argument_size_in_bytes
        + usage.output_size_in_bytes
        - usage.alias_size_in_bytes
        + usage.temp_size_in_bytes
    )


def available() -> int:
    """Bytes of one device's memory; devices on the CPU share the machine's."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(min(machine, _container_limit())) // jax.local_device_count()


def _container_limit() -> float:
    """Bytes that the container may use (Linux, cgroup v2 or v1); infinite if unset."""
    for path in _CGROUP_LIMITS:
        if path.exists() and (text := path.read_text().strip()).isdecimal():
            return int(text)
    return math.inf


@contextlib.contextmanager
def explained(message: str) -> Iterator[None]:
    """Turns the device's running out of memory into a UserError."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise errors.UserError(message) from error


def check(needed_bytes: int, config: config_lib.Config) -> None:
    """Raises UserError if so many bytes for a step are more than a device has."""
    if needed_bytes > available():
        raise errors.UserError(step_too_large(config, needed_bytes))


def step_too_large(config: config_lib.Config, needed_bytes: int | None = None) -> str:
    """What to tell where a training step does not fit."""
    size = "" if needed_bytes is None else f" {needed_bytes / GIB:.1f} GiB,"
    exact, parts = config.model.dtype == "float32", config.train.accumulate
    half = "compute in config.model.dtype=bfloat16, " if exact else ""
    return (
        f"a step on config.data.crop={config.data.crop} with "
        f"config.train.batch_size={config.train.batch_size} needs{size} more than the "
        f"{available() / GIB:.1f} GiB of a device; make one of them smaller, {half}"
        f"take the batch in parts (config.train.accumulate={2 * parts}), keep less for "
        "the backward pass (config.train.keep=blocks) or share it out "
        "(config.sharding.mesh)"
    )


def evaluation_too_large(config: config_lib.Config) -> str:
    """What to tell where evaluation does not fit."""
    return (
        f"evaluation with config.eval.batch_size={config.eval.batch_size} needs more "
        f"than the {available() / GIB:.1f} GiB of a device; make it smaller"
    )
