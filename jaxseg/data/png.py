"""Whether a PNG file is whole, which Pillow and other readers do not tell.

They leave checksums unread where the pixels are, and rows that are missing at zero.
"""

import itertools
import struct
import zlib
from collections.abc import Iterator

_START = b"\x89PNG\r\n\x1a\n"
_LENGTH = struct.Struct(">I")
_HEADER = struct.Struct(">II5B")  # width, height, bits, kind, ..., interlaced
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the kind of pixels
_PIECE = 4096  # bytes to inflate at once: to 4 MiB at the most


def check(content: bytes) -> None:
    """Raises ValueError for a PNG of which a part differs or is missing.

    Other files pass. A label with some bytes changed would else be read with other
    classes: zlib's own checksum comes after the last pixel, where Pillow has stopped.
    """
    for _ in _chunks(content):
        pass


def check_rows(content: bytes) -> None:
    """Raises ValueError for a PNG with fewer rows than it declares.

    Other files pass, and interlaced ones. Pillow would fill the rest with zeros.
    """
    if not content.startswith(_START):
        return
    width, height, bits, kind, *_, interlaced = _header(content)
    if interlaced:
        return
    missing = height * (1 + -(-width * bits * _CHANNELS[kind] // 8))
    inflater = zlib.decompressobj()
    for piece in _pixels(content):
        missing -= len(inflater.decompress(piece))
        if missing <= 0:
            return
    raise ValueError("it ends early")


def gray_scale(content: bytes) -> int:
    """By what Pillow multiplies the values of a gray file; 1 where it is no PNG."""
    if not content.startswith(_START):
        return 1
    _, _, bits, *_ = _header(content)
    return {2: 85, 4: 17}.get(bits, 1)


def _header(content: bytes) -> tuple[int, ...]:
    if content[12:16] != b"IHDR":
        raise ValueError("its header is not its first part")
    return _HEADER.unpack_from(content, 16)


def _pixels(content: bytes) -> Iterator[memoryview]:
    """What is compressed, in pieces."""
    for kind, data in _chunks(content):
        if kind == b"IDAT":
            for begin, end in itertools.pairwise([*range(0, len(data), _PIECE), None]):
                yield data[begin:end]


def _chunks(content: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and data of each part, checked; none where it is no PNG."""
    if not content.startswith(_START):
        return
    view, at, kind = memoryview(content), len(_START), b""
    while kind != b"IEND":
        body = at + 4  # a chunk: length, kind and data, checksum of kind and data
        if body + 8 > len(view):
            raise ValueError("it ends early")
        end = body + 4 + _LENGTH.unpack_from(view, at)[0]
        if end + 4 > len(view):
            raise ValueError("it ends early")
        if zlib.crc32(view[body:end]) != _LENGTH.unpack_from(view, end)[0]:
            raise ValueError("its checksum differs")
        kind, at = bytes(view[body : body + 4]), end + 4
        yield kind, view[body + 4 : end]
