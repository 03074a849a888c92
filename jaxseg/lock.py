"""One run at a time in a folder, and who that is.

`.lock` is held by the operating system for as long as its process lives (on a network
disk: as long as its machine does). Who holds it, or died holding it, stands in
`.lock.json`.
"""

import contextlib
import json
import logging
import math
import os
import pathlib
import platform
import time
from collections.abc import Iterator
from typing import Any

import filelock

from jaxseg import errors

_LOCK, _OWNER = ".lock", ".lock.json"


@contextlib.contextmanager
def held(folder: pathlib.Path) -> Iterator[None]:
    """Makes the folder and keeps it for this process; raises UserError if it is taken.

    Where nothing came to be written, no folder is left either.
    """
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / _OWNER
    try:
        lock = filelock.FileLock(folder / _LOCK, timeout=0)
        lock.acquire()
    except filelock.Timeout as error:
        raise errors.UserError(
            f"another run is training in {folder}: {_told(_read(owner))}; wait for it "
            "or choose another --workdir"
        ) from error
    try:
        if dead := _read(owner):
            logging.warning(
                "took over %s, whose run was cut off: %s", folder, _told(dead)
            )
        owner.write_text(json.dumps(_self()))
        yield
    finally:
        with contextlib.suppress(OSError):  # a folder that has become read-only
            owner.unlink(missing_ok=True)
            if {path.name for path in folder.iterdir()} <= {_LOCK}:
                (folder / _LOCK).unlink()
                folder.rmdir()
        lock.release()


def is_held(folder: pathlib.Path) -> bool:
    """Whether some process says that it holds the folder."""
    return (folder / _OWNER).exists()


def _self() -> dict[str, Any]:
    return {"host": platform.node(), "pid": os.getpid(), "since": time.time()}


def _read(path: pathlib.Path) -> dict[str, Any]:
    """Who wrote it; nothing if that is not known."""
    try:
        found = json.loads(path.read_text())
        host, pid, since = str(found["host"]), int(found["pid"]), float(found["since"])
        if not math.isfinite(since):
            return {}
        return {"host": errors.one_line(host)[:100], "pid": pid, "since": since}
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return {}


def _told(owner: dict[str, Any]) -> str:
    if not owner:
        return "it is not known which"
    minutes = max(0, round((time.time() - owner["since"]) / 60))
    age = f"{minutes // 60} h {minutes % 60} min" if minutes else "less than a minute"
    return f"process {owner['pid']} on {owner['host']}, begun {age} ago"
