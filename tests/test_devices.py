"""Any number of devices gives the same run: the batch is shared, BatchNorm global."""

import json
import pathlib
import socket
import subprocess
import sys

import numpy as np
import program
import pytest

HERE = pathlib.Path(__file__).parent


def run(path, *settings, devices=1, processes=1, bits=64):
    """What twenty_steps.py gives on these devices of each of these processes.

    In float64, so that rounding turns no activation's sign: in float32 that moves the
    gradient of so small a network by 1e-3, on one device too.
    """
    command = [sys.executable, HERE / "twenty_steps.py", path, *settings]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    numbers = [
        (str(port), str(processes), str(process)) if processes > 1 else ()
        for process in range(processes)
    ]
    environment = program.environment(devices) | {"JAX_ENABLE_X64": str(bits // 64)}
    started = [
        subprocess.Popen([*command, *each], env=environment, cwd=program.ROOT)
        for each in numbers
    ]
    assert [each.wait(300) for each in started] == [0] * processes
    return dict(np.load(path))


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return run(tmp_path_factory.mktemp("devices") / "one.npz")


FSDP = ("sharding.mesh.data=1", "sharding.mesh.fsdp=-1")
ALL_AXES = ("sharding.mesh.fsdp=2", "sharding.mesh.height=2")


@pytest.mark.parametrize(
    ("processes", "devices", "settings"),
    [
        (1, 8, ()),
        pytest.param(1, 8, FSDP, marks=pytest.mark.slow),
        pytest.param(1, 8, ALL_AXES, marks=pytest.mark.slow),
        pytest.param(2, 4, (), marks=pytest.mark.slow),
        pytest.param(2, 4, ALL_AXES, marks=pytest.mark.slow),
        pytest.param(1, 1, ("train.keep='blocks'",), marks=pytest.mark.slow),
    ],
)
def test_same_run(one, tmp_path, processes, devices, settings):
    found = run(tmp_path / "a.npz", *settings, devices=devices, processes=processes)
    assert found.keys() == one.keys()
    assert len(set(one["losses"])) == len(one["losses"]) == 20
    for name in ("losses", "grad_norms"):
        np.testing.assert_allclose(found[name], one[name], rtol=1e-9)
    for name in ("first_confusion", "confusion"):
        np.testing.assert_array_equal(found[name], one[name])
        assert one[name].sum() == 37 * 32 * 32
    for name, value in one.items():
        if not name.startswith("bytes_of"):
            error = np.linalg.norm(found[name] - value)
            assert error < 1e-9 * np.linalg.norm(value) + 1e-12, name
    shares = {"params": 8, "opt_state": 8, "ema": 8} if settings == FSDP else {}
    for name, share in shares.items():
        name = f"bytes_of_{name}"
        assert one[name] / found[name] == pytest.approx(share, rel=0.01)


# Ten times less than in float64 above, and without the choice of hard pixels: that of
# one pixel more or less is 1e-4 in the loss.
FLOAT32 = (*("model.dtype='float32'", "optim.lr=0.001", "loss.ohem_threshold=0.0"),)


@pytest.mark.slow
def test_same_run_in_float32(tmp_path):
    one = run(tmp_path / "one.npz", *FLOAT32, bits=32)
    variables = [name for name in one if one[name].dtype == np.float32]
    variables = [name for name in variables if one[name].ndim and "." in name]
    norm = np.sqrt(sum(np.square(one[name]).sum() for name in variables))
    for processes, devices in ((1, 8), (2, 4)):
        path = tmp_path / f"{processes}.npz"
        found = run(path, *FLOAT32, bits=32, devices=devices, processes=processes)
        np.testing.assert_allclose(found["losses"], one["losses"], rtol=0, atol=1e-5)
        np.testing.assert_array_equal(found["first_confusion"], one["first_confusion"])
        others = np.abs(found["confusion"] - one["confusion"]).sum() / 2
        assert others <= 20  # pixels of 37,888, between weights that are not the same
        apart = [np.square(found[name] - one[name]).sum() for name in variables]
        assert np.sqrt(sum(apart)) < 1e-4 * norm


@pytest.mark.slow
def test_rows_of_a_large_image_are_shared():
    done = subprocess.run(
        [sys.executable, HERE / "spatial.py"],
        env=program.environment(4),
        cwd=program.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["logits"]["error"] < 1e-5
    assert found["change"]["error"] < 5e-3  # float32: see `run`
    for needed, needed_of_four in (each["bytes"] for each in found.values()):
        assert needed / needed_of_four > 2.5


@pytest.mark.slow
def test_every_image_counts_once(tmp_path):
    results = []
    for devices in (1, 8):
        workdir = tmp_path / str(devices)
        flags = ("--config.train.batch_size=8", "--config.eval.batch_size=3")
        done = program.run(workdir, *flags, devices=devices)
        assert done.returncode == 0, done.stderr
        results.append(json.loads((workdir / "result.json").read_text()))
    one, eight = results
    assert one["images"] == eight["images"] == 5
    for name, figures in one["per_class"].items():
        assert figures["pixels"] == eight["per_class"][name]["pixels"]


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    done = program.run(tmp_path / "w", "--config.train.batch_size=6", devices=8)
    assert done.returncode == 1
    assert "batch_size=6 cannot be shared evenly by 8" in program.only_line(done)
    assert not (tmp_path / "w").exists()
