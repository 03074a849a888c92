"""Opens every example of a run's data and tells what training would stumble over.

    python -m jaxseg.data.check --config=FILE [--output=FILE]

Status 0 if it would train rightly, 1 if not. The output, JSON, holds the findings, the
raw label values, and class weights ready for a config.
"""

import json
import pathlib
from collections.abc import Sequence

import numpy as np
import rich.console
import rich.progress
import rich.table
import rich.text
from absl import flags

from jaxseg import command, errors, pictures
from jaxseg import config as config_lib
from jaxseg.data import balance, datasets, examine, findings, sources

MAX_TOLD = 20  # lines for one kind of finding

Seen = Sequence[examine.Seen]


def run(config: config_lib.Config, output: pathlib.Path | None) -> None:
    """Checks both splits and prints what they hold.

    Raises UserError if the data would train wrongly, with the findings printed before.
    """
    dataset = datasets.open_dataset(config.data, ignore=config.loss.ignore)
    config = datasets.with_num_classes(config, dataset)
    splits = {name: dataset.split(name) for name in ("train", "val")}
    seen = {
        name: _examine_with_bar(name, split, config.data.timeout)
        for name, split in splits.items()
    }
    found = findings.of_splits(splits, seen, dataset.num_classes)
    if config.data.train_split != config.data.val_split:
        found["duplicates"] = findings.duplicates(seen)
    found = {kind: lines for kind, lines in found.items() if lines}
    names, palette = dataset.class_names, dataset.palette
    warnings = [
        line
        for name, split in splits.items()
        for line in findings.other_order(seen[name], split, names, palette)
    ]
    for each in seen.values():
        warnings += findings.turned(each)
    counts = {
        name: examine.class_counts(seen[name], split, dataset.num_classes)
        for name, split in splits.items()
    }
    for name, split in splits.items():
        _print_split(name, seen[name], split, counts[name], dataset)
    weights = {
        "median_frequency": balance.median_frequency(counts["train"]),
        "inverse_log": balance.inverse_log(counts["train"]),
    }
    for name, values in weights.items():
        print(f"{name}: '--config.loss.class_weights={_as_flag(values)}'")
    if output:
        _write(output, dataset, seen, found, warnings, counts, weights)
    for line in warnings:
        print(f"warning: {line}")
    for lines in found.values():
        _print_some(lines)
    total = sum(map(len, found.values()))
    if total:
        noun = "finding" if total == 1 else "findings"
        raise errors.UserError(f"the data would train wrongly: {total} {noun}")


def _examine_with_bar(
    name: str, source: sources.Source, timeout: float
) -> list[examine.Seen]:
    console = rich.console.Console()
    bar = rich.progress.track(
        examine.examine_all(source, len(source), timeout=timeout),
        description=name,
        total=len(source),
        console=console,
        disable=not console.is_terminal,
    )
    return [*bar]


def _print_split(name: str, seen: Seen, source, counts, dataset) -> None:
    sizes = sorted({each.size for each in seen if each.size})
    told = "x".join(map(str, sizes[0])) if len(sizes) == 1 else f"{len(sizes)} sizes"
    print(f"{name}: {len(seen)} examples, {told}")
    table = rich.table.Table("raw value", "class", "pixels", "examples")
    values = np.stack([each.values for each in seen])
    names = dict(enumerate(dataset.class_names))
    for raw in np.flatnonzero(values.any(0)):
        label = examine.train_values(source).get(int(raw))
        called = "in no class" if label is None else names.get(label, "ignored")
        share, number = values[:, raw].sum() / values.sum(), (values[:, raw] > 0).sum()
        cells = (str(raw), rich.text.Text(called), f"{share:.4%}", str(number))
        table.add_row(*cells)
    rich.print(table)
    absent = [names[int(i)] for i in np.flatnonzero(counts.sum(0) == 0)]
    if absent:
        print(f"{name} shows nothing of {', '.join(absent)}")


def _print_some(lines: Sequence[str]) -> None:
    for line in lines[:MAX_TOLD]:
        print(line)
    if len(lines) > MAX_TOLD:
        print(f"... and {len(lines) - MAX_TOLD} more like these")


def _as_flag(weights: np.ndarray) -> str:
    return f"({','.join(f'{weight:.4g}' for weight in weights)})"


def _write(
    output: pathlib.Path, dataset, seen, found, warnings, counts, weights
) -> None:
    """Everything that was found, as JSON."""
    facts = {
        "classes": dataset.class_names,
        "findings": found,
        "warnings": warnings,
        "raw_values": {
            name: {
                int(raw): int(pixels)
                for raw, pixels in enumerate(np.sum([each.values for each in split], 0))
                if pixels
            }
            for name, split in seen.items()
        },
        "class_pixels": {name: each.sum(0).tolist() for name, each in counts.items()},
        "class_weights": {
            name: [float(f"{weight:.4g}") for weight in values]
            for name, values in weights.items()
        },
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    with pictures.atomic_path(output) as part:
        part.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    _OUTPUT = flags.DEFINE_string("output", None, "JSON file to write to.")
    command.run(
        lambda config: run(
            config, pathlib.Path(_OUTPUT.value) if _OUTPUT.value else None
        )
    )
