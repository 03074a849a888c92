"""Several processes on this machine: one run, one end, and no one left waiting."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import program
import pytest

from jaxseg import errors, hosts

SMALL = (
    *("--config.train.log_every=1", "--config.train.batch_size=8"),
    *("--config.data.train_images=24", "--config.data.eval_images=37"),
)
ENDLESS = (*SMALL, "--config.train.steps=1000000", "--config.eval.every=0")
# Rounding grows from step to step, the slower the smaller these are.
CALM = (
    *("--config.optim.name=sgd", "--config.optim.lr=0.0001"),
    *("--config.optim.schedule=constant", "--config.eval.every=0"),
)


def test_no_others_are_looked_for():
    with hosts.joined():
        assert hosts.is_main()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"num_processes": 2, "process_id": 1}, "need --coordinator=HOST:PORT"),
        ({"process_id": 1}, "need --coordinator=HOST:PORT"),
        ({"coordinator": "host0", "num_processes": 2}, "host0 is not HOST:PORT"),
        ({"coordinator": "host0:http", "process_id": 0}, "http is not HOST:PORT"),
    ],
)
def test_how_many_but_not_where(flags, told):
    with pytest.raises(errors.UserError, match=told):
        hosts.joined(**flags).__enter__()


def test_a_service_that_does_not_answer(capfd, monkeypatch):
    def leave(code):
        raise SystemExit(code)

    monkeypatch.setattr(hosts.os, "_exit", leave)
    monkeypatch.setattr(hosts, "BEAT_SECONDS", 0)
    peers = object.__new__(hosts._Peers)
    peers._ended, peers._first = hosts.threading.Event(), "process 0 on a"
    peers._served = hosts.time.monotonic() - hosts.SILENT_SECONDS - 1
    with pytest.raises(SystemExit):
        peers._guard()
    assert "error: process 0 on a has not been heard of" in capfd.readouterr().err


def test_what_others_say(capfd, monkeypatch):
    def leave(code):
        raise SystemExit(code)

    monkeypatch.setattr(hosts.os, "_exit", leave)
    monkeypatch.setattr(hosts, "BEAT_SECONDS", 0)
    now = [100.0]
    monkeypatch.setattr(hosts.time, "monotonic", lambda: now[0])
    watch = object.__new__(hosts._Peers)
    watch._heard, watch._ended = {}, hosts.threading.Event()

    def hear(beat, end=""):
        facts = {"who": "process 1 on b", "beat": beat, "end": end}
        watch._hear({"1": json.dumps(facts)})

    for beat in range(40):
        now[0] += hosts.SILENT_SECONDS - 1
        hear(beat)
    now[0] += hosts.SILENT_SECONDS + 1
    with pytest.raises(SystemExit):
        hear(39)
    told = capfd.readouterr().err
    assert told.startswith("error: process 1 on b has not been heard of for 40 s; ")
    with pytest.raises(SystemExit):
        hear(40, "the disk is full")
    told = capfd.readouterr().err
    assert told == "error: process 1 on b failed: the disk is full\n"
    for _ in range(2):
        now[0] += 1000
        hear(41, "done")
    assert not capfd.readouterr().err


def finish(processes, timeout=300):
    """(exit codes, outputs)."""
    outputs = [each.communicate(timeout=timeout)[0] for each in processes]
    return [each.returncode for each in processes], outputs


def wait_for(workdir, step, timeout=300):
    """Waits until a row of that step is there."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        path = workdir / "metrics.jsonl"
        if path.exists() and f'"step": {step},' in path.read_text():
            return
        time.sleep(0.1)
    raise TimeoutError


def losses(workdir):
    return [r["loss"] for r in program.rows(workdir) if r["split"] == "train"]


def saved_steps(workdir):
    return {path.name for path in (workdir / "checkpoints").glob("[0-9]*")}


