"""Plain PNG and JPEG files, decoded faster than Pillow does, to the same pixels.

Plain is what all libraries read alike: 8 bits a channel, gray or RGB, no palette, no
transparency, no orientation. Other files, and damaged ones, are left to Pillow, its
limits and its errors.
"""

import functools
import multiprocessing
import re
import struct
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from jaxseg.data import png

MAX_PIXELS = 1 << 26  # whether a larger image is read at all, others decide

_PNG = b"\x89PNG\r\n\x1a\n"
_PLAIN_PNG = re.compile(b"IHDR(?:cHRM|gAMA|sRGB|sBIT|pHYs|tIME)*(?:IDAT)+(?:tIME)?IEND")
_TURNS = re.compile(b"(?i)exif|xmp")  # texts that may hold an orientation
_CHANNELS_OF_KIND = {0: 1, 2: 3}  # of a PNG's pixels: gray and RGB
_JFIF = b"\xff\xd8\xff\xe0"
# JFIF's APP0; COM, DQT, DHT, DRI; SOF0, of baseline JPEG; SOS.
_PLAIN_JPEG = re.compile(b"\xe0[\xfe\xdb\xc4\xdd]*\xc0[\xfe\xdb\xc4\xdd]*\xda")


def decode_rgb(content: bytes) -> UInt8[np.ndarray, "h w 3"] | None:
    """The pixels of a plain RGB file; None if it is none, or damaged."""
    if _is_plain_jpeg(content):
        return _decode_by_opencv(content, cv2.IMREAD_COLOR_RGB)
    return _decode_png(content, channels=3)


def decode_gray_png(content: bytes) -> UInt8[np.ndarray, "h w"] | None:
    """The values of a plain gray PNG; None if it is none, or damaged."""
    pixels = _decode_png(content, channels=1)
    return None if pixels is None else pixels.reshape(pixels.shape[:2])


def _decode_png(content: bytes, *, channels: int) -> np.ndarray | None:
    chunks = b"".join(_chunks(content))
    if not content.startswith(_PNG) or _PLAIN_PNG.fullmatch(chunks) is None:
        return None
    width, height, bits, kind, *_, interlaced = struct.unpack_from(
        ">IIBBBBB", content, 16
    )
    if (bits, _CHANNELS_OF_KIND.get(kind), interlaced) != (8, channels, 0):
        return None
    if not 0 < width * height <= MAX_PIXELS or not _is_whole(content):
        return None
    rust = _rust_decoders()
    if rust is None:
        flags = {3: cv2.IMREAD_COLOR_RGB, 1: cv2.IMREAD_GRAYSCALE}
        return _decode_by_opencv(content, flags[channels])
    try:
        mode = {3: "rgb", 1: "mono"}[channels]
        return rust.decode_image_png_u8(content, (height, width), mode)
    except Exception:  # it has no other kind
        return None


def _is_whole(content: bytes) -> bool:
    """Of damaged files libpng would tell on the terminal, without their name."""
    try:
        png.check(content)
    except ValueError:
        return False
    return True


@functools.cache
def _rust_decoders() -> Any:
    """Those of kornia_rs (the extra `png`), in worker processes; None elsewhere.

    They take half of OpenCV's time, but hold Python's lock: threads would wait for one
    another. They check the CRC of each chunk, but not the Adler-32 of the pixels.
    """
    if multiprocessing.parent_process() is None:
        return None
    try:
        import kornia_rs
    except ImportError:
        return None
    return kornia_rs.io


def _chunks(content: bytes) -> Iterator[bytes]:
    """The kinds of a PNG's chunks, but for those of text; none that is cut short."""
    place = len(_PNG)
    while place + 12 <= len(content):
        begin, kind = place, content[place + 4 : place + 8]
        place += 12 + int.from_bytes(content[place : place + 4])
        text = kind == b"tEXt" and not _TURNS.search(content, begin, place)
        if place <= len(content) and not text:
            yield kind
        if kind == b"IEND":
            return


def _is_plain_jpeg(content: bytes) -> bool:
    """Whether it is JFIF of three channels, without EXIF or Adobe's color spaces."""
    if not (content.startswith(_JFIF) and content.endswith(b"\xff\xd9")):
        return False
    kinds, place, shape = b"", 2, (0, 0, 0, 0)
    while not kinds.endswith(b"\xda"):
        segment = content[place : place + 10]
        if len(segment) < 10 or segment[0] != 0xFF:
            return False
        kinds += segment[1:2]
        if segment[1] == 0xC0:
            shape = struct.unpack_from(">BHHB", segment, 4)
        place += 2 + int.from_bytes(segment[2:4])
    bits, height, width, channels = shape
    return (
        _PLAIN_JPEG.fullmatch(kinds) is not None
        and (bits, channels) == (8, 3)
        and 0 < height * width <= MAX_PIXELS
        and _is_one_scan(np.frombuffer(content, np.uint8)[place:])
    )


def _is_one_scan(data: np.ndarray) -> bool:
    """Whether no marker but the last ends it: OpenCV makes the rest gray at others."""
    markers = data[np.flatnonzero(data[:-1] == 0xFF) + 1]
    inside = markers[:-1]  # but escaped 0xFF and restarts
    return not np.any((inside != 0) & ((inside < 0xD0) | (inside > 0xD7)))


def _decode_by_opencv(content: bytes, flags: int) -> np.ndarray | None:
    array = np.frombuffer(content, np.uint8)
    try:
        return cv2.imdecode(array, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
