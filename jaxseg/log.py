"""What a training run tells while it goes on: rows of metrics, the line of progress."""

import contextlib
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from jaxseg import config as config_lib
from jaxseg import hosts, metrics, report
from jaxseg.data import datasets


class Log:
    """Rows of metrics and the line on the terminal.

    A step's metrics are read only when the next step is under way, so that reading
    never holds the device up. `look` is shown each step's number, metrics and batch.
    """

    def __init__(
        self,
        config: config_lib.Config,
        workdir: pathlib.Path,
        dataset: datasets.Dataset,
        start: int,
    ):
        self.config, self.dataset = config, dataset
        rows = report.read_metrics(workdir) if start else []
        rows = [row for row in rows if row["split"] == "eval" and row["step"] <= start]
        self.told = {row["step"] for row in rows}
        self.writer = None
        if hosts.is_main():
            self.writer = report.MetricWriter(workdir, resume_step=start)
        self.progress = report.make_progress(config.train.steps, start)
        self.look: Callable[[int, dict, Any], None] = lambda *_: None
        self.pending: tuple[int, dict, Any] | None = None
        self.begin, self.waited, self.since = time.perf_counter(), 0.0, start

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None:
            self.flush()
        if self.writer:
            self.writer.close()
        self.progress.close()

    def print(self, text: str) -> None:
        """A line for the user."""
        self.progress.print(text)

    @contextlib.contextmanager
    def waiting(self, *, ready: bool) -> Iterator[None]:
        """Counts the time within as time that the device waits for data.

        Where the batch is not `ready`, it first lets the device end the step before:
        until then the device waits for nothing.
        """
        if not ready and self.pending is not None:
            jax.block_until_ready(self.pending[1])
        begin = time.perf_counter()
        yield
        self.waited += time.perf_counter() - begin

    def add(self, step: int, step_metrics: dict, batch: Any) -> None:
        """Takes a step's metrics and batch, and reads those of the step before."""
        self.flush()
        self.pending = step, step_metrics, batch

    def flush(self) -> None:
        """Reads the metrics not read yet; writes a row where one is due."""
        if self.pending is None:
            return
        (step, found, batch), self.pending = self.pending, None
        jax.block_until_ready(found)
        self.look(step, found, batch)
        if step % self.config.train.log_every and step != self.config.train.steps:
            return
        confusion = np.asarray(found["confusion"])
        miou = metrics.summarize(confusion, self.dataset.class_names)["miou"]
        elapsed = time.perf_counter() - self.begin
        images = (step - self.since) * self.config.train.batch_size
        row = {name: float(found[name]) for name in ("loss", "grad_norm", "lr")}
        speed = {
            "images_per_second": images / elapsed,
            "data_wait": self.waited / (step - self.since),  # seconds a step
            "data_wait_share": self.waited / elapsed,
        }
        self._write(step, "train", row | {"miou": miou} | speed)
        self.progress.update(step, {"loss": row["loss"], "lr": row["lr"]} | speed)
        self.restart(step)

    def evaluated(self, step: int, result: dict) -> None:
        """Writes the row of an evaluation, whose time counts as no step's.

        A row that a run wrote before it was killed stays the only one.
        """
        row = {k: v for k, v in result.items() if isinstance(v, float | int)}
        if step not in self.told:
            self._write(step, "eval", row)
        if result["miou"] is not None:
            self.progress.update(step, {"miou": result["miou"]})
        self.restart(step)

    def _write(self, step: int, split: Any, row: dict) -> None:
        if self.writer:
            self.writer.write(step, split, row)

    def restart(self, step: int) -> None:
        """Begins to measure speed anew, after `step` steps."""
        self.begin, self.waited, self.since = time.perf_counter(), 0.0, step
