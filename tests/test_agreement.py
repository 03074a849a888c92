"""What processes settle among them; checked with two real ones."""

import os
import platform
import socket
import subprocess
import sys

import numpy as np
import pytest

from jaxseg import agreement, errors

TWO = """
import sys, jax
import numpy as np
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
agreement.check_same("the same", "never told")
try:
    agreement.check_same(index, "they differ")
except errors.UserError as error:
    print(error)
print(agreement.total(np.array([2**40 + 3, 2**31 - 1, int(index)])).tolist())
print(agreement.failure(None), agreement.failure_of_others("work"))
told = agreement.failure("\N{EURO SIGN}" * 999 if index == "1" else None)
print(told.startswith("process 1 on "), 100 < len(told) < 200)
if index == "0":
    agreement.tell_failure("work", "lost")
agreement.check_same("", "never told")
print(agreement.failure_of_others("work"))
"""


def test_one_process_just_does_it():
    assert agreement.decided(lambda: (1, 2)) == (1, 2)
    with pytest.raises(errors.UserError, match="as it is"):
        agreement.decided(raiser)

    agreement.check_same("anything", "never told")
    counts = np.array([[2**40, 1], [0, 5]])
    assert agreement.total(counts) is counts
    assert agreement.failure("as it is") == "as it is"
    agreement.tell_failure("work", "to nobody")


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
    last = ["True", "they differ", str([2**41 + 6, 2**32 - 2, 1])]
    last += ["None None", "True True", f"process 0 on {platform.node()}: lost"]
    assert found[0] == [*shared, "OSError [Errno 28] full", *last], outputs[0][1]
    assert found[1] == [*shared, "UserError [Errno 28] full", *last], outputs[1][1]