@pytest.mark.slow
def test_one_run_on_two_processes(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    done = program.run(one, *SMALL, *CALM, devices=2)
    assert done.returncode == 0, done.stderr
    codes, outputs = finish(program.start_all(two, *SMALL, *CALM, devices=1))
    assert codes == [0, 0], outputs
    np.testing.assert_allclose(losses(two), losses(one), atol=1e-5)
    results = [json.loads((w / "result.json").read_text()) for w in (one, two)]
    assert results[0]["images"] == results[1]["images"] == 37
    pixels = [[c["pixels"] for c in r["per_class"].values()] for r in results]
    assert pixels[0] == pixels[1]
    assert "mIoU" in outputs[0]
    assert "mIoU" not in outputs[1]  # process 0 speaks
    done = program.run(two, *SMALL, *CALM, "--mode=eval")  # one alone goes on
    assert done.returncode == 0, done.stderr
    again = json.loads((two / "result.json").read_text())
    assert again["miou"] == pytest.approx(results[1]["miou"], abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("told", [0, 1])
def test_a_signal_to_one_stops_all(tmp_path, told):
    processes = program.start_all(tmp_path, *ENDLESS, devices=1)
    wait_for(tmp_path, 5)
    begin = time.monotonic()
    processes[told].send_signal(signal.SIGTERM)
    codes, outputs = finish(processes)
    assert codes == [0, 0], outputs
    assert time.monotonic() - begin < 30
    (step,) = saved_steps(tmp_path)
    assert f"stopped after step {step}; the same command goes on" in outputs[0]
    assert program.rows(tmp_path)[-1]["step"] == int(step)
    flags = (*ENDLESS, f"--config.train.steps={int(step) + 2}", "--force=train.steps")
    codes, outputs = finish(program.start_all(tmp_path, *flags, devices=1))
    assert codes == [0, 0], outputs
    assert f"resumed after step {step}, with batch {int(step) + 1} " in outputs[0]


@pytest.mark.slow
def test_a_signal_in_evaluation_and_one_before_the_first_step(tmp_path):
    long = ("--config.eval.every=3", "--config.data.eval_images=20000")
    processes = program.start_all(tmp_path, *ENDLESS, *long, devices=1)
    wait_for(tmp_path, 3)  # its evaluation takes minutes
    begin = time.monotonic()
    processes[1].send_signal(signal.SIGTERM)
    codes, outputs = finish(processes)
    assert codes == [0, 0], outputs
    assert time.monotonic() - begin < 30
    assert "stopped after step 3; the same command goes on" in outputs[0]
    assert [row["split"] for row in program.rows(tmp_path)] == ["train"] * 3
    processes = program.start_all(tmp_path, *ENDLESS, *long, devices=1)
    for line in processes[1].stdout:
        if "follows process 0" in line:
            processes[1].send_signal(signal.SIGTERM)
            break
    codes, outputs = finish(processes)
    assert codes == [0, 0], outputs
    assert "stopped before step 4; the same command goes on" in outputs[0]
    assert saved_steps(tmp_path) == {"3"}


SCHEDULERS = {
    "slurm": {
        "SLURM_JOB_ID": "{job}",
        "SLURM_STEP_NODELIST": "localhost,node[2-3]",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": "{process}",
        "SLURM_LOCALID": "0",
    },
    "open mpi": {
        "OMPI_MCA_orte_hnp_uri": "{job}0000.0;tcp://127.0.0.1,10.0.0.1:3000",
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_RANK": "{process}",
        "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    },
}
WHO = """
import sys, jax
from jaxseg import hosts
with hosts.joined():
    who = f"found {jax.process_index()} of {jax.process_count()}"
    print(who, file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_what_a_scheduler_tells(scheduler):
    job = os.getpid()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WHO],
            env=program.environment()
            | {
                name: value.format(job=job, process=process)
                for name, value in SCHEDULERS[scheduler].items()
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for process in range(2)
    ]
    codes, outputs = finish(processes, timeout=100)
    assert codes == [0, 0], outputs
    for process, output in enumerate(outputs):
        assert f"found {process} of 2" in output


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_the_death_of_one_ends_all(tmp_path, killed):
    processes = program.start_all(tmp_path, *ENDLESS, devices=1)
    wait_for(tmp_path, 5)
    begin = time.monotonic()
    processes[killed].kill()
    codes, outputs = finish(processes)
    assert time.monotonic() - begin < 120
    assert codes[killed] == -signal.SIGKILL
    assert codes[1 - killed] not in (0, None)
    if killed:
        assert "error: process 1 on" in outputs[0]
        assert f"pid {processes[1].pid} has not been heard of for" in outputs[0]
    else:  # JAX's coordination service died with process 0
        assert codes[1] == 1
        told = outputs[1].strip().splitlines()[-1]
        assert told.startswith("error: process 0 on")
        assert f"pid {processes[0].pid} has ended" in told


@pytest.mark.slow
def test_an_error_of_one_is_told_by_all(tmp_path):
    bad = ("--config.data.name=folder", "--config.data.root=no/such/folder")
    processes = program.start_all(tmp_path, *ENDLESS, devices=1, last=bad)
    codes, outputs = finish(processes)
    assert codes == [1, 1], outputs
    told = outputs[1].strip().splitlines()[-1]
    assert told.startswith("error: ")
    assert "no/such/folder" in told
    who = f"pid {processes[1].pid} failed: {told.removeprefix('error: ')}"
    assert who in outputs[0]


@pytest.mark.slow
def test_an_error_of_all_ends_each_by_itself(tmp_path):
    flags = (*SMALL, "--mode=eval")
    processes = program.start_all(tmp_path / "none", *flags, processes=3, devices=1)
    codes, outputs = finish(processes)
    assert codes == [1, 1, 1], outputs
    for output in outputs:
        assert "train there first" in output


@pytest.mark.slow
def test_any_devices_and_processes_go_on(tmp_path):
    once, often = tmp_path / "once", tmp_path / "often"
    done = program.run(once, *SMALL, *CALM, "--config.train.steps=14", devices=2)
    assert done.returncode == 0, done.stderr
    end = 0
    for processes, devices in ((1, 8), (1, 4), (1, 1), (1, 2), (2, 2), (1, 2)):
        end += 2 if end else 4
        flags = (*SMALL, *CALM, f"--config.train.steps={end}", "--force=train.steps")
        if devices == 4:
            flags += ("--config.sharding.mesh.fsdp=2",)
        started = (
            program.start_all(often, *flags, processes=processes, devices=devices)
            if processes > 1
            else [program.start(often, *flags, devices=devices)]
        )
        codes, outputs = finish(started)
        assert codes == [0] * processes, outputs
        assert end == 4 or f"resumed after step {end - 2}, " in outputs[0]
    np.testing.assert_allclose(losses(often), losses(once), atol=1e-4)
