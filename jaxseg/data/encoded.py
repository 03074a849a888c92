"""Image files in memory, and the forms in which prepared data sets store them.

Beside the files as they came there are three that decode faster: JPEG, with colors at
full or half resolution, and plain pixels under a Netpbm header (PPM and PGM), which
ArrayRecord compresses with zstd by itself.
Every image library reads all of them.
"""

import functools
import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from jaxseg.data import images, png

VERSION = 2  # of what is written; another one where the same image gives other bytes


def encode_jpeg(
    image: UInt8[np.ndarray, "h w 3"], *, subsampling: str = "4:4:4"
) -> bytes:
    """JPEG of quality 95, by default with colors at full resolution, as labels are."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95, subsampling=subsampling)
    return buffer.getvalue()


def encode_png(pixels: UInt8[np.ndarray, "h w *c"]) -> bytes:
    """PNG, of RGB or of gray values."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def encode_raw(pixels: UInt8[np.ndarray, "h w *c"]) -> bytes:
    """The pixels under Netpbm's header: PPM of RGB, PGM of gray values."""
    kind = 6 if pixels.ndim == 3 else 5
    header = f"P{kind}\n{pixels.shape[1]} {pixels.shape[0]}\n255\n"
    return header.encode() + pixels.tobytes()


class Form(NamedTuple):
    """How images and labels are encoded. None: an image's file stays as it is."""

    image: Callable[[np.ndarray], bytes] | None
    label: Callable[[np.ndarray], bytes]


FORMS = {
    "original": Form(None, encode_png),
    "jpeg": Form(encode_jpeg, encode_raw),
    # Colors at half the resolution, as in most photographs: less to read and decode.
    "jpeg420": Form(functools.partial(encode_jpeg, subsampling="4:2:0"), encode_raw),
    "raw": Form(encode_raw, encode_raw),
}


def is_seen_alike(content: bytes) -> bool:
    """Whether all libraries see an image as we do: not turned, without transparency."""
    with Image.open(io.BytesIO(content), formats=images.FORMATS) as picture:
        return not (picture.has_transparency_data or images.is_turned(content))


def is_gray_png(content: bytes) -> bool:
    """Whether a file is a PNG of 8-bit gray values, read alike by all libraries."""
    header = png.header(content)
    return header is not None and (header.bits, header.kind) == (8, 0)
