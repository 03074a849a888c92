"""Writes a data set as TensorFlow Datasets keeps them, in ArrayRecord files.

    python -m jaxseg.data.prepare --dataset=cityscapes --source=DIR --data_dir=DIR
        [--store=original|jpeg|jpeg420|raw] [--labels=raw|train] [--name=NAME]
        [--splits=train,val,...] [--workers=N]

Every image is decoded and every label value looked up on the way. The data set appears
under its name when all of it is written; after a stop the same command goes on with the
files that are not complete.
"""

import contextlib
import io
import json
import pathlib
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from typing import cast

import filelock
from absl import flags

from jaxseg import command, errors
from jaxseg import config as config_lib
from jaxseg.data import (
    archives,
    cores,
    datasets,
    encoded,
    folder,
    plans,
    records,
    schema,
    sources,
)

DATASETS = tuple(n for n in datasets.DATASETS if n not in ("synthetic", "tfds"))
LABELS = ("raw", "train")
USUAL_SPLITS = ("train", "val", "test")
# What TFDS calls splits: usually, and where Cityscapes' coarse ones are all chosen.
_TFDS_NAMES = {"val": "validation"}
_TFDS_EXTRA = {"train_coarse": "train", "val_coarse": "validation"}
_TFDS_EXTRA |= {"train_extra": "train_extra"}


def run(
    dataset: str,
    source: str,
    data_dir: pathlib.Path,
    *,
    store: str = "original",
    labels: str = "raw",
    splits: Sequence[str] = (),
    name: str = "",
    workers: int = 1,
) -> pathlib.Path:
    """Prepares a data set and returns its folder; does nothing if it is there.

    Raises UserError for what is missing or would stop a training, and if another data
    set is in its place.
    """
    if not re.fullmatch("[a-z][a-z0-9_]*", name := name or dataset):
        raise errors.UserError(
            f"--name={name} must be lower-case letters, digits and _, a letter first"
        )
    records.import_tfds()
    from jaxseg.data import builder

    classes, opened = _open(dataset, source, splits)
    plan = plans.Plan(
        dataset=dataset,
        name=name,
        config=_config_name(store, labels, splits),
        classes=classes,
        splits=opened,
        form=store,
        labels=labels,
        facts=datasets.FACTS.get(dataset),
        workers=workers,
    )
    target = data_dir / name / plan.config / builder.VERSION
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(target.parent / ".lock", blocking=False):
            _write(plan, data_dir, target)
    except filelock.Timeout as error:
        raise errors.UserError(f"{target} is being prepared by another run") from error
    return target


def _open(
    dataset: str, source: str, splits: Sequence[str]
) -> tuple[schema.Classes, dict[str, sources.Files]]:
    """The classes, and the files of each split by TFDS's name for it."""
    found, hint, chosen = {}, "", bool(splits)
    try:
        opened = datasets.open_dataset(
            config_lib.Data(name=dataset, root=source), ignore=255
        )
        if facts := datasets.FACTS.get(dataset):
            classes, known = facts.classes, list(facts.splits)
        else:
            root = pathlib.Path(source)
            classes = folder.read_classes(root / "classes.json")
            known = [path.parent.name for path in root.glob("*/images")]
        splits = splits or [name for name in USUAL_SPLITS if name in known]
        if not splits or not set(splits) <= set(known):
            raise errors.UserError(
                f"--splits={','.join(splits)} must be of those that {dataset} has in "
                f"--source={source}: {', '.join(known)}"
            )
        names = _TFDS_EXTRA if _are_extra(splits) else _TFDS_NAMES
        for name in splits:
            if name == "test" and not chosen:  # often not unpacked
                hint = "; --splits=train,val leaves it out"
            found[names.get(name, name)] = opened.split(name)
    except errors.UserError as error:
        told = str(error).replace("config.data.root", "--source")
        raise errors.UserError(told + hint) from error
    return classes, cast(dict[str, sources.Files], found)


def _are_extra(splits: Sequence[str]) -> bool:
    return set(splits) == set(_TFDS_EXTRA)


def _config_name(store: str, labels: str, splits: Sequence[str]) -> str:
    """TFDS's name for Cityscapes as it comes; what differs from that is appended."""
    extra = ["extra"] if _are_extra(splits) else splits
    parts = ["semantic_segmentation", *extra]
    parts += [store] if store != "original" else []
    parts += ["train_ids"] if labels == "train" else []
    return "_".join(parts)


def _write(plan: plans.Plan, data_dir: pathlib.Path, target: pathlib.Path) -> None:
    from jaxseg.data import builder

    wanted = {split: len(files) for split, files in plan.splits.items()}
    for mark in [*target.parent.glob(f"{records.UNFINISHED}*/{builder.OURS}")]:
        shutil.rmtree(mark.parent)
    writer = builder.make_builder(plan, data_dir)
    if target.exists():
        _check_unchanged(plan, target)
    else:
        with (
            tempfile.TemporaryDirectory() as unused,  # what TFDS downloads, and tells
            contextlib.redirect_stdout(io.StringIO()),
        ):
            writer.download_and_prepare(download_dir=unused)
    found = {name: split.num_examples for name, split in writer.info.splits.items()}
    if found != wanted:
        raise errors.UserError(
            f"{target} holds {_counted(found)} examples, --source {_counted(wanted)}; "
            "delete it to prepare the data set again"
        )
    print(f"{target}: {_counted(found)} examples")


def _check_unchanged(plan: plans.Plan, target: pathlib.Path) -> None:
    """Raises UserError if classes or files were changed since it was prepared."""
    pairs = [pair for files in plan.splits.values() for pair in files.pairs]
    states = [archives.state(file)[1] for pair in pairs for file in pair]
    changed = max((state[1] for state in states if state), default=0)
    metadata = json.loads((target / records.METADATA).read_bytes())
    written = (target / records.INFO).stat().st_mtime_ns
    if metadata != plans.metadata(plan) or changed > written:
        raise errors.UserError(
            f"{target} was prepared from other classes or files, --source was changed "
            "since; delete it to prepare the data set again"
        )


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


if __name__ == "__main__":
    _DATASET = flags.DEFINE_enum("dataset", None, DATASETS, "Which.", required=True)
    _SOURCE = flags.DEFINE_string(
        "source", None, "Folder of its files or archives.", required=True
    )
    _DATA_DIR = flags.DEFINE_string("data_dir", None, "TFDS's folder.", required=True)
    _STORE = flags.DEFINE_enum(
        "store",
        "original",
        list(encoded.FORMS),
        "Images as they are, as JPEG of quality 95 (jpeg420: with colors at half the "
        "resolution), or as plain pixels.",
    )
    _LABELS = flags.DEFINE_enum(
        "labels", "raw", LABELS, "Values of the data set, or classes and 255."
    )
    _SPLITS = flags.DEFINE_list("splits", [], "Which; default: train, val and test.")
    _NAME = flags.DEFINE_string("name", "", "In TFDS; default: that of --dataset.")
    _WORKERS = flags.DEFINE_integer(
        "workers", cores.count(), "Threads that decode and encode.", lower_bound=1
    )
    command.run_without_config(
        lambda: run(
            _DATASET.value,
            _SOURCE.value,
            pathlib.Path(_DATA_DIR.value),
            store=_STORE.value,
            labels=_LABELS.value,
            splits=_SPLITS.value,
            name=_NAME.value,
            workers=_WORKERS.value or 1,
        )
    )
