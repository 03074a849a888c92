"""Markdown tables from the lines that train.py, infer.py, loss.py and conv.py print.

python scripts/bench/report.py *.jsonl > tables.md
"""

import json
import pathlib
import sys


def main(paths: list[str]) -> None:
    """Prints a table for each kind of line, in the order of the files."""
    tables: dict[tuple[str, ...], list[dict]] = {}
    for path in paths:
        for line in pathlib.Path(path).read_text().splitlines():
            columns = flatten(json.loads(line))
            tables.setdefault(tuple(kind(columns)), []).append(columns)
    for rows in tables.values():
        names = list(dict.fromkeys(name for row in rows for name in row))
        print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")
        for row in rows:
            print(f"| {' | '.join(str(row.get(name, '')) for name in names)} |")
        print()


def flatten(row: dict) -> dict[str, object]:
    """{"ms": {"ours": 1}} as {"ms ours": 1}; the machine left out."""
    flat = {}
    for name, value in row.items():
        if isinstance(value, dict):
            flat |= {f"{name} {key}": item for key, item in value.items()}
        elif isinstance(value, list):
            flat[name] = "x".join(map(str, value))
        elif name not in ("device", "cores", "system", "jax", "peak_tflops"):
            flat[name] = value
    return flat


def kind(columns: dict[str, object]) -> list[str]:
    """What tells the lines of one script from those of another."""
    return [
        name for name in ("network", "gives", "case", "direction") if name in columns
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
