"""How errors of orbax and TensorStore are told: in a line, not in pages."""

import logging
import os
import re
import sys
import warnings
from typing import Any


def silence() -> None:
    """Passes over what they print beside the errors that they raise.

    Orbax tells of every save, and prints a page for each that fails; TensorStore one
    for each array of it, of whose end it can no longer tell.
    """
    logger = logging.getLogger("absl")
    logger.setLevel(logging.ERROR)
    logger.addFilter(_is_not_orbax)
    warnings.filterwarnings("ignore", "coroutine .*write_fragment", RuntimeWarning)
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _pass_over_closed_loops


def reason(error: BaseException) -> str:
    """What orbax or TensorStore tell in 300 characters, the system's words first."""
    told = " ".join(str(error).split()) or type(error).__name__
    code = re.search(r"os_error_code='(\d+)'", told)
    return (f"{os.strerror(int(code[1]))}: {told}" if code else told)[:300]


def _pass_over_closed_loops(unraisable: Any) -> None:
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _is_not_orbax(record: logging.LogRecord) -> bool:
    return "/orbax/" not in record.pathname.replace("\\", "/")
