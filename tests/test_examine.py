"""What is wrong with files is found, each kind in a folder spoiled that way."""

import dataclasses
import threading
import time

import numpy as np
import pytest
from PIL import Image

from jaxseg import errors
from jaxseg.data import examine, labels, sources

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
    return [*examine.examine_all(source, len(source), timeout=60)]


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
    assert len([*examine.examine_all(source, 2, timeout=60)]) == 2


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


class Hanging:
    """A file on a disk that does not answer."""

    def __init__(self, name):
        self.name, self.answer = name, threading.Event()

    def __str__(self):
        return self.name

    def read_bytes(self):
        self.answer.wait()
        return b""


def test_a_file_that_hangs_is_named(tmp_path):
    source = write(tmp_path, [filled(0), filled(1), filled(2)])
    hanging = Hanging(str(source.pairs[1][0]))
    pairs = [source.pairs[0], (hanging, source.pairs[1][1]), source.pairs[2]]
    source = dataclasses.replace(source, pairs=pairs)
    seen, begin = [], time.monotonic()
    with pytest.raises(
        errors.Stalled, match=r"1\.png or its label was not read in 0.5"
    ):
        seen.extend(examine.examine_all(source, 3, timeout=0.5))
    assert time.monotonic() - begin < 5
    hanging.answer.set()  # lets its thread end


def as_palette(path, colors):
    """The same values in a palette PNG."""
    picture = Image.open(path)
    given = [value for color in colors for value in color]
    picture.putpalette([*given, *[254] * (768 - len(given))])  # few take fewer bits
    picture.save(path)


def test_palette_of_a_label(tmp_path):
    source = write(tmp_path, [filled(0, 1), filled(1)])
    colors = [(1, 2, 3), (4, 5, 6), (7, 8, 9)]
    as_palette(tmp_path / "0_label.png", colors)
    seen = everything(source)
    assert seen[0].palette[:9] == bytes(range(1, 10))
    assert seen[0].values[:2].tolist() == [24, 24]
    assert seen[1].palette == b""
    coded = sources.Files(
        source.pairs[:1], source.label_map, labels.ColorCode(colors[:2])
    )
    assert everything(coded)[0].palette == b""  # values are no indices there
