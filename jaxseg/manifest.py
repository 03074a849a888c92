"""What a checkpoint says of itself: its format, versions, config, score and files.

`manifest.json` lies in the checkpoint's folder and is written last, before the folder
gets its final name. It holds the size and the CRC-32 of every other file, and its own;
CRC-32 finds every change of up to 32 bits in a row and misses one in 4e9 of others. It
guards against failing disks, not against forgery.
"""

import importlib.metadata
import json
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any

from jaxseg import errors, pictures

FORMAT = 1  # raised when this version's checkpoints cannot be read by earlier ones
NAME = "manifest.json"
_LIBRARIES = ("jaxseg", "jax", "flax", "optax", "orbax-checkpoint")
_CHUNK = 1 << 22  # bytes


class DamagedError(Exception):
    """A checkpoint is not what was saved; the message says in what, in a few words."""


def write(folder: pathlib.Path, *, step: int, config: Mapping[str, Any]) -> None:
    """Describes the checkpoint that lies complete in `folder`; it is not rated yet.

    `config` is the resolved config as plain JSON data.
    """
    files = {
        path.relative_to(folder).as_posix(): [path.stat().st_size, _crc32(path)]
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    content = {
        "format": FORMAT,
        "step": step,
        "miou": None,
        "versions": versions(),
        "config": config,
        "files": files,
    }
    (folder / NAME).write_text(_encode(content), encoding="utf-8")


def read(folder: pathlib.Path) -> dict[str, Any]:
    """What `write` wrote. Raises DamagedError, or UserError for a later format."""
    path = folder / NAME
    try:
        text = path.read_bytes().decode()
        content = json.loads(text)["manifest"]
        intact = _encode(content) == text
    except PermissionError:
        raise
    except OSError as error:
        raise DamagedError(_told(NAME, error)) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedError(f"{NAME} cannot be read") from error
    if not intact:
        raise DamagedError(f"{NAME} is not as it was written")
    if content["format"] > FORMAT:
        raise errors.UserError(
            f"{folder} has format {content['format']}, written by jaxseg "
            f"{content['versions']['jaxseg']}; this is jaxseg {versions()['jaxseg']}, "
            f"which reads formats to {FORMAT}; install the later one"
        )
    return content


def rate(folder: pathlib.Path, miou: float | None) -> None:
    """Adds what evaluation gave, a fraction. Raises as `read`."""
    content = read(folder) | {"miou": miou}
    with pictures.atomic_path(folder / NAME) as path:
        path.write_text(_encode(content), encoding="utf-8")


def check(folder: pathlib.Path, step: int) -> dict[str, Any]:
    """As `read`, after every file and the step were compared with what was written."""
    content = read(folder)
    if content["step"] != step:
        raise DamagedError(f"it is that of step {content['step']}")
    for name, (size, _) in content["files"].items():  # quick, and tells of most
        try:
            found = (folder / name).stat().st_size
        except PermissionError:
            raise
        except OSError as error:
            raise DamagedError(_told(name, error)) from error
        if found != size:
            raise DamagedError(f"{name} has {found} bytes instead of {size}")
    for name, (_, checksum) in content["files"].items():
        try:
            intact = _crc32(folder / name) == checksum
        except PermissionError:
            raise
        except OSError as error:  # a failing disk
            raise DamagedError(_told(name, error)) from error
        if not intact:
            raise DamagedError(f"{name} is not as it was written")
    return content


def _told(name: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"{name} is missing"
    return f"{name} cannot be read: {error.strerror}"


def versions() -> dict[str, str]:
    """The versions in use of what a checkpoint's meaning depends on."""
    return {name: importlib.metadata.version(name) for name in _LIBRARIES}


def _encode(content: Mapping[str, Any]) -> str:
    """The manifest's text; stays as it is in every format, as does "format" itself."""
    body = json.dumps(content, indent=1)
    return json.dumps(
        {"crc32": f"{zlib.crc32(body.encode()):08x}", "manifest": content}, indent=1
    )


def _crc32(path: pathlib.Path) -> str:
    """In hexadecimal digits."""
    checksum = 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return f"{checksum:08x}"
