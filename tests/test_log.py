"""Rows tell what a step waited for its batch, in seconds and as a share."""

import json
import time

import numpy as np
import pytest

from jaxseg import config, log
from jaxseg.data import datasets


@pytest.fixture
def settings():
    result = config.Config()
    result.train.log_every = 2
    result.train.steps = 4
    return result


def sleep(seconds):
    """Sleeps and returns for how long, which a busy machine makes longer."""
    begin = time.perf_counter()
    time.sleep(seconds)
    return time.perf_counter() - begin


@pytest.mark.parametrize("ready", [True, False])
def test_data_wait(settings, tmp_path, ready):
    inner = outer = 0.0
    dataset = datasets.open_dataset(settings.data, ignore=255)
    confusion = np.eye(dataset.num_classes, dtype=np.int64)
    with log.Log(settings, tmp_path, dataset, 0) as found:
        for step, seconds in enumerate((0.1, 0.2), 1):
            begin = time.perf_counter()
            with found.waiting(ready=ready):
                inner += sleep(seconds)
            outer += time.perf_counter() - begin
            time.sleep(0.05)
            metrics = dict.fromkeys(("loss", "lr", "grad_norm"), np.float32(1))
            found.add(step, metrics | {"confusion": confusion}, None)
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert inner / 2 <= row["data_wait"] <= outer / 2
    seconds = settings.train.batch_size / row["images_per_second"]  # of a step
    assert row["data_wait_share"] == pytest.approx(row["data_wait"] / seconds)


class Slow:
    """An array that the device has ready only after some time."""

    def block_until_ready(self):
        time.sleep(0.3)
        return self


def test_what_the_device_still_computes_is_no_waiting(settings, tmp_path):
    dataset = datasets.open_dataset(settings.data, ignore=255)
    with log.Log(settings, tmp_path, dataset, 0) as found:
        found.pending = 1, {"loss": Slow()}, None
        begin = time.perf_counter()
        with found.waiting(ready=False):
            inner = sleep(0.05)
        outer = time.perf_counter() - begin
        assert inner <= found.waited <= outer - 0.3
        found.pending = None
