"""ADE20K, the SceneParsing benchmark: 150 classes; raw 0, anything else, is ignored."""

from jaxseg.data import layouts, schema

_TOP = "ADEChallengeData2016"


def _glob(pattern: str) -> layouts.Glob:
    return layouts.Glob(f"{_TOP}.zip", (f"{_TOP}/{pattern}", pattern))


def _split(count: int, folder: str) -> schema.Split:
    pairs = layouts.Pairs(
        _glob(f"images/{folder}/*.jpg"), _glob(f"annotations/{folder}/*.png")
    )
    return schema.Split(count, (pairs,))


FACTS = schema.Facts(
    classes=schema.read_classes("ade20k"),
    splits={"train": _split(20210, "training"), "val": _split(2000, "validation")},
    size=None,
    source="http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
    license="images: non-commercial research and education; labels: BSD 3-Clause",
    cite="Zhou et al., Scene Parsing through ADE20K Dataset, CVPR 2017; Zhou et al., "
    "Semantic Understanding of Scenes through the ADE20K Dataset, IJCV 2019",
)
