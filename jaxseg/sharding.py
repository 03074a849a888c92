"""The mesh of all devices, and where batches and state lie on it."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxseg import errors


def make_mesh() -> Mesh:
    """All devices along one axis, `data`."""
    return jax.make_mesh((jax.device_count(),), ("data",), (AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """The first dimension shared out over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def put_batch(mesh: Mesh, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Shares a batch out over the mesh."""
    return jax.device_put(batch, split_batch(mesh))


def check_batch_size(batch_size: int) -> None:
    """Raises UserError if the devices cannot share the batch evenly."""
    if batch_size % jax.device_count():
        raise errors.UserError(
            f"config.train.batch_size={batch_size} cannot be shared evenly by "
            f"{jax.device_count()} devices; make it a multiple of their number"
        )
