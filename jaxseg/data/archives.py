"""Files in zip and tar archives, read where they lie, and in memory.

An archive's directory is read once. Each read of a member opens the archive anew, so
that members can be pickled to worker processes and read by several threads at once;
nothing is ever unpacked to disk.
"""

import functools
import pathlib
import posixpath
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from jaxseg import errors

# The most that a file or member may hold; COCO's largest list of objects has 450 MiB.
MAX_BYTES = 512 * 1024**2
# Unpacked over stored bytes, above 1 MiB: lists of objects take some 5, zip bombs 1000.
MAX_RATIO = 100

_LOCAL_HEADER = struct.Struct("<4s2xHH16xHH")  # magic, flags, method, name, extra
_ENCRYPTED, _UTF8 = 1 << 0, 1 << 11  # flags
# What the standard library raises for archives that are damaged or none at all.
_DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, struct.error),
    *(OSError, ValueError, EOFError, OverflowError, MemoryError, RecursionError),
    LookupError,  # of a zip file with an empty name
    NotImplementedError,  # of a zip file that wants a later version of the format
)


@runtime_checkable
class File(Protocol):
    """A pathlib.Path, or a member of an archive; str() is what errors call it."""

    def read_bytes(self) -> bytes:
        """The whole content."""
        ...


class Zipped(NamedTuple):
    """A file in a zip archive."""

    archive: pathlib.Path
    name: str
    offset: int  # of its local header
    stored: int  # bytes in the archive
    size: int  # bytes unpacked
    crc: int
    method: int

    def __str__(self) -> str:
        return f"{self.archive}/{self.name}"

    def read_bytes(self) -> bytes:
        """The content, checked. Raises UserError if it is damaged or too large."""
        _check_size(self, max(self.size, self.stored))
        if self.size > max(1024**2, MAX_RATIO * self.stored):
            raise errors.UserError(
                f"{self} unpacks {self.stored} bytes to {self.size}, more than "
                f"{MAX_RATIO} times as many: it is no data; do not trust its archive"
            )
        try:
            return self._read()
        except _DAMAGED as error:
            raise _damaged(self, error) from error

    def _read(self) -> bytes:
        with open(self.archive, "rb") as file:
            file.seek(self.offset)
            header = file.read(_LOCAL_HEADER.size)
            magic, flags, method, name, extra = _LOCAL_HEADER.unpack(header)
            encoding = "utf-8" if flags & _UTF8 else "cp437"
            if magic != b"PK\3\4" or file.read(name).decode(encoding) != self.name:
                raise zipfile.BadZipFile("its header lies elsewhere")
            if flags & _ENCRYPTED:
                raise zipfile.BadZipFile("it is encrypted")
            if method != self.method or method not in (
                zipfile.ZIP_STORED,
                zipfile.ZIP_DEFLATED,
            ):
                raise zipfile.BadZipFile(f"compression method {method}")
            file.seek(extra, 1)
            data = file.read(self.stored)
        if method == zipfile.ZIP_DEFLATED:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, self.size + 1)
        if len(data) != self.size or zlib.crc32(data) != self.crc:
            raise zipfile.BadZipFile("its checksum differs")
        return data


class Tarred(NamedTuple):
    """A file in an uncompressed tar archive, which has no checksum of contents."""

    archive: pathlib.Path
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.archive}/{self.name}"

    def read_bytes(self) -> bytes:
        """The content. Raises UserError if the archive ends early."""
        _check_size(self, self.size)
        try:
            with open(self.archive, "rb") as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except OSError as error:
            raise _damaged(self, error) from error
        if len(data) != self.size:
            raise _damaged(self, "the archive ends early")
        return data


class InMemory(NamedTuple):
    """The content of a file, by its name."""

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name

    def read_bytes(self) -> bytes:
        """The content."""
        return self.content


