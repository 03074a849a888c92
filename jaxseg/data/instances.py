"""COCO's outlined objects as maps of VOC's 21 classes, as torchvision makes them.

pytorch/vision: references/segmentation/coco_utils.py. Pixels of several objects are
ignored, even of one class; all other categories are background. pycocotools fills the
outlines, since another rule for pixels on an edge would move figures.
"""

import collections
import dataclasses
import hashlib
import json
import os
import pathlib
import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from jaxseg import cache, errors, pictures
from jaxseg.data import archives, images, layouts

# COCO's categories for VOC's classes 1..20.
CATEGORIES = (5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72)
_CLASS_OF = {category: index for index, category in enumerate(CATEGORIES, 1)}
_SEVERAL = 255
MAX_STEPS = 2**24  # pixels along a polygon, at the most; pycocotools keeps all of them


class Objects(NamedTuple):
    """The objects of an image, cut out of the list of all images' objects."""

    image: str
    packed: archives.File

    def __str__(self) -> str:
        return f"the objects of {errors.one_line(self.image)}"

    def read_bytes(self) -> bytes:
        """JSON: {"size": [height, width], "objects": [[class, outline], ...]}."""
        return self.packed.read_bytes()


@dataclasses.dataclass(frozen=True)
class Instances:
    """Images and the objects that a JSON file lists for them."""

    images: layouts.Glob
    annotations: layouts.Glob
    min_area: int | None  # leaves out images whose objects have no more pixels

    def open(self, root: pathlib.Path, address: str) -> list[layouts.Pair]:
        """The files in order of their names. Raises UserError for what is missing.

        The list takes a minute to read. What is read of it is kept, image by image, in
        an archive in the cache, from which workers read as from any other.
        """
        _mask_module()
        files = layouts.find(root, self.images, address)
        found = layouts.find(root, self.annotations, address)
        (file,) = found.files.values()
        pairs: list[layouts.Pair] = []
        packed = archives.members(_packed(file, self.min_area))
        for image, objects in sorted(packed.items()):
            key = pathlib.PurePath(image).stem
            if key not in files.files:
                expected = files.expected(key)
                raise errors.UserError(f"{file} lists {key}; expected {expected}")
            pairs.append((files.files[key], Objects(image, objects)))
        return pairs


def read_label(file: archives.File) -> UInt8[np.ndarray, "h w"]:
    """Classes 0..20, and 255 where objects overlap.

    Raises UserError for outlines that are no polygons and no run lengths.
    """
    listed = json.loads(archives.read(file))
    height, width = _size(listed["size"], file)
    label = np.zeros((height, width), np.uint8)
    covered = np.zeros((height, width), np.uint8)
    for index, outline in listed["objects"]:
        try:
            filled = _fill(outline, height, width)
        except Exception as error:  # whatever pycocotools stumbles over
            raise errors.UserError(
                f"{file}: an outline cannot be read; download the annotations again"
            ) from error
        label[filled] = index
        covered[filled] = np.minimum(covered[filled], 1) + 1
    label[covered > 1] = _SEVERAL
    return label


def _size(size: Any, file: archives.File) -> tuple[int, int]:
    height, width = size
    if type(height) is not int or type(width) is not int or min(size) < 1:
        raise errors.UserError(f"{file}: the image's size {size} is no size")
    if height * width > images.MAX_PIXELS:
        raise errors.UserError(
            f"{file}: an image of {height}x{width}, more than {images.MAX_PIXELS} "
            "pixels, is not read"
        )
    return height, width


def _fill(outline: Any, height: int, width: int) -> np.ndarray:
    """Bool [height width] of polygons, or of run lengths, plain or compressed."""
    masks = _mask_module()
    # It is C that trusts what it is given: sizes, lengths, and places far outside.
    if isinstance(outline, dict):
        runs = _checked_runs(outline["counts"], height * width)
        outline = {"counts": runs, "size": [height, width]}
    else:
        _check_polygons(outline, far=2 * max(height, width))
    mask = masks.decode(masks.frPyObjects(outline, height, width))
    return mask.any(axis=2) if mask.ndim == 3 else mask.astype(bool)


