import collections
import contextlib
import itertools
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxseg import config, errors
from jaxseg.data import loader

SIZES = [(12, 16), (9, 20), (12, 16), (12, 16), (9, 20), (7, 7), (12, 16)]


class Numbered:
    """Examples whose pixels and label are their number; one may be unreadable."""

    def __init__(self, sizes, bad=None):
        self.sizes, self.bad = sizes, bad

    def __len__(self):
        return len(self.sizes)

    def name(self, index):
        return f"folder/{index}.png"

    def __getitem__(self, index):
        if index == self.bad:
            raise errors.UserError(f"{self.name(index)}: label value 77 is in no class")
        size = self.sizes[index]
        image = np.random.default_rng(index).integers(0, 256, (*size, 3), np.uint8)
        image[0, 0] = index
        return {"image": image, "label": np.full(size, index, np.uint8)}


class Deadly(Numbered):
    """Kills the process that reads the bad one."""

    def __getitem__(self, index):
        if index == self.bad:
            time.sleep(1)  # what it read before is on its way
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


class Endless(Numbered):
    """Never gives the bad one."""

    def __getitem__(self, index):
        if index == self.bad:
            time.sleep(1000)
        return super().__getitem__(index)


def stream(source, *, start=0, batch_size=3, seed=5, rates=None, **data):
    """Batches number `start` and so on, copied."""
    iterator = loader.train_batches(
        source,
        config.Data(**{"crop": (8, 10)} | data),
        batch_size=batch_size,
        seed=seed,
        ignore=255,
        start=start,
        rates=rates,
    )
    with contextlib.closing(iterator):
        for batch in iterator:
            yield {key: np.array(value) for key, value in batch.items()}


def batches(source, count, **options):
    with contextlib.closing(stream(source, **options)) as endless:
        return [*itertools.islice(endless, count)]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def numbers(found):
    """Which examples the batches hold, in order."""
    return [int(label[0, 0]) for batch in found for label in batch["labels"]]


def numbered(count, size=(8, 10)):
    return Numbered([size] * count)


def test_batches():
    found = batches(Numbered(SIZES), 4)
    for batch in found:
        assert batch["images"].shape == (3, 8, 10, 3)
        assert batch["images"].dtype == np.uint8
        assert batch["labels"].shape == (3, 8, 10)
        assert batch["labels"].dtype == np.uint8


def test_seed():
    first, again, other = (batches(Numbered(SIZES), 3, seed=s) for s in (0, 0, 1))
    assert_same(first, again)
    assert numbers(first) != numbers(other)


@pytest.mark.parametrize("start", [1, 4])
def test_start(start):
    whole = batches(Numbered(SIZES), 7, rotate=20.0)
    rest = batches(Numbered(SIZES), 7 - start, start=start, rotate=20.0)
    assert_same(rest, whole[start:])


def test_worker_processes_give_the_same_batches_and_errors():
    last = numbers(batches(numbered(9), 3, augment="none"))[-1]
    source = Numbered([*SIZES, (20, 30), (30, 20)], bad=last)
    found = {0: [], 2: []}
    for workers, read in found.items():
        with pytest.raises(errors.UserError) as raised:
            read.extend(stream(source, workers=workers))
        assert str(raised.value) == f"folder/{last}.png: label value 77 is in no class"
    assert len(found[0]) == 2
    assert_same(found[2], found[0])


@pytest.mark.slow
@pytest.mark.parametrize("rates", [None, np.arange(9) / 3])
def test_resuming_with_other_workers(rates):
    """What 0 workers began, 1 goes on with, and then 3."""
    source = Numbered([*SIZES, (20, 30), (30, 20)])
    whole = batches(source, 9, rates=rates, rotate=20.0)
    parts = [
        batches(source, 3, start=start, workers=workers, rates=rates, rotate=20.0)
        for start, workers in ((0, 0), (3, 1), (6, 3))
    ]
    assert_same([*itertools.chain(*parts)], whole)
    assert_same(batches(source, 9, workers=3, rates=rates, rotate=20.0), whole)


