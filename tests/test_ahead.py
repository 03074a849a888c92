"""Reading ahead keeps the order, and tells of batches that do not come."""

import threading
import time

import numpy as np
import pytest

from jaxseg import errors
from jaxseg.data import ahead


class Batches:
    """Yields what it is given; a callable among it is called instead."""

    def __init__(self, *items):
        self.items, self.given, self.closed = items, 0, False

    def __iter__(self):
        for item in self.items:
            self.given += 1
            yield item() if callable(item) else item

    def close(self):
        self.closed = True


def numbered(count):
    return [{"images": np.array(i)} for i in range(count)]


def read_ahead(batches, *, workers=0, timeout=20.0, **options):
    return ahead.ReadAhead(
        batches,
        workers=workers,
        timeout=timeout,
        names=lambda number: [f"{number}_{i}.png" for i in range(6)],
        **options,
    )


def eventually(condition):
    for _ in range(500):
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_order_and_end():
    batches = Batches(*numbered(9))
    reading = read_ahead(batches, put=lambda batch: int(batch["images"]) * 10)
    assert [*reading] == [*range(0, 90, 10)]
    begin = time.monotonic()
    assert [*reading] == []
    assert time.monotonic() - begin < 1
    reading.close()
    assert batches.closed


def test_batches_are_put_ahead_but_not_far():
    batches, there = Batches(*numbered(50)), []
    reading = read_ahead(batches, put=lambda batch: there.append(batch) or batch)
    assert not reading.ready()
    next(reading)
    assert eventually(reading.ready)
    assert eventually(lambda: len(there) == 2 + ahead.AHEAD)
    time.sleep(0.2)
    assert len(there) == batches.given == 2 + ahead.AHEAD
    reading.close()
    assert batches.closed


def test_nothing_is_read_before_the_first_is_asked_for():
    batches = Batches(*numbered(3))
    read_ahead(batches).close()
    assert (batches.given, batches.closed) == (0, True)


def test_errors_come_at_their_place():
    def fail():
        raise errors.UserError("a.png is damaged")

    reading = read_ahead(Batches(*numbered(2), fail))
    assert [int(next(reading)["images"]) for _ in range(2)] == [0, 1]
    with pytest.raises(errors.UserError, match="damaged"):
        next(reading)
    reading.close()


@pytest.mark.parametrize(
    ("workers", "who"), [(0, "the data threads"), (2, "data worker 1 of 2")]
)
def test_stalled(workers, who, monkeypatch, caplog):
    monkeypatch.setattr(ahead, "CLOSE_SECONDS", 0.2)
    release = threading.Event()
    batches = Batches(*numbered(3), release.wait)
    reading = read_ahead(batches, workers=workers, timeout=0.3)
    for _ in range(3):
        next(reading)
    begin = time.monotonic()
    with pytest.raises(errors.UserError) as raised:
        next(reading)
    assert isinstance(raised.value, errors.Stalled) == (workers == 0)
    assert str(raised.value).startswith(
        f"{who} (reading 3_0.png, 3_1.png, 3_2.png, 3_3.png and 2 more) "
        "gave nothing in 0.3 s; "
    )
    reading.close()
    assert not caplog.records
    assert 0.3 <= time.monotonic() - begin < 3
    release.set()


def test_what_is_waited_for_is_told_early(monkeypatch, caplog):
    monkeypatch.setattr(ahead, "PATIENCE_SECONDS", 0.1)
    batches = Batches(lambda: time.sleep(0.5) or {"images": np.zeros(1)})
    assert len([*read_ahead(batches, workers=2)]) == 1
    (record,) = caplog.records
    assert record.message.startswith("still waiting for data worker 0 of 2 (reading 0_")


def test_dead_worker():
    def die():
        raise RuntimeError("Worker process was terminated unexpectedly with code -9")

    reading = read_ahead(Batches(die), workers=3)
    with pytest.raises(errors.UserError, match=r"data worker 0 of 3 \(.*\) died"):
        next(reading)
    reading.close()


def test_another_runtime_error_stays_what_it_is():
    def fail():
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        next(read_ahead(Batches(fail)))


def test_skipped_are_counted_and_each_told_once(caplog):
    told = [["a is bad"], [], ["b is bad", "a is bad"]]
    batches = [
        {"images": np.zeros(1)} | ({"skipped": np.array(each)} if each else {})
        for each in told
    ]
    reading = read_ahead(Batches(*batches))
    assert [batch.keys() for batch in reading] == [{"images"}] * 3
    assert reading.skipped == {"a is bad": 2, "b is bad": 1}
    reading.close()
    assert [record.message for record in caplog.records] == [
        "skipped: a is bad",
        "skipped: b is bad",
        "skipped: 2 in all, 3 times",
    ]
