"""The folder data set: ROOT/SPLIT/{images,labels} and ROOT/classes.json."""

import collections
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from jaxseg import errors, pictures
from jaxseg.data import archives, layouts, schema

_RAW = {str(raw) for raw in range(256)}  # as keys of "map"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
MAX_JSON = 1024**2  # bytes of a classes.json
MAX_NAME = 200  # characters of a class's name


def read_classes(path: pathlib.Path) -> schema.Classes:
    """What a classes.json says. Raises UserError if it is missing or ill-formed."""
    facts = _read_json(path)
    names = tuple(facts["names"])
    palette = facts.get("palette") or pictures.default_palette(len(names))
    ignored = tuple(facts.get("ignore", [255]))
    if "map" in facts:
        raw_to_train = {int(raw): train for raw, train in facts["map"].items()}
        ignored = tuple(raw for raw in ignored if raw not in raw_to_train)
    else:
        raw_to_train = {raw: raw for raw in range(len(names)) if raw not in ignored}
    return schema.Classes(
        names,
        tuple((red, green, blue) for red, green, blue in palette),
        raw_to_train,
        ignored,
    )


def _read_json(path: pathlib.Path) -> dict:
    try:
        content = archives.read(path, limit=MAX_JSON)
        text = content.decode("utf-8-sig")
        facts = json.loads(text, object_pairs_hook=_without_doubles)
    except FileNotFoundError as error:
        raise errors.UserError(
            f"{path} does not exist; it must hold "
            '{"names": [...], "palette": [[r, g, b], ...], "ignore": [raw values]}'
        ) from error
    except OSError as error:
        raise errors.UserError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise errors.UserError(f"{path} is not valid JSON: {error}") from error
    names: Any = facts.get("names") if isinstance(facts, dict) else None
    if not _is_list(names, str) or not 2 <= len(names) <= 255:
        raise errors.UserError(f'{path} needs "names", a list of 2 to 255 class names')
    if len(set(names)) < len(names):
        raise errors.UserError(f"{path} names a class twice")
    for name in names:
        if not 0 < len(name) <= MAX_NAME or not errors.is_plain(name):
            raise errors.UserError(
                f"{path} names a class {name[:MAX_NAME]!r}; a name is one line of at "
                f"most {MAX_NAME} characters, without control characters"
            )
    palette = facts.get("palette")
    if palette is not None and not _is_palette(palette, len(names)):
        raise errors.UserError(
            f'{path}: "palette" must be {len(names)} colors [r, g, b] in 0..255'
        )
    _check_values(path, facts, len(names))
    return facts


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict:
    """An object of JSON, in which the last of two values would count silently."""
    counts = collections.Counter(key for key, _ in pairs)
    if doubled := [ascii(key) for key, count in counts.items() if count > 1]:
        raise ValueError(f"the key {doubled[0]} is there twice")
    return dict(pairs)


def _check_values(path: pathlib.Path, facts: dict, num_classes: int) -> None:
    """Raises UserError unless "map" and "ignore" tell one thing of each raw value."""
    train, ignored = facts.get("map", {}), facts.get("ignore", [])
    if not isinstance(train, dict) or not _is_list(ignored, int):
        raise errors.UserError(
            f'{path}: "map" must be {{"raw": class, ...}}, "ignore" [raw, ...]'
        )
    if not train.keys() <= _RAW or not _in_range(ignored, 256):
        raise errors.UserError(f"{path}: raw values must be in 0..255")
    if not _in_range(train.values(), num_classes):
        raise errors.UserError(f'{path}: "map" must give classes 0..{num_classes - 1}')
    if both := [raw for raw in ignored if str(raw) in train]:
        raise errors.UserError(
            f'{path}: raw value {both[0]} has a class in "map" and is in "ignore"'
        )


def _in_range(values, end: int) -> bool:
    return all(type(value) is int and 0 <= value < end for value in values)


def _is_list(values, kind: type) -> bool:
    return isinstance(values, list) and all(type(value) is kind for value in values)


def _is_palette(palette, count: int) -> bool:
    return (
        _is_list(palette, list)
        and len(palette) == count
        and all(len(color) == 3 and _in_range(color, 256) for color in palette)
    )


def pair_by_stem(folder: pathlib.Path) -> list[layouts.Pair]:
    """The images and labels of a split by name. Raises UserError for a loner."""
    images, labels = folder / "images", folder / "labels"
    image_of = files_by_stem(images, IMAGE_SUFFIXES)
    label_of = files_by_stem(labels, (".png",))
    if not image_of:
        raise errors.UserError(f"{images} holds no image ({', '.join(IMAGE_SUFFIXES)})")
    for stem in sorted(image_of.keys() ^ label_of.keys()):
        if stem in image_of:
            raise errors.UserError(
                f"{image_of[stem]} has no label; expected {labels / stem}.png"
            )
        raise errors.UserError(
            f"{label_of[stem]} has no image; expected {images / stem}.jpg or .png"
        )
    return [(image_of[stem], label_of[stem]) for stem in sorted(image_of)]


def files_by_stem(
    folder: pathlib.Path, suffixes: Sequence[str]
) -> dict[str, pathlib.Path]:
    """The files of a folder with these suffixes. Raises UserError for equal stems."""
    if not folder.is_dir():
        raise errors.UserError(f"{folder} is not a folder")
    files: dict[str, pathlib.Path] = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = folder / entry.name
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            if path.stem in files:
                raise errors.UserError(f"{files[path.stem]} and {path} share a name")
            layouts.check_name(path.name)
            if not entry.is_file():
                raise errors.UserError(f"{path} is no regular file; remove it")
            files[path.stem] = path
    return files
