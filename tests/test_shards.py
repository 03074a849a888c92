"""Which examples a file of a prepared split holds, and which files a run keeps."""

import os

import pytest
from PIL import Image

from jaxseg.data import archives, shards, sources

COUNT = 10


@pytest.fixture
def source(tmp_path):
    pairs = []
    for index in range(COUNT):
        pair = tmp_path / f"{index}.png", tmp_path / f"{index}_label.png"
        for path in pair:
            Image.new("L", (4, 3), 1).save(path)
        pairs.append(pair)
    return sources.Files(pairs, sources.LabelMap({1: 1}))


def plan(tmp_path, source, split="train", made_by="us"):
    return shards.plan(tmp_path / "kept", split, source, made_by=made_by)


def names(planned):
    return [shard.path.name for shard in planned]


def test_every_example_is_in_one_shard(tmp_path, source, monkeypatch):
    (alone,) = plan(tmp_path, source)
    assert sorted(alone.examples) == list(range(COUNT)) != alone.examples
    monkeypatch.setattr(shards, "MAX_EXAMPLES", 4)
    planned = plan(tmp_path, source)
    assert [len(shard.examples) for shard in planned] == [4, 3, 3]
    assert [i for shard in planned for i in shard.examples] == alone.examples
    assert len(set(names(planned))) == 3


def test_order_is_that_of_tfds(tmp_path, source):
    hashing = pytest.importorskip("tensorflow_datasets.core.hashing")
    for split in ("train", "validation"):
        (shard,) = plan(tmp_path, source, split)
        hasher = hashing.Hasher(split)
        expected = sorted(range(COUNT), key=lambda i: hasher.hash_key(str(i)))
        assert shard.examples == expected


def test_names_tell_what_a_shard_is_made_of(tmp_path, source, monkeypatch):
    monkeypatch.setattr(shards, "MAX_EXAMPLES", 5)
    before = plan(tmp_path, source)
    assert names(plan(tmp_path, source)) == names(before)
    assert not set(names(plan(tmp_path, source, made_by="others"))) & set(names(before))
    label = source.pairs[before[1].examples[0]][1]
    stat = label.stat()
    os.utime(label, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    after = names(plan(tmp_path, source))
    assert [one == other for one, other in zip(names(before), after, strict=True)] == [
        True,
        False,
    ]
    label.unlink()  # reading it will tell
    assert names(plan(tmp_path, source))[1] not in (*names(before), *after)


@pytest.mark.parametrize("kind", [archives.Zipped, archives.Tarred])
def test_members_change_with_their_archive(tmp_path, kind):
    archive = tmp_path / "a.zip"
    archive.write_bytes(b"1")
    rest = (0,) * (len(kind._fields) - 2)
    pair = kind(archive, "a.png", *rest), kind(archive, "b.png", *rest)
    source = sources.Files([pair], sources.LabelMap({1: 1}))
    before = names(plan(tmp_path, source))
    archive.write_bytes(b"12")
    assert names(plan(tmp_path, source)) != before


def test_kept(tmp_path, source):
    planned = plan(tmp_path, source)
    folder = tmp_path / "kept"
    with shards.kept(folder, planned):
        for name in ("train-of-others", ".1-train"):
            (folder / name).write_text("")
        planned[0].path.write_text("mine")
    with shards.kept(folder, planned):
        assert [*folder.iterdir()] == [planned[0].path]
    assert planned[0].path.read_text() == "mine"
    with shards.kept(folder, planned):
        planned[0].path.unlink()
    assert not folder.exists()
