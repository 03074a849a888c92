"""Runs a function in a process of its own, and tells how much memory that took."""

import concurrent.futures
import multiprocessing
import pathlib
import re
import resource

GIB = 2**30


def run(function, *arguments, most=resource.RLIM_INFINITY):
    """What it returns, and the peak of its memory in bytes.

    `most` limits the addresses that it may take. A crash is told as a broken pool.
    """
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(_limited, most, function, *arguments).result()


def _limited(most, function, *arguments):
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    value = function(*arguments)
    # Not getrusage's ru_maxrss, in which the parent's peak lives on.
    status = pathlib.Path("/proc/self/status").read_text()
    return value, 1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])
