"""How many processor cores there are for this process."""

import os
import sys


def count() -> int:
    """Those that it may use, of which a scheduler or container may have left few."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
