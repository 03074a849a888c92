"""Any number of devices gives the same run: the batch is shared, BatchNorm global."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import program
import pytest

HERE = pathlib.Path(__file__).parent
RUN = (sys.executable, HERE / "float64_steps.py")


@pytest.fixture(scope="module")
def float64(tmp_path_factory):
    """Losses, gradient norms, parameters and statistics on 1 and on 8 devices.

    In float64, so that rounding turns no activation's sign: in float32 that moves the
    gradient of so small a network by 1e-3, on one device too.
    """
    folder = tmp_path_factory.mktemp("devices")
    found = []
    for devices in (1, 8):
        path = folder / f"{devices}.npz"
        environment = program.environment(devices) | {"JAX_ENABLE_X64": "1"}
        subprocess.run([*RUN, path], env=environment, cwd=program.ROOT, check=True)
        found.append(dict(np.load(path)))
    return found


def test_losses_and_gradients(float64):
    one, eight = float64
    assert len(set(one["losses"])) == len(one["losses"]) == 5
    for name in ("losses", "grad_norms"):
        np.testing.assert_allclose(eight[name], one[name], rtol=1e-9)


def test_parameters_and_statistics(float64):
    one, eight = float64
    assert one.keys() == eight.keys()
    for name, value in one.items():
        error = np.linalg.norm(eight[name] - value)
        assert error < 1e-9 * np.linalg.norm(value) + 1e-12, name


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
