import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import augment_mix

mosaic = jax.jit(augment_mix.mosaic, static_argnames="probability")
classmix = jax.jit(augment_mix.classmix, static_argnames=("probability", "ignore"))
cutout = jax.jit(
    augment_mix.cutout,
    static_argnames=("probability", "holes", "size", "fill", "ignore"),
)

FILL, IGNORE = (10.5, 20.5, 30.5), 255


def batch(count, size=(16, 24), classes=6, seed=0):
    """Images that tell their number and place; labels by chance, some ignored."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, (count, *size)).astype(np.int32)
    labels[rng.random(labels.shape) < 0.1] = IGNORE
    number, y, x = np.mgrid[:count, : size[0], : size[1]]
    images = np.stack([number, y, x], -1).astype(np.uint8)
    return jnp.asarray(images), jnp.asarray(labels)


def test_paste():
    (images, labels), mask = batch(2), np.zeros((2, 16, 24), bool)
    mask[0, 3:5, 7:9] = True
    found = augment_mix.paste(
        jnp.asarray(mask), images[::-1], labels[::-1], images, labels
    )
    for new, old in zip(found, (images, labels), strict=True):
        expected = np.array(old)
        expected[0, 3:5, 7:9] = old[1, 3:5, 7:9]
        np.testing.assert_array_equal(new, expected)
        assert new.dtype == old.dtype


@pytest.mark.parametrize("count", [4, 7])
def test_mosaic(count):
    """Four rectangles around a point in the middle, of four images, labels alike."""
    images, labels = batch(count)
    ends = set()
    for seed in range(30):
        new, new_labels = mosaic(jax.random.key(seed), images, labels, probability=1.0)
        new, new_labels = np.asarray(new), np.asarray(new_labels)
        np.testing.assert_array_equal(new[..., 1:], images[..., 1:])  # nothing moves
        source = new[..., 0].astype(int)
        for i in range(count):
            down = int((source[i, :, 0] == i).sum())
            right = int((source[i, 0] == i).sum())
            ends.add((down, right))
            expected = np.full((16, 24), i)
            expected[:down, right:] = (i + 1) % count
            expected[down:, right:] = (i + 2) % count
            expected[down:, :right] = (i + 3) % count
            np.testing.assert_array_equal(source[i], expected)
        y, x = np.mgrid[:16, :24]
        np.testing.assert_array_equal(new_labels, np.asarray(labels)[source, y, x])
    downs, rights = zip(*ends, strict=True)
    assert (min(downs), max(downs)) == (4, 12)
    assert (min(rights), max(rights)) == (6, 18)


def test_classmix():
    """All pixels of half of the next image's classes, and none besides."""
    images, labels = batch(3, classes=5)
    labels = labels.at[0].set(jnp.where(labels[0] == 2, 3, labels[0]))  # 4 classes
    chosen_of_1 = set()
    for seed in range(40):
        new, new_labels = classmix(
            jax.random.key(seed), images, labels, probability=1.0, ignore=IGNORE
        )
        new, old = np.asarray(new), np.asarray(labels)
        np.testing.assert_array_equal(new[..., 1:], images[..., 1:])
        for i in range(3):
            donor = (i + 1) % 3
            pasted = new[i, ..., 0] == donor
            chosen = set(np.unique(old[donor][pasted]))
            assert len(chosen) == (2 if donor == 0 else 3)
            assert IGNORE not in chosen
            mask = np.isin(old[donor], [*chosen])
            np.testing.assert_array_equal(pasted, mask)
            expected = np.where(mask, old[donor], old[i])
            np.testing.assert_array_equal(new_labels[i], expected)
            if donor == 1:
                chosen_of_1.add(tuple(sorted(chosen)))
    assert len(chosen_of_1) == 10  # all ways to choose 3 of 5


def test_classmix_of_what_counts_nowhere():
    images, _ = batch(2)
    labels = jnp.full((2, 16, 24), IGNORE)
    new, new_labels = classmix(
        jax.random.key(0), images, labels, probability=1.0, ignore=IGNORE
    )
    np.testing.assert_array_equal(new, images)
    np.testing.assert_array_equal(new_labels, labels)


def test_classmix_knows_another_ignored_value():
    images, labels = batch(2, classes=1)
    labels = jnp.where(labels == IGNORE, 7, labels)
    new, _ = classmix(jax.random.key(0), images, labels, probability=1.0, ignore=7)
    np.testing.assert_array_equal(new[0, ..., 0] == 1, labels[1] == 0)


def cut(seed, images, labels, **options):
    settings = {"probability": 1.0, "holes": 1, "size": (0.25, 0.5), "fill": FILL}
    settings |= {"ignore": None} | options
    new, new_labels = cutout(jax.random.key(seed), images, labels, **settings)
    return np.asarray(new), np.asarray(new_labels)


def test_cutout_keeps_labels_or_ignores_them():
    images, labels = batch(8)
    new, kept = cut(0, images, labels)
    hole = (new == FILL).all(-1)
    assert hole.any((1, 2)).all()
    np.testing.assert_array_equal(new[~hole], images[~hole])
    np.testing.assert_array_equal(kept, labels)
    same, ignored = cut(0, images, labels, ignore=IGNORE)
    np.testing.assert_array_equal(same, new)
    np.testing.assert_array_equal(ignored, np.where(hole, IGNORE, labels))


def test_holes_are_rectangles_of_the_size():
    images, labels = batch(400, size=(40, 60))
    hole = (cut(1, images, labels)[0] == FILL).all(-1)
    heights, widths = hole.any(2).sum(1), hole.any(1).sum(1)
    np.testing.assert_array_equal(hole.sum((1, 2)), heights * widths)
    assert (heights.max(), widths.max()) == (20, 30)
    whole = ~(hole[:, [0, -1]].any((1, 2)) | hole[:, :, [0, -1]].any((1, 2)))
    assert heights[whole].min() == 10
    assert widths[whole].min() == 15
    assert np.abs(widths[whole] / 1.5 - heights[whole]).max() <= 2
    share = hole.mean(0)  # anywhere, though less often at the edges
    assert share.min() > 0.01
    assert share.max() < 0.3


def test_more_holes():
    images, labels = batch(50, size=(40, 60))
    means = [
        (cut(2, images, labels, holes=n, size=(0.2, 0.2))[0] == FILL).all(-1).mean()
        for n in (1, 2, 5)
    ]
    assert 1.6 * means[0] < means[1] < 2.2 * means[0]
    assert 3.5 * means[0] < means[2] < 5 * means[0]


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_probabilities(probability):
    images, labels = batch(400, size=(8, 8))
    key, chance = jax.random.key(5), {"probability": probability}
    found = [
        mosaic(key, images, labels, **chance),
        classmix(key, images, labels, ignore=IGNORE, **chance),
        cut(5, images, labels, **chance),
    ]
    for new, new_labels in found:
        changed = (np.asarray(new) != images).any((1, 2, 3))
        assert changed.mean() == pytest.approx(probability, abs=0.07)
        same = (np.asarray(new_labels) == labels).all((1, 2))
        assert same[~changed].all()
