"""What a failing disk, a killed run and a second one do to the whole program."""

import contextlib
import json
import os
import subprocess

import program
import pytest

pytestmark = pytest.mark.slow
STEPS = 40
FLAGS = (
    f"--config.train.steps={STEPS}",
    "--config.train.log_every=1",
    "--config.checkpoint.every=2",
    "--config.eval.every=20",
)


@pytest.fixture
def disk(tmp_path):
    """A file system of 16 MiB; a checkpoint takes about 1."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(tmp_path)]
    if os.geteuid() or subprocess.run(mount, check=False).returncode:
        pytest.skip("only root can mount")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def read_until(process, text):
    """The lines up to the first with this text."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"{text!r} was not printed:\n{''.join(lines)}")


def fill(path):
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 16)):
            pass


def set_writable(folder, writable):
    """Gives or takes the right to make files in the folder; root needs other means."""
    if os.geteuid():
        folder.chmod(0o755 if writable else 0o555)
    else:
        subprocess.run(["chattr", "-i" if writable else "+i", str(folder)], check=True)


def checkpoints(workdir):
    return {path.name for path in (workdir / "checkpoints").iterdir()}


def assert_complete(workdir, process):
    told, _ = process.communicate(timeout=300)
    assert process.returncode == 0, told
    steps = [row["step"] for row in program.rows(workdir) if row["split"] == "train"]
    assert steps == [*range(1, STEPS + 1)]
    assert json.loads((workdir / "result.json").read_text())["step"] == STEPS
    assert {str(STEPS - 2), str(STEPS)} <= checkpoints(workdir)
    assert not [name for name in checkpoints(workdir) if not name.isdecimal()]
    return told


def test_disk_full_for_a_while(disk):
    workdir = disk / "run"
    process = program.start(workdir, *FLAGS)
    read_until(process, f"step 8/{STEPS}")
    fill(disk / "filler")
    seen = read_until(process, "could not be saved")
    assert "No space left on device" in seen[-1]
    read_until(process, "could not be saved")
    (disk / "filler").unlink()
    assert_complete(workdir, process)


def test_permission_lost_for_a_while(tmp_path):
    workdir = tmp_path / "run"
    process = program.start(workdir, *FLAGS)
    read_until(process, f"step 8/{STEPS}")
    set_writable(workdir / "checkpoints", False)
    try:
        seen = read_until(process, "could not be saved")
        before = checkpoints(workdir)
        read_until(process, "could not be saved")
        assert checkpoints(workdir) == before
    finally:
        set_writable(workdir / "checkpoints", True)
    assert "not permitted" in seen[-1] or "Permission denied" in seen[-1]
    assert_complete(workdir, process)


def test_disk_full_to_the_end(disk):
    """The figures are printed, then the error; the same command goes on later."""
    workdir = disk / "run"
    process = program.start(workdir, *FLAGS)
    read_until(process, f"step 8/{STEPS}")
    fill(disk / "filler")
    told, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    error = told.splitlines()[-1]
    assert error.startswith("error: ")
    assert "No space left on device" in error
    assert str(workdir) in error
    assert error.endswith("; make room there and run the command again")
    assert f"step {STEPS}  mIoU" in told.partition(error)[0]
    assert "Traceback" not in told
    (disk / "filler").unlink()
    process = program.start(workdir, *FLAGS)
    assert "resumed after step" in assert_complete(workdir, process)


def test_a_read_only_folder(disk):
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    done = program.run(disk / "run", *FLAGS)
    assert done.returncode == 1
    assert "Read-only file system" in program.only_line(done)


def test_two_runs_and_a_dead_one(tmp_path):
    workdir = tmp_path / "run"
    first = program.start(workdir, *FLAGS, "--config.train.steps=4000")
    read_until(first, "step 4/")
    done = program.run(workdir, *FLAGS)
    assert done.returncode == 1
    told = program.only_line(done)
    assert "another run is training" in told
    assert f"process {first.pid} on {os.uname().nodename}, begun " in told
    first.kill()
    first.communicate()
    done = program.run(workdir, *FLAGS, "--force=train.steps")
    assert done.returncode == 0, done.stderr
    assert f"whose run was cut off: process {first.pid} on " in done.stderr
    assert "resumed after step" in done.stdout


def test_use_of_a_damaged_checkpoint(tmp_path):
    workdir = tmp_path / "run"
    done = program.run(workdir, *FLAGS)
    assert done.returncode == 0, done.stderr
    done = program.run(workdir, "--mode=eval")
    assert done.returncode == 0, done.stderr
    best = json.loads((workdir / "result.json").read_text())["step"]
    before = checkpoints(workdir)
    (workdir / "checkpoints" / str(best) / "model" / "manifest.ocdbt").write_bytes(b"")
    done = program.run(workdir, "--mode=eval")
    assert done.returncode == 0, done.stderr
    (other,) = (line for line in done.stderr.splitlines() if "damaged" in line)
    assert f"checkpoint {best} is damaged (model/manifest.ocdbt has 0 bytes" in other
    done = program.run(workdir, "--mode=eval", f"--step={best}")
    assert done.returncode == 1
    assert f"checkpoint {best} in" in program.only_line(done)
    assert checkpoints(workdir) == before
