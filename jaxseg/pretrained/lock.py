"""One process at a time writes a file that another may have left unfinished."""

import contextlib
import logging
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl


@contextlib.contextmanager
def held(path: pathlib.Path) -> Iterator[None]:
    """Makes `path` if need be; waits while another process holds it.

    The lock is on the file itself and ends with its process, however that ends. An
    empty file is removed in the end.
    """
    if sys.platform == "win32":  # has no fcntl, and cannot rename an open file
        yield
        return
    with _open_locked(path) as file:
        try:
            yield
        finally:
            if _is_at(file, path) and not os.fstat(file.fileno()).st_size:
                path.unlink()


def _open_locked(path: pathlib.Path) -> BinaryIO:
    while True:
        file = path.open("ab")
        _lock(file)
        if _is_at(file, path):
            return file
        file.close()  # who held it has renamed or deleted it meanwhile


def _lock(file: BinaryIO) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logging.warning("waiting for the process that downloads to %s", file.name)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:  # some network disks have no locks: only the checksum is left
        pass


def _is_at(file: BinaryIO, path: pathlib.Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
