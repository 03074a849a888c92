"""Saving, keeping and restoring; what damage and a failing disk lead to."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from jaxseg import checkpoint, config, errors, manifest, saved, sharding


@contextlib.contextmanager
def opened(workdir, *, keep=2):
    settings = config.Config(checkpoint=config.Checkpoint(keep=keep))
    with checkpoint.open_all(workdir, settings) as checkpoints:
        yield checkpoints


def parts(step):
    return {
        "model": {"head.kernel": jnp.full((2, 3), float(step))},
        "training": {"step": jnp.int32(step), "moments": (jnp.ones(2),)},
    }


def save_all(workdir, scores, keep=2):
    with opened(workdir, keep=keep) as checkpoints:
        for step, miou in scores.items():
            checkpoints.save(step, parts(step))
            checkpoints.rate(step, miou)
    return workdir / "checkpoints"


def content(folder):
    """{path: bytes} of all files under a folder."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_latest_and_the_best_are_kept(tmp_path):
    scores = {1: 0.2, 2: 0.5, 3: None, 4: 0.3, 5: None, 6: 0.1}
    folder = save_all(tmp_path, scores)
    assert {path.name for path in folder.iterdir()} == {"2", "5", "6"}
    assert saved.best_first(folder) == [2, 6, 5]


def test_parts_come_back(tmp_path):
    save_all(tmp_path, {7: 0.5})
    with opened(tmp_path) as checkpoints:
        assert checkpoints.latest() == 7
        assert checkpoints.has(7)
        assert not checkpoints.has(6)
        found = checkpoints.restore(7, parts(0))
    jax.tree.map(np.testing.assert_array_equal, found, parts(7))


def test_arrays_lie_as_the_template_says(tmp_path):
    folder = save_all(tmp_path, {7: 0.5})
    mesh = sharding.make_mesh()
    placed = jax.NamedSharding(mesh, PartitionSpec(None, "data"))
    shape = jax.ShapeDtypeStruct((2, 3), jnp.float32, sharding=placed)
    found = checkpoint.restore(folder, 7, {"model": {"head.kernel": shape}})
    assert found["model"]["head.kernel"].sharding == placed


def test_a_checkpoint_tells_what_it_is(tmp_path):
    told = manifest.read(save_all(tmp_path, {7: 0.5}) / "7")
    assert (told["format"], told["step"], told["miou"]) == (1, 7, 0.5)
    assert told["versions"]["jax"] == jax.__version__
    assert told["config"] == json.loads(config.to_json(config.Config()))


@pytest.mark.parametrize("name", ["head.bias", "head.kernel"])
def test_what_does_not_fit_is_told(tmp_path, name):
    folder = save_all(tmp_path, {7: 0.5})
    with pytest.raises(errors.UserError, match="does not fit") as raised:
        checkpoint.restore(folder, 7, {"model": {name: jnp.zeros((2, 4))}})
    assert "\n" not in str(raised.value)


def test_what_a_killed_run_left_is_removed(tmp_path):
    folder = save_all(tmp_path, {7: 0.5})
    left = ("8.unfinished.orbax-checkpoint-tmp", "8.unfinished", "3.removed")
    for name in left:
        (folder / name).mkdir()
    with opened(tmp_path) as checkpoints:
        assert checkpoints.latest() == 7
    assert [path.name for path in folder.iterdir()] == ["7"]


def test_a_step_saved_again_replaces_the_first(tmp_path):
    folder = save_all(tmp_path, {7: None})
    save_all(tmp_path, {7: 0.25})
    assert manifest.check(folder / "7", 7)["miou"] == 0.25
    assert [path.name for path in folder.iterdir()] == ["7"]


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def deleted(path):
    path.unlink()


@pytest.mark.parametrize("harm", [truncated, flipped, deleted])
def test_every_file_harmed_in_turn(tmp_path, harm, caplog):
    """Training goes back to the checkpoint before and sets the damaged one aside."""
    folder = save_all(tmp_path, {4: None, 8: None})
    files = sorted(path for path in (folder / "8").rglob("*") if path.is_file())
    assert len(files) > 10
    shutil.copytree(folder, tmp_path / "whole")
    for path in files:
        if not path.stat().st_size and harm is not deleted:
            continue  # nothing in it that could be lost
        harm(path)
        harmed = content(folder / "8")
        caplog.clear()
        with opened(tmp_path) as checkpoints:
            assert checkpoints.latest() == 4, path
            found = checkpoints.restore(4, parts(0))
        jax.tree.map(np.testing.assert_array_equal, found, parts(4))
        assert len(caplog.messages) == 1
        assert "checkpoint 8 is damaged" in caplog.text
        name = path.relative_to(folder / "8").as_posix()
        assert name in caplog.text
        assert content(folder / "damaged-8") == harmed
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "whole", folder)


def test_where_none_is_whole_nothing_begins_anew(tmp_path):
    folder = save_all(tmp_path, {4: None, 8: None})
    for step in (4, 8):
        deleted(folder / str(step) / "_CHECKPOINT_METADATA")
    before = content(folder)
    assert checkpoint.exists(tmp_path)
    with opened(tmp_path) as checkpoints, pytest.raises(errors.UserError) as raised:
        checkpoints.latest()
    assert (
        "no checkpoint that is whole (8: _CHECKPOINT_METADATA is missing; 4: _"
        in str(raised.value)
    )
    assert content(folder) == before


