"""The mesh of all devices, and where batches and state lie on it."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxseg import errors


def make_mesh() -> Mesh:
    """All devices of all processes along one axis, `data`."""
    return jax.make_mesh((jax.device_count(),), ("data",), (AxisType.Auto,))


def make_local_mesh() -> Mesh:
    """The devices of this process alone, along the axis `data`."""
    devices = np.asarray(jax.local_devices())
    return Mesh(devices, ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """The first dimension shared out over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def put_batch(mesh: Mesh, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Puts this process's part of a batch into arrays over the whole mesh."""
    sharding = split_batch(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, value)
        for name, value in batch.items()
    }


def check_batch_size(batch_size: int) -> None:
    """Raises UserError if the devices cannot share the batch evenly."""
    if batch_size % jax.device_count():
        raise errors.UserError(
            f"config.train.batch_size={batch_size} cannot be shared evenly by "
            f"{jax.device_count()} devices; make it a multiple of their number"
        )
