"""Oxford-IIIT Pet: pet and background; the trimaps' rim is ignored."""

from jaxseg.data import layouts, schema


def _glob(archive: str, pattern: str) -> layouts.Glob:
    return layouts.Glob(archive, (pattern, f"oxford-iiit-pet/{pattern}"))


def _split(count: int, name: str) -> schema.Split:
    labels = "annotations.tar.gz"
    pairs = layouts.Pairs(
        _glob("images.tar.gz", "images/*.jpg"),
        _glob(labels, "annotations/trimaps/*.png"),
        _glob(labels, f"annotations/{name}.txt"),
    )
    return schema.Split(count, (pairs,))


FACTS = schema.Facts(
    classes=schema.read_classes("pet"),
    splits={"train": _split(3680, "trainval"), "val": _split(3669, "test")},
    size=None,
    source="https://www.robots.ox.ac.uk/~vgg/data/pets/",
    license="CC BY-SA 4.0 by its page, research only by the README of its labels; "
    "images belong to their owners",
    cite="Parkhi et al., Cats and Dogs, CVPR 2012",
)
