"""Plain files: the same pixels as Pillow's, and all others left to it."""

import importlib.util
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from jaxseg import errors
from jaxseg.data import archives, images, plain

RGB = cv2.resize(
    np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8),
    (61, 47),
    interpolation=cv2.INTER_CUBIC,
)
GRAY = RGB[..., 0].copy()


@pytest.fixture(params=["opencv", "kornia_rs"], autouse=True)
def decoder(request, monkeypatch):
    """Both decoders of PNG: that of any process, and that of workers."""
    rust = request.param == "kornia_rs"
    if rust and importlib.util.find_spec("kornia_rs") is None:
        pytest.skip("kornia_rs is not installed")
    parent = object() if rust else None
    monkeypatch.setattr(plain.multiprocessing, "parent_process", lambda: parent)
    plain._rust_decoders.cache_clear()
    assert (plain._rust_decoders() is not None) == rust
    yield
    plain._rust_decoders.cache_clear()


def encode(pixels, kind="PNG", mode=None, **options):
    picture = Image.fromarray(pixels)
    buffer = io.BytesIO()
    (picture.convert(mode) if mode else picture).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + checksum(kind + data)


def checksum(data):
    return struct.pack(">I", zlib.crc32(data))


def with_header(content, place, value):
    """A PNG whose header has other bytes at a place."""
    header = bytearray(content[12:29])
    header[place : place + len(value)] = value
    return content[:12] + bytes(header) + checksum(header) + content[33:]


def by_pillow(content):
    """What images gives where no file counts as plain; None for an error."""
    file = archives.InMemory("a file", content)
    try:
        return np.asarray(images.decode(file))
    except errors.UserError:
        return None


@pytest.mark.parametrize("pixels", [RGB, GRAY, RGB[:1, :1]], ids=["rgb", "gray", "1x1"])
@pytest.mark.parametrize("level", [0, 1, 6, "opencv's"])
def test_png(pixels, level):
    if level == "opencv's":  # other filters, and many small chunks
        content = cv2.imencode(".png", pixels)[1].tobytes()
    else:
        content = encode(pixels, compress_level=level)
    rgb, gray = plain.decode_rgb(content), plain.decode_gray(content)
    found, other = (rgb, gray) if pixels.ndim == 3 else (gray, rgb)
    assert other is None
    assert found is not None
    np.testing.assert_array_equal(found, by_pillow(content))


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 95, "subsampling": "4:4:4"},
        {"quality": 75, "subsampling": "4:2:0"},
        {"quality": 90, "restart_marker_blocks": 2, "comment": b"text"},
    ],
)
def test_jpeg(options):
    content = encode(RGB, "JPEG", **options)
    found = plain.decode_rgb(content)
    assert found is not None
    np.testing.assert_array_equal(found, Image.open(io.BytesIO(content)))
    assert plain.decode_gray(content) is None


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (b"gAMA", struct.pack(">I", 20_000)),
        (b"cHRM", struct.pack(">8I", *range(10_000, 90_000, 10_000))),
        (b"sRGB", b"\0"),
        (b"sBIT", b"\3\3\3"),
        (b"pHYs", struct.pack(">IIB", 1000, 2000, 1)),
        (b"tEXt", b"date:create\x002026-11-21"),
    ],
)
def test_what_pillow_ignores_is_ignored(kind, data):
    content = encode(RGB)
    content = content[:33] + chunk(kind, data) + content[33:]
    found = plain.decode_rgb(content)
    assert found is not None
    np.testing.assert_array_equal(found, RGB)


EXIF = Image.Exif()
EXIF[0x0112] = 6
NOT_PLAIN = {
    "palette": encode(GRAY, mode="P"),
    "one bit": encode(GRAY, mode="1"),
    "RGBA": encode(RGB, mode="RGBA"),
    "LA": encode(GRAY, mode="LA"),
    "16 bits": encode(GRAY.astype(np.uint16) * 257),
    "3 x 16 bits": cv2.imencode(".png", RGB.astype(np.uint16) * 257)[1].tobytes(),
    "transparent color": encode(RGB, transparency=(1, 2, 3)),
    "profile": encode(RGB, icc_profile=b"nonsense, of which libpng would warn"),
    "turned": encode(RGB, exif=EXIF),
    "turned by a text": encode(RGB)[:33]
    + chunk(b"tEXt", b"Raw profile type exif\0...")
    + encode(RGB)[33:],
    "turned after the pixels": encode(RGB)[:-12]
    + chunk(b"eXIf", EXIF.tobytes())
    + encode(RGB)[-12:],
    "interlaced": with_header(encode(RGB), 16, b"\1"),
    "too large": with_header(encode(RGB), 4, struct.pack(">II", 1 << 14, 1 << 13)),
    "too large a JPEG": encode(RGB, "JPEG").replace(
        struct.pack(">HH", *RGB.shape[:2]), b"\x40\0\x40\0"
    ),
    "gray JPEG": encode(GRAY, "JPEG"),
    "CMYK JPEG": encode(RGB, "JPEG", mode="CMYK"),
    "turned JPEG": encode(RGB, "JPEG", exif=EXIF),
    "progressive JPEG": encode(RGB, "JPEG", progressive=True),
    "WebP": encode(RGB, "WEBP"),
    "empty": b"",
}


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_others_are_left_to_pillow(name):
    assert plain.decode_rgb(NOT_PLAIN[name]) is None
    assert plain.decode_gray(NOT_PLAIN[name]) is None


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_files_cut_short_are_left_to_pillow(kind):
    content = encode(RGB, kind)
    for end in range(len(content)):
        assert plain.decode_rgb(content[:end]) is None


def test_damage_beside_the_pixels_is_left_to_pillow(capfd):
    content = encode(RGB, dpi=(72, 72))
    assert plain.decode_rgb(content) is not None
    place = content.index(b"pHYs") + 4
    damaged = content[:place] + b"\xff" + content[place + 1 :]
    assert plain.decode_rgb(damaged) is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_damaged_files(kind):
    """They are read as Pillow reads them, or left to it."""
    content, rng, read = encode(RGB, kind), np.random.default_rng(0), 0
    for _ in range(1500):
        damaged = bytearray(content)
        for place in rng.integers(len(content), size=rng.integers(1, 3)):
            damaged[place] = rng.integers(256)
        found = plain.decode_rgb(bytes(damaged))
        if found is not None:
            read += 1
            np.testing.assert_array_equal(found, by_pillow(bytes(damaged)))
    assert read > (0 if kind == "PNG" else 500)


def test_data_sets_are_read_so(monkeypatch):
    monkeypatch.setattr(images, "_decode", None)  # Pillow's
    for pixels, read in ((RGB, images.read_image), (GRAY, images.read_indices)):
        found = read(archives.InMemory("a file", encode(pixels)))
        np.testing.assert_array_equal(found, pixels)
        assert found.dtype == np.uint8
