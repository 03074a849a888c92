"""What a prepared data set is to hold: its examples, checked and encoded."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from jaxseg import errors
from jaxseg.data import encoded, schema, shards, sources

LEFT_OUT = 255  # what counts nowhere, among labels that are classes
# The features of data sets that TFDS has, by its names; ours are "image" and "label".
_KEYS = {"cityscapes": ("image_left", "segmentation_label")}

Example = dict[str, str | bytes]


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
    """The features of one. Raises UserError for whatever would stop a training."""
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
    elif not encoded.is_seen_alike(image):
        image = encoded.encode_png(example["image"])
    if plan.labels == "train":
        label = form.label(example["label"])
    elif plan.form != "original" or not encoded.is_gray_png(label):
        label = form.label(files.raw_label(0).astype(np.uint8))
    image_key, label_key = keys(plan.name)
    image_id = shards.key(source, index)
    return {"image_id": image_id, image_key: image, label_key: label}
