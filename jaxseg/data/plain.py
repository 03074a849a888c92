"""Plain PNG, JPEG and Netpbm files, decoded faster than by Pillow, to the same pixels.

Plain is what all libraries read alike: 8 bits a channel, gray or RGB, no palette, no
transparency, no orientation. Other files, and damaged ones, are left to Pillow, its
limits and its errors.
"""

import functools
import math
import multiprocessing
import re
import struct
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from jaxseg.data import png

MAX_PIXELS = 1 << 26  # whether a larger image is read at all, others decide

_NETPBM = re.compile(rb"P([56])\n([1-9]\d{0,8}) ([1-9]\d{0,8})\n255\n")
_PLAIN_PNG = re.compile(b"IHDR(?:cHRM|gAMA|sRGB|sBIT|pHYs|tIME)*(?:IDAT)+(?:tIME)?IEND")
_TURNS = re.compile(b"(?i)exif|xmp")  # texts that may hold an orientation
_KIND_OF_PNG = {1: 0, 3: 2}  # by the channels: gray and RGB
_JFIF = b"\xff\xd8\xff\xe0"
# JFIF's APP0; COM, DQT, DHT, DRI; SOF0, of baseline JPEG; SOS.
_PLAIN_JPEG = re.compile(b"\xe0[\xfe\xdb\xc4\xdd]*\xc0[\xfe\xdb\xc4\xdd]*\xda")


def decode_rgb(content: bytes) -> UInt8[np.ndarray, "h w 3"] | None:
    """The pixels of a plain RGB file; None if it is none, or damaged.

    They may be read-only.
    """
    if _is_plain_jpeg(content):
        return _decode_by_opencv(content, cv2.IMREAD_COLOR_RGB)
    return _decode(content, channels=3)


def decode_gray(content: bytes) -> UInt8[np.ndarray, "h w"] | None:
    """The values of a plain gray PNG or PGM; None if it is none, or damaged.

    They may be read-only.
    """
    pixels = _decode(content, channels=1)
    return None if pixels is None else pixels.reshape(pixels.shape[:2])


def _decode(content: bytes, *, channels: int) -> np.ndarray | None:
    if netpbm := _NETPBM.match(content):
        return _netpbm(content, netpbm, channels)
    return _decode_png(content, channels) if _is_plain_png(content, channels) else None


def _netpbm(content: bytes, header: re.Match, channels: int) -> np.ndarray | None:
    """The pixels after their header, not copied."""
    kind, width, height = (int(group) for group in header.groups())
    shape = (height, width, {5: 1, 6: 3}[kind])
    if shape[2] != channels or len(content) - header.end() != math.prod(shape):
        return None
    return np.frombuffer(content, np.uint8, offset=header.end()).reshape(shape)


def _is_plain_png(content: bytes, channels: int) -> bool:
    """Whether it is one, and whole: libpng would tell of damage on the terminal."""
    try:
        header = png.header(content)
        if header is None or not 0 < header.width * header.height <= MAX_PIXELS:
            return False
        found = header.bits, header.kind, header.interlaced
        if found != (8, _KIND_OF_PNG[channels], 0):
            return False
        kinds = [
            kind
            for kind, data in png.chunks(content)
            if kind != b"tEXt" or _TURNS.search(data)
        ]
    except ValueError:
        return False
    return _PLAIN_PNG.fullmatch(b"".join(kinds)) is not None


def _decode_png(content: bytes, channels: int) -> np.ndarray | None:
    rust = _rust_decoders()
    if rust is None:
        flags = {3: cv2.IMREAD_COLOR_RGB, 1: cv2.IMREAD_GRAYSCALE}
        return _decode_by_opencv(content, flags[channels])
    header = png.header(content)
    assert header is not None
    try:
        mode = {3: "rgb", 1: "mono"}[channels]
        return rust.decode_image_png_u8(content, (header.height, header.width), mode)
    except Exception:  # it has no other kind
        return None


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
