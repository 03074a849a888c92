"""Settings of XLA that must stand in the environment before JAX starts."""

import importlib.metadata
import os
import platform

from jaxseg import cache

# By default XLA's CPU backend of jaxlib 0.10 hands every convolution to YNNPACK, whose
# weight gradients take 3 to 5 times as long as those of the path this turns back to.
_CPU_CONVOLUTIONS = "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"


def set_flags() -> None:
    """Adds to XLA_FLAGS and keeps compiled programs, unless the user chose otherwise.

    Call before JAX is imported. An unknown flag aborts the process, hence the check of
    the version that knows it.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    known = importlib.metadata.version("jaxlib").startswith("0.10.")
    if known and "xla_cpu_experimental_ynn_fusion_type" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_CPU_CONVOLUTIONS}".strip()
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        # By host: a program for one CPU may not run on another that shares the home.
        programs = cache.folder() / "xla" / platform.node()
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(programs)
        os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(4 << 30))  # bytes
