"""What all programs of the command line share: --config, exit codes, errors in a line.

A program defines its own flags and calls `run`, or `run_without_config`.
"""

import errno
import os
import sys
from collections.abc import Callable

from absl import app, flags, logging
from ml_collections import config_flags

from jaxseg import config as config_lib
from jaxseg import errors, validate, xla

CONFIG = config_flags.DEFINE_config_file("config", help_string="Recipe, a .py file.")

_BAD_FLAGS = (
    *(flags.Error, errors.UserError, AttributeError, LookupError, OSError, TypeError),
    *(MemoryError, RecursionError),  # of Python's parser, for a value nested too deep
)
_AUTO_WORKERS = {"--config.data.workers=auto": "--config.data.workers=-1"}


def run(program: Callable[[config_lib.Config], None]) -> None:
    """Runs a program on the config of the flags and ends the process.

    Status 0 if it is done, or preempted with all saved; 1 at the user's mistake, 2 at a
    bad flag, both told in one line. May start the process once more (xla.py).
    """
    xla.use_huge_pages()
    app.run(lambda argv: _run(lambda: _configured(program)), flags_parser=_parse)


def run_without_config(program: Callable[[], object]) -> None:
    """Runs a program that has no --config and ends the process as `run` does."""
    delattr(flags.FLAGS, CONFIG.name)
    app.run(lambda argv: _run(program), flags_parser=_parse_plain)


def _configured(program: Callable[[config_lib.Config], None]) -> None:
    validate.validate(CONFIG.value)
    program(CONFIG.value)


def _run(program: Callable[[], object]) -> int:
    logging.set_verbosity(logging.WARNING)  # JAX tells of every backend it lacks
    try:
        program()
    except errors.Stalled as error:
        _tell(str(error))
        sys.stdout.flush()
        os._exit(1)
    except errors.UserError as error:
        return _tell(str(error))
    except OSError as error:  # a full disk, a file where a folder should be, no right
        if error.filename is None and error.errno is None:
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "; make room there and run the command again" if full else ""
        return _tell(f"{error}{advice}")
    return 0


def _tell(error: str) -> int:
    # Names in it may come from files of others.
    print(f"error: {errors.one_line(error)}", file=sys.stderr, flush=True)
    return 1


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags, --config among them, as `_parse_plain`."""

    def check() -> None:
        if flags.FLAGS[CONFIG.name].value is None:
            raise flags.Error("--config=FILE is missing, for example configs/folder.py")
        CONFIG.value.seed  # noqa: B018  config_flags tells of a missing file here

    return _parse_plain(argv, check)


def _parse_plain(
    argv: list[str], check: Callable[[], None] = lambda: None
) -> list[str]:
    """Parses the flags; a bad one ends the program with status 2 and one line."""
    try:
        rest = flags.FLAGS([_AUTO_WORKERS.get(flag, flag) for flag in argv])
        check()
        if len(rest) > 1:
            raise flags.Error(f"unknown argument {rest[1]!r}; flags begin with --")
    except _BAD_FLAGS as error:
        _tell(str(error.args[0] if error.args else error))
        sys.exit(2)
    return rest
