import html.parser
import json
import math
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from jaxseg import report_html

EVIL = "<script>alert('x')</script>[red]&\""
VOID = {"meta", "img"}


@pytest.fixture
def result():
    scores = {"iou": 0.5, "precision": 0.6, "recall": 0.7, "f1": None, "pixels": 1000}
    return {
        "step": 40,
        "miou": 0.5,
        "pixel_accuracy": 0.9,
        "mean_accuracy": 0.7,
        "mean_f1": None,
        "frequency_weighted_iou": math.nan,
        "per_class": {"road": scores, EVIL: scores | {"iou": math.nan}},
        "images": 7,
    }


def write_metrics(workdir, *, steps):
    rows = [
        {"step": step, "split": "train", "loss": 1 / step, "lr": 1e-2}
        for step in range(1, steps + 1)
    ]
    rows += [{"step": s, "split": "eval", "miou": s / steps} for s in (10, 20, 30, 40)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (workdir / "metrics.jsonl").write_text(text)


class Outline(html.parser.HTMLParser):
    """Checks that every tag is closed in order, and keeps tags and text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def curves(outline):
    return [a["d"] for _, a in outline.tags if a.get("class") == "curve"]


def test_html(tmp_path, result):
    write_metrics(tmp_path, steps=40)
    report_html.write_html(
        tmp_path,
        title=EVIL,
        config_json={"data": {"name": "</pre><script>"}},
        result=result,
        panels=[Image.new("RGB", (3200, 40), (200, 0, 0))],
    )
    outline = Outline((tmp_path / "report.html").read_text(encoding="utf-8"))
    tags = [tag for tag, _ in outline.tags]
    assert "script" not in tags
    assert outline.texts.count(EVIL) == 3  # title, heading, table
    assert any("</pre><script>" in text for text in outline.texts)
    assert [len(re.findall("[ML]", d)) for d in curves(outline)] == [40, 40, 4]
    (picture,) = [attrs for tag, attrs in outline.tags if tag == "img"]
    assert picture["width"] == "1600"
    assert not [a for _, a in outline.tags if "://" in a.get("src", "")]
    policies = [a["content"] for _, a in outline.tags if "http-equiv" in a]
    assert policies == [
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    ]  # no script, whatever a name holds


def test_html_of_a_run_without_metrics(tmp_path, result):
    report_html.write_html(
        tmp_path, title="eval", config_json={}, result=result, panels=[]
    )
    tags = [tag for tag, _ in Outline((tmp_path / "report.html").read_text()).tags]
    assert "svg" not in tags
    assert "table" in tags


@pytest.mark.parametrize(
    "values", [[1.0], [0.0, 0.0], [5e-6, 1e-2, 3e-3], [-1.0, 1e6], [0.999, 0.9991]]
)
def test_chart_points_lie_inside_the_axes(values):
    (path,) = curves(Outline(report_html.chart(range(len(values)), values)))
    points = np.array(re.findall(r"[ML]([\d.]+) ([\d.]+)", path), float)
    assert len(points) == len(values)
    assert (points >= [report_html.LEFT, report_html.TOP]).all()
    assert (points <= [report_html.RIGHT, report_html.BOTTOM]).all()
    assert (np.diff(points[:, 1]) * np.diff(values) <= 0).all()  # up is more


def test_chart_breaks_at_undefined_values():
    (path,) = curves(Outline(report_html.chart([0, 1, 2, 3], [1.0, None, 2.0, 3.0])))
    assert re.findall("[ML]", path) == ["M", "M", "L"]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 3, [0, 1, 2, 3]),
        (0.13, 0.87, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (3, 7, [3, 4, 5, 6, 7]),
    ],
)
def test_ticks(low, high, expected):
    np.testing.assert_allclose(report_html._ticks(low, high), expected)


def test_a_failing_write_leaves_the_old_page(tmp_path, result, monkeypatch):
    page = tmp_path / "report.html"
    page.write_text("old")

    def fail(self, text, encoding):
        self.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(pathlib.Path, "write_text", fail)
    with pytest.raises(OSError, match="disk full"):
        report_html.write_html(
            tmp_path, title="t", config_json={}, result=result, panels=[]
        )
    assert page.read_text() == "old"
    assert list(tmp_path.iterdir()) == [page]
