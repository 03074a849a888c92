"""Image and label files: what is read, and what is refused."""

import collections
import contextlib
import io
import struct
import subprocess
import tracemalloc
import warnings
import zlib

import mutations
import numpy as np
import pytest
from PIL import Image
from refusals import refuse

from jaxseg import errors
from jaxseg.data import archives, images


def test_gray_and_palette_labels(tmp_path, indices):
    gray, palette = tmp_path / "gray.png", tmp_path / "palette.png"
    Image.fromarray(indices).save(gray)
    picture = Image.fromarray(indices).convert("P")
    picture.putpalette([200, 10, 10, 0, 0, 0, 1, 2, 3])
    picture.save(palette)
    assert Image.open(palette).mode == "P"
    for path in (gray, palette):
        found = images.read_indices(path)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, indices)


def test_one_bit_label(tmp_path, indices):
    path = tmp_path / "bits.png"
    Image.fromarray(indices == 1).save(path)
    np.testing.assert_array_equal(images.read_indices(path), indices == 1)


@pytest.mark.parametrize("bits", [2, 4])
def test_gray_labels_of_few_bits(indices, bits):
    """Pillow would scale them to 0..255."""
    header = struct.pack(">IIBBBBB", 9, 6, bits, 0, 0, 0, 0)
    digits = (indices[..., None] >> np.arange(bits)[::-1] & 1).reshape(6, -1)
    rows = np.pad(np.packbits(digits, axis=1), ((0, 0), (1, 0))).tobytes()
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    content = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
    found = images.read_indices(archives.InMemory("a.png", content))
    np.testing.assert_array_equal(found, indices)


@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG", {}), ("TIFF", {"compression": "jpeg"})]
)
def test_lossy_labels_are_refused(tmp_path, indices, kind, options):
    Image.fromarray(indices).save(tmp_path / "a.png", kind, **options)
    message = refuse(images.read_indices, tmp_path / "a.png")
    assert message.startswith(f"{tmp_path}/a.png is a lossy {kind}, its values are")
    Image.fromarray(indices).save(tmp_path / "a.png", "TIFF", compression="tiff_lzw")
    found = images.read_indices(tmp_path / "a.png")
    np.testing.assert_array_equal(found, indices)


def test_a_reason_is_always_the_same(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    first, second = (refuse(images.read_image, tmp_path / "a.png") for _ in range(2))
    assert first == second
    assert "none of JPEG, PNG" in first


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colored_label_is_refused(tmp_path, rgb, mode):
    path = tmp_path / "label.png"
    Image.fromarray(rgb).convert(mode).save(path)
    message = refuse(images.read_indices, path)
    assert message.startswith(f"{path} has mode {mode}")
    assert "class indices" in message


def test_16_bit_files_are_refused(tmp_path, indices):
    path = tmp_path / "deep.png"
    Image.fromarray(indices.astype(np.uint16) * 257).save(path)
    for read in (images.read_indices, images.read_image):
        assert refuse(read, path).startswith(f"{path} has mode I;16")


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("L", "png"),
        ("LA", "png"),
        ("P", "png"),
        ("RGBA", "png"),
        ("L", "jpg"),
        ("CMYK", "jpg"),
    ],
)
def test_images_become_rgb(tmp_path, rgb, mode, suffix):
    path = tmp_path / f"image.{suffix}"
    picture = Image.fromarray(rgb).convert(mode)
    if mode == "RGBA":
        picture.putalpha(Image.fromarray(rgb[..., 0]))
    picture.save(path)
    found = images.read_image(path)
    assert (found.shape, found.dtype) == ((6, 9, 3), np.uint8)
    np.testing.assert_array_equal(found, Image.open(path).convert("RGB"))
    if mode == "RGBA":  # transparency is dropped, not blended
        np.testing.assert_array_equal(found, rgb)
    if mode in ("L", "LA"):
        assert (found == found[..., :1]).all()


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda x: x),
        (2, np.fliplr),
        (3, lambda x: np.rot90(x, 2)),
        (4, np.flipud),
        (5, lambda x: x.transpose(1, 0, 2)),
        (6, lambda x: np.rot90(x, -1)),
        (7, lambda x: np.rot90(x, 2).transpose(1, 0, 2)),
        (8, np.rot90),
    ],
)
def test_exif_orientation(tmp_path, rgb, orientation, turn):
    path = tmp_path / "image.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(rgb).save(path, exif=exif)
    np.testing.assert_array_equal(images.read_image(path), turn(rgb))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.95])
def test_truncated(tmp_path, rng, suffix, share):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    message = refuse(images.read_image, path)
    assert message.startswith(f"{path} cannot be read as an image (")
    assert "replace or remove" in message


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x89PNG\r\n\x1a\n" + b"x" * 50])
def test_no_image(tmp_path, content):
    path = tmp_path / "image.png"
    path.write_bytes(content)
    for read in (images.read_image, images.read_indices):
        assert refuse(read, path).startswith(f"{path} cannot be read as an image (")


