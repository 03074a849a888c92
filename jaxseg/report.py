"""What a run leaves for people to read: metric rows, the result, terminal output.

The HTML page made of them is written by `report_html`.
"""

import contextlib
import errno
import json
import math
import numbers
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal, SupportsFloat

import rich.console
import rich.progress
import rich.table
import rich.text

from jaxseg import appended, errors, pictures, tensorboard

SCORES = {"iou": "IoU", "precision": "precision", "recall": "recall", "f1": "F1"}
# The means that a result brings along; precision has none.
MEANS = {"iou": "miou", "recall": "mean_accuracy", "f1": "mean_f1"}
ABSENT = "\N{EN DASH}"

# How the terminal shows each value, in this order; eta is added by Progress itself.
FIELDS = {
    "loss": "loss {:.4f}",
    "lr": "lr {:.3g}",
    "images_per_second": "images/s {:.1f}",
    "data_wait_share": "data wait {:.0%}",
    "eta": "eta {}",
    "miou": "mIoU {:.3f}",
}


class MetricWriter:
    """Appends scalars to `metrics.jsonl` and to TensorBoard's `tb/` in a workdir.

    Rows after `resume_step` (all of them if it is 0) and a half-written last line are
    dropped first, so that a resumed run ends with the rows of an uninterrupted one.
    Rows wait in memory while the disk is full.
    """

    def __init__(self, workdir: pathlib.Path, *, resume_step: int):
        workdir.mkdir(parents=True, exist_ok=True)
        path = workdir / "metrics.jsonl"
        kept = [row for row in read_metrics(workdir) if 0 < resume_step >= row["step"]]
        _write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = appended.AppendedFile(path)
        self._board = tensorboard.EventFile(
            workdir / "tb", first_step=resume_step + 1 if resume_step else 0
        )

    def write(
        self,
        step: int,
        split: Literal["train", "eval"],
        scalars: Mapping[str, SupportsFloat],
    ) -> None:
        """Appends one row; what is not finite becomes null (NaN is not JSON)."""
        values = finite(dict(scalars))
        row = {"step": int(step), "split": split, **values}
        self._file.write(json.dumps(row, allow_nan=False).encode() + b"\n")
        scalars = {f"{split}/{name}": v for name, v in values.items() if v is not None}
        self._board.write(step, scalars)

    def close(self) -> None:
        """Writes out what is pending."""
        self._file.close()
        self._board.close()

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_metrics(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl`; none if there is no file yet."""
    path = workdir / "metrics.jsonl"
    lines = path.read_bytes().splitlines() if path.exists() else []
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(_checked_row(json.loads(line)))
        except (ValueError, RecursionError) as error:
            # The last line may be the trace of a run that died while writing it.
            if number < len(lines):
                raise errors.UserError(
                    f"{path}:{number} is no row of metrics: {line[:40]!r}; "
                    "remove the line, or the file to start its history anew"
                ) from error
    return rows


def _checked_row(row: Any) -> dict[str, Any]:
    """The row, if it is one that `MetricWriter` writes; else raises ValueError."""
    names = {"step": int, "split": str}
    if not isinstance(row, dict) or any(
        type(row.get(k)) is not t for k, t in names.items()
    ):
        raise ValueError("without step or split")
    values = [value for name, value in row.items() if name != "split"]
    if any(value is not None and not _is_number(value) for value in values):
        raise ValueError("a value that is no number")
    return row


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def finite(value: Any) -> Any:
    """The value as JSON can hold it: plain numbers, and null for NaN and infinity."""
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if math.isfinite(value) else None


def write_result(workdir: pathlib.Path, result: Mapping[str, Any]) -> None:
    """Writes `result.json`, all of it or nothing; NaN becomes null."""
    text = json.dumps(finite(result), indent=1, allow_nan=False)
    _write_text(workdir / "result.json", text + "\n")


def result_table(result: Mapping[str, Any]) -> rich.table.Table:
    """The scores of each class, with the means over classes in the footer."""
    table = rich.table.Table(
        title=f"step {result['step']}: {result['images']} images",
        caption=f"pixel accuracy {score(result['pixel_accuracy'])}, "
        f"frequency weighted IoU {score(result['frequency_weighted_iou'])}",
        show_footer=True,
    )
    table.add_column("class", "mean")
    for key, mean in mean_scores(result).items():
        table.add_column(SCORES[key], score(mean), justify="right")
    pixels = sum(scores["pixels"] for scores in result["per_class"].values())
    table.add_column("pixels", f"{pixels:,}", justify="right")
    for name, scores in result["per_class"].items():
        cells = [score(scores[key]) for key in SCORES]
        # Text, as a plain string in brackets would be taken for markup.
        table.add_row(
            rich.text.Text(errors.one_line(name)), *cells, f"{scores['pixels']:,}"
        )
    return table


def score(value: float | int | None) -> str:
    """A fraction with three decimals; a dash if it is undefined."""
    return ABSENT if finite(value) is None else f"{value:.3f}"


def mean_scores(result: Mapping[str, Any]) -> dict[str, float | None]:
    """Each of SCORES averaged over the classes that have it; None if none has."""
    means = {}
    for key in SCORES:
        column = [finite(scores[key]) for scores in result["per_class"].values()]
        defined = [value for value in column if value is not None]
        means[key] = sum(defined) / len(defined) if defined else None
    return means | {key: result[name] for key, name in MEANS.items()}


class Progress:
    """One line about the run: kept up to date on a terminal, else printed each time."""

    def __init__(
        self, total_steps: int, start_step: int, console: rich.console.Console
    ):
        self._total = total_steps
        self._console = console
        self._values: dict[str, Any] = {}
        self._first: tuple[int, float] | None = None
        self._bar = None
        if console.is_terminal:
            # Folded, as a narrow terminal would otherwise hide the last values.
            text = rich.progress.TextColumn(
                "{task.description}", table_column=rich.table.Column(overflow="fold")
            )
            bar = rich.progress.BarColumn(20)
            self._bar = rich.progress.Progress(bar, text, console=console)
            self._task = self._bar.add_task(
                f"step {start_step}/{total_steps}",
                total=total_steps,
                completed=start_step,
            )
            self._bar.start()

    def update(self, step: int, values: Mapping[str, SupportsFloat]) -> None:
        """Shows the step and the values named in FIELDS; the last ones known stay."""
        self._values |= {key: float(value) for key, value in values.items()}
        self._values["eta"] = self._eta(step)
        shown = [
            text.format(self._values[key])
            for key, text in FIELDS.items()
            if self._values.get(key) is not None
        ]
        line = "  ".join([f"step {step}/{self._total}", *shown])
        if self._bar is None:
            with _unless_full():
                print(line, flush=True)
        else:
            self._bar.update(self._task, completed=step, description=line)

    def print(self, text: str) -> None:
        """Prints text as it is, above the line."""
        with _unless_full():
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leaves the line as it stands."""
        if self._bar is not None:
            self._bar.stop()

    def _eta(self, step: int) -> str | None:
        now = time.monotonic()
        # Measured from the first report on: what came before it was compilation.
        first_step, first_time = self._first = self._first or (step, now)
        if step == first_step:
            return None
        seconds = (now - first_time) / (step - first_step) * (self._total - step)
        minutes, seconds = divmod(round(seconds), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def make_progress(total_steps: int, start_step: int) -> Progress:
    """A progress line on standard output, from `start_step` to `total_steps`."""
    return Progress(total_steps, start_step, rich.console.Console())


@contextlib.contextmanager
def _unless_full() -> Iterator[None]:
    """Gives up a line where the output is a file on a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise


def _write_text(path: pathlib.Path, text: str) -> None:
    with pictures.atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
