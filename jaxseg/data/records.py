"""Data sets that TensorFlow Datasets has on disk: ArrayRecord files and their metadata.

TFDS finds and splits the records and takes their fields apart; images and labels are
decoded here. Nothing of it needs TensorFlow.
"""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from jaxseg import config as config_lib
from jaxseg import errors
from jaxseg.data import archives, folder, schema, sources

METADATA = "metadata.json"  # TFDS's name; ours holds what a classes.json holds
INFO, FEATURES = "dataset_info.json", "features.json"  # TFDS's names
# TFDS imports the module of each class that features.json names: only its own here.
MODULES = "tensorflow_datasets.core.features."
_CLASS_KEYS = ("type", "pythonClassName", "python_class_name")
UNFINISHED = "incomplete."  # how TFDS's names of folders begin until all is written


def import_tfds() -> Any:
    """The library. Raises UserError where it is not installed."""
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise errors.UserError(
            "tensorflow-datasets is not installed; pip install 'jaxseg[tfds]'"
        ) from error
    return tensorflow_datasets


class Prepared:
    """A data set on disk, with the features that hold its images and its labels.

    `known` are classes by the names that TFDS has for data sets. Raises UserError if
    there is none, several, or one that cannot be read.
    """

    def __init__(self, data: config_lib.Data, known: Mapping[str, schema.Classes]):
        tfds = import_tfds()
        self.path = _find(pathlib.Path(data.root), data.tfds_name)
        with _told_as(str(self.path)):
            _check_features(json.loads(archives.read(self.path / FEATURES)))
            self.builder = tfds.builder_from_directory(self.path)
        self.images = {  # how many channels each of the features has
            key: feature.shape[-1]
            for key, feature in self.builder.info.features.items()
            if isinstance(feature, tfds.features.Image)
        }
        self.image_key = self._find_key("image_key", data.image_key, channels=3)
        self.label_key = self._find_key("label_key", data.label_key, channels=1)
        self.classes = self._find_classes(data.classes, known)

    def split(self, name: str, ignore: int) -> "Records":
        """Its examples; "val" may be called "validation" there."""
        tfds = import_tfds()
        splits = self.builder.info.splits
        if name == "val" and name not in splits:
            name = "validation"
        skip = tfds.decode.SkipDecoding()
        try:
            records = self.builder.as_data_source(
                split=name,
                decoders=dict.fromkeys(self.images, skip),
            )
        except NotImplementedError as error:
            raise errors.UserError(
                f"{self.path} holds {self.builder.info.file_format.value} files, which "
                "have no random access; prepare it with file_format='array_record'"
            ) from error
        except (ValueError, KeyError, AssertionError) as error:
            raise errors.UserError(
                f"{self.path} has no split {name!r}; config.data.train_split and "
                f"config.data.val_split may be {', '.join(splits)}, or a slice such as "
                "train[:90%]"
            ) from error
        called = errors.one_line(f"{self.builder.info.full_name} {name}")
        with _told_as(called):
            count = len(records)
        keys = self.image_key, self.label_key
        return Records(records, count, called, keys, self.classes.label_map(ignore))

    def _find_key(self, field: str, given: str, *, channels: int) -> str:
        """The feature that the config names, or the only one of so many channels."""
        fit = [key for key, count in self.images.items() if count == channels]
        if given in self.images:
            return given
        if given or len(fit) != 1:
            found = ", ".join(sorted(self.images)) or "none of its features"
            raise errors.UserError(
                f"config.data.{field}={given!r} names no image of {self.path}; it may "
                f"be {found}"
            )
        return fit[0]

    def _find_classes(
        self, path: str, known: Mapping[str, schema.Classes]
    ) -> schema.Classes:
        if path:
            return folder.read_classes(pathlib.Path(path))
        metadata = self.path / METADATA
        with _told_as(str(metadata)):
            ours = metadata.exists() and "names" in json.loads(archives.read(metadata))
        if ours:
            return folder.read_classes(metadata)
        if self.builder.info.name in known:
            return known[self.builder.info.name]
        raise errors.UserError(
            f"{self.path} does not tell its classes; set config.data.classes to a "
            'classes.json: {"names": [...], "ignore": [raw values]}'
        )


@dataclasses.dataclass(frozen=True)
class Records:
    """A split's examples, by the numbers that TFDS gives them."""

    records: Any  # a sequence of TFDS: features by key, images as encoded files
    count: int
    called: str
    keys: tuple[str, str]  # of image and label
    label_map: sources.LabelMap

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        """Data set, split and number."""
        return f"{self.called} {index}"

    def loaded(self, index: int) -> sources.Files:
        """One example alone, as files in memory."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        name = self.name(index)
        with _told_as(name):
            record = self.records[index]
        image, label = (
            archives.InMemory(f"{name} {key}", record[key]) for key in self.keys
        )
        return sources.Files([(image, label)], self.label_map)

    def __getitem__(self, index: int) -> sources.Example:
        return self.loaded(index)[0]


def _find(root: pathlib.Path, name: str) -> pathlib.Path:
    """The one data set at ROOT/NAME, or under it as ROOT/NAME/CONFIG/VERSION."""
    top = root / name
    depths = ("", "*/", "*/*/", "*/*/*/")
    found = sorted(
        path.parent
        for depth in depths
        for path in top.glob(depth + INFO)
        if not path.parent.name.startswith(UNFINISHED)
    )
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.relative_to(root).as_posix() for path in found)
        raise errors.UserError(
            f"{top} holds several data sets; set config.data.tfds_name to one of "
            f"{names}"
        )
    raise errors.UserError(
        f"{top} holds no data set of TensorFlow Datasets (no {INFO}); set "
        "config.data.root to its data_dir and config.data.tfds_name to a name such as "
        "cityscapes/semantic_segmentation"
    )


def _check_features(listed: Any) -> None:
    """Raises ValueError if features.json names a class that is not TFDS's own."""
    if isinstance(listed, dict):
        for name, value in listed.items():
            names_class = name in _CLASS_KEYS and isinstance(value, str)
            if names_class and not value.startswith(MODULES):
                raise ValueError(f"its feature {value!r} is not TFDS's own")
            _check_features(value)
    elif isinstance(listed, list):
        for value in listed:
            _check_features(value)
    elif isinstance(listed, str):
        with contextlib.suppress(json.JSONDecodeError):  # a text, and no JSON in JSON
            if isinstance(inner := json.loads(listed), dict | list | str):
                _check_features(inner)


@contextlib.contextmanager
def _told_as(name: str) -> Iterator[None]:
    """Turns whatever TFDS and its readers stumble over into a UserError."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise errors.UserError(
            f"{name} cannot be read by TensorFlow Datasets ({reason}); prepare the "
            "data set again"
        ) from error
