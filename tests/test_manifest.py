"""A checkpoint's description of itself, and that no change to it goes unseen."""

import zlib

import pytest

from jaxseg import errors, manifest

CONFIG = {"seed": 0, "data": {"name": "höhe", "mean": [0.1, 2.5e-7]}}


@pytest.fixture
def written(tmp_path):
    (tmp_path / "model" / "d").mkdir(parents=True)
    (tmp_path / "model" / "d" / "0").write_bytes(bytes(range(256)) * 10)
    (tmp_path / "empty").touch()
    manifest.write(tmp_path, step=3, config=CONFIG)
    return tmp_path


def test_what_was_written_is_read(written):
    found = manifest.check(written, 3)
    assert found["config"] == CONFIG
    assert (found["step"], found["miou"]) == (3, None)
    checksum = f"{zlib.crc32(bytes(range(256)) * 10):08x}"
    assert found["files"] == {"empty": [0, "00000000"], "model/d/0": [2560, checksum]}
    assert set(found["versions"]) >= {"jaxseg", "jax", "flax", "optax"}


def test_no_flipped_bit_of_it_goes_unseen(written):
    path = written / manifest.NAME
    whole = path.read_bytes()
    for index in range(len(whole)):
        data = bytearray(whole)
        data[index] ^= 1 << index % 8
        path.write_bytes(data)
        with pytest.raises(manifest.DamagedError):
            manifest.read(written)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "1", '{"manifest": 2}', "\0", "[" * 9999]
)
def test_something_else_in_its_place(written, text):
    (written / manifest.NAME).write_text(text)
    with pytest.raises(manifest.DamagedError, match="manifest"):
        manifest.read(written)


@pytest.mark.parametrize("size", [0, 2559, 2561])
def test_sizes(written, size):
    path = written / "model" / "d" / "0"
    path.write_bytes((path.read_bytes() * 2)[:size])
    with pytest.raises(
        manifest.DamagedError, match=f"has {size} bytes instead of 2560"
    ):
        manifest.check(written, 3)


def test_a_folder_lost(written):
    (written / "model" / "d" / "0").unlink()
    (written / "model" / "d").rmdir()
    with pytest.raises(manifest.DamagedError, match="model/d/0 is missing"):
        manifest.check(written, 3)


def test_files_of_another_kind_and_step(written):
    with pytest.raises(manifest.DamagedError, match="it is that of step 3"):
        manifest.check(written, 4)
    array = written / "model" / "d" / "0"
    array.unlink()
    array.symlink_to(array)
    with pytest.raises(manifest.DamagedError, match="d/0 cannot be read: Too many"):
        manifest.check(written, 3)
    (written / manifest.NAME).unlink()
    (written / manifest.NAME).mkdir()
    with pytest.raises(manifest.DamagedError, match="json cannot be read: Is a dir"):
        manifest.check(written, 3)


def test_a_later_format(written, monkeypatch):
    monkeypatch.setattr(manifest, "FORMAT", manifest.FORMAT - 1)
    with pytest.raises(errors.UserError, match=r"has format 1, .* reads formats to 0"):
        manifest.check(written, 3)
