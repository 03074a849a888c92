"""LoveDA: 7 kinds of land seen from above, in cities and in the country."""

from jaxseg.data import layouts, schema


def _split(count: int, folder: str) -> schema.Split:
    archive = f"{folder}.zip"
    pairs = layouts.Pairs(
        layouts.Glob(archive, (f"{folder}/*/images_png/*.png",)),
        layouts.Glob(archive, (f"{folder}/*/masks_png/*.png",)),
    )
    return schema.Split(count, (pairs,))


FACTS = schema.Facts(
    classes=schema.read_classes("loveda"),
    splits={"train": _split(2522, "Train"), "val": _split(1669, "Val")},
    size=(1024, 1024),
    source="https://doi.org/10.5281/zenodo.5706578",
    license="CC BY-NC-SA 4.0; images: Google Earth's terms of use",
    cite="Wang et al., LoveDA: A Remote Sensing Land-Cover Dataset for Domain "
    "Adaptive Semantic Segmentation, NeurIPS Datasets and Benchmarks 2021",
)
