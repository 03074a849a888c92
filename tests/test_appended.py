"""Rows on a disk that fills up: none is lost, none cut in two."""

import resource
import signal

import pytest

from jaxseg import appended


@pytest.fixture
def limit():
    """Sets how large a file may become: EFBIG beyond, where a disk gives ENOSPC."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    signal.signal(signal.SIGXFSZ, before)


def test_rows_wait_until_there_is_room(tmp_path, limit, caplog):
    path = tmp_path / "rows"
    file = appended.AppendedFile(path)
    limit(10)
    for row in (b"one two\n", b"three\n", b"four\n"):
        file.write(row)
    assert path.read_bytes() == b"one two\nth"
    assert len(caplog.messages) == 1
    assert "cannot be written (File too large)" in caplog.text
    limit(1000)
    file.write(b"five\n")
    file.close()
    assert path.read_bytes() == b"one two\nthree\nfour\nfive\n"
    assert len(caplog.messages) == 1


def test_what_is_lost_in_the_end_is_told(tmp_path, limit, caplog):
    file = appended.AppendedFile(tmp_path / "rows")
    limit(4)
    file.write(b"too long\n")
    file.close()
    assert "rows lacks its last rows" in caplog.text
