"""COCO 2017: COCO-Stuff's 171 classes, and its objects as VOC's 21 classes."""

from jaxseg.data import instances, layouts, schema


def _images(name: str) -> layouts.Glob:
    patterns = (f"{name}2017/*.jpg", f"images/{name}2017/*.jpg")
    return layouts.Glob(f"{name}2017.zip", patterns)


def _stuff(name: str) -> layouts.Pairs:
    folders = ("stuffthingmaps/", "annotations/", "")
    patterns = tuple(f"{folder}{name}2017/*.png" for folder in folders)
    archive = "stuffthingmaps_trainval2017.zip"
    return layouts.Pairs(_images(name), layouts.Glob(archive, patterns))


def _objects(name: str, min_area: int | None) -> instances.Instances:
    archive, file = "annotations_trainval2017.zip", f"instances_{name}2017.json"
    patterns = (f"annotations/{file}", file)
    return instances.Instances(_images(name), layouts.Glob(archive, patterns), min_area)


_LICENSE = "labels: CC BY 4.0; images: Flickr's terms of use"
_CITE = "Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014"

STUFF = schema.Facts(
    classes=schema.read_classes("coco_stuff"),
    splits={
        "train": schema.Split(118287, (_stuff("train"),)),
        "val": schema.Split(5000, (_stuff("val"),)),
    },
    size=None,
    source="https://github.com/nightrome/cocostuff#downloads",
    license=_LICENSE,
    cite=f"Caesar et al., COCO-Stuff: Thing and Stuff Classes in Context, CVPR 2018; "
    f"{_CITE}",
)

VOC = schema.Facts(
    classes=schema.read_classes("voc"),
    splits={
        "train": schema.Split(None, (_objects("train", 1000),)),
        "val": schema.Split(5000, (_objects("val", None),)),
    },
    size=None,
    source="https://cocodataset.org/#download",
    license=_LICENSE,
    cite=_CITE,
    read_label=instances.read_label,
)
