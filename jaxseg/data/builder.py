"""The builder with which TensorFlow Datasets writes any data set of ours.

It gives TFDS encoded files and never pixels, which is what works without TensorFlow.
Imports tensorflow_datasets: prepare.py imports this file late.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import pathlib
import sys
from collections.abc import Iterator, Mapping

import numpy as np
import rich.console
import rich.progress
import tensorflow_datasets as tfds

from jaxseg import errors
from jaxseg.data import encoded, schema, sources

VERSION = "1.0.0"  # the one that TFDS has for Cityscapes
CONFIG = "semantic_segmentation"  # likewise
LEFT_OUT = 255  # what counts nowhere, among labels that are classes
# The features of data sets that TFDS has, by its names; ours are "image" and "label".
_KEYS = {"cityscapes": ("image_left", "segmentation_label")}

tfds.disable_progress_bar()  # it does not know how many examples there are

Example = tuple[str, dict[str, str | bytes]]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to write."""

    dataset: str  # the name it has here
    name: str  # the name it gets in TFDS
    config: str
    classes: schema.Classes
    splits: Mapping[str, sources.Files]
    form: str  # of encoded.FORMS
    labels: str  # "raw": the data set's own values; "train": classes, and 255
    facts: schema.Facts | None = None  # where it is an official one
    workers: int = 1  # threads

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of all images, where they have one."""
        return self.facts.size if self.facts else None


def make_builder(plan: Plan, data_dir: pathlib.Path) -> "Builder":
    """The builder, which finds out whether the data set is there already.

    Without a config's name TFDS looks for the plain one, whichever is written.
    """
    names = dict.fromkeys((CONFIG, plan.config))
    configs = [tfds.core.BuilderConfig(name=name, version=VERSION) for name in names]
    fields = {"name": plan.name, "BUILDER_CONFIGS": configs}
    kind = type("Builder", (Builder,), fields, skip_registration=True)
    return kind(plan, data_dir)


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Reads, checks and encodes each example of a plan."""

    def __init__(self, plan: Plan, data_dir: pathlib.Path):
        self.plan = plan
        super().__init__(
            data_dir=data_dir, config=plan.config, file_format="array_record"
        )

    def _info(self) -> tfds.core.DatasetInfo:
        plan, facts = self.plan, self.plan.facts
        image_key, label_key = keys(plan.name)
        size = plan.size or (None, None)
        png = "png" if plan.form == "original" else None
        features = tfds.features.FeaturesDict(
            {
                "image_id": tfds.features.Text(),
                image_key: tfds.features.Image(
                    shape=(*size, 3), encoding_format=png if plan.size else None
                ),
                label_key: tfds.features.Image(
                    shape=(*size, 1), encoding_format=png, use_colormap=True
                ),
            }
        )
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{plan.dataset} for semantic segmentation.",
            features=features,
            homepage=facts.source if facts else None,
            license=facts.license if facts else None,
            citation=facts.cite if facts else None,
            metadata=tfds.core.MetadataDict(metadata(plan)),
        )

    def _split_generators(self, dl_manager: object) -> dict[str, Iterator[Example]]:
        return {split: self._generate_examples(split) for split in self.plan.splits}

    def _generate_examples(self, split: str) -> Iterator[Example]:
        """In order, read and encoded by threads a little ahead of what is written."""
        source, workers = self.plan.splits[split], self.plan.workers
        console = rich.console.Console(file=sys.stderr)
        waiting: collections.deque = collections.deque()
        with contextlib.ExitStack() as stack:
            pool = concurrent.futures.ThreadPoolExecutor(workers)
            stack.callback(pool.shutdown, cancel_futures=True)
            indices = rich.progress.track(
                range(len(source)),
                description=split,
                console=console,
                disable=not console.is_terminal,
            )
            for index in indices:
                waiting.append(pool.submit(read_example, self.plan, source, index))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        if console.is_terminal:
            console.print(f"{split}: all is read and checked, now written")


def keys(name: str) -> tuple[str, str]:
    """The features of image and label in a data set that TFDS calls so."""
    return _KEYS.get(name, ("image", "label"))


def metadata(plan: Plan) -> dict:
    """What a classes.json holds, for the labels as they are written, and more."""
    if plan.labels == "raw":
        raw_to_train, ignored = plan.classes.raw_to_train, plan.classes.ignored
    else:
        raw_to_train = {index: index for index in range(len(plan.classes.names))}
        ignored = (LEFT_OUT,)
    return {
        "dataset": plan.dataset,
        "store": plan.form,
        "labels": plan.labels,
        "names": list(plan.classes.names),
        "palette": [list(color) for color in plan.classes.palette],
        "map": {str(raw): index for raw, index in raw_to_train.items()},
        "ignore": list(ignored),
    }


def read_example(plan: Plan, source: sources.Files, index: int) -> Example:
    """Key and features. Raises UserError for whatever would stop a training."""
    image_file, files = source.pairs[index][0], source.loaded(index)
    example = files[0]
    size = example["label"].shape
    if plan.size not in (None, size):
        raise errors.UserError(
            f"{image_file} is {size[0]}x{size[1]} (height x width); all images of "
            f"{plan.dataset} are {plan.size[0]}x{plan.size[1]}"
        )
    form, (image, label) = encoded.FORMS[plan.form], files.stored(0)
    if form.image is not None:
        image = form.image(example["image"])
    if plan.labels == "train":
        label = form.label(example["label"])
    elif plan.form != "original" or not encoded.is_gray_png(label):
        label = form.label(files.raw_label(0).astype(np.uint8))
    key = pathlib.PurePath(str(image_file)).stem.removesuffix("_leftImg8bit")
    image_key, label_key = keys(plan.name)
    return key, {"image_id": key, image_key: image, label_key: label}