def test_missing_file_and_folder(tmp_path):
    path = tmp_path / "none.png"
    for read in (images.read_image, images.read_indices):
        assert refuse(read, path) == f"{path} does not exist"
    assert str(tmp_path) in refuse(images.read_image, tmp_path)


def test_too_many_pixels(tmp_path):
    """Told from the header: 20 KiB that would be 1 GiB of zeros."""
    path = tmp_path / "a.png"
    side, line = 32768, 32768 // 8 + 1  # one bit a pixel
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(bytes(line)) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body)
    )
    tracemalloc.start()
    for read in (images.read_image, images.read_indices):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            message = refuse(read, path)
        assert message.startswith(f"{path} ")
        assert "exceeds limit of 178956970 pixels" in message
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def chunk(kind, body):
    checksum = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + checksum


def test_our_own_limit_of_pixels(tmp_path, monkeypatch, rgb):
    monkeypatch.setattr(images, "MAX_PIXELS", 53)
    Image.fromarray(rgb).convert("P").save(tmp_path / "a.png")
    message = refuse(images.read_image, tmp_path / "a.png")
    assert "is 6x9 (height x width); images of more than 53 pixels" in message
    monkeypatch.setattr(images, "MAX_PIXELS", 54)
    assert images.read_image(tmp_path / "a.png").shape == (6, 9, 3)


def test_texts_and_profiles_do_not_inflate(tmp_path):
    """A megabyte of text that unpacks to a gigabyte."""
    path = tmp_path / "a.png"
    Image.new("L", (2, 2)).save(path)
    whole, bomb = path.read_bytes(), zlib.compress(bytes(64 * 2**20), 9)
    for kind, start in (
        (b"zTXt", b"a\0\0"),
        (b"iCCP", b"a\0\0"),
        (b"iTXt", b"a\0\1\0\0\0"),
    ):
        path.write_bytes(whole[:33] + chunk(kind, start + bomb) + whole[33:])
        tracemalloc.start()
        with contextlib.suppress(errors.UserError):  # or the text is left out
            images.read_indices(path)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
        tracemalloc.stop()


FORMATS = {
    "JPEG": ({}, {"progressive": True}),
    "PNG": ({}, {"optimize": True}),
    "TIFF": ({}, {"compression": "tiff_lzw"}, {"compression": "jpeg"}),
    **dict.fromkeys(("BMP", "GIF", "PPM", "WEBP"), ({},)),
}


def whole_images():
    """Small files of all formats, some with an orientation."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 33, 3), np.uint8)
    exif = Image.Exif()
    exif[0x112], exif[0x10E] = 6, "a description"
    for kind, options in FORMATS.items():
        for option in options:
            buffer = io.BytesIO()
            extra = {"exif": exif} if kind in ("JPEG", "PNG", "WEBP") else {}
            Image.fromarray(pixels).save(buffer, kind, **option, **extra)
            yield buffer.getvalue()
    for mode in ("L", "P"):
        buffer = io.BytesIO()
        Image.fromarray(pixels[..., 0]).convert(mode).save(buffer, "PNG")
        yield buffer.getvalue()


@pytest.mark.filterwarnings("ignore")  # Pillow's, of damaged EXIF
@pytest.mark.parametrize("count", [50, pytest.param(2000, marks=pytest.mark.slow)])
def test_mutated_files_are_read_or_refused(count):
    rng, done = np.random.default_rng(0), collections.Counter()
    for whole in whole_images():
        for _ in range(count):
            content = mutations.change_bytes(rng, whole, donor=whole)
            if whole.startswith(b"\x89PNG") and rng.integers(2):
                content = with_right_checksums(content)
            file = archives.InMemory("a", content)
            for read in (images.read_image, images.read_indices):
                try:
                    read(file)
                    done["read"] += 1
                except errors.UserError:
                    done["refused"] += 1
    assert min(done["read"], done["refused"]) > count, done


def with_right_checksums(content):
    """A PNG file whose chunks pass their first check, as far as they can be told."""
    parts, place = [content[:8]], 8
    while place + 12 <= len(content):
        end = place + 8 + struct.unpack_from(">I", content, place)[0]
        parts.append(chunk(content[place + 4 : place + 8], content[place + 8 : end]))
        place = end + 4
    return b"".join(parts)


def test_no_program_is_started_for_an_image(tmp_path, monkeypatch, rgb):
    """Pillow would hand a PostScript file, whatever its name, to Ghostscript."""
    path = tmp_path / "a.png"
    Image.fromarray(rgb).save(path, "EPS")

    def start(*arguments, **options):
        raise AssertionError(arguments)

    monkeypatch.setattr(subprocess, "Popen", start)
    assert "cannot be read as an image" in refuse(images.read_image, path)
    for kind in ("ICO", "TGA", "PCX", "SGI", "JPEG2000"):
        Image.fromarray(rgb).save(path, kind)
        assert "cannot be read as an image" in refuse(images.read_image, path)