def test_a_later_format_is_an_error(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "FORMAT", 2)
        save_all(tmp_path, {8: None})
    with opened(tmp_path) as checkpoints, pytest.raises(errors.UserError) as raised:
        checkpoints.latest()
    assert "has format 2, written by jaxseg" in str(raised.value)


def test_a_failed_save_is_told_and_the_next_one_succeeds(tmp_path, caplog):
    def full():
        raise OSError(28, "No space left on device")

    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, parts(1), before=full)
        assert "checkpoint 1 could not be saved ([Errno 28] No space" in caplog.text
        checkpoints.save(2, parts(2))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["2"]


def test_too_little_room_is_seen_before_anything_is_written(
    tmp_path, caplog, monkeypatch
):
    with opened(tmp_path) as checkpoints:
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=7))
            checkpoints.save(1, parts(1))
        assert "No space left on device, 7 bytes are free, a check" in caplog.text
        assert not list((tmp_path / "checkpoints").iterdir())
        checkpoints.save(2, parts(2))


def test_failure_in_the_background_is_found(tmp_path, monkeypatch, caplog):
    """The disk fills up while orbax writes: told at once, and an error at the end."""
    folder = tmp_path / "checkpoints"
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, parts(1))

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(manifest, "write", fail)
    with pytest.raises(errors.UserError, match="newest there is that of step 1"):
        save_all(tmp_path, {2: None})
    assert "checkpoint 2 could not be saved" in caplog.text
    assert [path.name for path in folder.iterdir()] == ["1"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if (
        os.name != "posix"
        or os.geteuid()
        or subprocess.run(mount, check=False).returncode
    ):
        pytest.skip("only root can mount")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder, how):
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


def test_a_disk_that_is_full_for_a_while(small_disk, caplog):
    noise = np.random.default_rng(0).standard_normal(30_000, np.float32)  # 120 kB
    state = {"model": {"noise": jnp.asarray(noise)}}
    filler = small_disk / "filler"
    with opened(small_disk, keep=1) as checkpoints:
        checkpoints.save(1, state)
        checkpoints.wait()
        free = shutil.disk_usage(small_disk).free
        filler.write_bytes(bytes(free - 50_000))
        for step in (2, 3):
            checkpoints.save(step, state)
            checkpoints.wait()
            assert f"checkpoint {step} could not be saved" in caplog.text
            assert "No space left on device" in caplog.text
        assert shutil.disk_usage(small_disk).free >= 50_000 - 8192
        filler.unlink()
        checkpoints.save(4, state)
    assert {path.name for path in (small_disk / "checkpoints").iterdir()} == {"4"}
    assert len(caplog.messages) == 2


def test_a_disk_that_is_read_only_for_a_while(small_disk, caplog):
    with opened(small_disk) as checkpoints:
        checkpoints.save(1, parts(1))
        checkpoints.wait()
        remount(small_disk, "ro")
        checkpoints.save(2, parts(2))
        assert "checkpoint 2 could not be saved ([Errno 30] Read-only" in caplog.text
        remount(small_disk, "rw")
        checkpoints.save(3, parts(3))
    assert {path.name for path in (small_disk / "checkpoints").iterdir()} == {"1", "3"}


TWO = """
import pathlib, sys
import jax, jax.numpy as jnp
from jaxseg import checkpoint, config, sharding

port, index, workdir = sys.argv[1:]
jax.distributed.initialize(f"localhost:{port}", 2, int(index))
mesh = sharding.make_mesh()

def state(step):
    def make():
        return {"a": jnp.full((4, 2), float(step)), "b": jnp.arange(8.0) + step}
    places = {"a": sharding.replicated(mesh), "b": sharding.of_images(mesh, (8,))}
    return {"model": jax.jit(make, out_shardings=places)()}

def full():
    raise OSError(28, "No space left on device")

path = pathlib.Path(workdir)
with checkpoint.open_all(path, config.Config()) as checkpoints:
    checkpoints.save(2, state(2))
    checkpoints.rate(2, 0.5)
    checkpoints.save(4, state(4))
    checkpoints.save(6, state(6), before=full)
    checkpoints.save(8, state(8))
if index == "0":
    (path / "checkpoints/8/model/manifest.ocdbt").unlink()
with checkpoint.open_all(path, config.Config()) as checkpoints:
    step = checkpoints.latest()
    found = checkpoints.restore(step, state(0))["model"]["b"]
    print("found", step, [each.data.tolist() for each in found.addressable_shards])
"""


@pytest.mark.slow
def test_two_processes_save_and_restore_together(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, port, str(index), str(tmp_path)],
            env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert "found 4 [[4.0, 5.0, 6.0, 7.0]]" in outputs[0][0], outputs[0][1]
    assert "found 4 [[8.0, 9.0, 10.0, 11.0]]" in outputs[1][0], outputs[1][1]
    left = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert left == {"2", "4", "damaged-8"}
