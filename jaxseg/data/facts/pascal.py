"""PASCAL VOC 2012 with the labels that SBD adds, and PASCAL Context on VOC 2010."""

import numpy as np
from jaxtyping import UInt8

from jaxseg.data import archives, images, labels, layouts, schema


def _voc(year: int, archive: str, *patterns: str) -> layouts.Glob:
    """Files of a devkit; the root may be any of the folders on the way to them."""
    tops = (f"VOCdevkit/VOC{year}/", f"VOC{year}/", "")
    return layouts.Glob(archive, tuple(top + each for each in patterns for top in tops))


def _voc2012(pattern: str) -> layouts.Glob:
    return _voc(2012, "VOCtrainval_11-May-2012.tar", pattern)


def _list(name: str) -> layouts.Glob:
    return _voc2012(f"ImageSets/Segmentation/{name}.txt")


def _own(name: str) -> layouts.Pairs:
    """Images of one of VOC's lists, with VOC's labels."""
    return layouts.Pairs(_IMAGES, _voc2012("SegmentationClass/*.png"), _list(name))


_IMAGES = _voc2012("JPEGImages/*.jpg")
# SBD labels VOC's images once more, and others. The former keep VOC's own labels, and
# those of val are never trained on: 11,355 files, 9,118 of them outside of trainval.
_SBD = layouts.Glob(
    "benchmark.tgz",
    (
        *_voc2012("SegmentationClassAug/*.png").patterns,  # as others convert it
        *("benchmark_RELEASE/dataset/cls/*.mat", "dataset/cls/*.mat", "cls/*.mat"),
    ),
)
_ADDED = layouts.Pairs(_IMAGES, _SBD, unlisted=_list("trainval"))


def read_voc(file: archives.File) -> UInt8[np.ndarray, "h w"]:
    """Raw values of a palette PNG, or of a file of SBD."""
    if not str(file).endswith(".mat"):
        return images.read_indices(file)
    raw = labels.read_matlab(file, "GTcls", "Segmentation", high=255)
    return raw.astype(np.uint8)


VOC = schema.Facts(
    classes=schema.read_classes("voc"),
    splits={
        "train": schema.Split(1464, (_own("train"),)),
        "val": schema.Split(1449, (_own("val"),)),
        "trainval": schema.Split(2913, (_own("trainval"),)),
        "train_aug": schema.Split(10582, (_own("train"), _ADDED)),
    },
    size=None,
    source="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ (and for train_aug "
    "http://home.bharathh.info/pubs/codes/SBD/download.html)",
    license="images: Flickr's terms of use",
    cite="Everingham et al., The PASCAL Visual Object Classes Challenge 2012; for "
    "train_aug also Hariharan et al., Semantic Contours from Inverse Detectors, "
    "ICCV 2011",
    read_label=read_voc,
)

# What the 60 values of a converted label are among the 459 of trainval/*.mat.
CONTEXT_IDS = (
    *(0, 2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85),
    *(98, 104, 105, 113, 115, 144, 158, 159, 162, 187, 189, 207, 220, 232, 258),
    *(259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366, 368),
    *(397, 415, 416, 420, 424, 427, 440, 445, 454, 458),
)
_CONTEXT_VALUES = np.zeros(460, np.uint8)  # all others are background
_CONTEXT_VALUES[list(CONTEXT_IDS)] = range(60)


def read_context(file: archives.File) -> UInt8[np.ndarray, "h w"]:
    """Raw values 0..59 of a converted label, or of one of the official 459 labels."""
    if not str(file).endswith(".mat"):
        return images.read_indices(file)
    return _CONTEXT_VALUES[labels.read_matlab(file, "LabelMap", high=459)]


def _context(name: str) -> layouts.Pairs:
    archive = "VOCtrainval_03-May-2010.tar"
    own = f"ImageSets/SegmentationContext/{name}.txt"
    return layouts.Pairs(
        _voc(2010, archive, "JPEGImages/*.jpg"),
        layouts.Glob(
            "trainval.tar.gz",
            (
                *_voc(2010, "", "SegmentationClassContext/*.png").patterns,
                *_voc(2010, "", "trainval/*.mat").patterns,
            ),
        ),
        _voc(2010, archive, own, f"ImageSets/Main/{name}.txt"),
    )


def _context_facts(classes: str) -> schema.Facts:
    return schema.Facts(
        classes=schema.read_classes(classes),
        splits={
            "train": schema.Split(4998, (_context("train"),)),
            "val": schema.Split(5105, (_context("val"),)),
        },
        size=None,
        source="https://cs.stanford.edu/~roozbeh/pascal-context (labels) and "
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/ (images)",
        license="images: Flickr's terms of use",
        cite="Mottaghi et al., The Role of Context for Object Detection and Semantic "
        "Segmentation in the Wild, CVPR 2014",
        read_label=read_context,
    )


CONTEXT = _context_facts("pascal_context")
CONTEXT60 = _context_facts("pascal_context60")
