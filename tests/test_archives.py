"""Members of zip and tar archives: what is read, and what is refused."""

import concurrent.futures
import io
import os
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import official_files
import pytest
from refusals import refuse

from jaxseg import errors
from jaxseg.data import archives

FILES = {f"train/images/{i}.bin": bytes([i]) * (i * 100) for i in range(4)}


def write_zip(path, files=FILES, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.mkdir("train")
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path, files=FILES, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


WRITE = {"zip": write_zip, "tar": write_tar}


def content(path):
    return {name: file.read_bytes() for name, file in archives.members(path).items()}


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"]
)
def test_zip(tmp_path, method):
    path = write_zip(tmp_path / "a.zip", method=method)
    assert content(path) == FILES
    file = archives.members(path)["train/images/3.bin"]
    assert isinstance(file, archives.File)
    assert str(file) == f"{path}/train/images/3.bin"


@pytest.mark.parametrize("layout", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT])
def test_tar(tmp_path, layout):
    long = {f"{'deep/' * 30}{i}.bin": bytes(i) for i in range(3)}
    files = FILES | (long if layout == tarfile.GNU_FORMAT else {})
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=layout) as archive:
        archive.addfile(tarfile.TarInfo("link"), None)
        for name, each in files.items():
            info = tarfile.TarInfo(f"./{name}")  # as `tar -c .` writes it
            info.size = len(each)
            archive.addfile(info, io.BytesIO(each))
        link = tarfile.TarInfo("outside")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert content(path) == {"link": b"", **files}


def test_zip_behind_other_bytes_and_of_64_bits(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, each in FILES.items():
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(each)
    path.write_bytes(b"#!/bin/sh\n" * 50 + path.read_bytes())
    assert content(path) == FILES


def test_zip_made_by_windows(tmp_path):
    """With backslashes, and entries for folders."""
    names = {name: name.replace("/", "\\") for name in FILES}
    path = write_zip(tmp_path / "a.zip", {names[n]: FILES[n] for n in FILES})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("train\\images\\", b"")
    found = content(path)
    assert found.pop("train/images") == b""
    assert found == FILES


@pytest.mark.parametrize("kind", WRITE)
def test_members_go_to_other_processes_and_threads(tmp_path, kind):
    rng = np.random.default_rng(0)
    files = {f"{i}.bin": rng.bytes(20_000) for i in range(40)}
    path = WRITE[kind](tmp_path / f"a.{kind}", files)
    found = archives.members(path)
    copied = pickle.loads(pickle.dumps(found))
    assert copied == found
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        read = [*pool.map(lambda file: file.read_bytes(), [*copied.values()] * 5)]
    assert read == [*files.values()] * 5


def test_a_directory_is_read_once(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "a.zip")
    found = archives.members(path)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    assert archives.members(path) is found
    assert found["train/images/2.bin"].read_bytes() == FILES["train/images/2.bin"]


def test_an_archive_that_changed_is_read_anew(tmp_path):
    path = write_zip(tmp_path / "a.zip")
    assert content(path) == FILES
    write_zip(path, {"b": b"new"})
    assert content(path) == {"b": b"new"}


@pytest.mark.parametrize("kind", WRITE)
@pytest.mark.parametrize(
    "name", ["../a", "a/../b", "/etc/passwd", "C:/a", "..\\a", "\\a", "a/..", "a\nb"]
)
def test_names_that_climb_out(tmp_path, kind, name):
    path = WRITE[kind](tmp_path / f"a.{kind}", {name: b"", "fine": b""})
    message = refuse(archives.members, path)
    assert message.startswith(f"{path} holds {name!r}, which names no file inside")


@pytest.mark.parametrize("kind", WRITE)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.png", b"1")
            archive.writestr("a.png", b"2")
    else:
        write_tar(path, {"a.png": b"1", "./a.png": b"2"})
    assert refuse(archives.members, path).startswith(f"{path} holds 'a.png' twice")


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz"])
def test_compressed_as_a_whole(tmp_path, name):
    path = write_tar(tmp_path / name, mode="w:gz")
    message = refuse(archives.members, path)
    assert message.startswith(f"{path} is compressed as a whole")
    assert f"tar -xzf {path}" in message


@pytest.mark.parametrize("kind", WRITE)
@pytest.mark.parametrize("junk", [b"", b"\0", b"PK\3\4", b"hello" * 500], ids=len)
def test_no_archive(tmp_path, kind, junk):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(junk)
    message = refuse(archives.members, path)
    assert message.startswith(f"{path} cannot be read as a .{kind} archive (")
    assert message.endswith("download it again")


def test_truncated_zip(tmp_path):
    path = write_zip(tmp_path / "a.zip")
    path.write_bytes(path.read_bytes()[:-30])
    assert "cannot be read as a .zip archive" in refuse(archives.members, path)


def test_truncated_tar(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"a": b"1" * 2000, "b": b"2" * 2000})
    found = archives.members(path)
    path.write_bytes(path.read_bytes()[: found["b"].offset + 1000])
    assert "cannot be read as a .tar archive" in refuse(archives.members, path)
    assert found["a"].read_bytes() == b"1" * 2000
    message = refuse(found["b"].read_bytes)
    assert message.startswith(f"{path}/b cannot be read from its archive")


def test_the_archive_is_gone(tmp_path):
    path = write_zip(tmp_path / "a.zip")
    file = archives.members(path)["train/images/1.bin"]
    path.unlink()
    assert refuse(file.read_bytes).startswith(f"{file} cannot be read")