def _checked_runs(counts: Any, pixels: int) -> list[int]:
    runs = _unpacked(counts) if isinstance(counts, str) else counts
    if not all(type(run) is int and run >= 0 for run in runs) or sum(runs) != pixels:
        raise ValueError("run lengths of another image")
    return runs


def _unpacked(text: str) -> list[int]:
    """The lengths of COCO's compressed form: digits of 5 bits, the lowest first.

    From the fourth on, a length is told by its difference to the last but one.
    """
    runs, value, shift = [], 0, 0
    for digit in (ord(letter) - 48 for letter in text):
        if not 0 <= digit < 64 or shift > 60:
            raise ValueError("no compressed run lengths")
        value |= (digit & 31) << shift
        shift += 5
        if not digit & 32:  # the last of a number, with its sign
            value -= (digit & 16) << shift - 4
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("compressed run lengths that are cut off")
    return runs


def _check_polygons(polygons: Any, *, far: int) -> None:
    for polygon in polygons:
        if not all(type(n) in (int, float) and -far <= n <= far for n in polygon):
            raise ValueError("places far outside the image")
        if len(polygon) * far > MAX_STEPS:
            raise ValueError("an outline that never ends")


def _packed(file: archives.File, min_area: int | None) -> pathlib.Path:
    """An archive of the images' objects, made unless it is there."""
    place: Any = getattr(file, "archive", file)
    stat = os.stat(place)
    told = repr((str(file), stat.st_size, stat.st_mtime_ns, CATEGORIES, min_area))
    name = hashlib.blake2b(told.encode(), digest_size=16).hexdigest()
    path = cache.folder() / "objects" / f"{name}.zip"
    if not path.exists():
        objects = _read_json(file, min_area)
        path.parent.mkdir(parents=True, exist_ok=True)
        with pictures.atomic_path(path) as part, zipfile.ZipFile(part, "w") as archive:
            for image, content in objects:
                archive.writestr(image, content)
    return path


def _read_json(
    file: archives.File, min_area: int | None
) -> Iterator[tuple[str, bytes]]:
    """Each image's name and objects."""
    objects, areas = collections.defaultdict(list), collections.Counter()

    def pack(each: dict[str, Any]) -> Any:
        """Keeps an object in few bytes: as parsed, all take six times the file's."""
        if "segmentation" not in each:
            return each
        if index := _CLASS_OF.get(each["category_id"]):
            outline = json.dumps([index, each["segmentation"]])
            objects[each["image_id"]].append(outline.encode())
            areas[each["image_id"]] += each["area"]
        return None

    try:
        content = json.loads(archives.read(file), object_hook=pack)
        if any(each is not None for each in content["annotations"]):
            raise ValueError("an annotation without segmentation")
        listed = [
            (image["file_name"], image["height"], image["width"], objects[image["id"]])
            for image in content["images"]
            if min_area is None or areas[image["id"]] > min_area
        ]
        names = [image for image, *_ in listed]
        if not all(isinstance(n, str) and archives.names_member(n) for n in names):
            raise ValueError("a file_name that is none")
        if len({*map(posixpath.normpath, names)}) < len(names):
            raise ValueError("a file_name twice")
    except (
        *(ValueError, KeyError, TypeError, AttributeError),
        *(RecursionError, OverflowError),
    ) as error:
        raise errors.UserError(
            f"{file} is no list of COCO's objects ({type(error).__name__}: {error}); "
            "download it again"
        ) from error
    for image, height, width, outlines in listed:
        size = json.dumps([height, width]).encode()
        outlines = b", ".join(outlines)
        yield image, b'{"size": %b, "objects": [%b]}' % (size, outlines)


def _mask_module() -> Any:
    try:
        from pycocotools import mask
    except ImportError as error:
        raise errors.UserError(
            "COCO's outlines are filled by pycocotools; pip install 'jaxseg[coco]'"
        ) from error
    return mask
