"""What is set before JAX starts, and that the user's own choice stands."""

import os
import subprocess
import sys

import pytest

from jaxseg import xla

NAMES = (
    *("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR", "JAX_COMPILATION_CACHE_MAX_SIZE"),
    *("JAXSEG_CACHE", "JAX_PLATFORMS"),
)


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that what is set here is taken back
        monkeypatch.delenv(name)


@pytest.mark.parametrize("platforms", ["cpu", "cuda"])
def test_defaults(tmp_path, monkeypatch, platforms):
    monkeypatch.setenv("JAXSEG_CACHE", str(tmp_path))
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    find = "jaxseg.xla.importlib.util.find_spec"
    monkeypatch.setattr(find, lambda name: name == "jax_plugins" or None)
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    xla.set_flags()
    xla.set_flags()
    assert os.environ["XLA_FLAGS"].split() == [
        "--xla_force_host_platform_device_count=2",
        "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution",
        "--xla_cpu_scheduler_type=CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
        "--xla_gpu_enable_latency_hiding_scheduler=true",
        *["--xla_disable_hlo_passes=cse_barrier_expander"] * (platforms == "cpu"),
    ]
    assert os.environ["JAX_COMPILATION_CACHE_DIR"].startswith(str(tmp_path / "xla"))


def test_the_users_choice_stands(monkeypatch):
    chosen = (
        "--xla_cpu_experimental_ynn_fusion_type=-individual_dot "
        "--xla_gpu_enable_latency_hiding_scheduler=false "
        "--xla_cpu_scheduler_type=CPU_SCHEDULER_TYPE_DEFAULT "
        "--xla_disable_hlo_passes=dce"
    )
    monkeypatch.setenv("XLA_FLAGS", chosen)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "mine")
    xla.set_flags()
    assert os.environ["XLA_FLAGS"] == chosen
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "mine"
    # JAX cannot limit a folder that was filled without a limit.
    assert "JAX_COMPILATION_CACHE_MAX_SIZE" not in os.environ


@pytest.mark.parametrize("version", ["0.9.2", "0.11.0"])
def test_no_flag_that_another_version_may_not_know(monkeypatch, version):
    monkeypatch.setattr(xla.importlib.metadata, "version", lambda name: version)
    xla.set_flags()
    assert "XLA_FLAGS" not in os.environ


AGAIN = """
from jaxseg import xla
xla.set_flags()
import jax, jax.numpy as jnp

def layers(x):
    for _ in range(5):
        x = jnp.sin(x) @ jnp.eye(8)
    return x

def memory(layers):
    def total(x):
        for _ in range(8):
            x = layers(x)
        return x.sum()
    compiled = jax.jit(jax.grad(total)).lower(jnp.ones((4096, 8))).compile()
    return compiled.memory_analysis().temp_size_in_bytes

print(memory(jax.checkpoint(layers)) / memory(layers))
"""


def test_what_is_computed_again_is_not_kept():
    """On the CPU too, where XLA by itself finds all of it to be there already."""
    environ = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", AGAIN], env=environ, capture_output=True, text=True
    )
    assert float(done.stdout) < 0.5, done.stderr


PROGRAM = """
import os, sys
from jaxseg import xla
xla._HUGE_PAGES = __import__("pathlib").Path(sys.argv[1])
print("start", sys.argv[2:], flush=True)
xla.use_huge_pages()
print("run", os.environ.get("GLIBC_TUNABLES"))
"""


@pytest.mark.parametrize(
    ("kernel", "already", "platforms", "found"),
    [
        ("always [madvise] never", None, "cpu", "glibc.malloc.hugetlb=1"),
        ("always [madvise] never", "glibc.malloc.check=0", "cpu", None),
        ("[always] madvise never", None, "cpu", None),
        ("always [madvise] never", None, "cuda", None),
        (None, None, "cpu", None),
    ],
)
def test_huge_pages(tmp_path, kernel, already, platforms, found):
    """The program starts again once with its arguments, or goes on as it is."""
    setting = tmp_path / "enabled"
    if kernel:
        setting.write_text(kernel)
    library, version = xla.platform.libc_ver()
    if library != "glibc" or tuple(map(int, version.split("."))) < (2, 35):
        found = None
    (tmp_path / "jax_plugins").mkdir()  # as beside a plugin for GPUs
    environ = os.environ | {"JAX_PLATFORMS": platforms, "PYTHONPATH": str(tmp_path)}
    environ.pop("GLIBC_TUNABLES", None)
    if already:
        environ["GLIBC_TUNABLES"] = already
    command = [sys.executable, "-c", PROGRAM, str(setting), "an argument"]
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, check=True
    )
    starts = ["start ['an argument']"] * (2 if found else 1)
    assert done.stdout.splitlines() == [*starts, f"run {found or already}"]
