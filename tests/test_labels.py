"""Labels given by colors and MATLAB arrays."""

import pickle

import numpy as np
import official_files
import pytest
from PIL import Image
from refusals import refuse

from jaxseg.data import labels

COLORS = ((255, 0, 7), (0, 0, 0), (1, 2, 3), (0, 255, 0))
INDICES = np.array([[0, 1, 2, 3], [3, 3, 0, 1]])
PIXELS = np.array(COLORS, np.uint8)[INDICES]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "label.png"


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colors(path, mode):
    picture = Image.fromarray(PIXELS)
    picture = picture.quantize(4) if mode == "P" else picture.convert(mode)
    picture.save(path)
    read = labels.ColorCode(COLORS)
    for each in (read, pickle.loads(pickle.dumps(read))):
        found = each(path)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, INDICES)


def test_unknown_color(path):
    pixels = PIXELS.copy()
    pixels[1, 2] = (255, 0, 8)
    Image.fromarray(pixels).save(path)
    message = refuse(labels.ColorCode(COLORS), path)
    assert message.startswith(f"{path}: color (255, 0, 8) is of no class")


def test_indices_are_no_colors(path):
    Image.fromarray(INDICES.astype(np.uint8)).save(path)
    message = refuse(labels.ColorCode(COLORS), path)
    assert message.startswith(f"{path} has mode L; ")
    assert "class colors" in message


def test_matlab(path):
    array = np.arange(12).reshape(3, 4)
    for kind in (np.uint8, np.uint16):
        path.write_bytes(official_files.matlab({"LabelMap": array.astype(kind)}))
        found = labels.read_matlab(path, "LabelMap", high=11)
        assert found.dtype == kind
        np.testing.assert_array_equal(found, array)
    path.write_bytes(official_files.matlab({"a": {"b": array}}))
    np.testing.assert_array_equal(labels.read_matlab(path, "a", "b", high=99), array)


def test_no_matlab_array(path):
    array = np.arange(400, dtype=np.uint8).reshape(20, 20)
    whole = official_files.matlab({"a": array, "text": "no"})
    for content in (b"", b"hello", whole[:150], whole[:200]):
        path.write_bytes(content)
        message = refuse(labels.read_matlab, path, "a", high=255)
        assert message.startswith(f"{path} holds no array of labels 'a'")
    path.write_bytes(whole)
    for variable in ("b", "text"):
        assert repr(variable) in refuse(labels.read_matlab, path, variable, high=9)
    path.unlink()
    assert str(path) in refuse(labels.read_matlab, path, "a", high=255)


@pytest.mark.parametrize("value", [-1, 10])
def test_matlab_values_out_of_range(path, value):
    array = np.array([[0, value]], np.int16)
    path.write_bytes(official_files.matlab({"a": array}))
    message = refuse(labels.read_matlab, path, "a", high=9)
    low, top = min(value, 0), max(value, 0)
    assert f"values reach from {low} to {top}; the data set has 0-9" in message
