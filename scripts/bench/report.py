"""Tables and a plot from the lines that train.py, infer.py, loss.py and conv.py print.

    python scripts/bench/report.py *.jsonl [--plot=ratios.png] > tables.md

The plot (it needs the extra `viz`) shows every case's ratio to the faster peer.
"""

import argparse
import importlib
import json
import pathlib
from typing import Any

_MACHINE = ("device", "cores", "system", "jax", "peak_tflops")


def main() -> None:
    """Prints a table for each kind of line, in the order of the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=pathlib.Path)
    parser.add_argument("--plot", type=pathlib.Path)
    args = parser.parse_args()
    lines = [line for path in args.paths for line in path.read_text().splitlines()]
    rows = [flatten(json.loads(line)) for line in lines]
    tables: dict[tuple[str, ...], list[dict]] = {}
    for row in rows:
        tables.setdefault(tuple(kind(row)), []).append(row)
    for table in tables.values():
        print_table(table)
    if args.plot:
        plot({label(row): row["ratio"] for row in rows if "ratio" in row}, args.plot)


def print_table(rows: list[dict]) -> None:
    """In Markdown, with the columns that any of the rows has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")
    for row in rows:
        print(f"| {' | '.join(str(row.get(name, '')) for name in names)} |")
    print()


def flatten(row: dict) -> dict[str, Any]:
    """{"ms": {"ours": 1}} as {"ms ours": 1}; the machine left out."""
    flat = {}
    for name, value in row.items():
        if isinstance(value, dict):
            flat |= {f"{name} {key}": item for key, item in value.items()}
        elif isinstance(value, list):
            flat[name] = "x".join(map(str, value))
        elif name not in _MACHINE:
            flat[name] = value
    return flat


def kind(row: dict[str, object]) -> list[str]:
    """What tells the lines of one script from those of another."""
    return [name for name in ("network", "gives", "case", "direction") if name in row]


def label(row: dict[str, object]) -> str:
    """What was measured, in a few words."""
    train = "train" if "compile_s" in row else ""
    names = ("network", "case", "direction", "batch", "size", "gives", "classes")
    return " ".join(str(row[name]) for name in names if name in row) + f" {train}"


def plot(ratios: dict[str, float], path: pathlib.Path) -> None:
    """Bars of time over the peer's: left of 1 is faster."""
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(8, 0.3 * len(ratios) + 1))
    colors = ["tab:blue" if ratio <= 1 else "tab:orange" for ratio in ratios.values()]
    bars = axes.barh(list(ratios), list(ratios.values()), color=colors)
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xlabel("time over that of the faster peer")
    figure.savefig(path, bbox_inches="tight", dpi=100)


if __name__ == "__main__":
    main()
