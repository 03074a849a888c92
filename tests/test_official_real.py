"""Real files of official data sets, where `../shared` holds them."""

import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from jaxseg import config, errors
from jaxseg.data import datasets
from jaxseg.data.facts import camvid

SHARED = pathlib.Path(__file__).parents[2] / "shared" / "data"
LAYOUTS = SHARED / "layouts"
ADE20K = LAYOUTS / "ade20k_sceneparsing" / "ADEChallengeData2016"
VOC = LAYOUTS / "voc_labelme_semantic"
COCO = LAYOUTS / "coco_panopticapi"

pytestmark = pytest.mark.skipif(
    not LAYOUTS.is_dir(), reason=f"no real data in {SHARED}"
)


def open_split(name, root, split):
    data = config.Data(name=name, root=str(root))
    return datasets.open_dataset(data, ignore=255).split(split)


def test_ade20k():
    source = open_split("ade20k", ADE20K.parent, "val")
    assert len(source) == 3
    for index in range(3):
        path = pathlib.Path(source.name(index))
        example = source[index]
        np.testing.assert_array_equal(example["image"], Image.open(path))
        label = ADE20K / "annotations" / "validation" / f"{path.stem}.png"
        raw = np.array(Image.open(label)).astype(int)
        assert raw.min() == 0
        assert raw.max() > 10
        np.testing.assert_array_equal(example["label"], np.where(raw, raw - 1, 255))


def test_ade20k_names():
    """The first name of each line of the data set's own list."""
    lines = (ADE20K / "objectInfo150.txt").read_text().splitlines()[1:]
    names = [line.split("\t")[4].split(",")[0].strip() for line in lines]
    assert list(datasets.FACTS["ade20k"].classes.names) == names


@pytest.fixture
def voc(tmp_path):
    """VOC's three photographs in the devkit's folders."""
    top = tmp_path / "VOCdevkit" / "VOC2012"
    (top / "ImageSets" / "Segmentation").mkdir(parents=True)
    for folder in ("JPEGImages", "SegmentationClass"):
        (top / folder).symlink_to(VOC / folder)
    names = sorted(path.stem for path in (VOC / "JPEGImages").glob("*.jpg"))
    assert len(names) == 3
    listed = "".join(f"{name}\n" for name in names)
    (top / "ImageSets" / "Segmentation" / "val.txt").write_text(listed)
    return tmp_path


def test_voc(voc):
    source = open_split("voc", voc, "val")
    assert len(source) == 3
    seen = set()
    for index in range(3):
        name = pathlib.Path(source.name(index)).stem
        picture = Image.open(VOC / "SegmentationClass" / f"{name}.png")
        assert picture.mode == "P"
        raw = np.array(picture)
        np.testing.assert_array_equal(source[index]["label"], raw)
        np.testing.assert_array_equal(source.raw_label(index), raw)
        seen |= set(np.unique(raw).tolist())
    assert seen == {0, 5, 6, 7, 9, 15, 18, 255}


def test_voc_palette_and_names():
    """The colors in the files' own palettes, and the names beside them."""
    classes = datasets.FACTS["voc"].classes
    picture = Image.open(VOC / "SegmentationClass" / "2011_000003.png")
    colors = np.reshape(picture.getpalette(), (-1, 3))[:21]
    np.testing.assert_array_equal(classes.palette, colors)
    names = (VOC / "class_names.txt").read_text().split("\n")
    plain = [name.strip("_").replace(" ", "").replace("/", "") for name in names]
    assert list(classes.names) == [name for name in plain if name]


def test_colored_voc_labels_are_refused():
    """Another program's idea of VOC's layout: colors in place of indices."""
    root = LAYOUTS / "datumaro_voc_dataset" / "voc_dataset1"
    source = open_split("voc", root, "train")
    with pytest.raises(errors.UserError, match=r"2007_000001\.png has mode RGB"):
        source[0]


def test_cityscapes_without_semantic_labels():
    root = LAYOUTS / "datumaro_cityscapes_dataset" / "dataset"
    with pytest.raises(errors.UserError, match="gtFine_labelIds"):
        open_split("cityscapes", root, "train")


def test_objects_of_coco_are_where_its_panoptic_labels_are(tmp_path):
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val2017").symlink_to(COCO / "input_images")
    (tmp_path / "annotations" / "instances_val2017.json").symlink_to(
        COCO / "panoptic_coco_detection_format.json"
    )
    source = open_split("coco_voc", tmp_path, "val")
    listed = json.loads((COCO / "panoptic_examples.json").read_text())
    segments = {each["file_name"]: each for each in listed["annotations"]}
    to_voc = {"airplane": "aeroplane", "couch": "sofa", "dining table": "diningtable"}
    to_voc |= {"motorcycle": "motorbike", "tv": "tvmonitor"}
    to_voc |= {"potted plant": "pottedplant"}
    called = {
        each["id"]: to_voc.get(each["name"], each["name"])
        for each in listed["categories"]
    }
    numbers = {n: i for i, n in enumerate(datasets.FACTS["voc"].classes.names)}
    assert len(source) == 2
    for index in range(2):
        name = pathlib.Path(source.name(index)).stem + ".png"
        pixels = np.array(Image.open(COCO / "panoptic_examples" / name)).astype(int)
        ids = pixels @ [1, 256, 65536]
        label = source[index]["label"]
        things = 0
        for segment in segments[name]["segments_info"]:
            expected = numbers.get(called[segment["category_id"]], 0)
            things += expected > 0
            assert (label[ids == segment["id"]] == expected).all()
        assert things > 0


def test_camvid_frames_lie_in_the_split_they_belong_to():
    for split, count in (("train", 367), ("val", 101)):
        names = [path.stem for path in (SHARED / "camvid" / split / "images").iterdir()]
        assert len(names) == count
        assert {camvid.split_of(name) for name in names} == {split}


def test_names_of_coco_stuff_and_numbers_of_coco():
    """The 80 things of COCO-Stuff are named and numbered as COCO's own list says."""
    listed = json.loads((COCO / "panoptic_examples.json").read_text())["categories"]
    things = {each["id"] - 1: each["name"] for each in listed if each["isthing"]}
    classes = datasets.FACTS["coco_stuff"].classes
    ours = {raw: classes.names[classes.raw_to_train[raw]] for raw in things}
    assert len(things) == 80
    assert ours == things
