"""What schedulers start: its status tells whether the run is to be started again."""

import importlib.util
import json
import pathlib
import signal
import subprocess
import sys
import time

import program
import pytest

SCRIPT = program.ROOT / "scripts/launch/train.py"
ENDLESS = ("--config.train.steps=1000000", "--config.eval.every=0")


def load():
    spec = importlib.util.spec_from_file_location("launch_train", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_done_with_the_last_step(tmp_path):
    is_done = load().is_done
    assert not is_done(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"train": {"steps": 7}}))
    assert not is_done(tmp_path)
    for step, expected in ((6, False), (7, True)):
        (tmp_path / "result.json").write_text(json.dumps({"step": step}))
        assert is_done(tmp_path) == expected


def test_a_workdir_is_needed(capsys):
    assert load().main(["--config=configs/folder.py"]) == 2
    assert "--workdir=DIR is needed" in capsys.readouterr().err


def start(workdir, *flags):
    _, _, _, *arguments = program.command(workdir, *flags)
    return subprocess.Popen(
        [sys.executable, SCRIPT, *arguments],
        cwd=program.ROOT,
        env=program.environment(),
        stdout=subprocess.DEVNULL,
    )


def test_stopped_before_it_began(tmp_path):
    running = start(tmp_path / "run")
    children = pathlib.Path(f"/proc/{running.pid}/task/{running.pid}/children")
    while not children.read_text():
        time.sleep(0.01)
    time.sleep(0.2)  # its imports take seconds
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 75


@pytest.mark.slow
def test_stopped_then_ended(tmp_path):
    running = start(tmp_path, *ENDLESS)
    while not (tmp_path / "metrics.jsonl").exists():
        assert running.poll() is None
        time.sleep(0.1)
    running.send_signal(signal.SIGTERM)
    assert running.wait(120) == 75
    steps = max(int(path.name) for path in (tmp_path / "checkpoints").glob("[0-9]*"))
    end = f"--config.train.steps={steps + 1}"
    assert start(tmp_path, end, "--force=train.steps").wait(300) == 0
    assert start(tmp_path, end, "--config.optim.lr=0.5").wait(300) == 1
