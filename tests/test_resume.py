"""A run that is stopped, however and whenever, ends as one that never was."""

import random
import signal
import subprocess
import sys
import time

import program
import pytest
from safetensors import numpy as safetensors
from test_bad_input import FOLDER, make_folder

TIMED = ("images_per_second", "data_wait", "data_wait_share")
FLAGS = (
    "--config.train.steps=30",
    "--config.checkpoint.every=4",
    "--config.eval.every=10",
    "--config.train.log_every=3",
    "--config.model.dropout=0.3",
    "--config.train.ema=0.9",
    "--config.train.accumulate=2",
)


def outcome(workdir, folder, *flags):
    """All rows but for their timings, and the averages in the last checkpoint."""
    done = program.run(
        workdir, *FLAGS, *flags, "--mode=export", "--step=30", f"--output={folder}"
    )
    assert done.returncode == 0, done.stderr
    rows = [
        {name: value for name, value in row.items() if name not in TIMED}
        for row in program.rows(workdir)
    ]
    return rows, safetensors.load_file(folder / "model.safetensors")


def assert_same(found, expected):
    assert found[0] == expected[0]
    assert found[1].keys() == expected[1].keys()
    for name, value in expected[1].items():
        assert found[1][name].tobytes() == value.tobytes(), name


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    done = program.run(folder / "run", *FLAGS)
    assert done.returncode == 0, done.stderr
    _, raw = outcome(folder / "run", folder, "--config.eval.weights=raw")
    rows, averaged = outcome(folder / "run", folder)
    moved = {name for name in raw if (raw[name] != averaged[name]).any()}
    assert moved == raw.keys()
    return rows, averaged


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_kill_9_at_three_moments(uninterrupted, tmp_path, workers):
    expected = uninterrupted
    workers_flag = f"--config.data.workers={workers}"
    moments = random.Random(workers)
    for after in (6, 15, 24):  # seen on the terminal, and then a moment later
        process = program.start(tmp_path / "run", *FLAGS, workers_flag)
        for line in process.stdout:
            if line.startswith(f"step {after}/30"):
                break
        time.sleep(moments.uniform(0.0, 0.3))
        assert process.poll() is None
        process.kill()
        process.communicate(timeout=60)  # waits for the workers too, who share its pipe
    done = program.run(tmp_path / "run", *FLAGS, workers_flag)
    assert done.returncode == 0, done.stderr
    assert "resumed after step" in done.stdout
    assert_same(outcome(tmp_path / "run", tmp_path), expected)


@pytest.mark.slow
def test_sigterm_saves_and_exits_0(uninterrupted, tmp_path):
    expected = uninterrupted
    process = program.start(tmp_path / "run", *FLAGS)
    for line in process.stdout:
        if line.startswith("step 3/30"):
            process.send_signal(signal.SIGTERM)
            break
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert "the same command goes on" in told
    done = program.run(tmp_path / "run", *FLAGS)
    assert done.returncode == 0, done.stderr
    assert_same(outcome(tmp_path / "run", tmp_path), expected)


@pytest.mark.slow
def test_a_failed_evaluation_costs_no_training(tmp_path):
    root = make_folder(tmp_path / "data")
    image = root / "val" / "images" / "3.jpg"
    whole = image.read_bytes()
    image.write_bytes(whole[:-200])
    flags = (*FOLDER, f"--config.data.root={root}", "--config.data.check_first=0")
    flags += ("--config.eval.every=2",)
    done = program.run(tmp_path / "run", *flags)
    assert done.returncode == 1
    assert "3.jpg cannot be read" in program.only_line(done)
    assert (tmp_path / "run" / "checkpoints" / "2").is_dir()
    image.write_bytes(whole)
    done = program.run(tmp_path / "run", *flags)
    assert done.returncode == 0, done.stderr
    assert "resumed after step 2" in done.stdout
    evaluated = [r["step"] for r in program.rows(tmp_path / "run") if "images" in r]
    assert evaluated == [2, 4]  # that of step 2 is made up for


@pytest.mark.slow
def test_a_signal_ends_an_evaluation(tmp_path):
    flags = ("--config.eval.every=2", "--config.train.log_every=1")
    process = program.start(tmp_path, *flags, "--config.data.eval_images=20000")
    for line in process.stdout:
        if line.startswith("step 2/4"):  # the evaluation, which takes minutes
            process.send_signal(signal.SIGTERM)
            break
    told, _ = process.communicate(timeout=30)
    assert process.returncode == 0, told
    assert "stopped after step 2; the same command goes on" in told
    done = program.run(tmp_path, *flags, "--force=data.eval_images")
    assert done.returncode == 0, done.stderr
    evaluated = [r["step"] for r in program.rows(tmp_path) if r["split"] == "eval"]
    assert evaluated == [2, 4]


@pytest.mark.slow
def test_an_average_begun_and_given_up(tmp_path):
    kept = []
    for steps, decay in ((4, 0.0), (8, 0.9), (12, 0.0)):
        flags = (f"--config.train.steps={steps}", f"--config.train.ema={decay}")
        done = program.run(tmp_path, *flags, "--force=train.ema,train.steps")
        assert done.returncode == 0, done.stderr
        kept.append((tmp_path / "checkpoints" / str(steps) / "ema").is_dir())
        if steps == 8:  # the checkpoint before has no average
            done = program.run(tmp_path, *flags, "--mode=eval", "--step=4")
            assert done.returncode == 0, done.stderr
    assert kept == [False, True, False]


@pytest.mark.slow
def test_a_short_soak(tmp_path):
    command = [sys.executable, "scripts/soak.py", "4", str(tmp_path / "soak")]
    done = subprocess.run(
        command,
        cwd=program.ROOT,
        env=program.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all as it should be" in done.stdout
