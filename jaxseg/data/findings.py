"""What would train wrongly, in lines that name the files.

`check` tells all of it, a run what its first examples show.
"""

import collections
from collections.abc import Mapping, Sequence

import numpy as np

from jaxseg import config as config_lib
from jaxseg import errors, pictures
from jaxseg.data import examine, schema, sources

Seen = Sequence[examine.Seen]


def of_splits(
    splits: Mapping[str, sources.Source],
    seen: Mapping[str, Seen],
    num_classes: int,
) -> dict[str, list[str]]:
    """By kind what would train wrongly, each in one line that names the example."""
    found = {}
    for name, split in splits.items():
        lines = [each.problem for each in seen[name] if each.problem]
        found[f"{name} examples"] = lines
        strange = strange_labels(seen[name], split, num_classes)
        found[f"{name} labels"] = strange
    return found


def check_first(
    splits: Mapping[str, sources.Source], data: config_lib.Data, num_classes: int
) -> None:
    """Checks the first config.data.check_first examples of the splits' files.

    Raises UserError for the first finding; not for training examples that cannot be
    read where they will be skipped. Raises errors.Stalled where files do not come.
    """
    files = {n: each for n, each in splits.items() if isinstance(each, sources.Stored)}
    seen = {
        name: [
            *examine.examine_all(
                split, min(data.check_first, len(split)), timeout=data.timeout
            )
        ]
        for name, split in files.items()
    }
    found = of_splits(files, seen, num_classes)
    if data.on_error == "skip":
        found.pop("train examples", None)
    for lines in found.values():
        if lines:
            raise errors.UserError(lines[0])


def strange_labels(seen: Seen, source: sources.Source, num_classes: int) -> list[str]:
    """What no single example shows: labels of another kind than the data set's.

    Each in one line that begins with the name of an example.
    """
    read = [each for each in seen if each.size]
    if not read:
        return []
    train = examine.train_values(source)
    found = {int(value) for each in read for value in np.flatnonzero(each.values)}
    return [
        f"{read[0].name}: {told}, in all {len(read)} labels read"
        for told in (
            _black_and_white(found, train, num_classes),
            _train_ids(found, train, num_classes, len(read)),
            _nothing_counts(found, train, num_classes),
        )
        if told
    ][:1]


def turned(seen: Seen) -> list[str]:
    """A warning of images that their EXIF orientation turns, labels as they are."""
    found = [each.name for each in seen if each.turned]
    others = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return [
        f"{name}{others}: turned as the EXIF orientation says, its label is not; see "
        "that they match"
        for name in found[:1]
    ]


def other_order(
    seen: Seen, source: sources.Source, names: Sequence[str], palette: schema.Palette
) -> list[str]:
    """Labels whose own palettes give the classes' colors to other classes.

    One line at most, which tells of the first. Such labels may be of another data set,
    or of the same classes in another order; but they may be right as well.
    """
    train = examine.train_values(source)
    if palette == tuple(pictures.default_palette(len(names))):  # nobody's choice?
        train = {raw: label for raw, label in train.items() if raw == label}
    told = [_misplaced(each, train, names, palette) for each in seen]
    found = [(each, line) for each, line in zip(seen, told, strict=True) if line]
    return [
        f"{each.name}: {line}; so in {len(found)} of {len(seen)} labels. Are these of "
        "another order of classes?"
        for each, line in found[:1]
    ]


def duplicates(splits: Mapping[str, Seen]) -> list[str]:
    """Image files of one split that are in another one too, byte for byte."""
    places = collections.defaultdict(dict)
    for split, seen in splits.items():
        for each in seen:
            if each.digest:
                places[each.digest].setdefault(split, each.name)
    return [
        f"{' and '.join(names.values())} are the same image, in {' and '.join(names)}"
        for names in places.values()
        if len(names) > 1
    ]


def _misplaced(each: examine.Seen, train, names, palette) -> str:
    """It takes two colors, and that most of a label's are colors of classes at all."""
    own = np.frombuffer(each.palette, np.uint8).reshape(-1, 3).tolist()
    used = [int(raw) for raw in np.flatnonzero(each.values[: len(own)])]
    classes = {raw: train[raw] for raw in used if train.get(raw, 255) < len(names)}
    owners = {color: label for label, color in enumerate(palette)}
    owner = {raw: owners.get(tuple(own[raw])) for raw in classes}
    known = [raw for raw in classes if owner[raw] is not None]
    other = [raw for raw in known if palette[classes[raw]] != tuple(own[raw])]
    if len(other) < 2 or 4 * len(known) < 3 * len(classes):
        return ""
    raw = other[0]
    return (
        f"the label's own palette gives value {raw}, which is {names[classes[raw]]!r}, "
        f"the color of {names[owner[raw]]!r}, and other classes' colors to "
        f"{len(other)} of its {len(classes)} classes"
    )


def _black_and_white(found, train, num_classes: int) -> str:
    if found - {0} == {255} and train.get(255, 0) >= num_classes:
        return (
            "the only label value that is not 0 is 255, which is ignored, so that "
            "nothing but 0 would be learned; give 255 a class (in classes.json: "
            '"map": {"0": 0, "255": 1}, "ignore": [])'
        )
    return ""


def _train_ids(found, train, num_classes: int, examples: int) -> str:
    """Such as Cityscapes' labelTrainIds under the names of labelIds.

    Class numbers end below num_classes; raw values that have a class go on beyond. It
    takes many such values, or many examples, that none of them is seen by chance.
    """
    raw = {value for value, label in train.items() if label < num_classes}
    high = {value for value in raw if value >= num_classes}
    expected = len(high) >= 3 and len(high) * examples >= 4 * num_classes
    if expected and not found & high and len(found & {*range(num_classes)}) > 2:
        return (
            f"no label value from {num_classes} on that has a class "
            f"({len(high)} of them do); these look like class numbers 0-"
            f"{num_classes - 1}, where the data set wants its raw label values"
        )
    return ""


def _nothing_counts(found, train, num_classes: int) -> str:
    if not any(train.get(value, 255) < num_classes for value in found):
        return f"every label value ({sorted(found)}) is ignored; nothing can be learned"
    return ""
