"""A save that fails in one process alone is told by all, and holds nobody up."""

import os
import re
import socket
import subprocess
import sys

import pytest

TWO = """
import pathlib, resource, sys, time
from unittest import mock
import jax, jax.numpy as jnp
from jaxseg import checkpoint, config, hosts, sharding

port, index, workdir, failing = sys.argv[1:]
path = pathlib.Path(workdir)

def state(mesh, step):
    places = {"a": sharding.replicated(mesh), "b": sharding.of_images(mesh, (4096,))}
    make = jax.jit(
        lambda: {"a": jnp.ones(2), "b": jnp.arange(4096.0) + step}, out_shardings=places
    )
    return {"model": make()}

def save(step):
    begin = time.monotonic()
    checkpoints.save(step, state(mesh, step))
    checkpoints.wait()
    print(f"{step} took {time.monotonic() - begin:.1f} s", flush=True)

def no_right(*args, **options):
    raise PermissionError(13, "Permission denied")

begin = time.monotonic()
with hosts.joined(
    coordinator=f"localhost:{port}", num_processes=2, process_id=int(index)
):
    mesh = sharding.make_mesh()
    with checkpoint.open_all(path, config.Config()) as checkpoints:
        save(2)
        if index == failing:
            limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (256, limits[1]))
            save(4)
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            with mock.patch.object(pathlib.Path, "mkdir", no_right):
                save(6)
        else:
            save(4)
            save(6)
        save(8)
print(f"ended after {time.monotonic() - begin:.0f} s")
"""


@pytest.mark.slow
@pytest.mark.parametrize("failing", ["0", "1"])
def test_a_save_that_fails_in_one_process(tmp_path, failing):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, port, str(index), str(tmp_path), failing],
            env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(2)
    ]
    outputs = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"2", "8"}
    took = re.findall(r"(\d+) took ([\d.]+) s", outputs[0])
    assert [step for step, _ in took] == ["2", "4", "6", "8"]
    assert max(float(seconds) for _, seconds in took) < 20, outputs
    other = outputs[1 - int(failing)]
    who = rf"checkpoint \d could not be saved \(process {failing} on .*: "
    assert re.findall(who + "File too large", other), other
    assert "Permission denied" in outputs[0], outputs