@pytest.mark.parametrize(
    ("kind", "told"),
    [(Deadly, "died"), pytest.param(Endless, "in 20 s", marks=pytest.mark.slow)],
)
def test_a_worker_that_gives_nothing(kind, told):
    timeout = 20.0 if kind is Endless else 60.0  # workers need some to start
    order = numbers(batches(numbered(12), 4, augment="none"))
    source = kind([(8, 10)] * 12, bad=order[7])  # in batch 2, which worker 0 reads
    begin, found = time.monotonic(), []
    with pytest.raises(errors.UserError, match=told) as raised:
        found.extend(stream(source, workers=2, augment="none", timeout=timeout))
    assert numbers(found) == order[:6]
    names = ", ".join(f"folder/{i}.png" for i in order[6:9])
    assert str(raised.value).startswith(f"data worker 0 of 2 (reading {names}) ")
    assert time.monotonic() - begin < 90
    assert not multiprocessing.active_children()


def test_evaluation_with_a_worker_that_gives_nothing():
    source = Deadly(SIZES, bad=3)
    with pytest.raises(
        errors.UserError, match=r"worker 1 of 2 \(reading folder/3\.png\) died"
    ):
        evaluate(source, 2, workers=2)
    assert not multiprocessing.active_children()


def test_workers_by_the_machine(monkeypatch):
    data = config.Data(workers=-1)
    assert loader.num_workers(config.Data(workers=5)) == 5
    monkeypatch.setattr(sys, "platform", "linux")
    for cores, expected in ((1, 0), (2, 0), (3, 2), (8, 7), (96, 16)):
        monkeypatch.setattr(
            os, "sched_getaffinity", lambda _, n=cores: {*range(n)}, raising=False
        )
        assert loader.num_workers(data) == expected


def test_rates():
    rates = np.array([0, 2.5, 1, 0, 0.5, 0, 3])
    found = numbers(batches(numbered(7), 70, augment="none", rates=rates))
    epochs = np.reshape(found, (30, 7))
    for epoch in epochs:
        counts = np.bincount(epoch, minlength=7)
        assert ((np.floor(rates) <= counts) & (counts <= np.ceil(rates))).all()
    rest = batches(numbered(7), 3, start=5, augment="none", rates=rates)
    assert numbers(rest) == found[15:24]


def test_epochs():
    """Batches of 3 run across the epochs of 7, each complete and of its own order."""
    found = numbers(batches(numbered(7), 7, augment="none"))
    epochs = [found[i : i + 7] for i in range(0, 21, 7)]
    assert [sorted(epoch) for epoch in epochs] == [[*range(7)]] * 3
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_an_example_changes_from_epoch_to_epoch():
    found = batches(numbered(1, (30, 30)), 6, batch_size=1)
    assert len({batch["images"].tobytes() for batch in found}) == 6


def test_images_as_they_are():
    source = numbered(4, (5, 6))
    for batch in batches(source, 3, augment="none", batch_size=2):
        for image, label in zip(batch["images"], batch["labels"], strict=True):
            example = source[int(label[0, 0])]
            np.testing.assert_array_equal(image, example["image"])
            np.testing.assert_array_equal(label, example["label"])


def test_mixed_sizes_as_they_are():
    with pytest.raises(errors.UserError) as raised:
        batches(Numbered(SIZES), 4, augment="none")
    message = str(raised.value)
    assert "(9, 20), (12, 16)" in message
    assert "config.data.augment=standard" in message
    assert len(batches(Numbered(SIZES), 7, augment="none", batch_size=1)) == 7


def test_unreadable_example_stops():
    with pytest.raises(errors.UserError) as raised:
        batches(Numbered(SIZES, bad=2), 4)
    assert str(raised.value) == "folder/2.png: label value 77 is in no class"


