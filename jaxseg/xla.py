"""What must stand in the environment before JAX starts."""

import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import sys

from jaxseg import cache

# For jaxlib 0.10: by flag, the value and why.
_FLAGS = {
    # By default the CPU backend hands every convolution to YNNPACK, whose weight
    # gradients take 3 to 5 times as long as those of the path this turns back to.
    "xla_cpu_experimental_ynn_fusion_type": "-individual_convolution",
    # By default the CPU backend runs what is ready as early as it can, and so holds
    # more at once: up to a quarter more for a step, in the same time.
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    # GPUs sum gradients of one layer while they compute those of the next.
    "xla_gpu_enable_latency_hiding_scheduler": "true",
}

_HUGE_PAGES = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


# Sums of gradients on GPUs come in no fixed order else.
_DETERMINISTIC = {"xla_gpu_deterministic_ops": "true"}

# The CPU backend removes barriers before it looks for equal expressions. Then what
# jax.checkpoint computes again would be found to be there already, and kept.
_ON_CPU = {"xla_disable_hlo_passes": "cse_barrier_expander"}


def set_flags(*, deterministic: bool = False) -> None:
    """Adds to XLA_FLAGS and keeps compiled programs, unless the user chose otherwise.

    Call before JAX is imported. An unknown flag aborts the process, hence the check of
    the version that knows it.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if importlib.metadata.version("jaxlib").startswith("0.10."):
        known = _FLAGS | (_ON_CPU if _on_cpu() else {})
        known |= _DETERMINISTIC if deterministic else {}
        ours = [f"--{name}={known[name]}" for name in known if name not in flags]
        os.environ["XLA_FLAGS"] = " ".join([*flags.split(), *ours])
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        # By host: a program for one CPU may not run on another that shares the home.
        programs = cache.folder() / "xla" / platform.node()
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(programs)
        os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(4 << 30))  # bytes


def use_huge_pages() -> None:
    """Starts this program again, once, with its memory in pages of 2 MiB.

    XLA's CPU backend takes all of a step's memory from the system and gives it back,
    step for step. In pages of 4 KiB that takes a tenth to a third of the step's time.
    The C library reads this setting at the start of a program only. Does nothing where
    the setting stands already or would change nothing, or where a GPU or TPU is used.
    """
    name, value = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
    if name not in os.environ and _on_cpu() and _huge_pages_on_request():
        os.environ[name] = value
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _on_cpu() -> bool:
    """Whether JAX has no other device to choose."""
    plugins = ("jax_plugins", "libtpu")
    installed = any(importlib.util.find_spec(name) for name in plugins)
    return not installed or os.environ.get("JAX_PLATFORMS") == "cpu"


def _huge_pages_on_request() -> bool:
    """Whether the kernel gives huge pages to who asks, and the C library can ask."""
    library, version = platform.libc_ver()
    if library != "glibc" or tuple(map(int, version.split("."))) < (2, 35):
        return False
    return _HUGE_PAGES.exists() and "[madvise]" in _HUGE_PAGES.read_text()
