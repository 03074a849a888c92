"""Forms of stored images: independent readers see the same pixels."""

import io

import cv2
import numpy as np
import official_files
import pytest
from PIL import Image

from jaxseg import config, errors
from jaxseg.data import archives, encoded, images, transforms

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (17, 13, 3), np.uint8)
LABEL = RNG.integers(0, 256, (17, 13), np.uint8)


def in_memory(content):
    return archives.InMemory("a file", content)


def test_raw_is_netpbm():
    for pixels, read in ((IMAGE, images.read_image), (LABEL, images.read_indices)):
        content = encoded.encode_raw(pixels)
        np.testing.assert_array_equal(read(in_memory(content)), pixels)
        np.testing.assert_array_equal(Image.open(io.BytesIO(content)), pixels)
        found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        found = found[..., ::-1] if pixels.ndim == 3 else found
        np.testing.assert_array_equal(found, pixels)


def test_views_are_cropped_as_copies_are():
    """Read-only memory is nothing that OpenCV or NumPy would stumble over."""
    crop = transforms.RandomCrop(data=config.Data(crop=(16, 8), rotate=9), ignore=255)
    views = {
        "image": images.read_image(in_memory(encoded.encode_raw(IMAGE))),
        "label": images.read_indices(in_memory(encoded.encode_raw(LABEL))),
    }
    for seed in range(8):
        found, expected = (
            crop.random_map(example, np.random.default_rng(seed))
            for example in (views, {"image": IMAGE, "label": LABEL})
        )
        for key in views:
            assert not views[key].flags.writeable
            np.testing.assert_array_equal(found[key], expected[key])


@pytest.mark.parametrize(("form", "luma"), [("jpeg", (1, 1)), ("jpeg420", (2, 2))])
def test_jpeg(form, luma):
    smooth = cv2.resize(IMAGE, (64, 48), interpolation=cv2.INTER_CUBIC)
    smooth = smooth if form == "jpeg" else np.repeat(smooth[..., :1], 3, -1)  # gray
    content = encoded.FORMS[form].image(smooth)
    picture = Image.open(io.BytesIO(content))
    assert [layer[1:3] for layer in picture.layer] == [luma, (1, 1), (1, 1)]
    error = images.read_image(in_memory(content)).astype(float) - smooth
    assert 10 * np.log10(255**2 / (error**2).mean()) > 38  # dB


def test_other_files_are_read_as_ever():
    np.testing.assert_array_equal(
        images.read_indices(in_memory(official_files.palette(range(21)))),
        official_files.spread(range(21)),
    )
    gray = images.read_image(in_memory(encoded.encode_raw(LABEL)))
    np.testing.assert_array_equal(gray, np.stack([LABEL] * 3, -1))
    with pytest.raises(errors.UserError, match="a file has mode RGB"):
        images.read_indices(in_memory(encoded.encode_raw(IMAGE)))


@pytest.mark.parametrize("missing", [1, 100])
def test_raw_that_ends_early(missing):
    with pytest.raises(errors.UserError, match="a file cannot be read as an image"):
        images.read_image(in_memory(encoded.encode_raw(IMAGE)[:-missing]))


def test_raw_of_an_absurd_size():
    """int() takes no more than 4300 digits."""
    with pytest.raises(errors.UserError, match="a file cannot be read as an image"):
        images.read_image(in_memory(b"P6\n" + b"9" * 5000 + b" 1\n255\n"))


def test_gray_png():
    assert encoded.is_gray_png(official_files.gray([0, 7, 255]))
    assert not encoded.is_gray_png(official_files.palette([0, 7, 255]))
    assert not encoded.is_gray_png(encoded.encode_png(IMAGE))
    assert not encoded.is_gray_png(encoded.encode_jpeg(IMAGE))
    for kind in ("1", "I;16"):
        picture = Image.fromarray(LABEL).convert(kind)
        assert not encoded.is_gray_png(official_files.encode(picture))


@pytest.mark.parametrize("form", ["raw", "png", "jpeg"])
def test_damaged(form):
    encode = getattr(encoded, f"encode_{form}")
    content = encode(IMAGE)
    rng, refused = np.random.default_rng(1), 0
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(min(len(damaged), 60), size=2):
            damaged[place] = rng.integers(256)
        try:
            pixels = images.read_image(in_memory(bytes(damaged)))
        except errors.UserError:
            refused += 1
        else:
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
    assert refused > 20
