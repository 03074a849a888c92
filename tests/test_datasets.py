import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from refusals import refuse

from jaxseg import config, errors
from jaxseg.data import datasets

NAMES = ["sky", "road", "car"]
PALETTE = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
FACTS = {"names": NAMES, "palette": PALETTE}
RAW = np.array([[0, 1, 2], [2, 255, 0]], np.uint8)


def write_image(path, label=None):
    """An image of RAW's size, or a label file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.zeros((*RAW.shape, 3), np.uint8) if label is None else label
    Image.fromarray(image).save(path)


def write_classes(root, facts):
    (root / "classes.json").write_text(json.dumps(facts))


@pytest.fixture
def root(tmp_path):
    """A folder data set of two training images and one to validate on."""
    for path in ("train/images/b.jpg", "train/images/a.png", "val/images/c.jpeg"):
        write_image(tmp_path / path)
    for path in ("train/labels/a.png", "train/labels/b.png", "val/labels/c.png"):
        write_image(tmp_path / path, RAW)
    write_classes(tmp_path, FACTS)
    return tmp_path


def open_folder(root, ignore=255):
    return datasets.open_dataset(
        config.Data(name="folder", root=str(root)), ignore=ignore
    )


def refuse_split(root, split="train"):
    return refuse(open_folder(root).split, split)


def labels(root, ignore=255):
    return open_folder(root, ignore).split("train")[0]["label"]


def test_folder(root):
    dataset = open_folder(root)
    assert dataset.class_names == tuple(NAMES)
    assert dataset.palette == ((1, 2, 3), (4, 5, 6), (7, 8, 9))
    assert dataset.num_classes == 3
    train, val = dataset.split("train"), dataset.split("val")
    assert [train.name(i) for i in range(len(train))] == [
        str(root / "train/images/a.png"),
        str(root / "train/images/b.jpg"),
    ]
    assert [val.name(i) for i in range(len(val))] == [str(root / "val/images/c.jpeg")]
    np.testing.assert_array_equal(train[0]["label"], RAW)
    assert train[0]["image"].shape == (2, 3, 3)


def test_hidden_and_foreign_files_are_no_examples(root):
    for name in ("._a.png", "notes.txt", "Thumbs.db"):
        (root / "train/images" / name).write_bytes(b"")
    assert len(open_folder(root).split("train")) == 2


def test_values_to_ignore(root):
    assert labels(root, ignore=254)[1, 1] == 254  # [255] unless said otherwise
    write_classes(root, FACTS | {"ignore": [0, 255]})
    np.testing.assert_array_equal(labels(root), [[255, 1, 2], [2, 255, 255]])
    write_classes(root, FACTS | {"ignore": []})
    source = open_folder(root).split("train")
    assert "label value 255 is in no class" in refuse(source.__getitem__, 0)


def test_map(root):
    write_classes(root, FACTS | {"map": {"0": 2, "1": 0, "2": 2}})
    np.testing.assert_array_equal(labels(root), [[2, 0, 2], [2, 255, 2]])
    write_classes(root, FACTS | {"map": {"0": 0, "255": 1}, "ignore": [1, 2]})
    np.testing.assert_array_equal(labels(root), [[0, 255, 255], [255, 1, 0]])


def test_map_may_use_255(root):
    """A mask of 0 and 255: the default to ignore 255 must not swallow it."""
    write_classes(root, FACTS | {"map": {"0": 0, "1": 0, "2": 0, "255": 1}})
    np.testing.assert_array_equal(labels(root), [[0, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize("where", ["", "none"])
def test_root_is_missing(tmp_path, where):
    path = str(tmp_path / where) if where else ""
    message = refuse(open_folder, path)
    assert message.startswith(f"config.data.root={path!r} is not a folder")


def test_split_is_missing(root):
    (root / "val").rename(root / "test")
    assert refuse_split(root, "val") == f"{root / 'val/images'} is not a folder"
    (root / "train/labels").rename(root / "train/masks")
    assert refuse_split(root) == f"{root / 'train/labels'} is not a folder"


def test_empty_split(root):
    (root / "val/images/c.jpeg").unlink()
    (root / "val/labels/c.png").unlink()
    assert refuse_split(root, "val").startswith(f"{root / 'val/images'} holds no image")


def test_image_without_label(root):
    (root / "train/labels/b.png").unlink()
    message = refuse_split(root)
    assert message.startswith(f"{root / 'train/images/b.jpg'} has no label; expected ")
    assert message.endswith(str(root / "train/labels/b.png"))


def test_label_without_image(root):
    (root / "train/images/b.jpg").unlink()
    message = refuse_split(root)
    assert message.startswith(f"{root / 'train/labels/b.png'} has no image; expected ")
    assert str(root / "train/images/b.jpg") in message


def test_two_images_of_one_name(root):
    write_image(root / "train/images/a.jpg")
    assert "share a name" in refuse_split(root)


def test_classes_of_a_workdir(root):
    dataset = open_folder(root)
    path = root / "saved.json"
    datasets.write_classes(path, dataset)
    assert datasets.read_classes(path) == (dataset.class_names, dataset.palette)


def test_number_of_classes(root):
    dataset, run = open_folder(root), config.Config()
    assert datasets.with_num_classes(run, dataset).model.num_classes == 3
    run.loss.class_weights = (1.0, 2.0)
    message = refuse(datasets.with_num_classes, run, dataset)
    assert "config.loss.class_weights has 2 values for 3 classes" in message
    run.loss.class_weights, run.model.num_classes = (), 4
    assert "num_classes=4" in refuse(datasets.with_num_classes, run, dataset)


def test_mixed(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "data"
    shutil.copytree(root, other)
    data = config.Data(name="folder", root=str(root), mix=(str(other),))
    dataset = datasets.open_dataset(data, ignore=255)
    names = [dataset.split("train").name(i) for i in range(4)]
    assert [str(root) in name for name in names] == [True, True, False, False]
    assert len(dataset.split("val")) == 1  # what is evaluated on stays
    facts = json.loads((other / "classes.json").read_text())
    facts["names"] = facts["names"][::-1]
    (other / "classes.json").write_text(json.dumps(facts))
    message = refuse(datasets.open_dataset, data, ignore=255)
    assert f"config.data.mix: {other} has other classes than {root}" in message


@pytest.mark.parametrize(
    "name",
    ["\x1b[31mroad", "a\nb", "a\u202eb", "\ud800", "x" * 201],
)
def test_class_names_are_one_plain_line(root, name):
    write_classes(root, FACTS | {"names": [name, "b", "c"]})
    message = refuse(open_folder, root)
    assert message.startswith(f"{root / 'classes.json'} names a class '")
    assert errors.is_plain(message)


@pytest.mark.parametrize("name", ["\x1b[31m.png", "a\nb.png", "a\u202eb.png"])
def test_file_names_are_one_plain_line(root, name):
    write_image(root / "train/images" / name)
    message = refuse_split(root)
    assert message.startswith(f"the file {name!r} has control characters")
    assert errors.is_plain(message)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 10**5, "is not valid JSON"),
        ("9" * 5000, "is not valid JSON"),
        ("\ufeff\0", "is not valid JSON"),
        (" " * 2**20 + "{}", "has more than 1048576 bytes"),
        ('{"names": ["a", "b"], "map": {"%s": 0}}' % ("9" * 5000), "must be in 0..255"),
        ('{"names": ["a", "b"], "map": {"\u0663": 0}}', "must be in 0..255"),
        ('{"names": ["a", "b"], "ignore": [1e999]}', '"map" must be'),
    ],
)
def test_hostile_classes(root, text, told):
    (root / "classes.json").write_text(text)
    assert told in refuse(open_folder, root)


def test_what_is_no_file_is_told_at_once(root):
    os.mkfifo(root / "train/images/d.png")
    told = f"{root / 'train/images/d.png'} is no regular file; remove it"
    assert refuse_split(root) == told
    (root / "train/images/d.png").unlink()
    (root / "train/images/d.png").symlink_to("/dev/zero")
    assert refuse_split(root) == told
