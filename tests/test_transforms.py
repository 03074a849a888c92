import itertools

import cv2
import numpy as np
import pytest

from jaxseg.data import transforms

FILL, IGNORE = (200, 100, 255), 255
CELL = 4  # pixels of a label's cell; 15 x 15 cells at most


def coded(size):
    """Image and label that tell where each pixel lies.

    The image's channels are 4 x and 4 y, the third is 0, where the fill color is 255;
    the label is 16 times the row of its cell plus the column.
    """
    y, x = np.mgrid[: size[0], : size[1]]
    image = np.stack([4 * x, 4 * y, 0 * x], -1).astype(np.uint8)
    label = (y // CELL * 16 + x // CELL).astype(np.uint8)
    return {"image": image, "label": label}


def noise(size, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    return {"image": image, "label": rng.integers(0, 20, size, np.uint8)}


def apply(example, crop, scale=1.0, angle=0.0, flip=False, offset=(0, 0)):
    geometry = transforms.Geometry(scale=scale, angle=angle, flip=flip, offset=offset)
    matrix = transforms.crop_to_image(geometry, example["label"].shape, crop)
    return transforms.warp(example, matrix, crop, fill=FILL, ignore=IGNORE)


def make_random(crop, **options):
    settings = {"scale": (1.0, 1.0), "rotate": 0.0, "flip": 0.0} | options
    return transforms.RandomCrop(crop=crop, fill=FILL, ignore=IGNORE, **settings)


def came_from(geometry, size, crop):
    """The places (x, y) in the image that the crop's pixels show, step by step."""
    scaled = [round(side * geometry.scale) for side in size]
    y, x = np.mgrid[: crop[0], : crop[1]] + 0.5  # centers; edges are whole numbers
    y, x = y + geometry.offset[0], x + geometry.offset[1]
    if geometry.flip:
        x = scaled[1] - x
    y = y * size[0] / scaled[0] - size[0] / 2
    x = x * size[1] / scaled[1] - size[1] / 2
    place = (x + 1j * -y) * np.exp(-1j * np.radians(geometry.angle))  # y upward
    return place.real + size[1] / 2 - 0.5, -place.imag + size[0] / 2 - 0.5


SIZES = [(40, 60), (41, 33), (17, 59)]
CROPS = [(24, 32), (31, 45), (70, 64)]  # within, about as large, larger
MOVES = [
    {"scale": (0.5, 2.0)},
    {"rotate": 40.0},
    {"flip": 1.0},
    {"scale": (0.5, 2.0), "flip": 0.5},
    {"scale": (0.5, 2.0), "rotate": 180.0, "flip": 0.5},
]


def beyond(x, y, size):
    """How far a place lies outside the image's edges; negative inside."""
    from_middle = np.abs(x - size[1] / 2 + 0.5), np.abs(y - size[0] / 2 + 0.5)
    return np.maximum(from_middle[0] - size[1] / 2, from_middle[1] - size[0] / 2)


def many(size, crop, move):
    """Draws, each with what it makes of a coded image."""
    random_crop = make_random(crop, **move)
    for seed in range(10):
        geometry = random_crop.draw(size, np.random.default_rng(seed))
        found = random_crop.random_map(coded(size), np.random.default_rng(seed))
        assert found["image"].shape == (*crop, 3)
        assert found["label"].shape == crop
        yield geometry, found["image"], found["label"].astype(int)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("move", MOVES, ids=str)
def test_image_and_label_show_the_same_place(size, crop, move):
    for _, image, label in many(size, crop, move):
        inside = label != IGNORE
        assert (image[inside][:, 2] == 0).all()  # no fill color
        for channel, cell in ((0, label % 16), (1, label // 16)):
            place, first = image[..., channel] / 4, CELL * cell
            miss = np.maximum(first - place, place - (first + CELL - 1))
            # Half a pixel, and the rounding of the image.
            assert miss[inside].max(initial=0) < 0.5 + 0.2


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("move", MOVES, ids=str)
def test_they_show_the_place_that_was_drawn(size, crop, move):
    for geometry, image, label in many(size, crop, move):
        x, y = came_from(geometry, size, crop)
        inside, outside = label != IGNORE, beyond(x, y, size)
        assert inside[outside < -0.01].all()
        assert not inside[outside > 0.01].any()
        assert (image[outside > 1.51] == FILL).all()
        for channel, place, side in ((0, x, size[1]), (1, y, size[0])):
            miss = np.abs(image[..., channel] / 4 - place.clip(0, side - 1))
            assert miss[inside].max(initial=0) < 0.2


@pytest.mark.parametrize("move", MOVES, ids=str)
def test_labels_are_of_the_input(move):
    example = noise((37, 53))
    example["label"] = np.where(example["label"] < 10, 3, 19).astype(np.uint8)
    random_crop = make_random((40, 40), **move)
    for seed in range(20):
        label = random_crop.random_map(example, np.random.default_rng(seed))["label"]
        assert set(np.unique(label)) <= {3, 19, IGNORE}


def test_identity():
    example = noise((23, 31))
    found = apply(example, (23, 31))
    for key, value in example.items():
        np.testing.assert_array_equal(found[key], value)
        assert found[key].dtype == np.uint8
    found = make_random((23, 31)).random_map(example, np.random.default_rng(0))
    np.testing.assert_array_equal(found["image"], example["image"])


@pytest.mark.parametrize("size", [(23, 31), (24, 30)])
def test_flip(size):
    example = noise(size)
    once = apply(example, size, flip=True)
    twice = apply(once, size, flip=True)
    for key, value in example.items():
        np.testing.assert_array_equal(once[key], value[:, ::-1])
        np.testing.assert_array_equal(twice[key], value)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_positive_angles_are_counterclockwise(turns):
    example = noise((24, 24))
    found = apply(example, (24, 24), angle=90.0 * turns)
    for key, value in example.items():
        np.testing.assert_array_equal(found[key], np.rot90(value, turns))


SCALES = (0.5, 0.61, 0.75, 1.3, 1.777, 2.0)


def nearest(label, new):
    """Half-pixel nearest, and where two pixels are equally near."""
    index, tie = [], []
    for old_side, new_side in zip(label.shape, new, strict=True):
        twice = (2 * np.arange(new_side) + 1) * old_side
        index.append(twice // (2 * new_side))
        tie.append(twice % (2 * new_side) == 0)
    return label[np.ix_(*index)], tie[0][:, None] | tie[1]


@pytest.mark.parametrize(
    ("size", "scale"), [*itertools.product([(40, 60), (41, 63), (100, 130)], SCALES)]
)
def test_scale_is_a_resize(size, scale):
    example, new = noise(size), (round(size[0] * scale), round(size[1] * scale))
    resized = cv2.resize(example["image"], new[::-1], interpolation=cv2.INTER_LINEAR)
    expected, tie = nearest(example["label"], new)
    for offset, crop in (((0, 0), new), ((3, 5), (new[0] - 4, new[1] - 9))):
        found = apply(example, crop, scale=scale, offset=offset)
        window = np.s_[offset[0] : offset[0] + crop[0], offset[1] : offset[1] + crop[1]]
        difference = np.abs(found["image"].astype(int) - resized[window])
        assert difference.max() <= 1  # the edges too
        same = (found["label"] == expected[window]) | tie[window]
        assert same.mean() >= 0.999
        assert (found["label"] != IGNORE).all()


def test_draws():
    random_crop = make_random((20, 20), scale=(0.5, 2.0), rotate=30.0, flip=0.5)
    rng = np.random.default_rng(0)
    draws = [random_crop.draw((40, 50), rng) for _ in range(2000)]
    for name, low, high in (("scale", 0.5, 2.0), ("angle", -30, 30)):
        values = np.array([getattr(draw, name) for draw in draws])
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < 0.03 * (high - low)
    assert 0.45 < np.mean([draw.flip for draw in draws]) < 0.55
    for axis, side in enumerate((40, 50)):
        room = np.array([round(side * draw.scale) - 20 for draw in draws])
        place = np.array([draw.offset[axis] for draw in draws])
        assert (place >= 0).all()
        assert (place <= room).all()
        assert (place == 0).any()
        assert (place == room).any()
    assert random_crop.draw((40, 50), np.random.default_rng(1)) == random_crop.draw(
        (40, 50), np.random.default_rng(1)
    )
