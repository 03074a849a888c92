"""From a weights' name to a file on this machine: the only file that uses the network.

A download goes to one `.part` file next to its final place, which its process holds
locked. It is resumed after any interruption, the process's death included, and gets
its final name only once its checksum is right.
"""

import dataclasses
import difflib
import hashlib
import http.client
import os
import pathlib
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import rich.console
import rich.progress

from jaxseg import cache, errors
from jaxseg.pretrained import lock

TRIES = 3
PAUSE = 1.0  # seconds between tries
TIMEOUT = 30.0  # seconds without a byte
CHUNK = 2**18  # bytes


@dataclasses.dataclass(frozen=True)
class Weights:
    """A file on the web, and its SHA-256 in hex: all of it, or its first digits."""

    url: str
    sha256: str


def _torchvision(file_name: str) -> Weights:
    # torchvision's file names end in the first 8 digits of their SHA-256.
    url = f"https://download.pytorch.org/models/{file_name}.pth"
    return Weights(url, file_name[-8:])


WEIGHTS = {
    "torchvision/resnet18": _torchvision("resnet18-f37072fd"),
    "torchvision/resnet34": _torchvision("resnet34-b627a593"),
    "torchvision/resnet50": _torchvision("resnet50-0676ba61"),
    "torchvision/resnet101": _torchvision("resnet101-63fe2227"),
    "torchvision/resnet152": _torchvision("resnet152-394f9c45"),
    "torchvision/resnet50_v2": _torchvision("resnet50-11ad3fa6"),
    "torchvision/resnet101_v2": _torchvision("resnet101-cd907fc2"),
    "torchvision/resnet152_v2": _torchvision("resnet152-f82ba261"),
    "torchvision/mobilenet_v2": _torchvision("mobilenet_v2-b0353104"),
    "torchvision/mobilenet_v2_v2": _torchvision("mobilenet_v2-7ebf99e0"),
    "torchvision/fcn_resnet50": _torchvision("fcn_resnet50_coco-1167a1af"),
    "torchvision/fcn_resnet101": _torchvision("fcn_resnet101_coco-7ecb50ca"),
    "torchvision/deeplabv3_resnet50": _torchvision("deeplabv3_resnet50_coco-cd0a2569"),
    "torchvision/deeplabv3_resnet101": _torchvision(
        "deeplabv3_resnet101_coco-586e9e4e"
    ),
}
_FOLDER = pathlib.Path(__file__).parent / "weights"
PACKAGED = {"jaxseg/synthetic_day": _FOLDER / "synthetic_day.safetensors"}


def resolve(name: str) -> pathlib.Path:
    """The file that `name` stands for: downloaded on its first use, checked on each.

    `name` is a path, a key of `WEIGHTS` or `PACKAGED`, or ADDRESS#sha256=HEX. Downloads
    are kept in $JAXSEG_CACHE, else ~/.cache/jaxseg. Raises `errors.UserError`.
    """
    if name and os.path.exists(name):
        return pathlib.Path(name)
    if name in PACKAGED:
        return PACKAGED[name]
    if re.match(r"https?://", name):
        return _fetch(_from_address(name))
    if name in WEIGHTS:
        return _fetch(WEIGHTS[name])
    known = [*PACKAGED, *WEIGHTS]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or known
    raise errors.UserError(
        f"weights {name!r}: neither a file here nor a known name; "
        f"expected a path, ADDRESS#sha256=HEX or a name such as {', '.join(near)}"
    )


def _from_address(address: str) -> Weights:
    url, _, fragment = address.partition("#")
    match = re.fullmatch(r"sha256=([0-9a-fA-F]{8,64})", fragment)
    if not match:
        raise errors.UserError(
            f"weights {address!r}: an address needs its file's checksum; "
            f"write {url}#sha256=HEX with 8 to 64 digits, from `sha256sum FILE`"
        )
    return Weights(url, match[1].lower())


def _make_target(weights: Weights) -> pathlib.Path:
    name = weights.url.partition("?")[0].rpartition("/")[2]
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[-100:]
    digits = weights.sha256[:8]  # keep two files of one name apart
    return cache.folder() / (name if digits in name else f"{digits}-{name}")


def _fetch(weights: Weights) -> pathlib.Path:
    target = _make_target(weights)
    part = target.with_name(f"{target.name}.part")
    try:
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with lock.held(part):
                if not target.exists():  # else another process got it meanwhile
                    _download(weights.url, part)
                    _check(part, weights)
                    os.replace(part, target)
                    return target
        _check(target, weights)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise errors.UserError(
            f"cannot download {weights.url} ({error or type(error).__name__}); "
            f"fetch that address by other means and put the file at {target}"
        ) from None
    return target


def _check(path: pathlib.Path, weights: Weights) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest.startswith(weights.sha256):
        return
    remedy = f"delete it, or put the right file from {weights.url} there"
    if path.suffix == ".part":
        path.unlink()
        remedy = "it was deleted; try again, or check the address"
    raise errors.UserError(
        f"{path}: the SHA-256 of {weights.url} should start with {weights.sha256}, "
        f"but is {digest}; {remedy}"
    )


def _download(url: str, part: pathlib.Path) -> None:
    """Appends to `part` what it lacks; raises OSError or HTTPException in the end."""
    with _make_progress() as progress:
        task = progress.add_task(url.rpartition("/")[2], total=None)
        for left in reversed(range(TRIES)):
            try:
                for done, total in _receive(url, part):
                    progress.update(task, completed=done, total=total)
                return
            except (ConnectionError, TimeoutError, http.client.HTTPException):
                if not left:
                    raise
            time.sleep(PAUSE)


def _make_progress() -> rich.progress.Progress:
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}", markup=False),
        rich.progress.BarColumn(),
        rich.progress.DownloadColumn(),
        rich.progress.TransferSpeedColumn(),
        console=rich.console.Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )


def _receive(url: str, part: pathlib.Path) -> Iterator[tuple[int, int | None]]:
    """One request for what `part` lacks; yields (bytes there, bytes in all)."""
    done = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={done}-"} if done else {}
    try:
        request = urllib.request.Request(url, headers=headers)
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and done:  # nothing lacks: the checksum will tell
            return
        raise
    with response, part.open("ab") as file:
        start, total = _extent(response)
        if start is None or start > done:
            file.truncate(0)  # so that the next try asks for everything
            raise ConnectionError(f"asked for the bytes from {done}, got from {start}")
        done = start
        file.truncate(done)
        while chunk := response.read(CHUNK):
            file.write(chunk)
            done += len(chunk)
            yield done, total
    if total is not None and done != total:
        raise ConnectionError(f"the connection closed after {done} of {total} bytes")


def _extent(response: http.client.HTTPResponse) -> tuple[int | None, int | None]:
    """Where the response's first byte belongs, and the size of the whole file."""
    if response.status != 206:  # a server that does not know Range sends everything
        length = response.headers["Content-Length"]
        return 0, int(length) if length else None
    content_range = response.headers["Content-Range"] or ""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", content_range)
    if not match:
        return None, None
    return int(match[1]), None if match[2] == "*" else int(match[2])
