"""What is wrong with the user's files is told in one line, and nothing is spoiled."""

import json

import numpy as np
import program
import pytest
from PIL import Image
from safetensors import numpy as safetensors

SLOW = pytest.mark.slow  # what these tell is also tested in one process
FOLDER = ("--config.data.name=folder", "--config.data.augment=none")


def make_folder(root):
    """A folder data set of three classes that trains."""
    rng = np.random.default_rng(0)
    facts = {"names": ["a", "b", "c"], "ignore": [255]}
    root.mkdir()
    (root / "classes.json").write_text(json.dumps(facts))
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / split / kind).mkdir(parents=True)
        for i in range(4):
            image = rng.integers(0, 256, (32, 32, 3), np.uint8)
            label = rng.integers(0, 3, (32, 32), np.uint8)
            Image.fromarray(image).save(root / split / "images" / f"{i}.jpg")
            Image.fromarray(label).save(root / split / "labels" / f"{i}.png")
    return root


def value_outside_the_map(root):
    label = np.full((32, 32), 7, np.uint8)
    Image.fromarray(label).save(root / "train" / "labels" / "2.png")
    return "2.png: label value 7"


def label_of_another_size(root):
    label = np.zeros((32, 30), np.uint8)
    Image.fromarray(label).save(root / "train" / "labels" / "2.png")
    return "2.png is 32x30"


def truncated_jpeg(root):
    path = root / "train" / "images" / "2.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    return "2.jpg cannot be read"


def image_without_label(root):
    (root / "val" / "labels" / "1.png").unlink()
    return "1.jpg has no label"


def empty_split(root):
    for path in (root / "val" / "images").iterdir():
        path.unlink()
    return "holds no image"


@pytest.mark.parametrize(
    "spoil",
    [
        value_outside_the_map,
        pytest.param(label_of_another_size, marks=SLOW),
        pytest.param(truncated_jpeg, marks=SLOW),
        image_without_label,
        pytest.param(empty_split, marks=SLOW),
    ],
)
def test_data(tmp_path, spoil):
    root = make_folder(tmp_path / "data")
    told = spoil(root)
    done = program.run(tmp_path / "w", *FOLDER, f"--config.data.root={root}")
    assert done.returncode == 1
    assert told in program.only_line(done)
    assert not (tmp_path / "w" / "result.json").exists()
    if spoil in (image_without_label, empty_split):  # seen before any work
        assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--config.data.name=folder", "--config.data.root=/no/such"], "/no/such"),
        pytest.param(
            ["--config.model.backbone=resnet51"], "did you mean resnet50?", marks=SLOW
        ),
        pytest.param(
            ["--config.data.crop=(16000,16000)", "--config.train.batch_size=1000"],
            "crop=(16000, 16000)",
            marks=SLOW,
        ),
        pytest.param(
            ["--config.model.num_classes=4"], "the data set has 9", marks=SLOW
        ),
        pytest.param(
            ["--config.freeze=bakbone"], "'bakbone', which is no part", marks=SLOW
        ),
        pytest.param(
            ["--config.pretrained.path=torchvision/resnet500"],
            "torchvision/resnet50",
            marks=SLOW,
        ),
        (["--mode=eval"], "train there first"),
        pytest.param(["--mode=predict"], "needs --input", marks=SLOW),
    ],
)
def test_settings(tmp_path, flags, told):
    done = program.run(tmp_path / "w", *flags)
    assert done.returncode == 1
    assert told in program.only_line(done)
    if "crop" not in told:  # that one is seen when the run begins
        assert not (tmp_path / "w").exists()


@SLOW
def test_a_file_in_place_of_the_workdir(tmp_path):
    (tmp_path / "w").write_text("")
    done = program.run(tmp_path / "w")
    assert done.returncode == 1
    assert f"'{tmp_path / 'w'}'" in program.only_line(done)


def test_weights_of_another_architecture(tmp_path):
    weights = {"layer1.0.conv1.weight": np.zeros((16, 16, 3, 3), np.float32)}
    safetensors.save_file(weights, tmp_path / "w.safetensors")
    done = program.run(
        tmp_path / "w", f"--config.pretrained.path={tmp_path / 'w.safetensors'}"
    )
    assert done.returncode == 1
    assert "does not fit the model" in program.only_line(done)
    assert not (tmp_path / "w").exists()
