import pickle

import numpy as np
import pytest
from PIL import Image
from refusals import refuse

from jaxseg.data import combined, sources


def write_pairs(folder, rgb, indices, count=4):
    folder.mkdir(exist_ok=True)
    pairs = []
    for i in range(count):
        pairs.append((folder / f"{i}.png", folder / f"{i}_label.png"))
        Image.fromarray((rgb + i).astype(np.uint8)).save(pairs[-1][0])
        Image.fromarray(indices).save(pairs[-1][1])
    return sources.Files(pairs, sources.LabelMap({0: 0, 1: 1, 2: 2, 255: 255}))


def test_label_map():
    table = sources.LabelMap({7: 0, 8: 1, 0: 255, 255: 254})
    raw = np.array([[7, 8], [0, 255]], np.uint8)
    found = table(raw, "a.png")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, [[0, 1], [255, 254]])


def test_label_map_refuses_unknown_values():
    table = sources.LabelMap({0: 0, 1: 1, 2: 2, 5: 3, 254: 255, 255: 255})
    raw = np.array([[0, 1], [5, 77]], np.uint8)
    message = refuse(table, raw, "some/a.png")
    assert message.startswith("some/a.png: label value 77 is in no class")
    assert "0-2, 5, 254-255" in message


def test_files(tmp_path, rgb, indices):
    source = write_pairs(tmp_path, rgb, indices)
    assert len(source) == 4
    assert source.name(2) == str(tmp_path / "2.png")
    example = source[2]
    np.testing.assert_array_equal(example["image"], (rgb + 2).astype(np.uint8))
    np.testing.assert_array_equal(example["label"], indices)
    assert example["label"].dtype == np.uint8


def test_label_of_another_size(tmp_path, rgb, indices):
    source = write_pairs(tmp_path, rgb, indices)
    Image.fromarray(indices.T.copy()).save(tmp_path / "1_label.png")
    message = refuse(source.__getitem__, 1)
    assert f"{tmp_path / '1_label.png'} is 9x6 (height x width)" in message
    assert message.endswith(f"{tmp_path / '1.png'} 6x9; they must be of one size")


def test_label_beside_an_image_that_is_turned(tmp_path, rgb, indices):
    source = write_pairs(tmp_path, rgb, indices)
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(rgb).save(tmp_path / "1.png", exif=exif)
    assert "1.png 9x6 as its EXIF orientation turns it; " in refuse(
        source.__getitem__, 1
    )


def test_label_of_no_class(tmp_path, rgb, indices):
    source = write_pairs(tmp_path, rgb, indices)
    Image.fromarray(indices + 5).save(tmp_path / "1_label.png")
    assert refuse(source.__getitem__, 1).startswith(str(tmp_path / "1_label.png"))


def test_sources_can_be_pickled(tmp_path, rgb, indices):
    files = write_pairs(tmp_path, rgb, indices)
    scenes = sources.Scenes(3, 0, (16, 24), "day")
    for source in (files, scenes, combined.SkipUnreadable(files)):
        assert isinstance(source, sources.Source)
        copy = pickle.loads(pickle.dumps(source))
        assert len(copy) == len(source)
        assert copy.name(1) == source.name(1)
        for key in ("image", "label"):
            np.testing.assert_array_equal(copy[1][key], source[1][key])


@pytest.mark.parametrize(("count", "kept"), [(3, True), (60_000, False)])
def test_few_scenes_are_rendered_once(count, kept):
    scenes = sources.Scenes(count, 0, (16, 24), "day")
    first, again = scenes[1], scenes[1]
    assert (first["image"] is again["image"]) == kept
    np.testing.assert_array_equal(first["image"], again["image"])
    with pytest.raises(ValueError, match="read-only"):
        first["image"][0] = 0
