"""Names to files, against a server on this machine that can misbehave."""

import concurrent.futures
import contextlib
import errno
import hashlib
import http.server
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from jaxseg import errors
from jaxseg.pretrained import hub, lock

BODY = os.urandom(300_000)
DIGEST = hashlib.sha256(BODY).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves BODY; the server's attributes say how well, and keep the Range headers."""

    def do_GET(self):
        server = self.server
        asked = self.headers["Range"]
        server.ranges.append(asked)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked else 0
        start = start if server.knows_range else 0
        if server.status:
            return self.send_error(server.status)
        if start >= len(BODY):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            first = start + server.shift
            text = f"bytes {first}-{len(BODY) - 1}/{len(BODY)}"
            self.send_header("Content-Range", text)
        self.send_header("Content-Length", str(len(BODY) - start))
        self.end_headers()
        sent = BODY[start:][: server.limits.pop(0) if server.limits else None]
        time.sleep(server.delay)
        with contextlib.suppress(ConnectionError):
            self.wfile.write(sent)
            self.wfile.flush()
        if server.stalls:
            server.stalls -= 1
            server.released.wait(120)
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.ranges, server.limits = [], []
    server.stalls, server.released = 0, threading.Event()
    server.knows_range, server.status, server.shift, server.delay = True, None, 0, 0
    server.url = f"http://127.0.0.1:{server.server_port}/some/net.pth"
    server.name = f"{server.url}#sha256={DIGEST}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(hub, "PAUSE", 0.0)
    return tmp_path / "cache"


@pytest.fixture
def target(cache):
    return cache / f"{DIGEST[:8]}-net.pth"


def refusal(name) -> str:
    with pytest.raises(errors.UserError) as caught:
        hub.resolve(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_downloads_once(server, cache, target):
    assert hub.resolve(server.name) == target
    assert target.read_bytes() == BODY
    assert hub.resolve(server.name) == target
    assert server.ranges == [None]
    assert list(cache.iterdir()) == [target]


def test_dropped_connection_is_resumed(server, target):
    server.limits = [100_000, 50_000]
    assert hub.resolve(server.name).read_bytes() == BODY
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_next_run_resumes_what_failed(server, cache, target):
    server.limits = [100_000, 1, 1]
    message = refusal(server.name)
    assert "closed after 100002 of 300000" in message
    assert server.url in message
    assert str(target) in message
    assert [path.name for path in cache.iterdir()] == [f"{target.name}.part"]
    assert hub.resolve(server.name).read_bytes() == BODY
    assert server.ranges[-1] == "bytes=100002-"
    assert list(cache.iterdir()) == [target]


def test_keyboard_interrupt_keeps_the_part(server, cache, monkeypatch):
    def interrupt(url, part):
        part.write_bytes(BODY[:1000])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(hub, "_download", interrupt)
        with pytest.raises(KeyboardInterrupt):
            hub.resolve(server.name)
    assert hub.resolve(server.name).read_bytes() == BODY
    assert server.ranges == ["bytes=1000-"]


def test_server_without_range_starts_over(server):
    server.knows_range = False
    server.limits = [100_000]
    assert hub.resolve(server.name).read_bytes() == BODY
    assert server.ranges == [None, "bytes=100000-"]


def test_wrong_content_range_starts_over(server):
    server.shift = 5
    server.limits = [100_000]
    assert hub.resolve(server.name).read_bytes() == BODY
    assert server.ranges == [None, "bytes=100000-", None]


def test_complete_part_needs_no_more_bytes(server, cache, target):
    cache.mkdir()
    (cache / f"{target.name}.part").write_bytes(BODY)
    assert hub.resolve(server.name).read_bytes() == BODY


def start_process(name):
    """Another process that downloads; it finds the cache in the environment."""
    code = f"from jaxseg.pretrained import hub; hub.resolve({name!r})"
    return subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True
    )


