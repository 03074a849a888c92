"""A run on one page: `report.html`, which needs no other file and no network."""

import base64
import html
import io
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from jaxseg import pictures, report

# Split and name of the metric rows' values that are drawn, with their titles.
CHARTS = {
    ("train", "loss"): "training loss",
    ("train", "lr"): "learning rate",
    ("eval", "miou"): "evaluation mIoU",
}
TILES = {
    "miou": "mIoU",
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
    "mean_f1": "mean F1",
    "frequency_weighted_iou": "frequency weighted IoU",
}
WIDTH, HEIGHT = 400, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 374, 12, 200
MAX_DOTS = 60
MAX_PICTURE_WIDTH = 1600

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2024; --soft: #646c74;
  --line: #dfe3e7; --box: #f5f6f8; --mark: #4a7fb5; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181b; --ink: #e6e8ea;
  --soft: #9aa3ab; --line: #32383e; --box: #1d2125; --mark: #6ba3dc; } }
body { margin: 0 auto; max-width: 1080px; padding: 1rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: .5rem 0 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; }
p { color: var(--soft); margin: .2rem 0 1rem; }
.tiles, .charts { display: grid; gap: .8rem; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); }
.charts { grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); }
.tiles div { background: var(--box); border-radius: 8px; padding: .6rem .9rem; }
.tiles b { display: block; font-size: 1.5rem; }
.tiles span, figcaption { color: var(--soft); font-size: .85rem; }
figure { margin: 0; min-width: 0; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 12px; }
.grid { stroke: var(--line); } .axis { stroke: var(--soft); fill: none; }
.curve { fill: none; stroke: var(--mark); stroke-width: 2; stroke-linejoin: round; }
.dot { fill: var(--mark); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .6rem;
  text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th { color: var(--soft); font-weight: 600; } tfoot td { font-weight: 600; }
.bar { width: 40%; min-width: 6rem; } .bar div { background: var(--box); }
.bar div div { background: var(--mark); height: .8rem; border-radius: 0 3px 3px 0; }
img { display: block; max-width: 100%; height: auto; margin: 0 0 1rem;
  border-radius: 6px; }
pre { background: var(--box); border-radius: 8px; overflow-x: auto; padding: .9rem;
  font-size: .85rem; }
summary { cursor: pointer; }
"""


def write_html(
    workdir: pathlib.Path,
    *,
    title: str,
    config_json: Mapping[str, Any],
    result: Mapping[str, Any],
    panels: Sequence[Image.Image],
) -> None:
    """Writes `report.html` from the result, the rows of `metrics.jsonl` and pictures.

    `result` has the keys of `result.json`; values in it may be None or NaN.
    """
    config = html.escape(json.dumps(config_json, indent=2, default=str))
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>step {result['step']:,}, {result['images']:,} images evaluated</p>",
        _tiles(result),
        _charts(report.read_metrics(workdir)),
        _class_table(result),
        *(["<h2>Pictures</h2>"] if panels else []),
        *map(_picture, panels),
        f"<h2>Config</h2><details><summary>config.json</summary><pre>{config}</pre>",
        "</details>",
    ]
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; img-src data:\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body>"
    )
    text = "\n".join([page, *body, "</body></html>\n"])
    with pictures.atomic_path(workdir / "report.html") as temporary:
        temporary.write_text(text, encoding="utf-8")


def chart(steps: Sequence[int], values: Sequence[float | int | None]) -> str:
    """An SVG line chart with a point for each value; None leaves a gap."""
    end = max(1, *steps)
    across = [tick for tick in _ticks(0, end) if tick <= end and tick == int(tick)]
    up = _ticks(*_extent([value for value in values if value is not None]))
    path, dots, pen = [], [], "M"
    for step, value in zip(steps, values, strict=True):
        if value is None:
            pen = "M"
            continue
        x = f"{LEFT + step / end * (RIGHT - LEFT):.1f}"
        y = f"{_height(value, up):.1f}"
        path.append(f"{pen}{x} {y}")
        pen = "L"
        note = f"<title>step {step:,}: {value:.4g}</title>"
        dots.append(f'<circle class="dot" cx="{x}" cy="{y}" r="2.5">{note}</circle>')
    marks = [
        f'<path class="grid" d="M{LEFT} {_height(tick, up):.1f}H{RIGHT}"/>'
        f'<text x="{LEFT - 6}" y="{_height(tick, up) + 4:.1f}" text-anchor="end">'
        f"{tick:.4g}</text>"
        for tick in up
    ]
    marks += [
        f'<text x="{LEFT + tick / end * (RIGHT - LEFT):.1f}" y="{BOTTOM + 18}" '
        f'text-anchor="middle">{tick:,.0f}</text>'
        for tick in across
    ]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(marks)}'
        f'<path class="axis" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>'
        f'<path class="curve" d="{"".join(path)}"/>'
        f"{''.join(dots) if len(dots) <= MAX_DOTS else ''}</svg>"
    )


def _extent(values: Sequence[float | int]) -> tuple[float | int, float | int]:
    """The least and the greatest value, apart even if all are the same."""
    low, high = min(values), max(values)
    margin = (abs(low) / 2 or 1) if low == high else 0
    return low - margin, high + margin


def _ticks(low: float | int, high: float | int) -> list[float]:
    """A few round numbers, 1, 2 or 5 times a power of ten apart, from low to high.

    The first is at most `low` and the last at least `high`.
    """
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    width = next(width * power for width in (1, 2, 5, 10) if width * power >= rough)
    first, last = math.floor(low / width), math.ceil(high / width)
    return [index * width for index in range(first, last + 1)]


def _height(value: float | int, ticks: Sequence[float]) -> float:
    """Where a value is drawn, in SVG units from the top."""
    return BOTTOM - (value - ticks[0]) / (ticks[-1] - ticks[0]) * (BOTTOM - TOP)


def _tiles(result: Mapping[str, Any]) -> str:
    tiles = (
        f"<div><b>{report.score(result[key])}</b><span>{title}</span></div>"
        for key, title in TILES.items()
    )
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _charts(rows: Sequence[Mapping[str, Any]]) -> str:
    """A chart for each of CHARTS that the rows have numbers for."""
    figures = []
    for (split, key), title in CHARTS.items():
        points = [row for row in rows if row["split"] == split and key in row]
        values = [point[key] for point in points]
        if any(value is not None for value in values):
            drawing = chart([point["step"] for point in points], values)
            caption = f"<figcaption>{title}, by step</figcaption>"
            figures.append(f"<figure>{caption}{drawing}</figure>")
    if not figures:
        return ""
    return f'<h2>Training</h2><div class="charts">{"".join(figures)}</div>'


def _class_table(result: Mapping[str, Any]) -> str:
    """Scores of each class, a bar for its IoU, and the means."""
    titles = "".join(f"<th>{title}</th>" for title in report.SCORES.values())
    head = f'<th>class</th><th class="bar"></th>{titles}<th>pixels</th>'
    rows = [
        _class_row(html.escape(name), scores)
        for name, scores in result["per_class"].items()
    ]
    pixels = sum(scores["pixels"] for scores in result["per_class"].values())
    means = _class_row("mean", report.mean_scores(result) | {"pixels": pixels})
    return (
        f'<h2>Classes</h2><div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody><tfoot>{means}</tfoot></table></div>"
    )


def _class_row(name: str, scores: Mapping[str, Any]) -> str:
    percent = 100 * (report.finite(scores["iou"]) or 0)
    bar = f'<div><div style="width:{percent:.1f}%"></div></div>'
    cells = "".join(f"<td>{report.score(scores[key])}</td>" for key in report.SCORES)
    pixels = f"<td>{scores['pixels']:,}</td>"
    return f'<tr><td>{name}</td><td class="bar">{bar}</td>{cells}{pixels}</tr>'


def _picture(image: Image.Image) -> str:
    """The picture inside the page, as a JPEG: photographs in PNG would be megabytes."""
    small = image.convert("RGB")
    small.thumbnail((MAX_PICTURE_WIDTH, image.height))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=90, subsampling=0)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    size = f'width="{small.width}" height="{small.height}"'
    return f'<img {size} alt="sample" src="data:image/jpeg;base64,{data}">'
