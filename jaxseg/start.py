"""What a run tells before its first step, and whether its processes agree on it."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from jaxseg import agreement, optim
from jaxseg import config as config_lib
from jaxseg.data import sources as sources_lib

# What may differ between hosts: where they have the same data, and how they read it.
_OF_A_HOST = ("data.root", "data.mix", "data.workers")


def check_processes(
    config: config_lib.Config, sources: Mapping[str, sources_lib.Source]
) -> None:
    """Raises UserError unless all processes have this config and these examples."""
    settings = config_lib.flatten(config)
    facts: list[Any] = [(k, v) for k, v in settings.items() if k not in _OF_A_HOST]
    for name, source in sources.items():
        ends = [source.name(0), source.name(len(source) - 1)]
        files = [pathlib.PurePath(end).name for end in ends]
        facts.append((name, len(source), files))
    agreement.check_same(
        repr(facts),
        "the processes of this run differ in their config or in the files of their "
        "data; start all with the same flags and the same data",
    )


def print_settings(config: config_lib.Config, count: int, mesh: Mesh) -> None:
    """Tells what differs from the defaults, and how long `count` images will last."""
    changes = config_lib.diff(config, config_lib.Config())
    for name, (default, value) in changes.items():
        print(f"config.{name} = {value!r} (default {default!r})")
    steps, batch, settings = config.train.steps, config.train.batch_size, config.optim
    print(
        f"{steps} steps x {batch} images = {steps * batch} images seen, "
        f"{steps * batch / count:.1f} epochs of {count}"
    )
    lr = f"lr {optim.scaled(settings, batch).lr:g} for batches of {batch}"
    if settings.lr_scaling != "none":
        lr += f", scaled ({settings.lr_scaling}) from {settings.lr:g}"
        lr += f" for {settings.lr_batch_size}"
    print(lr)
    devices = ", ".join(f"{axis} {size}" for axis, size in mesh.shape.items())
    print(f"{mesh.size} devices of {jax.process_count()} processes: {devices}")


def print_parts(trained: Mapping[str, Any], frozen: Mapping[str, Any]) -> None:
    """Tells how many parameters of each part of the model are trained."""
    for part in sorted({name.split(".")[0] for name in {**trained, **frozen}}):
        counts = [
            sum(v.size for name, v in params.items() if name.split(".")[0] == part)
            for params in (trained, frozen)
        ]
        print(f"{part}: {counts[0]:,} parameters trained, {counts[1]:,} frozen")