def wait_for(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_process_is_resumed_at_once(server, cache, target, number):
    server.limits, server.stalls = [hub.CHUNK + 1000], 1
    process = start_process(server.name)
    wait_for(lambda: any(p.stat().st_size == hub.CHUNK for p in cache.glob("*.part")))
    process.send_signal(number)
    process.communicate()
    assert process.returncode == -number
    server.released.set()
    assert hub.resolve(server.name).read_bytes() == BODY
    assert server.ranges == [None, f"bytes={hub.CHUNK}-"]
    assert list(cache.iterdir()) == [target]


def test_second_process_waits_for_the_first(server, cache, target):
    server.limits, server.stalls = [1000], 1
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(hub.resolve, server.name)
        wait_for(lambda: server.ranges)
        second = start_process(server.name)
        assert "waiting for the process that downloads" in second.stderr.readline()
        server.released.set()
        assert first.result() == target
    _, told = second.communicate()
    assert (second.returncode, told) == (0, "")
    assert server.ranges == [None, "bytes=1000-"]
    assert list(cache.iterdir()) == [target]


@pytest.mark.parametrize("lack", ["no locks on this disk", "no fcntl"])
def test_without_locks(server, cache, target, monkeypatch, lack):
    if lack == "no fcntl":
        monkeypatch.setattr(lock.sys, "platform", "win32")

    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    server.limits = [100_000, 1, 1]
    refusal(server.name)
    assert hub.resolve(server.name).read_bytes() == BODY
    assert server.ranges[-1] == "bytes=100002-"
    assert list(cache.iterdir()) == [target]


def test_many_at_once(server, cache, target):
    server.delay = 0.1
    cache.mkdir()
    (cache / f"{target.name}.part").write_bytes(BODY[:1000])
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(hub.resolve, [server.name] * 4))
    assert paths == [target] * 4
    assert target.read_bytes() == BODY
    assert list(cache.iterdir()) == [target]
    assert server.ranges == ["bytes=1000-"]  # the others waited


def test_wrong_checksum_leaves_nothing(server, cache):
    message = refusal(f"{server.url}#sha256={'0' * 64}")
    assert "0" * 64 in message
    assert DIGEST in message
    assert list(cache.iterdir()) == []


def test_spoiled_part_is_deleted(server, cache, target):
    cache.mkdir()
    (cache / f"{target.name}.part").write_bytes(b"spoiled")
    assert DIGEST in refusal(server.name)
    assert list(cache.iterdir()) == []
    assert hub.resolve(server.name).read_bytes() == BODY


def test_file_put_there_by_hand_is_checked(server, cache, target):
    cache.mkdir()
    target.write_bytes(BODY[:-1])
    message = refusal(server.name)
    assert str(target) in message
    assert "delete it" in message
    assert target.exists()
    target.write_bytes(BODY)
    assert hub.resolve(server.name) == target
    assert server.ranges == []


def test_http_error_and_offline(server, target):
    server.status = 404
    message = refusal(server.name)
    assert "404" in message
    assert server.ranges == [None]
    assert list(target.parent.iterdir()) == []
    server.shutdown()
    server.server_close()
    message = refusal(server.name)
    assert f"cannot download {server.url}" in message
    assert f"put the file at {target}" in message


def test_cache_that_cannot_be_written(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("JAXSEG_CACHE", str(tmp_path / "file"))
    assert "cannot download" in refusal(server.name)


def test_short_checksum_and_odd_names(server, cache):
    assert hub.resolve(f"{server.url}#sha256={DIGEST[:8].upper()}").parent == cache
    odd = server.url.replace("net.pth", "..%2f..")
    assert hub.resolve(f"{odd}?a=/b#sha256={DIGEST}").parent == cache


@pytest.mark.parametrize(
    "fragment", ["", "#", "#sha256=", "#sha256=12", "#md5=12345678"]
)
def test_address_without_checksum(fragment):
    message = refusal(f"https://example.invalid/net.pth{fragment}")
    assert "https://example.invalid/net.pth#sha256=HEX" in message


def test_paths_and_packaged_weights(tmp_path, monkeypatch):
    path = tmp_path / "w.pth"
    path.write_bytes(b"")
    assert hub.resolve(str(path)) == path
    monkeypatch.chdir(tmp_path)
    assert hub.resolve("w.pth") == pathlib.Path("w.pth")
    packaged = hub.resolve("jaxseg/synthetic_day")
    assert packaged.parts[-4:-1] == ("jaxseg", "pretrained", "weights")
    assert packaged.name == "synthetic_day.safetensors"


def test_unknown_names():
    assert "torchvision/resnet50," in refusal("torchvision/resnt50") + ","
    message = refusal("nowhere/weights.pth")
    assert "'nowhere/weights.pth'" in message
    assert "neither a file" in message
    assert "torchvision/" in refusal("")


def test_table_is_that_of_torchvision():
    for name, weights in hub.WEIGHTS.items():
        assert re.fullmatch(r"[0-9a-f]{8}", weights.sha256), name
        assert weights.url.startswith("https://download.pytorch.org/models/")
        assert weights.url.endswith(f"-{weights.sha256}.pth")
    assert hub.WEIGHTS["torchvision/resnet50"].sha256 == "0676ba61"
    assert len({weights.url for weights in hub.WEIGHTS.values()}) == len(hub.WEIGHTS)


def test_default_cache_folder(monkeypatch):
    monkeypatch.delenv("JAXSEG_CACHE")
    target = hub._make_target(hub.WEIGHTS["torchvision/resnet18"])
    expected = pathlib.Path.home() / ".cache" / "jaxseg" / "resnet18-f37072fd.pth"
    assert target == expected
