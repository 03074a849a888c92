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


@pytest.mark.parametrize(("bits", "kind"), [(8, 0), (4, 0), (8, 3), (1, 3), (16, 6)])
def test_every_row_counts(bits, kind):
    """A stream that ends regularly, but early: Pillow gives zeros, a class."""
    width = 3 * bits * {0: 1, 3: 1, 6: 4}[kind]
    rows = np.zeros((4, 1 + -(-width // 8)), np.uint8).tobytes()
    png.check(as_png(zlib.compress(rows), bits, kind))
    short = as_png(zlib.compress(rows[:-1]), bits, kind)
    assert refuse(short) == "it ends early"
    with pytest.raises(errors.UserError, match=r"\(it ends early\)"):
        images.decode(archives.InMemory("a.png", short))


def test_header():
    declared = png.header(CONTENT)
    assert declared is not None
    assert declared[:4] == (16, 17, 8, 0)
    assert png.header(official_files.image(0, "JPEG")) is None
    whole = as_png(b"")
    for wrong in (whole[:8] + whole[33:], as_png(b"", kind=5)):
        with pytest.raises(ValueError, match="does not begin with a header"):
            png.header(wrong)


def test_missing_rows_of_plain_files():
    short = as_png(zlib.compress(bytes(4)))
    for read in (images.read_indices, images.read_image):
        with pytest.raises(errors.UserError, match=r"\(it ends early\)"):
            read(archives.InMemory("a.png", short))


def as_png(stream, bits=8, kind=0):
    header = struct.pack(">IIBBBBB", 3, 4, bits, kind, 0, 0, 0)
    palette = bytes(6) if kind == 3 else b""
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in (
        (b"IHDR", header),
        (b"PLTE", palette),
        (b"IDAT", stream),
        (b"IEND", b""),
    ):
        if name == b"PLTE" and not data:
            continue
        checksum = struct.pack(">I", zlib.crc32(name + data))
        content += struct.pack(">I", len(data)) + name + data + checksum
    return content
