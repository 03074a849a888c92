"""What a run tells of steps that go wrong, and which of them end it."""

import functools

import numpy as np
import program
import pytest
import weights
from PIL import Image

from jaxseg import config, errors, watch
from jaxseg.models import names

NAMES = ("a", "b", "c")


@pytest.fixture
def told():
    return []


def make(told, **train):
    return watch.Watch(
        config.Config(train=config.Train(**train)),
        NAMES,
        explain=lambda step, batch: f"batch {batch} of step {step}",
        tell=told.append,
    )


def metrics(loss=1.0, finite=True, squares=(1.0, 2.0, 3.0)):
    return {
        "step_loss": np.float32(loss),
        "finite": np.bool_(finite),
        "grad_norm": np.float32(2.0),
        "grad_squares": np.array(squares, np.float32),
    }


def test_nothing_to_tell(told):
    watcher = make(told)
    for step in range(1, 60):
        watcher.look(step, metrics(loss=1 + step % 3), None)
    assert not told


def test_not_finite_stops(told):
    watcher = make(told)
    watcher.look(1, metrics(), "x")
    with pytest.raises(errors.UserError) as raised:
        watcher.look(2, metrics(np.nan, finite=False), "y")
    message = str(raised.value)
    assert message.startswith("step 2: the loss is nan, the gradient's norm 2; batch y")
    assert "--config.train.nonfinite=skip" in message


def test_not_finite_is_left_out(told):
    watcher = make(told, nonfinite="skip")
    for step in range(1, 100):
        bad = step % 11 != 0
        watcher.look(step, metrics(np.inf if bad else 1.0, finite=not bad), "x")
    assert len(told) == 90
    assert told[0].endswith("It is left out, 1 so far")
    assert told[-1].endswith("It is left out, 90 so far")
    watcher.look(99, metrics(), "x")
    for step in range(watch.MOST_LEFT_OUT):
        watcher.look(100 + step, metrics(np.inf, finite=False), "x")
    with pytest.raises(errors.UserError, match="11 steps in succession"):
        watcher.look(110, metrics(np.inf, finite=False), "x")


def test_parameters_without_gradient(told):
    watcher = make(told)
    for step in range(1, 10):  # b gets one at times
        watcher.look(step, metrics(squares=(0, step == 3, 1)), None)
    assert told == ["no gradient reaches 1 of 3 parameters: a"]


def test_spikes(told):
    watcher = make(told)
    for step in range(1, 60):
        watcher.look(step, metrics(loss=9.0 if step in (10, 50) else 2.0), None)
    (line,) = told  # not the first, when losses still fall
    assert line == "step 50: the loss 9 is 4.5 times its recent mean 2.011"


def test_images_at_fault(tmp_path):
    model = weights.make_tiny(seed=0)
    model.eval()
    graphdef, params, stats = names.split(model)
    data = config.Data(mean=(0.0,) * 3, std=(1e-37,) * 3)
    images = np.zeros((3, 32, 32, 3), np.uint8)
    labels = np.ones((3, 32, 32), np.int32)
    is_finite = watch.make_is_finite(graphdef, data)

    def explain():
        return watch.explain(
            images,
            labels,
            NAMES,
            is_finite=functools.partial(is_finite, params | stats),
            path=tmp_path / "batch.npz",
        )

    assert explain().startswith("no image alone is at fault of a, b, c; ")
    images[1, 5, 5] = 255
    assert explain() == (
        f"the network gives no finite logits for b; the batch is in "
        f"{tmp_path / 'batch.npz'}"
    )
    saved = np.load(tmp_path / "batch.npz")
    np.testing.assert_array_equal(saved["images"], images)
    np.testing.assert_array_equal(saved["labels"], labels)
    assert saved["names"].tolist() == list(NAMES)


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory):
    """Flags to train on black images, of which one holds a pixel that is not.

    The division by the standard deviation makes that pixel infinite.
    """
    root = tmp_path_factory.mktemp("poisoned")
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / split / kind).mkdir(parents=True)
        for i in range(8):
            image, label = np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.uint8)
            image[3, 4] = 200 * (i == 5 and split == "train")
            label[:16] = 1
            Image.fromarray(image).save(root / split / "images" / f"{i}.png")
            Image.fromarray(label).save(root / split / "labels" / f"{i}.png")
    (root / "classes.json").write_text('{"names": ["low", "high"]}')
    return (
        *("--config.data.name=folder", f"--config.data.root={root}"),
        *("--config.data.augment=none", "--config.data.mean=(0.0,0.0,0.0)"),
        *("--config.data.std=(1e-37,1e-37,1e-37)", "--config.train.log_every=1"),
    )


POISONED_BASE = tuple(f for f in program.TINY if "data.size" not in f)


@pytest.mark.slow
def test_a_poisoned_image_is_named(tmp_path, poisoned):
    done = program.run(tmp_path, *poisoned, base=POISONED_BASE)
    assert done.returncode == 1
    line = program.only_line(done)
    assert "no finite logits for" in line
    assert line.count(".png") == 1
    assert "train/images/5.png; the batch is in" in line
    (saved,) = tmp_path.glob("not_finite_*.npz")
    assert f"step {saved.stem.split('_')[-1]}: the loss is nan" in line
    assert any("5.png" in name for name in np.load(saved)["names"])


@pytest.mark.slow
def test_a_poisoned_image_is_left_out(tmp_path, poisoned):
    flags = (*poisoned, "--config.train.nonfinite=skip", "--config.train.steps=8")
    done = program.run(tmp_path, *flags, base=POISONED_BASE)
    assert done.returncode == 0, done.stderr
    assert "It is left out, 4 so far" in done.stdout  # once in each epoch of 2 steps
    losses = [r["loss"] for r in program.rows(tmp_path) if r["split"] == "train"]
    assert losses.count(None) == 4
    assert all(np.isfinite(loss) for loss in losses if loss is not None)
