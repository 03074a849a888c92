"""What process 0 decides is what all do; checked with two real processes."""

import os
import socket
import subprocess
import sys

import pytest

from jaxseg import agreement, errors

TWO = """
import sys, jax
from jaxseg import agreement, errors
port, index = sys.argv[1:]
jax.distributed.initialize(f"localhost:{port}", 2, int(index))
print(agreement.decided(lambda: {"step": 7, "who": jax.process_index()}))
print(agreement.decided(lambda: None))

def fail():
    raise OSError(28, "full")

try:
    agreement.decided(fail)
except (OSError, errors.UserError) as error:
    print(type(error).__name__, error)
print(agreement.decided(lambda: "x" * 1000) == "x" * 1000)
"""


def test_one_process_just_does_it():
    assert agreement.decided(lambda: (1, 2)) == (1, 2)
    with pytest.raises(errors.UserError, match="as it is"):
        agreement.decided(raiser)


def raiser():
    raise errors.UserError("as it is")


def test_two_processes():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, port, str(index)],
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    found = [
        [line for line in output.splitlines() if "Gloo" not in line]
        for output, _ in outputs
    ]
    shared = ["{'step': 7, 'who': 0}", "None"]
    assert found[0] == [*shared, "OSError [Errno 28] full", "True"], outputs[0][1]
    assert found[1] == [*shared, "UserError [Errno 28] full", "True"], outputs[1][1]
