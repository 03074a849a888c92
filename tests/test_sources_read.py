"""Image and label files: what is read, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from jaxseg import errors
from jaxseg.data import sources

SIZE = (6, 9)  # height, width


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def rgb(rng):
    return rng.integers(0, 256, (*SIZE, 3), np.uint8)


@pytest.fixture
def indices(rng):
    return rng.integers(0, 3, SIZE, np.uint8)


def refuse(read, *arguments):
    with pytest.raises(errors.UserError) as raised:
        read(*arguments)
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_gray_and_palette_labels(tmp_path, indices):
    gray, palette = tmp_path / "gray.png", tmp_path / "palette.png"
    Image.fromarray(indices).save(gray)
    picture = Image.fromarray(indices).convert("P")
    picture.putpalette([200, 10, 10, 0, 0, 0, 1, 2, 3])
    picture.save(palette)
    assert Image.open(palette).mode == "P"
    for path in (gray, palette):
        found = sources.read_indices(path)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, indices)


def test_one_bit_label(tmp_path, indices):
    path = tmp_path / "bits.png"
    Image.fromarray(indices == 1).save(path)
    np.testing.assert_array_equal(sources.read_indices(path), indices == 1)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colored_label_is_refused(tmp_path, rgb, mode):
    path = tmp_path / "label.png"
    Image.fromarray(rgb).convert(mode).save(path)
    message = refuse(sources.read_indices, path)
    assert message.startswith(f"{path} has mode {mode}")
    assert "class indices" in message


def test_16_bit_files_are_refused(tmp_path, indices):
    path = tmp_path / "deep.png"
    Image.fromarray(indices.astype(np.uint16) * 257).save(path)
    for read in (sources.read_indices, sources.read_image):
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
    found = sources.read_image(path)
    assert (found.shape, found.dtype) == ((*SIZE, 3), np.uint8)
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
    np.testing.assert_array_equal(sources.read_image(path), turn(rgb))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.95])
def test_truncated(tmp_path, rng, suffix, share):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    message = refuse(sources.read_image, path)
    assert message.startswith(f"{path} cannot be read as an image (")
    assert "replace or remove" in message


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x89PNG\r\n\x1a\n" + b"x" * 50])
def test_no_image(tmp_path, content):
    path = tmp_path / "image.png"
    path.write_bytes(content)
    for read in (sources.read_image, sources.read_indices):
        assert refuse(read, path).startswith(f"{path} cannot be read as an image (")


def test_missing_file_and_folder(tmp_path):
    path = tmp_path / "none.png"
    for read in (sources.read_image, sources.read_indices):
        assert refuse(read, path) == f"{path} does not exist"
    assert str(tmp_path) in refuse(sources.read_image, tmp_path)
