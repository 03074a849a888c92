import numpy as np
import pytest
from PIL import Image

from jaxseg import errors, pictures

NAMES = ["sky", "road", "car"]
PALETTE = [(70, 130, 180), (128, 64, 128), (0, 0, 142)]


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


@pytest.fixture
def classes():
    """Road: 600 pixels, sky: 400, ignored: 200, no car."""
    classes = np.full((30, 40), 1, np.uint8)
    classes[:10] = 0
    classes[25:] = pictures.IGNORE
    return classes


def test_default_palette_is_the_voc_color_map_without_black():
    palette = pictures.default_palette(255)
    assert palette[:4] == [(128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]
    assert palette[14] == (192, 128, 128)  # person, class 15 of VOC
    assert len(set(palette)) == 255
    assert (0, 0, 0) not in palette
    with pytest.raises(errors.UserError, match="256 classes"):
        pictures.default_palette(256)


def test_color(classes):
    colored = pictures.color(classes, PALETTE)
    assert colored.dtype == np.uint8
    for value, expected in [(0, PALETTE[0]), (1, PALETTE[1]), (255, (0, 0, 0))]:
        assert (colored[classes == value] == expected).all()


def test_a_class_without_color_is_an_error(classes):
    with pytest.raises(errors.UserError, match="class 1 has no color"):
        pictures.color(classes, PALETTE[:1])


def test_everything_ignored(image):
    classes = np.full((30, 40), pictures.IGNORE, np.uint8)
    assert pictures.present(classes) == []
    shown = pictures.overlay(image, classes, NAMES, PALETTE)
    np.testing.assert_array_equal(np.asarray(shown), image)


def test_present_sorts_by_pixels(classes):
    assert pictures.present(classes) == [1, 0]
    cars = np.full((20, 20), 2, np.uint8)
    assert pictures.present(classes, cars) == [1, 0, 2]  # sky and car tie


@pytest.mark.parametrize("num_classes", [2, 3, 19, 150, 255])
def test_indices_round_trip(tmp_path, num_classes):
    classes = np.arange(256, dtype=np.uint8).reshape(16, 16) % num_classes
    classes[0, 0] = pictures.IGNORE
    palette = pictures.default_palette(num_classes)
    pictures.save_indices(tmp_path / "a.png", classes, palette)
    with Image.open(tmp_path / "a.png") as read:
        assert read.mode == "P"
        np.testing.assert_array_equal(np.asarray(read), classes)
        rgb = np.asarray(read.convert("RGB"))
    np.testing.assert_array_equal(rgb, pictures.color(classes, palette))
    assert (tmp_path / "a.png").read_bytes()[24] == 8  # bit depth, in the IHDR chunk


def test_overlay_blends_all_but_ignored(image, classes):
    shown = pictures.overlay(image, classes, NAMES, PALETTE, alpha=0.25)
    assert shown.height > 30  # the legend is below
    pixels = np.asarray(shown)[:30, :40]
    ignored = classes == pictures.IGNORE
    np.testing.assert_array_equal(pixels[ignored], image[ignored])
    expected = 0.75 * image[0, 0] + 0.25 * np.array(PALETTE[0])
    np.testing.assert_allclose(pixels[0, 0], expected, atol=0.5)


def test_legend_shows_the_present_classes_in_order(image, classes, monkeypatch):
    written = []
    draw = pictures.ImageDraw.ImageDraw
    text = draw.text
    monkeypatch.setattr(
        draw,
        "text",
        lambda self, xy, s, **k: (written.append(s), text(self, xy, s, **k)),
    )
    shown = pictures.overlay(image, classes, ["sky", "long\nroad", "car"], PALETTE)
    assert written == ["long road", "sky"]
    colors = {tuple(pixel) for pixel in np.asarray(shown)[30:].reshape(-1, 3)}
    assert {PALETTE[0], PALETTE[1]} <= colors
    assert PALETTE[2] not in colors


@pytest.mark.parametrize("size", [(8, 8), (64, 600), (1024, 512)])
def test_legend_wraps_inside_the_picture(size):
    classes = (np.arange(size[0] * size[1]) % 40).astype(np.uint8).reshape(size)
    image = np.zeros((*size, 3), np.uint8)
    names = [f"class number {index}" for index in range(40)]
    palette = pictures.default_palette(40)
    shown = np.asarray(pictures.overlay(image, classes, names, palette))
    assert shown.shape[0] > size[0] + 40  # several lines
    assert (shown[size[0] :, -1] == 255).all()  # nothing cut at the right edge
    assert (shown[-1] == 255).all()


def test_panel(image, classes):
    both = pictures.panel(image, classes, classes, NAMES, PALETTE)
    alone = pictures.panel(image, None, classes, NAMES, PALETTE)
    assert alone.width < both.width
    colors = {tuple(pixel) for pixel in np.asarray(both).reshape(-1, 3)}
    assert {PALETTE[0], PALETTE[1], (0, 0, 0), tuple(image[0, 0])} <= colors


def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    pictures.save_image(path, Image.new("RGB", (2, 2)))
    before = path.read_bytes()

    def fail(self, target):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        pictures.save_image(path, Image.new("RGB", (3, 3)))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_with_the_file(tmp_path):
    path = tmp_path / "a.txt"
    with pytest.raises(OSError, match=f"full: '{path}'"), pictures.atomic_path(path):
        raise OSError(28, "full")
