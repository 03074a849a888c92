"""Checksums of PNG files, against files of Pillow that are changed by hand."""

import io
import struct
import zlib

import numpy as np
import official_files
import pytest
from PIL import Image

from jaxseg import errors
from jaxseg.data import archives, images, png

CONTENT = official_files.gray(range(200))


def refuse(content):
    with pytest.raises(ValueError, match=r"ends early|checksum") as raised:
        png.check(content)
    return str(raised.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF"])
def test_whole_files_pass(kind):
    png.check(official_files.image(0, kind))
    png.check(official_files.palette(range(9)))
    png.check(CONTENT + b"what follows is no part of it")


def test_every_byte_counts():
    for place in range(8, len(CONTENT)):
        changed = bytearray(CONTENT)
        changed[place] ^= 1
        refuse(bytes(changed))


def test_every_end_counts():
    for end in range(8, len(CONTENT)):
        assert refuse(CONTENT[:end]) == "it ends early"


def test_pillow_alone_reads_other_classes():
    """What the check is for: zlib's checksum comes too late, after the last row."""
    pixels = np.arange(12, dtype=np.uint8).reshape(4, 3)
    rows = np.pad(pixels, ((0, 0), (1, 0)))  # each begins with its filter: none
    stream = zlib.compress(rows.tobytes() + bytes(99), 0)
    content = as_png(stream).replace(bytes([4, 5, 0, 6]), bytes([4, 9, 0, 6]))
    assert np.asarray(Image.open(io.BytesIO(content)))[1].tolist() == [3, 4, 9]
    assert refuse(content) == "its checksum differs"
    with pytest.raises(errors.UserError, match=r"\(its checksum differs\)"):
        images.read_indices(archives.InMemory("a.png", content))


def as_png(stream):
    header = struct.pack(">IIBBBBB", 3, 4, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), (b"IDAT", stream), (b"IEND", b"")):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        content += struct.pack(">I", len(data)) + kind + data + checksum
    return content
