import contextlib
import errno
import io
import json
import math
import pathlib
import re

import numpy as np
import pytest
import rich.console

from jaxseg import errors, report

EVIL = "<script>alert('x')</script>[red]&\"[/]\x1b[31m\u202e"


@pytest.fixture
def result():
    scores = {"iou": 0.5, "precision": 0.6, "recall": 0.7, "f1": 2 / 3, "pixels": 1000}
    absent = {"iou": math.nan, "precision": None, "recall": None, "f1": None}
    return {
        "step": 40,
        "miou": 0.5,
        "pixel_accuracy": 0.9,
        "mean_accuracy": 0.7,
        "mean_f1": 2 / 3,
        "frequency_weighted_iou": math.nan,
        "per_class": {"road": scores, EVIL: {**absent, "pixels": 0}},
        "images": 7,
    }


def log(workdir, steps, *, resume_step=0):
    with report.MetricWriter(workdir, resume_step=resume_step) as writer:
        for step in steps:
            writer.write(step, "train", {"loss": 1 / step, "lr": 1e-2})
            if step % 10 == 0:
                writer.write(step, "eval", {"miou": step / 100})


def metrics_text(workdir):
    return (workdir / "metrics.jsonl").read_text()


def test_rows(tmp_path):
    with report.MetricWriter(tmp_path / "new", resume_step=0) as writer:
        scalars = {
            "loss": np.float32(0.5),
            "n": np.int64(3),
            "a": math.nan,
            "b": -math.inf,
        }
        writer.write(2, "train", scalars)
        row = json.loads(metrics_text(tmp_path / "new"))  # flushed before closing
    expected = {"step": 2, "split": "train", "loss": 0.5, "n": 3, "a": None, "b": None}
    assert row == expected
    assert isinstance(row["n"], int)
    assert list((tmp_path / "new" / "tb").glob("events.*"))


@pytest.mark.parametrize("tail", ["", '{"step": 28, "spl', "{"])
def test_resumed_run_has_the_rows_of_an_uninterrupted_one(tmp_path, tail):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    log(whole, range(1, 41))
    log(parts, range(1, 28))
    with (parts / "metrics.jsonl").open("a") as file:
        file.write(tail)
    log(parts, range(21, 41), resume_step=20)
    assert metrics_text(parts) == metrics_text(whole)


def test_half_written_row_after_the_last_checkpoint(tmp_path):
    log(tmp_path, range(1, 4))
    complete = metrics_text(tmp_path)
    (tmp_path / "metrics.jsonl").write_text(complete[:-1])  # only its newline is lost
    log(tmp_path, [], resume_step=3)
    assert metrics_text(tmp_path) == complete


def test_a_fresh_run_drops_all_rows(tmp_path):
    with report.MetricWriter(tmp_path, resume_step=0) as writer:
        writer.write(0, "eval", {"miou": 0.1})
    log(tmp_path, [1])
    assert [row["step"] for row in report.read_metrics(tmp_path)] == [1]


def test_a_broken_line_in_the_middle_is_an_error(tmp_path):
    good = '{"step": 1, "split": "train", "loss": null}'
    foreign = (
        '{"st',
        "[]",
        '{"step": "1", "split": "train"}',
        '{"step": 1}',
        "[" * 9999,
    )
    values = ('"<b>"', "NaN", "1e999", "9" * 400, "[1]", "true")
    for bad in (*foreign, *(good.replace("null", value) for value in values)):
        (tmp_path / "metrics.jsonl").write_text(f"{good}\n{bad}\n{good}\n")
        with pytest.raises(errors.UserError, match=r"metrics\.jsonl:2 is no row of"):
            report.MetricWriter(tmp_path, resume_step=3)


def test_result_is_valid_json(tmp_path, result):
    report.write_result(tmp_path, result)
    text = (tmp_path / "result.json").read_text()
    read = json.loads(text, parse_constant=pytest.fail)
    assert read["frequency_weighted_iou"] is None
    assert read["per_class"][EVIL]["iou"] is None
    assert read["per_class"]["road"] == result["per_class"]["road"]
    assert text.startswith('{\n "step": 40')


def test_result_table(result):
    console = rich.console.Console(file=io.StringIO(), width=120)
    console.print(report.result_table(result))
    text = console.file.getvalue()
    rows = [
        [cell.strip() for cell in re.split("[│┃]", line)] for line in text.split("\n")
    ]
    cells = [row[1:-1] for row in rows if len(row) > 2]
    assert ["road", "0.500", "0.600", "0.700", "0.667", "1,000"] in cells
    shown = "<script>alert('x')</script>[red]&\"[/]\\x1b[31m\\u202e"
    assert [shown, *4 * [report.ABSENT], "0"] in cells
    assert cells[-1] == ["mean", "0.500", "0.600", "0.700", "0.667", "1,000"]


@pytest.mark.parametrize("name", ["result.json", "metrics.jsonl"])
def test_a_failing_write_leaves_the_old_file(tmp_path, result, monkeypatch, name):
    (tmp_path / name).write_text('{"step": 1}\n')

    def fail(self, text, encoding):
        self.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(pathlib.Path, "write_text", fail)
    write = {
        "result.json": lambda: report.write_result(tmp_path, result),
        "metrics.jsonl": lambda: report.MetricWriter(tmp_path, resume_step=0),
    }
    with pytest.raises(OSError, match="disk full"):
        write[name]()
    assert (tmp_path / name).read_text() == '{"step": 1}\n'
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_progress_in_a_log(capsys, monkeypatch):
    clock = iter([100.0, 110.0, 4000.0])
    monkeypatch.setattr(report.time, "monotonic", lambda: next(clock))
    progress = report.make_progress(400, 100)
    progress.update(110, {"loss": 0.81234, "lr": 0.0095, "other": 1.0})
    progress.update(120, {"images_per_second": 31.24, "data_wait_share": 0.031})
    progress.print("evaluated [7]")
    progress.update(400, {"miou": 0.4121})
    progress.close()
    assert capsys.readouterr().out.splitlines() == [
        "step 110/400  loss 0.8123  lr 0.0095",
        "step 120/400  loss 0.8123  lr 0.0095  images/s 31.2  data wait 3%  "
        "eta 0:04:40",
        "evaluated [7]",
        "step 400/400  loss 0.8123  lr 0.0095  images/s 31.2  data wait 3%  "
        "eta 0:00:00  mIoU 0.412",
    ]


def test_progress_on_a_terminal(monkeypatch):
    console = rich.console.Console(file=io.StringIO(), force_terminal=True, width=100)
    progress = report.Progress(400, 0, console)
    progress.update(10, {"loss": 0.5})
    progress.print("evaluated [7]")
    progress.close()
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", console.file.getvalue())
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    assert "evaluated [7]" in lines
    assert lines[-1].endswith("step 10/400  loss 0.5000")


class Failing(io.StringIO):
    def __init__(self, code):
        super().__init__()
        self.code = code

    def write(self, text):
        raise OSError(self.code, "No space left on device, or no reader")


def test_output_to_a_full_disk_does_not_end_the_run():
    with contextlib.redirect_stdout(Failing(errno.ENOSPC)):
        progress = report.make_progress(10, 0)
        progress.update(1, {"loss": 0.5})
        progress.print("a line")


def test_output_that_nobody_reads_ends_the_run():
    with contextlib.redirect_stdout(Failing(errno.EPIPE)):
        progress = report.make_progress(10, 0)
        with pytest.raises(BrokenPipeError):
            progress.update(1, {"loss": 0.5})
