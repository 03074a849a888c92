import itertools
from unittest import mock

import cv2
import numpy as np
import pytest

from jaxseg import config
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


def apply(example, crop, **geometry):
    """The crop by a geometry, whose size is that of the image unless it is given."""
    size = {"size": example["label"].shape}
    drawn = transforms.Geometry(**size | geometry)
    return {
        "image": transforms.warp_image(example["image"], drawn, crop, fill=FILL),
        "label": transforms.warp_label(example["label"], drawn, crop, ignore=IGNORE),
    }


def make_random(crop, **options):
    settings = {"scale": (1.0, 1.0), "flip": 0.0, "mean": FILL} | options
    return transforms.RandomCrop(data=config.Data(crop=crop, **settings), ignore=IGNORE)


def came_from(geometry, size, crop):
    """The places (x, y) in the image that the crop's pixels show, step by step."""
    new = geometry.size
    y, x = np.mgrid[: crop[0], : crop[1]] + 0.5  # centers; edges are whole numbers
    if geometry.flip:
        x = crop[1] - x
    if geometry.vflip:
        y = crop[0] - y
    y, x = y + geometry.offset[0], x + geometry.offset[1]
    y = y * size[0] / new[0] + geometry.start[0] - size[0] / 2
    x = x * size[1] / new[1] + geometry.start[1] - size[1] / 2
    place = (x + 1j * -y) * np.exp(-1j * np.radians(geometry.angle))  # y upward
    return place.real + size[1] / 2 - 0.5, -place.imag + size[0] / 2 - 0.5


