"""The sheets show what the step sees; the command answers mistakes in a line."""

import subprocess
import sys

import jax
import numpy as np
import program
import pytest
from PIL import Image

from jaxseg import augment, config, errors, pictures
from jaxseg.data import browse, datasets, loader, synthetic


@pytest.fixture
def settings():
    result = config.Config(seed=3)
    result.data = config.Data(
        size=(40, 56), crop=(32, 48), train_images=6, photometric=True, mosaic=0.5
    )
    result.train.batch_size = 4
    return result


def test_examples_are_those_of_the_steps(settings):
    dataset = datasets.open_dataset(settings.data, ignore=255)
    found = browse.augmented_examples(settings, dataset.split("train"), count=6)
    assert len(found) == 6
    batches = loader.train_batches(
        dataset.split("train"),
        settings.data,
        batch_size=4,
        seed=3,
        ignore=255,
        start=0,
    )
    for step in range(2):
        batch = next(batches)
        key = jax.random.split(jax.random.fold_in(jax.random.key(3), step))[0]
        given = [jax.numpy.asarray(batch[name]) for name in ("images", "labels")]
        images, labels = augment.augment(key, *given, data=settings.data, ignore=255)
        for i, example in enumerate(found[4 * step : 4 * step + 4]):
            assert np.abs(example["image"] - np.asarray(images[i])).max() <= 0.51
            np.testing.assert_array_equal(example["label"], labels[i])
    batches.close()


def test_what_counts_nowhere_is_not_colored(settings):
    settings.loss.ignore = 200
    settings.data.scale = (0.5, 0.5)  # less than the crop
    source = datasets.open_dataset(settings.data, ignore=200).split("train")
    found = browse.augmented_examples(settings, source, count=1)
    assert pictures.IGNORE in found[0]["label"]
    assert 200 not in found[0]["label"]


@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_tile(count):
    rng = np.random.default_rng(0)
    examples = []
    for size in [(20, 30), (24, 26)] * 8:
        image = rng.integers(0, 200, (*size, 3), np.uint8)
        examples.append({"image": image, "label": np.full(size, 7, np.uint8)})
    image, classes = browse.tile(examples[:count])
    assert image.shape == (*classes.shape, 3)
    for example in examples[:count]:
        h, w = example["label"].shape
        first = example["image"][0, 0]
        places = np.argwhere((image[: 1 - h, : 1 - w] == first).all(-1))
        found = [
            (y, x)
            for y, x in places
            if (image[y : y + h, x : x + w] == example["image"]).all()
        ]
        assert len(found) == 2
        (y, plain), (_, labelled) = found
        assert (classes[y : y + h, labelled : labelled + w] == 7).all()
        assert (classes[y : y + h, plain : plain + w] == pictures.IGNORE).all()
    assert (classes == 7).sum() == sum(e["label"].size for e in examples[:count])


def test_sheets(settings, tmp_path):
    output = tmp_path / "new" / "sheets"
    browse.run(settings, output, count=18)
    assert sorted(path.name for path in output.iterdir()) == [
        "sheet_00.png",
        "sheet_01.png",
    ]
    dataset = datasets.open_dataset(settings.data, ignore=255)
    example = browse.augmented_examples(settings, dataset.split("train"), count=1)[0]
    sheet = np.asarray(Image.open(output / "sheet_00.png"))
    np.testing.assert_array_equal(sheet[:32, :48], example["image"])
    counted = example["label"] != pictures.IGNORE
    colors = np.array(synthetic.PALETTE)[example["label"][counted]]
    labelled = sheet[:32, 56:104].astype(float)
    blended = example["image"][counted] / 2 + colors / 2
    assert np.abs(labelled[counted] - blended).max() <= 1
    np.testing.assert_array_equal(labelled[~counted], example["image"][~counted])
    with pytest.raises(errors.UserError, match="--count=0 must be at least 1"):
        browse.run(settings, output, count=0)


def browse_command(*flags):
    return subprocess.run(
        [sys.executable, "-m", "jaxseg.data.browse", *flags],
        cwd=program.ROOT,
        env=program.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_command(tmp_path):
    config_flags = [flag for flag in program.TINY if "--config" in flag]
    done = browse_command(*config_flags, f"--output={tmp_path}", "--count=3")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"3 examples in {tmp_path}: image, and image with labels\n"
    assert (tmp_path / "sheet_00.png").exists()


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--config.data.classmix=0.5", "--config.train.batch_size=1"], 1, "classmix"),
        (["--cont=3"], 2, "cont"),
    ],
)
def test_mistakes(tmp_path, flags, code, words):
    base = ["--config=configs/quickstart.py", f"--output={tmp_path / 'out'}"]
    done = browse_command(*base, *flags)
    assert done.returncode == code
    assert words in program.only_line(done)
    assert not (tmp_path / "out").exists()