def read(file: File, *, limit: int = MAX_BYTES) -> bytes:
    """The content of a file or member, of at most `limit` bytes.

    Raises UserError if it is longer or no regular file, OSError if it is missing.
    """
    if not isinstance(file, pathlib.Path):
        content = file.read_bytes()
    else:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):  # to open a pipe would wait for its writer
            raise errors.UserError(f"{file} is no regular file; remove it")
        with file.open("rb") as opened:
            content = opened.read(min(found.st_size, limit) + 1)
    if len(content) > limit:
        raise errors.UserError(
            f"{file} has more than {limit} bytes, which are not read; is it the right "
            "file?"
        )
    return content


def state(file: File) -> tuple:
    """What changes with a file: place, size and time, those of its archive."""
    place = getattr(file, "archive", file)
    try:
        found = place.stat() if isinstance(place, pathlib.Path) else None
    except OSError:
        found = None  # reading tells
    return repr(file), found and (found.st_size, found.st_mtime_ns)


def members(path: pathlib.Path) -> Mapping[str, File]:
    """The files of a .zip or .tar archive by name, in the archive's order.

    Raises UserError for an archive that is damaged or compressed as a whole, or that
    holds a name twice or one that climbs out of it.
    """
    found = path.stat()
    return _members(path, found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _members(path: pathlib.Path, size: int, changed: int) -> Mapping[str, File]:
    if path.suffix in (".gz", ".tgz"):
        raise errors.UserError(
            f"{path} is compressed as a whole, so no file in it can be read by itself; "
            f"unpack it: tar -xzf {path} -C {path.parent}"
        )
    list_members = _list_zip if path.suffix == ".zip" else _list_tar
    files: dict[str, File] = {}
    try:
        for member in list_members(path):
            name = _checked_name(member)
            if name in files:
                raise errors.UserError(
                    f"{path} holds {name!r} twice; download it again"
                )
            files[name] = member
    except _DAMAGED as error:
        raise errors.UserError(
            f"{path} cannot be read as a {path.suffix} archive ({_told(error)}); "
            "download it again"
        ) from error
    return files


def _list_zip(path: pathlib.Path) -> Iterator[Zipped]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                yield Zipped(
                    path,
                    info.orig_filename,
                    info.header_offset,
                    info.compress_size,
                    info.file_size,
                    info.CRC,
                    info.compress_type,
                )


def _list_tar(path: pathlib.Path) -> Iterator[Tarred]:
    end = -1
    with tarfile.open(path, "r:") as archive:
        for info in archive:
            if info.offset_data <= end or info.size < 0:  # would lead back, for ever
                raise tarfile.ReadError("a member begins before the one before it")
            end = info.offset_data
            if info.isfile() and not info.issparse():
                yield Tarred(path, info.name, info.offset_data, info.size)


def _checked_name(member: Zipped | Tarred) -> str:
    if not names_member(member.name):
        raise errors.UserError(
            f"{member.archive} holds {member.name!r}, which names no file inside it; "
            "it is no official archive, download it again"
        )
    return posixpath.normpath(_with_slashes(member.name))


def _with_slashes(name: str) -> str:
    """As the format has it; some programs for Windows write backslashes."""
    return name.replace("\\", "/")


def names_member(name: str) -> bool:
    """Whether a name may be that of an archive's member: it does not lead out of it."""
    parts = _with_slashes(name).split("/")
    climbs = ".." in parts or not parts[0] or ":" in parts[0]
    return not climbs and is_plain_name(name)


def is_plain_name(name: str) -> bool:
    """Whether a file's name can be shown on a terminal and steers nothing there."""
    # What is no UTF-8 in it is no control: such old names are shown by codes.
    return errors.is_plain(name.encode(errors="replace").decode())


def _check_size(member: Zipped | Tarred, size: int) -> None:
    if size > MAX_BYTES:
        raise errors.UserError(
            f"{member} declares {size} bytes; more than {MAX_BYTES} are not read. "
            "Download its archive again"
        )


def _damaged(member: Zipped | Tarred, reason: Exception | str) -> errors.UserError:
    return errors.UserError(
        f"{member} cannot be read from its archive ({_told(reason)}); download it again"
    )


def _told(reason: Exception | str) -> str:
    return str(reason).replace("\n", " ") or type(reason).__name__
