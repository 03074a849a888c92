import numpy as np
import pytest
from test_sources import refuse, write_pairs

from jaxseg.data import combined, sources

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
INDICES = np.random.default_rng(1).integers(0, 3, (6, 9), np.uint8)


def test_joined(tmp_path):
    parts = [write_pairs(tmp_path / name, RGB, INDICES) for name in "ab"]
    joined = combined.Joined(parts)
    assert len(joined) == 8
    for i, (part, within) in enumerate((p, j) for p in parts for j in range(4)):
        assert joined.name(i) == part.name(within)
        assert joined.loaded(i).stored(0) == part.stored(within)
        np.testing.assert_array_equal(joined[i]["image"], part[within]["image"])
    with pytest.raises(IndexError):
        joined[8]
    other = sources.Files(parts[1].pairs, sources.LabelMap({0: 1, 1: 0, 2: 2}))
    message = refuse(combined.Joined, [parts[0], other])
    assert f"{tmp_path}/b" in message
    assert "mean other classes" in message
    assert "prepare both with --labels=train" in message


def test_skip_unreadable(tmp_path):
    source = combined.SkipUnreadable(write_pairs(tmp_path, RGB, INDICES))
    whole = [source[i] for i in range(4)]
    for name in ("1.png", "2_label.png"):
        (tmp_path / name).write_bytes(b"")
    found = [source[i] for i in range(4)]
    assert len(source) == 4
    assert source.name(1) == str(tmp_path / "1.png")
    for i, stand_in in enumerate((0, 3, 3, 3)):
        np.testing.assert_array_equal(found[i]["image"], whole[stand_in]["image"])
        np.testing.assert_array_equal(source[i]["image"], found[i]["image"])
    assert [len(example.get("skipped", ())) for example in found] == [0, 2, 1, 0]
    assert all(
        told.startswith(str(tmp_path / name))
        for told, name in zip(
            found[1]["skipped"], ("1.png", "2_label.png"), strict=True
        )
    )
    (tmp_path / "3.png").unlink()
    np.testing.assert_array_equal(source[3]["image"], whole[0]["image"])  # goes round
    (tmp_path / "0.png").unlink()
    assert "not one example" in refuse(source.__getitem__, 0)
