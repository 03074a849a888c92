"""Where downloaded weights and compiled programs are kept for the next run."""

import os
import pathlib


def folder() -> pathlib.Path:
    """$JAXSEG_CACHE, else ~/.cache/jaxseg."""
    chosen = os.environ.get("JAXSEG_CACHE")
    return pathlib.Path(chosen) if chosen else pathlib.Path.home() / ".cache" / "jaxseg"
