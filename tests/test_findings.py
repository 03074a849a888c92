"""Labels of another kind, duplicates, and the check before a run."""

import numpy as np
import pytest
from test_bad_input import make_folder, value_outside_the_map
from test_check import black_and_white, settings
from test_examine import CITYSCAPES, SIZE, everything, filled, write

from jaxseg import config, errors
from jaxseg.data import datasets, findings


def strange(folder, labels, num_classes, **options):
    source = write(folder, labels, **options)
    return findings.strange_labels(everything(source), source, num_classes)


def test_black_and_white(tmp_path):
    (told,) = strange(tmp_path / "a", [filled(0, 255), filled(0)], 3)
    assert told.startswith(f"{tmp_path}/a/0.png: the only label value that is not 0")
    assert '"map": {"0": 0, "255": 1}' in told
    assert not strange(tmp_path / "b", [filled(0, 255), filled(0, 1)], 3)
    as_class = {0: 0, 255: 1}
    assert not strange(tmp_path / "c", [filled(0, 255)], 2, raw_to_train=as_class)


def test_class_numbers_for_raw_values(tmp_path):
    known = {**CITYSCAPES, **dict.fromkeys([*range(7), 9, 10, 14, 255], 255)}
    ids = [filled(*range(7)), filled(7, 8, 9, 255)] * 3
    (told,) = strange(tmp_path / "a", ids, 10, raw_to_train=known)
    assert told.startswith(f"{tmp_path}/a/0.png: no label value from 10 on")
    raw = [filled(1, 4, 7, 8), filled(7, 21, 0)]
    assert not strange(tmp_path / "b", raw * 3, 10, raw_to_train=known)
    assert not strange(tmp_path / "c", ids[:2], 10, raw_to_train=known)  # by chance


def test_nothing_counts(tmp_path):
    known = {0: 0, 1: 1, 9: 255, 255: 255}
    (told,) = strange(tmp_path, [filled(9, 255)], 2, raw_to_train=known)
    assert "every label value ([9, 255]) is ignored" in told


def test_duplicates(tmp_path):
    rng = np.random.default_rng(0)
    a, b, c, d = rng.integers(0, 256, (4, *SIZE, 3), np.uint8)
    train = write(tmp_path / "t", [filled(0)] * 3, images=[a, b, b])
    val = write(tmp_path / "v", [filled(1)] * 2, images=[c, b])
    other = write(tmp_path / "o", [filled(1)], images=[d])
    found = findings.duplicates({"train": everything(train), "val": everything(val)})
    expected = f"{tmp_path}/t/1.png and {tmp_path}/v/1.png are the same image"
    assert found == [f"{expected}, in train and val"]
    splits = {"train": everything(train), "val": everything(other)}
    assert findings.duplicates(splits) == []


def check_first(root, **data):
    chosen = settings(root, **data)
    dataset = datasets.open_dataset(chosen.data, ignore=255)
    splits = {name: dataset.split(name) for name in ("train", "val")}
    findings.check_first(splits, chosen.data, dataset.num_classes)


def test_first_examples(tmp_path):
    root = make_folder(tmp_path / "data")
    check_first(root)
    told = value_outside_the_map(root)  # in the third example
    check_first(root, check_first=0)
    check_first(root, check_first=2)
    check_first(root, on_error="skip")
    with pytest.raises(errors.UserError, match=told):
        check_first(root, check_first=3)
    (root / "val" / "images" / "0.jpg").write_bytes(b"")
    with pytest.raises(errors.UserError, match=r"0\.jpg cannot be read"):
        check_first(root, on_error="skip")  # evaluation never skips


def test_first_examples_of_one_kind(tmp_path):
    root = make_folder(tmp_path / "data")
    (told,) = black_and_white(root)
    with pytest.raises(errors.UserError, match=told):
        check_first(root)


def test_scenes_have_no_files_to_check():
    data = config.Data(check_first=8)
    dataset = datasets.open_dataset(data, ignore=255)
    findings.check_first({"train": dataset.split("train")}, data, dataset.num_classes)
