"""Fair timing: all contestants take turns in one run, each result waited for."""

import ctypes
import gc
import importlib.util
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

Contestants = dict[str, Callable[[], object]]


def interleave(contestants: Contestants, *, rounds: int = 7) -> dict[str, float]:
    """The median time of each in milliseconds; one round before is not counted.

    A contestant returns only when its result is there. Each has one turn more before
    every one that counts, as in a loop of its own: after another's, its memory comes
    from the system anew, and caches and threads are the other's.
    """
    times = {name: [] for name in contestants}
    for i in range(rounds + 1):
        for name, run in contestants.items():
            run()
            begin = time.perf_counter()
            run()
            if i:
                times[name].append(1e3 * (time.perf_counter() - begin))
    return {name: round(statistics.median(t), 3) for name, t in times.items()}


def import_torch() -> Any:
    """PyTorch with all cores, or None where it is not installed."""
    if importlib.util.find_spec("torch") is None:
        return None
    torch = importlib.import_module("torch")
    torch.set_num_threads(os.cpu_count())
    return torch


def import_torchvision() -> Any:
    """torchvision, also where its compiled operators (not needed here) do not load."""
    torch = import_torch()
    try:
        return importlib.import_module("torchvision")
    except RuntimeError:  # operator torchvision::nms does not exist
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", schema)
        return importlib.import_module("torchvision")


def emit(**row: object) -> None:
    """Prints a result as one line of JSON."""
    print(json.dumps(row), flush=True)


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    import jax

    return {
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "system": platform.machine(),
        "jax": jax.__version__,
    }


class Memory:
    """Peak resident memory of what runs within, above what was there, in MiB (Linux).

    For contestants on the CPU, each alone in a process of its own.
    """

    def __enter__(self) -> "Memory":
        self.trim()
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # forget the peak
        self.before = self._status("VmRSS")
        return self

    def __exit__(self, *exception: object) -> None:
        self.mib = round((self._status("VmHWM") - self.before) / 1024, 1)

    @staticmethod
    def trim() -> None:
        """Gives back what was freed, which is not to be counted as there."""
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)

    @staticmethod
    def _status(name: str) -> int:
        """A figure of this process in KiB."""
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1])


def alone(*arguments: str) -> dict[str, Any]:
    """The last line of JSON that this script prints when run with other arguments."""
    command = [sys.executable, sys.argv[0], *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])
