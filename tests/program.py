"""The command line in a process of its own, on a tiny network and tiny images."""

import json
import os
import pathlib
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TINY = (
    "--config=configs/quickstart.py:scratch",
    "--config.model.head=fcn",
    "--config.model.width=8",
    "--config.model.output_stride=32",
    "--config.data.size=(32,32)",
    "--config.data.crop=(32,32)",
    "--config.data.train_images=6",
    "--config.data.eval_images=5",
    "--config.train.batch_size=4",
    "--config.train.steps=4",
    "--config.train.log_every=2",
    "--config.eval.every=4",
    "--config.eval.batch_size=4",
    "--config.optim.warmup_steps=0",
)


def command(workdir, *flags, base=TINY):
    # A tuple given twice is joined, not replaced: keep the last of each flag.
    chosen = {flag.partition("=")[0]: flag for flag in (*base, *flags)}
    workdir_flag = f"--workdir={workdir}"
    return [sys.executable, "-m", "jaxseg.main", *chosen.values(), workdir_flag]


def environment(devices=1):
    flags = f"--xla_force_host_platform_device_count={devices}"
    flags = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
    return os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


def run(workdir, *flags, base=TINY, devices=1, timeout=300):
    """The finished process, its output captured as text."""
    return subprocess.run(
        command(workdir, *flags, base=base),
        cwd=ROOT,
        env=environment(devices),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def start(workdir, *flags, base=TINY, devices=1):
    """The running process."""
    return subprocess.Popen(
        command(workdir, *flags, base=base),
        cwd=ROOT,
        env=environment(devices),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_all(workdir, *flags, base=TINY, processes=2, devices=4, last=()):
    """The running processes of one run on this machine; the last has flags besides."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    flags += (f"--coordinator=localhost:{port}", f"--num_processes={processes}")
    own = [(f"--process_id={i}",) for i in range(processes)]
    own[-1] += tuple(last)
    return [start(workdir, *flags, *each, base=base, devices=devices) for each in own]


def rows(workdir):
    """The rows of metrics.jsonl."""
    return [json.loads(line) for line in (workdir / "metrics.jsonl").open()]


def only_line(done):
    """The error's one line; fails if there are more or a traceback."""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: "), lines
    return lines[0]
