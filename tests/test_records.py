"""Data sets that TensorFlow Datasets wrote, named in a config."""

import contextlib
import io
import json
import pickle
import sys

import numpy as np
import official_files
import pytest
from PIL import Image
from refusals import refuse

from jaxseg import config, errors
from jaxseg.data import datasets, loader, records

tfds = pytest.importorskip("tensorflow_datasets", reason="needs jaxseg[tfds]")

NAMES = '{"names": ["a", "b", "c"], "ignore": [255]}'


class Foreign(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Of another author: two images, palette labels, names that tell nothing."""

    name = "foreign"
    VERSION = tfds.core.Version("2.1.0")
    label = (0, 2, 255)

    def _info(self):
        image = tfds.features.Image
        features = {
            "left": image(),
            "right": image(),
            "mask": image(shape=(None, None, 1)),
            "weight": tfds.features.Scalar(dtype=np.float32),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        return {
            "train": self._generate_examples(range(6)),
            "validation": self._generate_examples([9]),
        }

    def _generate_examples(self, seeds):
        for seed in seeds:
            yield (
                seed,
                {
                    "left": official_files.image(seed, "JPEG"),
                    "right": official_files.image(seed + 100),
                    "mask": official_files.palette(self.label),
                    "weight": 1.0,
                },
            )


class Camvid(Foreign, skip_registration=True):
    """Of a name that jaxseg has too."""

    name = "camvid"


@pytest.fixture
def data_dir(tmp_path):
    builder = Foreign(data_dir=tmp_path / "tfds", file_format="array_record")
    builder.download_and_prepare(download_dir=tmp_path / "unused")
    (tmp_path / "classes.json").write_text(NAMES)
    return tmp_path / "tfds"


def open_set(root, **fields):
    fields = {
        "image_key": "left",
        "classes": str(root.parent / "classes.json"),
    } | fields
    data = config.Data(name="tfds", root=str(root), **fields)
    return datasets.open_dataset(data, ignore=255)


def decode(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def test_a_foreign_data_set(data_dir):
    dataset = open_set(data_dir)
    assert dataset.class_names == ("a", "b", "c")
    (example,) = dataset.split("val")
    expected = decode(official_files.image(9, "JPEG"))
    np.testing.assert_array_equal(example["image"], expected)
    np.testing.assert_array_equal(  # indices, not the palette's colors
        example["label"], official_files.spread(Foreign.label)
    )
    dataset = open_set(data_dir, image_key="right", label_key="mask")
    example = dataset.split("val")[0]
    np.testing.assert_array_equal(example["image"], decode(official_files.image(109)))


def test_a_name_alone_tells_no_classes(tmp_path):
    builder = Camvid(data_dir=tmp_path / "tfds", file_format="array_record")
    builder.download_and_prepare(download_dir=tmp_path / "unused")
    message = refuse(open_set, tmp_path / "tfds", classes="")
    assert "does not tell its classes; set config.data.classes" in message


def test_checked_and_mixed_as_files_are(data_dir):
    dataset = open_set(data_dir, mix=(str(data_dir),))
    train = dataset.split("train")
    assert len(train) == 12
    for index in (1, 7):  # the same example in both parts
        (files,) = train.loaded(index).pairs
        assert str(files[0]) == "foreign/2.1.0 train 1 left"
        np.testing.assert_array_equal(
            train.loaded(index).raw_label(0), official_files.spread(Foreign.label)
        )
        example = train.loaded(index)[0]
        for key in ("image", "label"):
            np.testing.assert_array_equal(example[key], train[index][key])


@pytest.mark.parametrize("name", ["", "foreign", "foreign/2.1.0"])
def test_where_it_lies(data_dir, name):
    assert len(open_set(data_dir, tfds_name=name).split("train")) == 6


def test_root_may_be_its_own_folder(data_dir):
    root = data_dir / "foreign/2.1.0"
    classes = str(data_dir.parent / "classes.json")
    assert len(open_set(root, classes=classes).split("train")) == 6


def test_slices(data_dir):
    dataset = open_set(data_dir, train_split="train[:50%]", val_split="train[50%:]")
    halves = dataset.split("train"), dataset.split("val")
    assert [len(half) for half in halves] == [3, 3]
    images = {example["image"].tobytes() for half in halves for example in half}
    assert len(images) == 6
    assert len(open_set(data_dir, train_split="train+validation").split("train")) == 7


def test_pickled(data_dir):
    source = open_set(data_dir).split("train")
    copied = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 50_000
    for index in range(len(source)):
        for key in ("image", "label"):
            np.testing.assert_array_equal(copied[index][key], source[index][key])
    assert source.name(2) == "foreign/2.1.0 train 2"


def test_mistakes(data_dir, tmp_path):
    message = refuse(open_set, data_dir, image_key="")
    assert "config.data.image_key=''" in message
    assert "left, mask, right" in message
    assert "'weight' names no image" in refuse(open_set, data_dir, label_key="weight")
    assert "set config.data.classes to a" in refuse(open_set, data_dir, classes="")
    message = refuse(open_set(data_dir).split, "test")
    assert "no split 'test'" in message
    assert "train, validation" in message
    message = refuse(open_set, data_dir, tfds_name="cityscapes")
    assert f"{data_dir / 'cityscapes'} holds no data set" in message
    (tmp_path / "empty").mkdir()
    assert "holds no data set" in refuse(open_set, tmp_path / "empty")
    (data_dir / "foreign/2.1.0").rename(data_dir / "foreign/incomplete.ABC_2.1.0")
    assert "holds no data set" in refuse(open_set, data_dir)


def test_values_without_a_class(data_dir):
    (data_dir.parent / "classes.json").write_text('{"names": ["a", "b"]}')
    message = refuse(open_set(data_dir).split("val").__getitem__, 0)
    assert message.startswith("foreign/2.1.0 validation 0 mask: label value 2 is in no")


def test_several(data_dir):
    info = data_dir / "foreign/2.1.0/dataset_info.json"
    other = data_dir / "foreign/small/2.1.0"
    other.mkdir(parents=True)
    (other / info.name).write_bytes(info.read_bytes())
    message = refuse(open_set, data_dir)
    assert "foreign/2.1.0, foreign/small/2.1.0" in message


def test_without_the_library(data_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    message = refuse(open_set, data_dir)
    assert message == "tensorflow-datasets is not installed; pip install 'jaxseg[tfds]'"


def test_files_without_random_access(data_dir):
    info = data_dir / "foreign/2.1.0/dataset_info.json"
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    assert "no random access" in refuse(open_set(data_dir).split, "train")


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
def test_damaged_metadata(data_dir, name):
    path = data_dir / "foreign/2.1.0" / name
    path.write_text(path.read_text()[:-30])
    assert "cannot be read by TensorFlow Datasets" in refuse(open_set, data_dir)


def test_damaged_records(data_dir):
    """An error of one line or the right example, never another."""
    expected = open_set(data_dir).split("val")[0]
    (path,) = (data_dir / "foreign/2.1.0").glob("*validation.array_record*")
    content, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(len(damaged), size=3):
            damaged[place] = rng.integers(256)
        path.write_bytes(bytes(damaged))
        try:
            source = open_set(data_dir).split("val")
            example = source[0]
        except errors.UserError:
            refused += 1
        else:
            np.testing.assert_array_equal(example["image"], expected["image"])
            np.testing.assert_array_equal(example["label"], expected["label"])
    assert refused
    assert records.UNFINISHED == tfds.core.constants.INCOMPLETE_PREFIX


@pytest.mark.slow
def test_worker_processes_give_the_same_batches(data_dir):
    found = []
    for workers in (0, 2):
        data = config.Data(crop=(16, 16), workers=workers)
        batches = loader.train_batches(
            open_set(data_dir).split("train"),
            data,
            batch_size=4,
            seed=0,
            ignore=255,
            start=0,
        )
        with contextlib.closing(batches):
            found.append([next(batches) for _ in range(4)])
    for one, other in zip(*found, strict=True):
        for key in ("images", "labels"):
            np.testing.assert_array_equal(one[key], other[key])


@pytest.mark.parametrize("how", ["featuresDict", "legacy", "json in json", "list"])
def test_no_module_is_imported_that_a_data_set_names(
    data_dir, tmp_path, monkeypatch, how
):
    """TFDS itself imports the module of whatever class features.json names."""
    witness = tmp_path / "ran"
    (tmp_path / "evil_features.py").write_text(f"open({str(witness)!r}, 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    (path,) = data_dir.rglob("features.json")
    listed = json.loads(path.read_text())
    evil = {"pythonClassName": "evil_features.Feature", "jsonFeature": {"json": "{}"}}
    legacy = {"type": "evil_features.Feature", "content": {}, "proto_cls": ""}
    kind = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
    match how:
        case "featuresDict":
            listed["featuresDict"]["features"]["left"] = evil
        case "legacy":
            listed = legacy
        case "json in json":
            inner = json.dumps({"left": legacy})
            listed = {"pythonClassName": kind, "jsonFeature": {"json": inner}}
        case "list":
            listed = {"type": kind, "content": [legacy], "proto_cls": ""}
    path.write_text(json.dumps(listed))
    message = refuse(open_set, data_dir)
    assert "its feature 'evil_features.Feature' is not TFDS's own" in message
    assert not witness.exists()
    if how == "featuresDict":  # and the attack is one
        with pytest.raises(ValueError, match="Unrecognized FeatureConnector"):
            tfds.builder_from_directory(path.parent)
        assert witness.exists()
