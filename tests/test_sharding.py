"""Meshes, on the one device there is, and the rules by which arrays are shared out."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, PartitionSpec

from jaxseg import config, errors, sharding


def mesh(**sizes):
    shape = tuple(sizes.get(axis, 1) for axis in sharding.AXES)
    devices = np.full(shape, jax.devices()[0])  # one device in all places
    return Mesh(devices, sharding.AXES, (AxisType.Auto,) * len(shape))


def test_default_mesh_is_data():
    found = sharding.make_mesh()
    assert dict(found.shape) == {"data": jax.device_count(), "fsdp": 1, "height": 1}
    assert sharding.local_mesh(found).devices.tolist() == found.devices.tolist()


@pytest.mark.parametrize("sizes", [(3, 1, 1), (-1, -1, 1), (0, 1, 1), (-1, 3, 1)])
def test_shapes_that_no_devices_have(sizes):
    settings = config.Mesh(**dict(zip(sharding.AXES, sizes, strict=True)))
    with pytest.raises(errors.UserError, match="does not multiply to the 1 devices"):
        sharding.make_mesh(settings)


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((3, 3, 64, 128), (None, None, None, "fsdp")),
        ((1, 1, 256, 19), (None, None, "fsdp")),
        ((64,), ("fsdp",)),
        ((19,), ()),
        ((), ()),
    ],
)
def test_weights(shape, spec):
    found = sharding.of_weights(mesh(fsdp=8), shape)
    assert found.spec == PartitionSpec(*spec)
    assert sharding.of_weights(mesh(data=8), shape).spec == PartitionSpec()


def test_images():
    shared = mesh(data=2, fsdp=2, height=4)
    rows = PartitionSpec(("data", "fsdp"), "height")
    assert sharding.num_shares(shared) == 4
    assert sharding.of_images(shared, (8, 64, 64, 3)).spec == rows
    assert sharding.of_images(shared, (8, 64, 64)).spec == rows
    whole = PartitionSpec(("data", "fsdp"))
    assert sharding.of_images(shared, (8, 66, 64)).spec == whole
    assert sharding.of_images(shared, (8,)).spec == whole


def test_batch_size():
    shared = mesh(data=2, fsdp=2, height=4)
    settings = config.Config(train=config.Train(batch_size=16, accumulate=4))
    sharding.check_batch(shared, settings)
    settings.data.crop = (130, 128)
    with pytest.raises(errors.UserError, match="has 130 rows, which 4 devices"):
        sharding.check_batch(shared, settings)
    settings.data.crop = (128, 128)
    settings.train = config.Train(batch_size=12, accumulate=2)
    with pytest.raises(errors.UserError) as raised:
        sharding.check_batch(shared, settings)
    assert "4 devices with config.train.accumulate=2; make it a multiple of 8" in str(
        raised.value
    )


def test_put_and_fetch():
    here = sharding.make_mesh()
    batch = {"images": np.arange(48, dtype=np.uint8).reshape(2, 4, 2, 3)}
    placed = sharding.put_batch(here, batch)["images"]
    np.testing.assert_array_equal(sharding.fetch(here, placed), batch["images"])
    value = np.arange(6.0)
    placed = sharding.put(value, sharding.of_weights(here, value.shape))
    np.testing.assert_array_equal(placed, value)
    assert sharding.gather(here, {"a": placed})["a"] is placed