@pytest.mark.parametrize("where", ["magic", "name", "data"])
def test_damaged_member(tmp_path, where):
    files = {"a.bin": np.random.default_rng(0).bytes(500), "b.bin": b"fine"}
    path = write_zip(tmp_path / "a.zip", files)
    found = archives.members(path)
    at = found["a.bin"].offset + {"magic": 0, "name": 30, "data": 100}[where]
    damaged = bytearray(path.read_bytes())
    damaged[at] ^= 0x55
    path.write_bytes(bytes(damaged))
    message = refuse(found["a.bin"].read_bytes)
    assert message.startswith(f"{path}/a.bin cannot be read from its archive (")
    assert found["b.bin"].read_bytes() == b"fine"


def set_central(path, offset, layout, value):
    """Overwrites a field of the first entry of a zip's directory."""
    changed = bytearray(path.read_bytes())
    struct.pack_into(layout, changed, changed.index(b"PK\1\2") + offset, value)
    path.write_bytes(bytes(changed))


def test_bomb_is_not_inflated(tmp_path):
    """A directory that declares much, and one that declares less than there is."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.png", bytes(20_000_000))
    set_central(path, 24, "<I", 0xFFFFFFF0)
    (file,) = archives.members(path).values()
    message = refuse(file.read_bytes)
    assert message.startswith(f"{file} declares {0xFFFFFFF0} bytes; more than ")
    set_central(path, 24, "<I", 1000)
    (file,) = archives.members(path).values()
    assert "its checksum differs" in refuse(file.read_bytes)


def test_unknown_compression_and_encryption(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a": b"1" * 99}, zipfile.ZIP_BZIP2)
    (file,) = archives.members(path).values()
    assert "compression method 12" in refuse(file.read_bytes)
    path = write_zip(tmp_path / "b.zip", {"a": b"1" * 99})
    (file,) = archives.members(path).values()
    changed = bytearray(path.read_bytes())
    changed[file.offset + 6] |= 1
    path.write_bytes(bytes(changed))
    assert "encrypted" in refuse(file.read_bytes)


def mutations(original, count, seed):
    """Copies with bytes changed, cut out, doubled or cut off."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        changed = bytearray(original)
        kind, at = rng.integers(4), int(rng.integers(len(changed)))
        if kind == 0:
            for place in rng.integers(len(changed), size=int(rng.integers(1, 8))):
                changed[place] = rng.integers(256)
        elif kind == 1:
            del changed[at : at + int(rng.integers(1, 40))]
        elif kind == 2:
            changed[at:at] = changed[at : at + int(rng.integers(1, 40))]
        else:
            del changed[at:]
        yield bytes(changed)


def attempt(act, *arguments):
    """What an action returns, or None where it is refused in one line."""
    try:
        return act(*arguments)
    except errors.UserError as error:
        message = str(error)
    assert "\n" not in message
    return None


@pytest.mark.parametrize("kind", WRITE)
def test_500_damaged_archives(tmp_path, kind):
    """An error of one line, or what was written; a tar tells of its names alone."""
    files = {f"train/{i}.png": official_files.gray(range(i, i + 9)) for i in range(3)}
    path = WRITE[kind](tmp_path / f"a.{kind}", files)
    original, right, wrong = path.read_bytes(), 0, 0
    for damaged in mutations(original, 500, seed=7):
        path.write_bytes(damaged)
        archives._members.cache_clear()  # a second copy may have the time of the first
        for name, file in (attempt(archives.members, path) or {}).items():
            read = attempt(file.read_bytes)
            right += read == files.get(name)
            wrong += read is not None and name in files and read != files[name]
    assert right > 300
    if kind == "zip":
        assert not wrong


def test_a_member_that_unpacks_to_far_more(tmp_path):
    """Within the bytes that may be read at all, and with a size that is true."""
    write_zip(tmp_path / "a.zip", {"a": bytes(2 * 1024**2), "b": bytes(1024**2)})
    members = archives.members(tmp_path / "a.zip")
    told = refuse(members["a"].read_bytes)
    assert f"unpacks {members['a'].stored} bytes to 2097152, more than 100" in told
    assert len(members["b"].read_bytes()) == 1024**2  # small enough to be harmless


def test_a_tar_archive_that_leads_back(tmp_path):
    """A negative size would have it listed for ever."""
    path = write_tar(tmp_path / "a.tar", {"a": b"x" * 600, "b": b"y"})
    data = bytearray(path.read_bytes())
    for kind, size in ((b"0", -512), (b"S", -512), (b"0", -2048)):  # S: a sparse file
        header = data[1536:2048]
        header[156:157], header[148:156] = kind, b" " * 8
        header[124:136] = b"\xff" * 10 + struct.pack(">h", size)
        header[148:156] = b"%06o\0 " % sum(header)
        path.write_bytes(data[:1536] + header + data[2048:])
        message = refuse(archives.members, path)
        assert "(a member begins before the one before it)" in message


@pytest.mark.parametrize("name", ["\x1b[31ma", "a\u202egnp.exe", "a\u2028b", "a\x9bb"])
@pytest.mark.parametrize("kind", WRITE)
def test_names_that_would_steer_a_terminal(tmp_path, kind, name):
    path = WRITE[kind](tmp_path / f"a.{kind}", {name: b"x"})
    message = refuse(archives.members, path)
    assert repr(name) in message
    assert errors.is_plain(message)


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("pipe", "device"):
        message = refuse(archives.read, tmp_path / name)
        assert message == f"{tmp_path / name} is no regular file; remove it"
    with pytest.raises(FileNotFoundError):
        archives.read(tmp_path / "none")


def test_a_file_is_read_up_to_a_limit(tmp_path):
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.truncate(2**40)  # a terabyte of nothing
    message = refuse(lambda: archives.read(path, limit=100))
    assert message.startswith(f"{path} has more than 100 bytes")
    path.write_bytes(b"x" * 100)
    assert archives.read(path, limit=100) == b"x" * 100
