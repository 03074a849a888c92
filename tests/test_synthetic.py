import cv2
import numpy as np
import pytest

from jaxseg import errors
from jaxseg.data import synthetic

SIZE = (96, 128)


def _scenes(domain, count=50, size=SIZE):
    scenes = [
        synthetic.render(index, seed=0, size=size, domain=domain)
        for index in range(count)
    ]
    images, labels = zip(*scenes, strict=True)
    return np.stack(images), np.stack(labels)


@pytest.fixture(scope="module", params=synthetic.DOMAINS)
def scenes(request):
    return _scenes(request.param)


def _edge_strength(images, labels, axis):
    """Mean color step between neighbors whose labels differ."""
    steps = np.abs(np.diff(images.astype(np.int16), axis=axis)).sum(-1)
    return steps[np.diff(labels.astype(np.int16), axis=axis) != 0].mean()


@pytest.mark.parametrize("domain", synthetic.DOMAINS)
def test_same_arguments_give_the_same_bits_in_any_order(domain):
    def draw(order):
        return {i: synthetic.render(i, seed=3, size=SIZE, domain=domain) for i in order}

    first, second = draw(range(6)), draw(reversed(range(6)))
    for index in range(6):
        np.testing.assert_array_equal(first[index][0], second[index][0])
        np.testing.assert_array_equal(first[index][1], second[index][1])


@pytest.mark.parametrize(
    "other",
    [{"index": 1}, {"seed": 1}, {"domain": "night"}],
    ids=lambda o: next(iter(o)),
)
def test_each_argument_changes_the_scene(other):
    base = {"index": 0, "seed": 0, "size": SIZE, "domain": "day"}
    image, label = synthetic.render(**base)
    other_image, other_label = synthetic.render(**base | other)
    assert (image != other_image).mean() > 0.5
    assert (label != other_label).mean() > 0.05  # another street, not a recoloring


@pytest.mark.parametrize("domain", synthetic.DOMAINS)
@pytest.mark.parametrize("size", [(32, 32), (33, 70), (160, 48), (512, 1024)])
def test_shapes_and_ranges(size, domain):
    image, label = synthetic.render(7, seed=0, size=size, domain=domain)
    assert (image.shape, image.dtype) == ((*size, 3), np.uint8)
    assert (label.shape, label.dtype) == (size, np.uint8)
    assert label.max() < len(synthetic.NAMES) == len(synthetic.PALETTE)
    assert image.flags.writeable
    assert label.flags.c_contiguous


def test_a_scene_keeps_its_layout_at_another_size():
    _, small = synthetic.render(2, seed=0, size=(64, 96), domain="day")
    _, large = synthetic.render(2, seed=0, size=(192, 288), domain="day")
    assert (large[1::3, 1::3] == small).mean() > 0.93


def test_class_frequencies(scenes):
    _, labels = scenes
    share = np.bincount(labels.ravel(), minlength=len(synthetic.NAMES)) / labels.size
    share = dict(zip(synthetic.NAMES, share, strict=True))
    assert all(value > 0.002 for value in share.values()), share
    assert max(share.values()) < 0.5, share
    for name, least in {"road": 0.1, "building": 0.1, "sky": 0.05, "car": 0.03}.items():
        assert share[name] > least, share


def test_labels_meet_their_image_exactly(scenes):
    images, labels = scenes
    for axis in (1, 2):
        strength = {}
        for shift in (-2, -1, 0, 1, 2):
            moved = np.roll(labels, shift, axis)
            inner = (slice(None), slice(3, -3), slice(3, -3))
            strength[shift] = _edge_strength(images[inner], moved[inner], axis)
        assert max(strength, key=lambda shift: strength[shift]) == 0, strength
        assert strength[0] > 1.4 * max(strength[-2], strength[2]), strength


def test_color_alone_does_not_tell_the_classes(scenes):
    images, labels = scenes
    bins = (images // 32).astype(int) @ (64, 8, 1)
    counts = np.zeros((512, len(synthetic.NAMES)), int)
    np.add.at(counts, (bins[:25].ravel(), labels[:25].ravel()), 1)
    guess = counts.argmax(1)[bins[25:]]
    ious = [
        ((guess == c) & (labels[25:] == c)).sum()
        / ((guess == c) | (labels[25:] == c)).sum()
        for c in range(len(synthetic.NAMES))
    ]
    assert np.mean(ious) < 0.4, ious


def test_night_is_darker_than_day():
    day, night = (_scenes(domain, 20)[0].mean() for domain in synthetic.DOMAINS)
    assert night < 0.6 * day


def test_threads_do_not_change_a_scene():
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        alone = synthetic.render(5, seed=0, size=(256, 256), domain="night")
    finally:
        cv2.setNumThreads(before)
    threaded = synthetic.render(5, seed=0, size=(256, 256), domain="night")
    np.testing.assert_array_equal(alone[0], threaded[0])
    np.testing.assert_array_equal(alone[1], threaded[1])


def test_an_unknown_domain_names_the_known_ones():
    with pytest.raises(errors.UserError, match=r"'dusk'.*day, night"):
        synthetic.render(0, seed=0, size=SIZE, domain="dusk")
