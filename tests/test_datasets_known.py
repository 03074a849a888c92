"""The data sets whose classes are written in the code."""

import numpy as np
import pytest
from PIL import Image
from refusals import refuse

from jaxseg import config, errors
from jaxseg.data import datasets

# (id, name, trainId) of cityscapesScripts/cityscapesscripts/helpers/labels.py.
CITYSCAPES = (
    *((0, "unlabeled", 255), (1, "ego vehicle", 255), (2, "rectification border", 255)),
    *((3, "out of roi", 255), (4, "static", 255), (5, "dynamic", 255)),
    *((6, "ground", 255), (7, "road", 0), (8, "sidewalk", 1), (9, "parking", 255)),
    *((10, "rail track", 255), (11, "building", 2), (12, "wall", 3), (13, "fence", 4)),
    *((14, "guard rail", 255), (15, "bridge", 255), (16, "tunnel", 255)),
    *((17, "pole", 5), (18, "polegroup", 255), (19, "traffic light", 6)),
    *((20, "traffic sign", 7), (21, "vegetation", 8), (22, "terrain", 9)),
    *((23, "sky", 10), (24, "person", 11), (25, "rider", 12), (26, "car", 13)),
    *((27, "truck", 14), (28, "bus", 15), (29, "caravan", 255), (30, "trailer", 255)),
    *((31, "train", 16), (32, "motorcycle", 17), (33, "bicycle", 18)),
)
LICENSE_PLATE = 255  # id -1 in 8 bits


def write(root, split, city, frame, raw):
    """A frame and its label, and the files that lie beside it in gtFine."""
    stem = f"{city}_{frame:06d}_000019"
    image = root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png"
    label = root / "gtFine" / split / city / f"{stem}_gtFine_labelIds.png"
    for path in (image, label):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*raw.shape, 3), frame, np.uint8)).save(image)
    Image.fromarray(raw).save(label)
    for kind in ("color", "instanceIds"):
        Image.fromarray(raw).save(label.with_name(f"{stem}_gtFine_{kind}.png"))
    return image, label


@pytest.fixture
def root(tmp_path):
    raw = np.array([*range(34), LICENSE_PLATE], np.uint8).reshape(5, 7)
    write(tmp_path, "train", "ulm", 2, raw)
    write(tmp_path, "train", "ulm", 1, raw[::-1].copy())
    write(tmp_path, "train", "aachen", 3, raw)
    write(tmp_path, "val", "munster", 4, raw)
    return tmp_path


def open_cityscapes(root, ignore=255):
    return datasets.open_dataset(
        config.Data(name="cityscapes", root=str(root)), ignore=ignore
    )


def test_cityscapes_classes(root):
    dataset = open_cityscapes(root)
    evaluated = [row for row in CITYSCAPES if row[2] != 255]
    assert [row[2] for row in evaluated] == list(range(19))
    assert dataset.class_names == tuple(name for _, name, _ in evaluated)
    assert len(dataset.palette) == dataset.num_classes == 19
    assert dataset.palette[0] == (128, 64, 128)
    assert dataset.palette[13] == (0, 0, 142)
    assert dataset.palette[18] == (119, 11, 32)


@pytest.mark.parametrize("ignore", [255, 250])
def test_cityscapes_labels(root, ignore):
    label = open_cityscapes(root, ignore).split("val")[0]["label"]
    expected = [ignore if train == 255 else train for _, _, train in CITYSCAPES]
    assert label.ravel().tolist() == [*expected, ignore]


def test_cityscapes_order(root):
    source = open_cityscapes(root).split("train")
    assert [source[i]["image"][0, 0, 0] for i in range(len(source))] == [3, 1, 2]
    assert source.name(0).endswith("aachen_000003_000019_leftImg8bit.png")


@pytest.mark.parametrize("value", [34, 254])
def test_cityscapes_refuses_other_ids(root, value):
    raw = np.full((5, 7), value, np.uint8)
    _, label = write(root, "val", "munster", 4, raw)
    message = refuse(open_cityscapes(root).split("val").__getitem__, 0)
    assert message.startswith(f"{label}: label value {value} is in no class")
    assert "0-33, 255" in message


def test_cityscapes_files_are_missing(root, tmp_path):
    source = open_cityscapes(root)
    image, label = write(root, "val", "lindau", 5, np.zeros((1, 1), np.uint8))
    label.unlink()
    assert refuse(source.split, "val") == f"{image} has no label; expected {label}"
    with pytest.raises(errors.UserError, match=r"config\.data\.root"):
        open_cityscapes(tmp_path / "none")


def test_synthetic():
    data = config.Data(size=(16, 24), train_images=5, eval_images=3)
    dataset = datasets.open_dataset(data, ignore=255)
    assert len(dataset.palette) == dataset.num_classes == 9
    train, val = dataset.split("train"), dataset.split("val")
    assert (len(train), len(val)) == (5, 3)
    names = [source.name(i) for source in (train, val) for i in range(len(source))]
    assert len(set(names)) == 8
    scenes = [source[i] for source in (train, val) for i in range(len(source))]
    assert len({scene["image"].tobytes() for scene in scenes}) == 8  # none is shared
    for scene in scenes:
        assert scene["image"].shape == (16, 24, 3)
        assert scene["label"].max() < dataset.num_classes
    again = datasets.open_dataset(data, ignore=255).split("train")
    np.testing.assert_array_equal(again[4]["image"], train[4]["image"])


def test_domains_differ():
    day, night = (
        datasets.open_dataset(
            config.Data(size=(16, 24), domain=domain), ignore=255
        ).split("train")[0]["image"]
        for domain in ("day", "night")
    )
    assert day.mean() > night.mean()
