"""The data sets: class names, palette, label map, and where their files lie."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from jaxseg import config as config_lib
from jaxseg import errors, pictures
from jaxseg.data import sources, synthetic

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

Palette = tuple[tuple[int, int, int], ...]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Names and RGB colors of the classes, and the source of a split."""

    class_names: tuple[str, ...]
    palette: Palette
    split: Callable[[str], sources.Source]  # "train" or "val"

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)


def open_dataset(data: config_lib.Data, *, ignore: int) -> Dataset:
    """The data set of a config; labels that count nowhere become `ignore`.

    Raises UserError for folders and files that are missing or ill-formed.
    """
    return DATASETS[data.name](data, ignore)


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


def read_classes(path: pathlib.Path) -> tuple[tuple[str, ...], Palette]:
    """Class names and palette of a data set's or a workdir's classes.json."""
    facts = _read_facts(path)
    names = tuple(facts["names"])
    palette = facts.get("palette") or pictures.default_palette(len(names))
    return names, tuple((red, green, blue) for red, green, blue in palette)


def _synthetic(data: config_lib.Data, ignore: int) -> Dataset:
    """Rendered scenes, the same ones in every run; train and val never meet."""
    counts = {"train": data.train_images, "val": data.eval_images}

    def split(name: str) -> sources.Source:
        seed = list(counts).index(name)
        return sources.Scenes(counts[name], seed, data.size, data.domain)

    return Dataset(synthetic.NAMES, synthetic.PALETTE, split)


def _folder(data: config_lib.Data, ignore: int) -> Dataset:
    """ROOT/{train,val}/{images,labels} and ROOT/classes.json."""
    root = _root(data)
    names, palette = read_classes(root / "classes.json")
    facts = _read_facts(root / "classes.json")
    ignored = dict.fromkeys(facts.get("ignore", [255]), ignore)
    raw_to_train = {raw: raw for raw in range(len(names))} | ignored
    if "map" in facts:
        explicit = {int(raw): train for raw, train in facts["map"].items()}
        raw_to_train = ignored | explicit

    def split(name: str) -> sources.Source:
        pairs = _pair_by_stem(root / name / "images", root / name / "labels")
        return sources.Files(pairs, sources.LabelMap(raw_to_train))

    return Dataset(names, palette, split)


def _root(data: config_lib.Data) -> pathlib.Path:
    if not data.root or not pathlib.Path(data.root).is_dir():
        raise errors.UserError(
            f"config.data.root={data.root!r} is not a folder; set it to the folder "
            f"that holds the {data.name} data"
        )
    return pathlib.Path(data.root)


def _read_facts(path: pathlib.Path) -> dict:
    try:
        facts = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise errors.UserError(
            f"{path} does not exist; it must hold "
            '{"names": [...], "palette": [[r, g, b], ...], "ignore": [raw values]}'
        ) from error
    except ValueError as error:
        raise errors.UserError(f"{path} is not valid JSON: {error}") from error
    names: Any = facts.get("names") if isinstance(facts, dict) else None
    if not _is_list(names, str) or not 2 <= len(names) <= 255:
        raise errors.UserError(f'{path} needs "names", a list of 2 to 255 class names')
    if len(set(names)) < len(names):
        raise errors.UserError(f"{path} names a class twice")
    palette = facts.get("palette")
    if palette is not None and not _is_palette(palette, len(names)):
        raise errors.UserError(
            f'{path}: "palette" must be {len(names)} colors [r, g, b] in 0..255'
        )
    train, ignored = facts.get("map", {}), facts.get("ignore", [])
    if not isinstance(train, dict) or not _is_list(ignored, int):
        raise errors.UserError(
            f'{path}: "map" must be {{"raw": class, ...}}, "ignore" [raw, ...]'
        )
    raw = [int(key) if key.isdecimal() else -1 for key in train]
    if not _in_range([*raw, *ignored], 256):
        raise errors.UserError(f"{path}: raw values must be in 0..255")
    if not _in_range(train.values(), len(names)):
        raise errors.UserError(f'{path}: "map" must give classes 0..{len(names) - 1}')
    return facts


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


def _pair_by_stem(images: pathlib.Path, labels: pathlib.Path) -> list:
    """(image, label) paths in order of their names. Raises UserError for a loner."""
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
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            if path.stem in files:
                raise errors.UserError(f"{files[path.stem]} and {path} share a name")
            files[path.stem] = path
    return files


CITYSCAPES_NAMES = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light"),
    *("traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car"),
    *("truck", "bus", "train", "motorcycle", "bicycle"),
)

CITYSCAPES_PALETTE: Palette = (
    *((128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153)),
    *((153, 153, 153), (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152)),
    *((70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70)),
    *((0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32)),
)

# Raw ids of the 19 evaluated classes, in order: cityscapesscripts/helpers/labels.py.
CITYSCAPES_IDS = (
    *(7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33),
)


def _cityscapes(data: config_lib.Data, ignore: int) -> Dataset:
    """ROOT/leftImg8bit/SPLIT/CITY/*.png and ROOT/gtFine/SPLIT/CITY/*_labelIds.png."""
    root = _root(data)
    raw_to_train = dict.fromkeys(range(34), ignore)
    raw_to_train |= {raw: train for train, raw in enumerate(CITYSCAPES_IDS)}

    def split(name: str) -> sources.Source:
        images = root / "leftImg8bit" / name
        pairs = []
        for image in sorted(images.glob("*/*_leftImg8bit.png")):
            stem = image.name.removesuffix("_leftImg8bit.png")
            label = f"{stem}_gtFine_labelIds.png"
            pairs.append((image, root / "gtFine" / name / image.parent.name / label))
            if not pairs[-1][1].exists():
                raise errors.UserError(f"{image} has no label; expected {pairs[-1][1]}")
        if not pairs:
            raise errors.UserError(f"{images} holds no CITY/*_leftImg8bit.png")
        return sources.Files(pairs, sources.LabelMap(raw_to_train))

    return Dataset(CITYSCAPES_NAMES, CITYSCAPES_PALETTE, split)


DATASETS: dict[str, Callable[[config_lib.Data, int], Dataset]] = {
    "synthetic": _synthetic,
    "folder": _folder,
    "cityscapes": _cityscapes,
}