def test_unreadable_example_is_skipped():
    source = Numbered([(8, 10)] * 7, bad=2)
    found = numbers(batches(source, 7, augment="none", on_error="skip"))
    for epoch in (found[:7], found[7:14], found[14:]):
        assert collections.Counter(epoch) == {0: 1, 1: 1, 3: 2, 4: 1, 5: 1, 6: 1}


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_skipping_is_the_same_on_every_resume(workers, caplog):
    source = Numbered([(8, 10)] * 7, bad=2)
    options = {"on_error": "skip", "workers": workers}
    whole = batches(source, 7, on_error="skip")
    caplog.clear()
    found = batches(source, 7, **options)
    assert_same(found, whole)
    assert all(batch.keys() == {"images", "labels"} for batch in found)
    told = "skipped: folder/2.png: label value 77 is in no class"
    total = "skipped: 1 in all, 3 times"  # an epoch has one; 3 are begun
    assert [record.message for record in caplog.records] == [told, total]
    assert_same(batches(source, 4, start=3, **options), whole[3:])


def evaluate(source, size, multiple_of=1, **data):
    return [
        *loader.eval_batches(
            source, config.Data(**data), batch_size=size, multiple_of=multiple_of
        )
    ]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("sizes", [SIZES, [(6, 5)] * 6, [(4, 4)]], ids=len)
def test_evaluation_sees_every_example_once(sizes, batch_size):
    source, seen = Numbered(sizes), []
    for batch in evaluate(source, batch_size):
        assert 1 <= len(batch["images"]) == len(batch["labels"]) <= batch_size
        assert batch["valid"].any()
        assert batch["labels"].dtype == np.uint8
        for image, label, valid in zip(*batch.values(), strict=True):
            if valid:
                seen.append(int(label[0, 0]))
                np.testing.assert_array_equal(image, source[seen[-1]]["image"])
                np.testing.assert_array_equal(label, source[seen[-1]]["label"])
    assert sorted(seen) == [*range(len(source))]


def test_evaluation_on_unreadable_example():
    with pytest.raises(errors.UserError, match=r"folder/2\.png: label value 77"):
        evaluate(Numbered(SIZES, bad=2), 2, on_error="skip")  # never left out


def test_a_size_that_fills_no_batch_is_padded_to_the_devices_alone():
    sizes = [(4, 4)] * 5 + [(6, 5)] * 3
    found = [
        (batch["labels"].shape, int(batch["valid"].sum()))
        for batch in evaluate(Numbered(sizes), 3, multiple_of=2)
    ]
    assert found == [((4, 4, 4), 4), ((4, 4, 4), 1), ((4, 6, 5), 3)]
    found = [
        (batch["labels"].shape, int(batch["valid"].sum()))
        for batch in evaluate(Numbered(sizes), 8, multiple_of=2)
    ]
    assert found == [((6, 4, 4), 5), ((4, 6, 5), 3)]


def test_of_many_sizes_few_images_wait():
    sizes = [(4, 4)] + [(4, width) for width in range(5, 30)] + [(4, 4)]
    source, taken = Numbered(sizes), []
    for batch in evaluate(source, 2):
        assert batch["valid"].all()
        taken += batch["labels"][:, 0, 0].tolist()
    assert taken == [*range(len(sizes))]  # the oldest first


PROGRAM = """
import os, signal, sys, test_loader
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: None)
endless = test_loader.stream(test_loader.numbered(9), workers=2)
for _ in range(4):  # from both workers
    next(endless)
{}
"""


@pytest.mark.parametrize(
    ("then", "code"),
    [
        # These reach every process of the group; only the main one may answer.
        (
            "os.killpg(0, signal.SIGINT); os.killpg(0, signal.SIGTERM)\n"
            "for _ in range(20): next(endless)\n"
            "endless.close()",
            0,
        ),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ],
    ids=["interrupt", "kill"],
)
def test_workers_live_as_long_as_the_training_process(then, code):
    """They share its pipes, so that `run` returns only when they have ended too."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(then)],
        cwd=pathlib.Path(__file__).parent,
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
