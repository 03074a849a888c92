"""Labels of another kind, duplicates, and the check before a run."""

import numpy as np
import pytest
from test_bad_input import make_folder, value_outside_the_map
from test_check import black_and_white, settings
from test_examine import CITYSCAPES, SIZE, as_palette, everything, filled, write

from jaxseg import config, errors, pictures
from jaxseg.data import datasets, findings

PALETTE = ((90, 10, 20), (30, 120, 40), (50, 60, 150), (0, 0, 0))


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


def other_order(folder, colors, labels, *, palette=PALETTE, raw_to_train=None):
    source = write(folder, labels, raw_to_train=raw_to_train)
    for i in range(len(labels)):
        as_palette(folder / f"{i}_label.png", colors)
    names = ("sky", "road", "car", "tree")
    return findings.other_order(everything(source), source, names, palette)


KNOWN = {0: 0, 1: 1, 2: 2, 3: 3, 255: 255}


def test_classes_in_another_order(tmp_path):
    """Labels of the same colors whose road and car have changed places."""
    label, changed = filled(0, 1, 2, 255), [PALETTE[i] for i in (0, 2, 1, 3)]
    known = {"raw_to_train": KNOWN}
    (told,) = other_order(tmp_path / "a", changed, [filled(0), label, label], **known)
    assert told.startswith(f"{tmp_path}/a/1.png: the label's own palette gives value 1")
    assert "which is 'road', the color of 'car'" in told
    assert "colors to 2 of its 3 classes; so in 2 of 3 labels" in told
    assert not other_order(tmp_path / "b", PALETTE, [label], **known)
    assert not other_order(tmp_path / "c", changed, [filled(0, 1)], **known)  # one
    gray = [(i, i, i) for i in range(256)]
    assert not other_order(tmp_path / "d", gray, [label], **known)
    source = write(tmp_path / "e", [label], raw_to_train=KNOWN)
    assert not findings.other_order(everything(source), source, tuple("abcd"), PALETTE)


def test_a_palette_that_nobody_chose(tmp_path):
    """VOC's colors for raw values 1 to 4 beside the same for classes 0 to 3."""
    default, raw = tuple(pictures.default_palette(5)), {1: 0, 2: 1, 3: 2, 4: 3}
    chosen = {"palette": default[:4], "raw_to_train": raw}
    assert not other_order(tmp_path, default, [filled(1, 2, 3, 4)], **chosen)


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
