"""Checks the types of every call into jaxseg, and keeps compiled programs."""

import importlib.metadata
import io
import os
import pathlib
from typing import BinaryIO

import beartype
import jaxtyping
import numpy as np
import pytest

_CACHE = pathlib.Path.home() / ".cache" / "jaxseg-tests"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")

# As type checkers do, an int passes for a float, and any byte stream for a BinaryIO.
check_types = beartype.beartype(
    conf=beartype.BeartypeConf(
        is_pep484_tower=True,
        hint_overrides=beartype.FrozenDict({BinaryIO: io.IOBase}),
    )
)
jaxtyping.install_import_hook("jaxseg", f"{__name__}.check_types")


# The fast tests spend most of their time in XLA's compiler. These settings take a third
# of that, and the slow tests run programs compiled as everybody's are.
COMPILE_FAST = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"


def pytest_configure(config):
    known = importlib.metadata.version("jaxlib").startswith("0.10.")
    if config.option.markexpr == "not slow" and known:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} {COMPILE_FAST}"
    config.addinivalue_line(
        "filterwarnings",
        "ignore::beartype.roar.BeartypeDecorHintPep585DeprecationWarning",
    )


# What takes longest begins first, so that no process is left with it at the end.
LONG = (
    *("test_step.py", "test_main.py", "test_bad_input.py", "test_devices.py"),
    *("test_hosts.py", "test_resume.py"),
)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def rgb(rng):
    return rng.integers(0, 256, (6, 9, 3), np.uint8)


@pytest.fixture
def indices(rng):
    return rng.integers(0, 3, (6, 9), np.uint8)
