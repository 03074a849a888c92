"""Any number of devices gives the same run: the batch is shared, BatchNorm global."""

import json

import numpy as np
import program
import pytest
from safetensors import numpy as safetensors

FLAGS = (
    "--config.data.size=(64,64)",
    "--config.data.crop=(64,64)",
    "--config.model.output_stride=8",
    "--config.train.steps=5",
    "--config.train.batch_size=8",
    "--config.train.log_every=1",
    "--config.eval.batch_size=3",
    "--config.optim.name=sgd",
    "--config.optim.lr=0.01",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """{number of devices: workdir}."""
    folder = tmp_path_factory.mktemp("devices")
    for devices in (1, 8):
        flags = (*FLAGS, f"--output={folder}/{devices}.safetensors")
        for mode in ("train", "export"):
            done = program.run(
                folder / str(devices), *flags, f"--mode={mode}", devices=devices
            )
            assert done.returncode == 0, done.stderr
    return folder


def test_losses_and_gradients(runs):
    one, eight = (program.rows(runs / name) for name in ("1", "8"))
    for a, b in zip(one, eight, strict=True):
        if a["split"] == "train":
            assert b["loss"] == pytest.approx(a["loss"], rel=1e-5)
            assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-4)


def test_parameters_and_statistics(runs):
    one, eight = (safetensors.load_file(runs / f"{n}.safetensors") for n in (1, 8))
    for name, value in one.items():
        error = np.linalg.norm(eight[name] - value)
        assert error < 1e-4 * np.linalg.norm(value) + 1e-6, name


def test_every_image_counts_once(runs):
    one, eight = (
        json.loads((runs / name / "result.json").read_text()) for name in ("1", "8")
    )
    assert one["images"] == eight["images"] == 5
    for name, figures in one["per_class"].items():
        assert figures["pixels"] == eight["per_class"][name]["pixels"]


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    done = program.run(tmp_path / "w", "--config.train.batch_size=6", devices=8)
    assert done.returncode == 1
    assert "batch_size=6 cannot be shared evenly by 8" in program.only_line(done)
    assert not (tmp_path / "w").exists()
