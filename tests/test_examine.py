"""What is wrong with files is found, each kind in a folder spoiled that way."""

import numpy as np
import pytest
from PIL import Image

from jaxseg.data import examine, sources

SIZE = (6, 8)
CITYSCAPES = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9}


def write(folder, labels, *, images=None, raw_to_train=None):
    """A source of PNG files; an image is random unless given."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, pairs = np.random.default_rng(len(str(folder))), []
    for i, label in enumerate(labels):
        image = rng.integers(0, 256, (*SIZE, 3), np.uint8)
        image = image if images is None else images[i]
        pair = folder / f"{i}.png", folder / f"{i}_label.png"
        for path, array in zip(pair, (image, label), strict=True):
            Image.fromarray(np.asarray(array, np.uint8)).save(path)
        pairs.append(pair)
    known = raw_to_train or {0: 0, 1: 1, 2: 2, 255: 255}
    return sources.Files(pairs, sources.LabelMap(known))


def filled(*values):
    """A label of these values, column by column."""
    return np.resize(np.array(values, np.uint8), SIZE)


def everything(source):
    return [*examine.examine_all(source, len(source))]


def test_a_good_example(tmp_path):
    source = write(tmp_path, [filled(0, 1), filled(1, 1), filled(255, 2)])
    seen = everything(source)
    assert [each.problem for each in seen] == [""] * 3
    assert [each.name for each in seen] == [source.name(i) for i in range(3)]
    assert all(each.size == SIZE for each in seen)
    for i, each in enumerate(seen):
        expected = np.bincount(source.raw_label(i).ravel(), minlength=256)
        np.testing.assert_array_equal(each.values, expected)
    np.testing.assert_array_equal(
        examine.class_counts(seen, source, 3), [[24, 24, 0], [0, 48, 0], [0, 0, 24]]
    )
    assert examine.strange_labels(seen, source, 3) == []
    assert len(everything(source)[:2]) == len([*examine.examine_all(source, 2)])


def test_a_source_without_files():
    source = sources.Scenes(2, 0, (16, 24), "day")
    seen = everything(source)
    for i, each in enumerate(seen):
        counts = np.bincount(source[i]["label"].ravel(), minlength=9)
        np.testing.assert_array_equal(each.values[: len(counts)], counts)
        assert (each.size, each.digest, each.problem) == ((16, 24), "", "")
    assert examine.class_counts(seen, source, 9).sum() == 2 * 16 * 24


def test_values_outside_the_map(tmp_path):
    source = write(tmp_path, [filled(0), filled(0, 7, 0, 9), filled(3)])
    seen = everything(source)
    assert seen[0].problem == ""
    assert seen[1].problem.startswith(f"{tmp_path}/1_label.png: label value 7 is in no")
    assert seen[1].problem.endswith("7 (12 pixels), 9 (12 pixels)")
    assert "label value 3" in seen[2].problem
    assert "all such values" not in seen[2].problem


def test_a_color_image_for_a_label(tmp_path):
    seen = everything(write(tmp_path, [np.zeros((*SIZE, 3))]))
    assert seen[0].problem.startswith(f"{tmp_path}/0_label.png has mode RGB")


def test_sizes_that_differ(tmp_path):
    seen = everything(write(tmp_path, [np.zeros((6, 7))]))
    assert seen[0].problem.startswith(f"{tmp_path}/0_label.png is 6x7")


@pytest.mark.parametrize("name", ["1.png", "1_label.png"])
def test_unreadable_and_missing(tmp_path, name):
    source = write(tmp_path, [filled(0), filled(1)])
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:45])
    seen = everything(source)
    assert seen[0].problem == ""
    assert seen[1].problem.startswith(f"{path} cannot be read as an image")
    path.unlink()
    assert str(path) in everything(source)[1].problem


def strange(folder, labels, num_classes, **options):
    source = write(folder, labels, **options)
    return examine.strange_labels(everything(source), source, num_classes)


def test_black_and_white(tmp_path):
    (told,) = strange(tmp_path / "a", [filled(0, 255), filled(0)], 3)
    assert told.startswith(f"{tmp_path}/a/0.png: the only label value that is not 0")
    assert '"map": {"0": 0, "255": 1}' in told
    assert not strange(tmp_path / "b", [filled(0, 255), filled(0, 1)], 3)
    as_class = {0: 0, 255: 1}
    assert not strange(tmp_path / "c", [filled(0, 255)], 2, raw_to_train=as_class)


def test_class_numbers_for_raw_values(tmp_path):
    known = {**CITYSCAPES, **dict.fromkeys([*range(7), 9, 10, 14, 255], 255)}
    ids = [filled(*range(7)), filled(7, 8, 9, 255)]
    (told,) = strange(tmp_path / "a", ids, 10, raw_to_train=known)
    assert told.startswith(f"{tmp_path}/a/0.png: no label value from 10 on")
    raw = [filled(1, 4, 7, 8), filled(7, 21, 0)]
    assert not strange(tmp_path / "b", raw, 10, raw_to_train=known)


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
    found = examine.duplicates({"train": everything(train), "val": everything(val)})
    expected = f"{tmp_path}/t/1.png and {tmp_path}/v/1.png are the same image"
    assert found == [f"{expected}, in train and val"]
    splits = {"train": everything(train), "val": everything(other)}
    assert examine.duplicates(splits) == []
