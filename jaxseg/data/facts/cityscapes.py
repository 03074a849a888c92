"""Cityscapes: 19 of 34 labels; fine labels, and coarse ones of more images."""

from jaxseg.data import layouts, schema

_FINE = "leftImg8bit_trainvaltest.zip"


def _split(count: int, images: str, name: str, labels: str) -> schema.Split:
    """leftImg8bit/NAME/*/*.png in an archive; labels are gtFine or gtCoarse."""
    archive = "gtFine_trainvaltest.zip" if labels == "gtFine" else "gtCoarse.zip"
    pairs = layouts.Pairs(
        layouts.Glob(images, (f"leftImg8bit/{name}/*/*_leftImg8bit.png",)),
        layouts.Glob(archive, (f"{labels}/{name}/*/*_{labels}_labelIds.png",)),
    )
    return schema.Split(count, (pairs,))


FACTS = schema.Facts(
    classes=schema.read_classes("cityscapes"),
    splits={
        "train": _split(2975, _FINE, "train", "gtFine"),
        "val": _split(500, _FINE, "val", "gtFine"),
        # Labels that tell the car itself and the images' rims; the rest is not public.
        "test": _split(1525, _FINE, "test", "gtFine"),
        "train_coarse": _split(2975, _FINE, "train", "gtCoarse"),
        "val_coarse": _split(500, _FINE, "val", "gtCoarse"),
        "train_extra": _split(
            19998, "leftImg8bit_trainextra.zip", "train_extra", "gtCoarse"
        ),
    },
    size=(1024, 2048),
    source="https://www.cityscapes-dataset.com/downloads",
    license="its own, for non-commercial use",
    cite="Cordts et al., The Cityscapes Dataset for Semantic Urban Scene "
    "Understanding, CVPR 2016",
)
