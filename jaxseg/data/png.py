"""Whether a PNG file is whole, which Pillow and other readers do not tell.

They leave checksums unread where the pixels are, and rows that are missing at zero.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

_START = b"\x89PNG\r\n\x1a\n"
_LENGTH = struct.Struct(">I")
_HEADER = struct.Struct(">II5B")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the kind of pixels
_PIECE = 4096  # bytes to inflate at once: to 4 MiB at the most


class Header(NamedTuple):
    """What a PNG file says of its pixels."""

    width: int
    height: int
    bits: int  # of a channel
    kind: int  # 0 gray, 2 RGB, 3 palette, 4 gray with alpha, 6 RGB with alpha
    compression: int
    filtering: int
    interlaced: int


def header(content: bytes) -> Header | None:
    """The header of a PNG; None for other files. Raises ValueError if it is damaged."""
    if not content.startswith(_START):
        return None
    kind, data = next(chunks(content))
    if kind != b"IHDR" or len(data) != _HEADER.size or data[9] not in _CHANNELS:
        raise ValueError("it does not begin with a header")
    return Header(*_HEADER.unpack(data))


def chunks(content: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and data of each part of a PNG.

    Raises ValueError where one ends early or its checksum differs: a label with some
    bytes changed would else be read with other classes, since zlib's own checksum comes
    after the last pixel, where Pillow has stopped.
    """
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


def check(content: bytes) -> None:
    """Raises ValueError for a PNG of which a part differs or is missing.

    Other files pass. Rows are missing where the compressed data ends regularly, but
    early: Pillow would fill them with zeros. Those of interlaced files are not counted.
    """
    declared = header(content)
    if declared is None:
        return
    missing = 0 if declared.interlaced else _size(declared)
    inflater = zlib.decompressobj()
    for kind, data in chunks(content):
        if kind == b"IDAT":
            for begin in range(0, len(data), _PIECE):
                if missing > 0:  # what follows is not inflated, however much it is
                    piece = inflater.decompress(data[begin : begin + _PIECE])
                    missing -= len(piece)
    if missing > 0:
        raise ValueError("it ends early")


def gray_scale(content: bytes) -> int:
    """By what Pillow multiplies the values of a gray file; 1 where it is no PNG."""
    declared = header(content)
    return {2: 85, 4: 17}.get(declared.bits, 1) if declared else 1


def _size(declared: Header) -> int:
    """Bytes of all rows, each with that of its filter, if not interlaced."""
    bits = declared.width * declared.bits * _CHANNELS[declared.kind]
    return declared.height * (1 + -(-bits // 8))
