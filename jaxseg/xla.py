"""Settings of XLA that must stand in the environment before JAX starts."""

import importlib.metadata
import os

# By default XLA's CPU backend of jaxlib 0.10 hands every convolution to YNNPACK, whose
# weight gradients take 3 to 5 times as long as those of the path this turns back to.
_CPU_CONVOLUTIONS = "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"


def set_flags() -> None:
    """Adds the flag to XLA_FLAGS unless the user chose; call before JAX computes.

    An unknown flag aborts the process, hence the check of the version that knows it.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    known = importlib.metadata.version("jaxlib").startswith("0.10.")
    if known and "xla_cpu_experimental_ynn_fusion_type" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_CPU_CONVOLUTIONS}".strip()
