"""Data that never comes ends the run: a file that stalls, a worker that is killed."""

import fcntl
import os
import pathlib
import signal
import time

import program
import pytest
from test_bad_input import FOLDER, make_folder


@pytest.fixture
def hang():
    """Makes the kernel hold up whoever opens a file, as a disk does that is gone."""
    held = []
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # asks to give the file back

    def take(path):
        held.append(os.open(path, os.O_WRONLY))
        fcntl.fcntl(held[-1], fcntl.F_SETLEASE, fcntl.F_WRLCK)

    yield take
    for each in held:
        os.close(each)
    signal.signal(signal.SIGIO, before)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_train(tmp_path, hang, workers):
    root = make_folder(tmp_path / "data")
    path = root / "train" / "images" / "2.jpg"
    hang(path)
    begin = time.monotonic()
    done = program.run(
        tmp_path / "w",
        *FOLDER,
        f"--config.data.root={root}",
        f"--config.data.workers={workers}",
        "--config.data.timeout=10",
        "--config.data.check_first=0",
        timeout=120,
    )
    assert done.returncode == 1
    told = program.only_line(done)
    assert "gave nothing in 10 s" in told
    assert str(path) in told
    assert time.monotonic() - begin < 90


@pytest.mark.parametrize(
    "flags",
    [
        (),
        pytest.param(
            ("--config.data.check_first=0", "--config.data.sampling=repeat_factor"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_before_training(tmp_path, hang, flags):
    """The check of the first examples, and counting the classes of all."""
    root = make_folder(tmp_path / "data")
    path = root / "train" / "labels" / "3.png"
    hang(path)
    data = (f"--config.data.root={root}", "--config.data.timeout=3")
    done = program.run(tmp_path / "w", *FOLDER, *data, *flags, timeout=120)
    assert done.returncode == 1
    told = program.only_line(done)
    assert "3.jpg or its label was not read in 3 s" in told


def worker_processes(pid):
    """The children of a process that spawned them to read data."""
    children = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
    pids = [int(child) for path in children for child in path.read_text().split()]
    return [
        child
        for child in pids
        if b"spawn_main" in pathlib.Path(f"/proc/{child}/cmdline").read_bytes()
    ]


@pytest.mark.slow
def test_killed_worker(tmp_path):
    process = program.start(
        tmp_path / "w",
        "--config.data.workers=2",
        "--config.train.steps=1000000",
        "--config.eval.every=0",
    )
    for line in process.stdout:
        if line.startswith("step 6/"):
            break
    workers = worker_processes(process.pid)
    assert len(workers) == 2
    begin = time.monotonic()
    os.kill(workers[1], signal.SIGKILL)
    told, _ = process.communicate(timeout=60)
    assert time.monotonic() - begin < 20
    assert process.returncode == 1
    *_, line = told.splitlines()  # nothing follows it
    assert "Traceback" not in told
    assert line.startswith("error: data worker ")
    assert " of 2 (reading night_0_" in line
    assert "died" in line