SIZES = [(40, 60), (41, 33), (17, 59)]
CROPS = [(24, 32), (31, 45), (70, 64)]  # within, about as large, larger
MOVES = [
    {"scale": (0.5, 2.0)},
    {"rotate": 40.0},
    {"flip": 1.0, "vflip": 0.5},
    {"scale": (0.5, 2.0), "scale_step": 0.25, "flip": 0.5},
    {"resize": (30, 70), "vflip": 1.0},
    {"scale": (0.5, 2.0), "resize": (35,), "rotate": 180.0, "flip": 0.5, "vflip": 0.5},
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
@pytest.mark.parametrize(("name", "axis"), [("flip", 1), ("vflip", 0)])
def test_flips(size, name, axis):
    example = noise(size)
    once = apply(example, size, **{name: True})
    twice = apply(once, size, **{name: True})
    for key, value in example.items():
        np.testing.assert_array_equal(once[key], np.flip(value, axis))
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
        found = apply(example, crop, size=new, offset=offset)
        window = np.s_[offset[0] : offset[0] + crop[0], offset[1] : offset[1] + crop[1]]
        difference = np.abs(found["image"].astype(int) - resized[window])
        assert difference.max() <= 1  # the edges too
        same = (found["label"] == expected[window]) | tie[window]
        assert same.mean() >= 0.999
        assert (found["label"] != IGNORE).all()


@pytest.mark.parametrize("new", [(80, 60), (20, 90), (33, 41)])
def test_any_size_is_a_resize(new):
    """Of other proportions too, as config.data.resize may ask for."""
    example = noise((40, 60))
    found = apply(example, new, size=new)
    resized = cv2.resize(example["image"], new[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.abs(found["image"].astype(int) - resized).max() <= 1
    expected, tie = nearest(example["label"], new)
    assert ((found["label"] == expected) | tie).mean() >= 0.999


def test_nothing_of_the_image_in_the_crop():
    found = apply(noise((20, 20)), (6, 8), offset=(100, 90), angle=1.0)
    assert (found["image"] == FILL).all()
    assert (found["label"] == IGNORE).all()


@pytest.mark.parametrize(
    ("size", "resize", "keep_ratio", "expected"),
    [
        ((300, 400), (), False, (300, 400)),
        ((300, 400), (150,), False, (150, 200)),  # torchvision: the shorter side
        ((400, 300), (150,), False, (200, 150)),
        ((300, 400), (100, 500), False, (100, 500)),
        # mmseg's scale=(2048, 512) with keep_ratio: 512, and no side above 2048.
        ((300, 400), (512, 2048), True, (512, 512 * 4 / 3)),
        ((400, 300), (512, 2048), True, (512 * 4 / 3, 512)),
        ((300, 3000), (512, 2048), True, (204.8, 2048)),
        ((1024, 2048), (1025, 2049), True, (1024.5, 2049)),
    ],
)
def test_resize(size, resize, keep_ratio, expected):
    found = transforms.resized(size, resize, keep_ratio=keep_ratio)
    assert found == pytest.approx(expected)
    random_crop = make_random((64, 64), resize=resize, keep_ratio=keep_ratio)
    drawn = random_crop.draw(size, np.random.default_rng(0)).size
    assert np.abs(np.subtract(drawn, expected)).max() <= 0.5


def test_the_share_of_the_commonest_class():
    label = np.full((10, 10), 255, np.uint8)
    assert transforms.largest_share(label, ignore=255) == 1
    label[:3] = 4
    label[3:5] = 0
    assert transforms.largest_share(label, ignore=255) == 0.6
    assert transforms.largest_share(label, ignore=4) == 50 / 70
    assert transforms.largest_share(label[:, ::2], ignore=255) == 0.6  # a view


@pytest.mark.parametrize("limit", [0.75, 1.0])
def test_crops_of_one_class_are_drawn_again(limit):
    label = np.zeros((20, 100), np.uint8)
    label[:, :40] = np.where(np.arange(20) < 10, 0, 1)[:, None]
    example = {"image": np.repeat(label[..., None], 3, 2), "label": label}
    random_crop, shares = make_random((10, 10), cat_max_ratio=limit), []
    with mock.patch.object(transforms, "warp_image", wraps=transforms.warp_image) as w:
        for seed in range(300):
            rng = np.random.default_rng(seed)
            found = random_crop.random_map(example, rng)["label"]
            shares.append(transforms.largest_share(found, ignore=IGNORE))
    assert w.call_count == 300  # the image is warped once
    share = np.mean(np.array(shares) <= 0.75)
    first = np.mean([*balanced_places(label, 10, 0.75)])
    expected = 1 - (1 - first) ** 10 if limit < 1 else first
    assert share == pytest.approx(expected, abs=0.08)


def balanced_places(label, side, limit):
    for down in range(label.shape[0] - side + 1):
        for right in range(label.shape[1] - side + 1):
            share = label[down : down + side, right : right + side].mean()
            yield max(share, 1 - share) <= limit


def test_scales_in_steps():
    random_crop = make_random((20, 20), scale=(0.5, 2.0), scale_step=0.25)
    rng = np.random.default_rng(0)
    heights = [random_crop.draw((40, 60), rng).size[0] for _ in range(2000)]
    values, counts = np.unique(heights, return_counts=True)
    np.testing.assert_array_equal(values, 40 * np.arange(0.5, 2.01, 0.25))
    assert counts.min() > 2000 / 7 - 60
    uneven = make_random((20, 20), scale=(1.0, 1.3), scale_step=0.1)
    assert {uneven.draw((10, 10), rng).size[0] for _ in range(99)} == {10, 11, 12, 13}


def test_a_crop_is_where_it_was_drawn():
    for old, new, side in itertools.product((7, 40, 101), (9, 40, 333), (5, 9)):
        factor = new / old
        for place in range(new - side + 1):
            start, offset = transforms.place_crop(place, old=old, new=new)
            assert start >= 0
            assert 0 <= offset < (transforms.MARGIN + 1) * factor + 1
            assert place - 1 < start * factor + offset <= place + 1e-9
            if start:  # as far from the cut as interpolation reads
                assert (offset + 0.5) / factor - 0.5 >= 0


def test_draws():
    moves = {"scale": (0.5, 2.0), "rotate": 30.0, "flip": 0.5, "vflip": 0.2}
    random_crop = make_random((20, 20), **moves)
    rng = np.random.default_rng(0)
    draws = [random_crop.draw((400, 500), rng) for _ in range(2000)]
    heights = np.array([draw.size[0] for draw in draws])
    angles = np.array([draw.angle for draw in draws])
    for values, low, high in ((heights, 200, 800), (angles, -30, 30)):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < 0.03 * (high - low)
    assert 0.45 < np.mean([draw.flip for draw in draws]) < 0.55
    assert 0.16 < np.mean([draw.vflip for draw in draws]) < 0.24
    small = [random_crop.draw((40, 50), rng) for _ in range(2000)]
    for axis, side in enumerate((40, 50)):
        room = np.array([draw.size[axis] - 20 for draw in small])
        start = np.array([draw.start[axis] for draw in small])
        offset = np.array([draw.offset[axis] for draw in small])
        place = start * (room + 20) / side + offset
        assert (start >= 0).all()
        assert (offset >= 0).all()
        assert (place <= room + 1e-9).all()
        assert (place == 0).any()
        assert (place > room - 1).any()
        share = place[room >= 10] / room[room >= 10]
        assert abs(share.mean() - 0.5) < 0.03
    assert random_crop.draw((40, 50), np.random.default_rng(1)) == random_crop.draw(
        (40, 50), np.random.default_rng(1)
    )
