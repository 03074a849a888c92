"""Two runs do not share a folder, and a dead one does not keep it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from jaxseg import errors, lock

HOLD = (
    "import pathlib, sys, time; from jaxseg import lock\n"
    "with lock.held(pathlib.Path(sys.argv[1])):\n"
    "    print('held', flush=True); time.sleep(60)"
)


@pytest.fixture
def other(tmp_path):
    """Another process that holds the folder."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def refused(folder):
    with pytest.raises(errors.UserError) as raised, lock.held(folder):
        pass
    return str(raised.value)


def test_who_holds_it_is_told(tmp_path, other):
    (tmp_path / "config.json").touch()
    host = re.escape(socket.gethostname())
    owner = f"process {other.pid} on {host}, begun less than a minute ago"
    assert re.search(f"another run is training in .*: {owner};", refused(tmp_path))
    assert refused(tmp_path) == refused(tmp_path)  # asking changes nothing


def test_a_dead_run_is_taken_over(tmp_path, other, caplog):
    (tmp_path / "config.json").touch()
    other.send_signal(signal.SIGKILL)
    other.wait()
    with lock.held(tmp_path):
        assert len(caplog.messages) == 1
        assert f"was cut off: process {other.pid} on" in caplog.text
        assert json.loads((tmp_path / ".lock.json").read_text())["pid"] == os.getpid()
    caplog.clear()
    with lock.held(tmp_path):  # this time the end was orderly
        assert not caplog.messages


@pytest.mark.parametrize(
    "left", ["", "{", "[1]", '{"host": 1}', '{"pid": 3, "since": ""}']
)
def test_what_a_crash_may_leave(tmp_path, left):
    (tmp_path / ".lock").touch()
    (tmp_path / ".lock.json").write_text(left)
    with lock.held(tmp_path):
        assert "process" in refused(tmp_path)


def test_age(tmp_path, other):
    owner = {"host": "node7", "pid": 12, "since": time.time() - 7500}
    (tmp_path / ".lock.json").write_text(json.dumps(owner))
    assert "process 12 on node7, begun 2 h 5 min ago" in refused(tmp_path)


def test_a_run_that_wrote_nothing_leaves_no_folder(tmp_path):
    with lock.held(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()
    assert not (tmp_path / "new").exists()
