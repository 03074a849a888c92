"""The mesh of devices, and what part of batches and weights lies on each.

Its axes are those of config.Mesh: `data` and `fsdp` share out the images of a batch,
`fsdp` the weights besides, `height` the rows of each image.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxseg import config as config_lib
from jaxseg import errors

AXES = ("data", "fsdp", "height")


def make_mesh(settings: config_lib.Mesh | None = None) -> Mesh:
    """All devices, of all processes, in the shape that the settings ask for.

    Raises UserError if so many devices cannot take that shape, or if a process would
    hold some of the rows of its images only.
    """
    settings = settings or config_lib.Mesh()
    mesh = _mesh([getattr(settings, axis) for axis in AXES], jax.devices())
    if jax.local_device_count() % mesh.shape["height"]:
        raise errors.UserError(
            f"config.sharding.mesh.height={settings.height} must divide the "
            f"{jax.local_device_count()} devices of each process, which reads whole "
            "images"
        )
    return mesh


def local_mesh(mesh: Mesh) -> Mesh:
    """The devices of this process alone, for what each process does by itself."""
    return _mesh([-1, 1, mesh.shape["height"]], mesh.local_devices)


def _mesh(sizes: list[int], devices: Sequence[Any]) -> Mesh:
    given = math.prod(size for size in sizes if size != -1)
    left = len(devices) // given if given else 0
    shape = tuple(left if size == -1 else size for size in sizes)
    if sizes.count(-1) > 1 or math.prod(shape) != len(devices):
        told = ", ".join(map("{}={}".format, AXES, sizes))
        raise errors.UserError(
            f"config.sharding.mesh ({told}) does not multiply to the {len(devices)} "
            "devices at hand; set one of the three to -1 and the others to divide them"
        )
    # In the order of the processes, not of the network as jax.make_mesh has them: what
    # a process reads are images that follow one another, and all rows of each.
    devices = sorted(devices, key=lambda device: (device.process_index, device.id))
    placed = np.array(devices).reshape(shape)
    return Mesh(placed, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def num_shares(mesh: Mesh) -> int:
    """Into how many shares the images of a batch go."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def check_batch(mesh: Mesh, config: config_lib.Config) -> None:
    """Raises UserError if the devices cannot share batches evenly."""
    train, height = config.train, config.data.crop[0]
    if height % mesh.shape["height"]:
        raise errors.UserError(
            f"config.data.crop={config.data.crop} has {height} rows, which "
            f"{mesh.shape['height']} devices (config.sharding.mesh.height) cannot "
            "share evenly; choose a multiple"
        )
    if config.data.augment == "none" and jax.process_count() > 1:
        raise errors.UserError(
            "config.data.augment=none gives batches of the images' own sizes, of which "
            "several processes know only their share; train in one process, or crop"
        )
    parts = num_shares(mesh) * train.accumulate
    if train.batch_size % parts:
        raise errors.UserError(
            f"config.train.batch_size={train.batch_size} cannot be shared evenly by "
            f"{num_shares(mesh)} devices with config.train.accumulate="
            f"{train.accumulate}; make it a multiple of {parts}"
        )


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def of_images(mesh: Mesh, shape: Sequence[int]) -> NamedSharding:
    """Of arrays [B ...] or [B H ...]: rows that cannot be shared evenly stay whole."""
    rows = len(shape) > 1 and shape[1] % mesh.shape["height"] == 0
    return NamedSharding(
        mesh, PartitionSpec(("data", "fsdp"), *(["height"] if rows else []))
    )


def of_weights(mesh: Mesh, shape: Sequence[int]) -> NamedSharding:
    """Of parameters and what is kept of each: along the longest axis that can be."""
    shares = mesh.shape["fsdp"]
    axes = [axis for axis, size in enumerate(shape) if size and size % shares == 0]
    if shares == 1 or not axes:
        return replicated(mesh)
    axis = max(axes, key=lambda axis: shape[axis])
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "fsdp"))


def put_batch(mesh: Mesh, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Shares a batch out over the mesh; each process brings its images of it."""
    return {
        name: jax.make_array_from_process_local_data(of_images(mesh, x.shape), x)
        for name, x in batch.items()
    }


def fetch(mesh: Mesh, array: jax.Array) -> np.ndarray:
    """What this process brought of a batch."""
    spec = of_images(mesh, array.shape).spec
    here = multihost_utils.global_array_to_host_local_array(array, mesh, spec)
    return np.asarray(here)


def put(value: Any, sharding: NamedSharding) -> jax.Array:
    """An array that every process has, as one that lies as `sharding` says."""
    value = np.asarray(value)
    return jax.make_array_from_callback(value.shape, sharding, lambda at: value[at])


def gather(mesh: Mesh, variables: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The whole variables on all devices of local_mesh(mesh)."""
    if mesh.shape["fsdp"] > 1:
        everywhere = replicated(mesh)
        variables = jax.jit(lambda x: x, out_shardings=everywhere)(variables)
    if jax.process_count() == 1:
        return variables
    here = replicated(local_mesh(mesh))
    return {
        name: jax.make_array_from_single_device_arrays(
            x.shape, here, [shard.data for shard in x.addressable_shards]
        )
        for name, x in variables.items()
    }
