import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import augment, config
from jaxseg.data import transforms

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

# What mixes images and cuts holes, and what changes colors.
MIXING = {"mosaic": 0.5, "classmix": 0.5, "cutout": 0.5, "cutout_holes": 2}
COLORS = {
    "photometric": True,
    **{"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.05},
    **{"randaug_ops": 2, "blur": 0.5},
}

# A coded image tells where each pixel lies: 4 x, 4 y and 40 for every other image; its
# label twice the number of a cell of 6x6 pixels, and 1 more for every other image.
CELL, CELLS, CODES, IGNORE = 6, 11, 2 * 11**2, 255
FILL = (200.0, 100.0, 255.0)
CROP, BATCH = (40, 48), 8


def coded(size, parity):
    y, x = np.mgrid[: size[0], : size[1]]
    image = np.stack([4 * x, 4 * y, 0 * x + 40 * parity], -1).astype(np.uint8)
    label = 2 * (y // CELL * CELLS + x // CELL) + parity
    return {"image": image, "label": label.astype(np.uint8)}


def draw_geometry(rng):
    """Settings of the geometry, each with its chance to be on."""
    resizes = ((), (40,), (50, 30), (30, 90))
    return {
        "scale": (0.5, 2.0),
        "scale_step": float(rng.choice([0, 0.25])),
        "rotate": float(rng.choice([0, 10, 180])),
        "flip": 0.5,
        "vflip": 0.5,
        "resize": resizes[rng.integers(4)],
        "cat_max_ratio": float(rng.choice([0.05, 1])),
    }


def host_batch(rng):
    """A batch of coded images through the host's transform, as the loader makes it."""
    crops = []
    for i in range(BATCH):
        settings = draw_geometry(rng)
        settings["keep_ratio"] = len(settings["resize"]) == 2 and rng.random() < 0.5
        random_crop = transforms.RandomCrop(
            data=config.Data(crop=CROP, mean=FILL, **settings), ignore=IGNORE
        )
        size = tuple(int(side) for side in rng.integers(16, 64, 2))
        crops.append(random_crop.random_map(coded(size, i % 2), rng))
    images = np.stack([each["image"] for each in crops])
    return images, np.stack([each["label"] for each in crops]).astype(np.int32)


def make(**settings):
    data = config.Data(mean=FILL, **settings)
    return jax.jit(
        lambda key, images, labels: augment.augment(
            key, images, labels, data=data, ignore=IGNORE
        )
    )


def check_places(images, labels):
    """Image and label show the same place of the same image, to half a pixel."""
    assert images.shape == (BATCH, *CROP, 3)
    assert np.isin(labels, [*range(CODES), IGNORE]).all()
    shown = (labels != IGNORE) & (images != FILL).any(-1)  # neither outside nor cut
    images, labels = images[shown], labels[shown]
    np.testing.assert_array_equal(images[:, 2], 40 * (labels % 2))
    cells = labels // 2 % CELLS, labels // 2 // CELLS
    for channel, cell in enumerate(cells):
        place, first = images[:, channel] / 4, CELL * cell
        miss = np.maximum(first - place, place - (first + CELL - 1))
        assert miss.max(initial=0) < 0.5 + 0.2  # and the rounding of the image
    return shown.mean()


@pytest.mark.parametrize(
    "examples", [200, pytest.param(10_000, marks=pytest.mark.slow)]
)
def test_nothing_moves_image_and_label_apart(examples):
    """Colors hide the places; that they move nothing is tested beside each of them."""
    rng, shown = np.random.default_rng(0), []
    for keep in (True, False):
        mixed = make(**MIXING, cutout_ignore=not keep)
        everything = make(**MIXING, **COLORS, cutout_ignore=not keep)
        for seed in range(examples // BATCH // 2 + 1):
            images, labels = host_batch(rng)
            check_places(images.astype(float), labels)
            key = jax.random.key(seed)
            new, new_labels = map(np.asarray, mixed(key, images, labels))
            shown.append(check_places(new, new_labels))
            colored, same_labels = everything(key, images, labels)
            np.testing.assert_array_equal(same_labels, new_labels)
            assert (colored >= 0).all()
            assert (colored <= 255).all()
    assert 0.4 < np.mean(shown) < 0.9


def noise(batch=4, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (batch, 12, 16, 3), np.uint8)
    labels = rng.integers(0, 5, (batch, 12, 16), np.int32)
    return jnp.asarray(images), jnp.asarray(labels)


def test_normalize():
    images, _ = noise()
    found = augment.normalize(images, mean=MEAN, std=STD)
    assert found.dtype == jnp.float32
    expected = (np.asarray(images).astype(np.float64) - MEAN) / STD
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "settings", [{}, {"augment": "none", **MIXING, **COLORS}], ids=["default", "none"]
)
def test_images_as_they_are(settings):
    images, labels = noise()
    found = make(**settings)(jax.random.key(0), images, labels)
    np.testing.assert_array_equal(found[0], images)
    np.testing.assert_array_equal(found[1], labels)


@pytest.mark.parametrize("name", ["photometric", "brightness", "randaug_ops", "blur"])
def test_every_setting_of_colors_does_something(name):
    images, labels = noise()
    new, same = make(**{name: COLORS[name]})(jax.random.key(0), images, labels)
    assert np.abs(new - images).max() > 3
    np.testing.assert_array_equal(same, labels)


@pytest.mark.parametrize("name", ["mosaic", "classmix", "cutout"])
def test_every_setting_of_mixing_does_something(name):
    images, labels = noise()
    options = {name: 1.0, "cutout_ignore": True}
    new, new_labels = make(**options)(jax.random.key(0), images, labels)
    assert np.abs(new - images).max() > 3
    assert (new_labels != labels).any((1, 2)).all()


def test_keys():
    key, dropout_key = augment.step_keys(3, 7)
    again, _ = augment.step_keys(3, jnp.int32(7))
    assert (jax.random.key_data(key) == jax.random.key_data(again)).all()
    others = [augment.step_keys(*pair)[0] for pair in ((3, 8), (4, 7))]
    for other in (dropout_key, *others):
        assert (jax.random.key_data(key) != jax.random.key_data(other)).any()
