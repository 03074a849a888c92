"""The data sets by name: their facts, and opening them as a config says."""

import dataclasses
import json
import logging
import pathlib
from collections.abc import Callable, Iterable
from typing import cast

from jaxseg import config as config_lib
from jaxseg import errors, pictures
from jaxseg.data import combined, folder, records, schema, sources, synthetic
from jaxseg.data.facts import ade20k, camvid, cityscapes, coco, loveda, pascal, pet

FACTS: dict[str, schema.Facts] = {
    "cityscapes": cityscapes.FACTS,
    "voc": pascal.VOC,
    "ade20k": ade20k.FACTS,
    "coco_stuff": coco.STUFF,
    "coco_voc": coco.VOC,
    "pascal_context": pascal.CONTEXT,
    "pascal_context60": pascal.CONTEXT60,
    "camvid": camvid.CAMVID,
    "camvid32": camvid.CAMVID32,
    "pet": pet.FACTS,
    "loveda": loveda.FACTS,
}
# Those that TensorFlow Datasets itself has, by its names; others of such names may have
# other labels.
_OF_TFDS = {
    "cityscapes": cityscapes.FACTS.classes,
    "oxford_iiit_pet": pet.FACTS.classes,
}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Names and RGB colors of the classes, and the source of a split.

    "train" and "val" are the splits that the config names so; others go by their own
    name. Raises UserError for files that are missing.
    """

    class_names: tuple[str, ...]
    palette: schema.Palette
    split: Callable[[str], sources.Source]

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)


def open_dataset(data: config_lib.Data, *, ignore: int) -> Dataset:
    """The data set of a config; labels that count nowhere become `ignore`.

    Raises UserError for folders and files that are missing or ill-formed.
    """
    dataset = DATASETS[data.name](data, ignore)
    return _mixed(dataset, data, ignore) if data.mix else dataset


def with_num_classes(config: config_lib.Config, dataset: Dataset) -> config_lib.Config:
    """The config for the data set's classes. Raises UserError if set for others."""
    found = dataset.num_classes
    if len(config.loss.class_weights) not in (0, found):
        raise errors.UserError(
            f"config.loss.class_weights has {len(config.loss.class_weights)} values "
            f"for {found} classes; give one a class"
        )
    if config.loss.ignore < found:
        raise errors.UserError(
            f"config.loss.ignore={config.loss.ignore} is class "
            f"{dataset.class_names[config.loss.ignore]!r}; leave it at 255"
        )
    model = config_lib.with_classes(config.model, found)
    return dataclasses.replace(config, model=model)


def write_classes(path: pathlib.Path, dataset: Dataset) -> None:
    """Saves names and palette as JSON, for predictions without the data set."""
    facts = {"names": dataset.class_names, "palette": dataset.palette}
    with pictures.atomic_path(path) as part:
        part.write_text(json.dumps(facts))


def read_classes(path: pathlib.Path) -> tuple[tuple[str, ...], schema.Palette]:
    """Class names and palette of a data set's or a workdir's classes.json."""
    classes = folder.read_classes(path)
    return classes.names, classes.palette


def _official(data: config_lib.Data, ignore: int) -> Dataset:
    """A data set of the table, as its authors distribute it."""
    facts, root = FACTS[data.name], _root(data)
    label_map = facts.classes.label_map(ignore)

    def split(name: str) -> sources.Source:
        name = _chosen(data, name, facts.splits)
        official = facts.splits[name]
        parts = [part.open(root, facts.source) for part in official.parts]
        pairs = [pair for part in parts for pair in part]
        if official.count not in (None, len(pairs)):
            logging.warning(
                "%s %s: %d of %d images", data.name, name, len(pairs), official.count
            )
        return sources.Files(pairs, label_map, facts.read_label)

    return Dataset(facts.classes.names, facts.classes.palette, split)


def _synthetic(data: config_lib.Data, ignore: int) -> Dataset:
    """Rendered scenes, the same ones in every run; train and val never meet."""
    counts = {"train": data.train_images, "val": data.eval_images}

    def split(name: str) -> sources.Source:
        name = _chosen(data, name, counts)
        seed = list(counts).index(name)
        return sources.Scenes(counts[name], seed, data.size, data.domain)

    return Dataset(synthetic.NAMES, synthetic.PALETTE, split)


def _folder(data: config_lib.Data, ignore: int) -> Dataset:
    """ROOT/SPLIT/{images,labels} and ROOT/classes.json."""
    root = _root(data)
    classes = folder.read_classes(root / "classes.json")
    label_map = classes.label_map(ignore)

    def split(name: str) -> sources.Source:
        pairs = folder.pair_by_stem(root / _chosen(data, name, None))
        return sources.Files(pairs, label_map)

    return Dataset(classes.names, classes.palette, split)


def _tfds(data: config_lib.Data, ignore: int) -> Dataset:
    """A data set that TensorFlow Datasets has on disk."""
    _root(data)
    prepared = records.Prepared(data, _OF_TFDS)

    def split(name: str) -> sources.Source:
        return prepared.split(_chosen(data, name, None), ignore)

    return Dataset(prepared.classes.names, prepared.classes.palette, split)


def _mixed(dataset: Dataset, data: config_lib.Data, ignore: int) -> Dataset:
    """The data set with the training splits of config.data.mix joined to its own."""
    alone = [dataclasses.replace(data, root=root, mix=()) for root in data.mix]
    others = [DATASETS[data.name](each, ignore) for each in alone]
    for root, other in zip(data.mix, others, strict=True):
        if other.class_names != dataset.class_names:
            raise errors.UserError(
                f"config.data.mix: {root} has other classes than {data.root}; only "
                "data sets of the same classes can be mixed"
            )

    def split(name: str) -> sources.Source:
        if name != "train":
            return dataset.split(name)
        parts = [each.split(name) for each in (dataset, *others)]
        return combined.Joined(cast(list[sources.Stored], parts))

    return dataclasses.replace(dataset, split=split)


def _chosen(data: config_lib.Data, name: str, known: Iterable[str] | None) -> str:
    """The split that the config means by a name. Raises UserError if it is unknown."""
    chosen = {"train": data.train_split, "val": data.val_split}.get(name, name)
    if known is not None and chosen not in known:
        raise errors.UserError(
            f"{data.name} has no split {chosen!r}; config.data.train_split and "
            f"config.data.val_split may be {', '.join(known)}"
        )
    return chosen


def _root(data: config_lib.Data) -> pathlib.Path:
    if not data.root or not pathlib.Path(data.root).is_dir():
        raise errors.UserError(
            f"config.data.root={data.root!r} is not a folder; set it to the folder "
            f"that holds the {data.name} data"
        )
    return pathlib.Path(data.root)


DATASETS: dict[str, Callable[[config_lib.Data, int], Dataset]] = {
    "synthetic": _synthetic,
    "folder": _folder,
    "tfds": _tfds,
    **dict.fromkeys(FACTS, _official),
}
