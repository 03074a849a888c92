"""Every official data set, from its folder tree and from its archives."""

import pickle

import numpy as np
import official_files
import pytest
from PIL import Image
from refusals import refuse

from jaxseg import config, errors
from jaxseg.data import archives, datasets, schema

CAMVID32_COLORS = [color for _, _, color, _ in schema.read_rows("camvid32")]
TRAIN_IDS = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9}
TRAIN_IDS |= {23: 10, 24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
# What each raw value becomes, by rules of our own; None counts nowhere.
MAPS = {
    "cityscapes": {raw: TRAIN_IDS.get(raw) for raw in official_files.CITYSCAPES},
    "voc": {raw: raw if raw < 21 else None for raw in official_files.VOC},
    "ade20k": {raw: raw - 1 if raw else None for raw in official_files.ADE20K},
    "coco_stuff": {
        raw: None
        if raw == 255
        else sum(other < raw for other in official_files.COCO_STUFF)
        for raw in official_files.COCO_STUFF
    },
    "pascal_context": {raw: raw - 1 if raw else None for raw in range(60)},
    "pascal_context60": {raw: raw for raw in range(60)},
    "camvid": {raw: raw if raw < 11 else None for raw in range(12)},
    "camvid32": {  # all but Void, the 31st color
        raw: None if raw == 30 else raw - (raw > 30) for raw in range(32)
    },
    "pet": {1: 1, 2: 0, 3: None},
    "loveda": {raw: raw - 1 if raw else None for raw in range(8)},
}
MAKE = {
    "cityscapes": official_files.cityscapes,
    "voc": official_files.voc,
    "ade20k": official_files.ade20k,
    "coco_stuff": official_files.coco_stuff,
    "pascal_context": official_files.pascal_context,
    "pascal_context60": official_files.pascal_context,
    "camvid": official_files.camvid,
    "camvid32": lambda: official_files.camvid32(CAMVID32_COLORS),
    "pet": official_files.pet,
    "loveda": official_files.loveda,
}
INSIDE = {
    "stuffthingmaps_trainval2017.zip": "stuffthingmaps",
    "LabeledApproved_full.zip": "LabeledApproved_full",
}
CLASSES = {"cityscapes": 19, "voc": 21, "ade20k": 150, "coco_stuff": 171}
CLASSES |= {"pascal_context": 59, "pascal_context60": 60, "camvid": 11}
CLASSES |= {"camvid32": 31, "pet": 2, "loveda": 7}
PACKED = ("benchmark.tgz", "trainval.tar.gz", "images.tar.gz", "annotations.tar.gz")


def open_set(name, root, **fields):
    data = config.Data(name=name, root=str(root), **fields)
    return datasets.open_dataset(data, ignore=255)


def examples(source):
    return [source[index] for index in range(len(source))]


def expected_label(name):
    raw = official_files.spread(MAPS[name])
    to_train = {raw: 255 if c is None else c for raw, c in MAPS[name].items()}
    return np.vectorize(to_train.get)(raw)


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("name", MAKE)
def test_tree(tmp_path, name, split):
    root = official_files.write_tree(tmp_path, MAKE[name](), INSIDE)
    dataset = open_set(name, root)
    assert dataset.num_classes == len(dataset.palette) == CLASSES[name]
    source = dataset.split(split)
    counts = {"cityscapes": {"train": 2}, "loveda": {"train": 2, "val": 2}}
    assert len(source) == counts.get(name, {}).get(split, 1)
    for index, example in enumerate(examples(source)):
        np.testing.assert_array_equal(example["label"], expected_label(name))
        picture = Image.open(source.name(index)).convert("RGB")
        np.testing.assert_array_equal(example["image"], picture)


@pytest.mark.parametrize("name", MAKE)
def test_archives_hold_the_same(tmp_path, name):
    """Read in place; what comes compressed as a whole must be unpacked."""
    packed, tree = tmp_path / "packed", tmp_path / "tree"
    packed.mkdir()
    members = MAKE[name]()
    official_files.write_archives(
        packed, {a: m for a, m in members.items() if a not in PACKED}
    )
    official_files.write_tree(packed, {a: members[a] for a in PACKED if a in members})
    official_files.write_tree(tree, members, INSIDE)
    before = sorted(packed.rglob("*"))
    for split in ("train", "val"):
        source, other = (open_set(name, root).split(split) for root in (packed, tree))
        assert len(source) == len(other) > 0
        copied = pickle.loads(pickle.dumps(source))
        for index in range(len(other)):
            assert str(packed) in source.name(index)
            assert source.stored(index) == other.stored(index)
            for each in (source, copied):
                for key in ("image", "label"):
                    np.testing.assert_array_equal(each[index][key], other[index][key])
    assert sorted(packed.rglob("*")) == before


@pytest.mark.parametrize("name", MAKE)
def test_nothing_there(tmp_path, name):
    message = refuse(open_set(name, tmp_path).split, "train")
    assert message.startswith(f"config.data.root={str(tmp_path)!r} holds neither ")
    assert datasets.FACTS[name].source in message
    assert any(archive in message for archive in MAKE[name]())


def test_compressed_as_a_whole(tmp_path):
    official_files.write_archives(tmp_path, MAKE["pet"]())
    message = refuse(open_set("pet", tmp_path).split, "train")
    assert message.startswith(f"{tmp_path / 'images.tar.gz'} is compressed as a whole")
    assert f"tar -xzf {tmp_path / 'images.tar.gz'} -C {tmp_path}" in message


@pytest.mark.parametrize("top", ["VOCdevkit", "VOCdevkit/VOC2012"])
def test_root_may_be_a_folder_of_the_devkit(tmp_path, top):
    official_files.write_tree(tmp_path, MAKE["voc"]())
    assert len(open_set("voc", tmp_path / top).split("val")) == 1


def test_root_of_ade20k_may_be_its_folder(tmp_path):
    official_files.write_tree(tmp_path, MAKE["ade20k"]())
    root = tmp_path / "ADEChallengeData2016"
    assert len(open_set("ade20k", root).split("val")) == 1


def test_coco_stuff_beside_labels_others_converted(tmp_path):
    """As COCO-Stuff's page unpacks it, after mmsegmentation's converter ran."""
    inside = {"stuffthingmaps_trainval2017.zip": "annotations"}
    inside |= {"train2017.zip": "images", "val2017.zip": "images"}
    official_files.write_tree(tmp_path, MAKE["coco_stuff"](), inside)
    label = tmp_path / "annotations/train2017/000000000009.png"
    label.with_name("000000000009_labelTrainIds.png").write_bytes(label.read_bytes())
    source = open_set("coco_stuff", tmp_path).split("train")
    assert len(source) == 1
    np.testing.assert_array_equal(source[0]["label"], expected_label("coco_stuff"))


def test_voc_with_the_labels_of_sbd(tmp_path):
    """VOC's own labels where it has some, and none of the images of val."""
    official_files.write_tree(tmp_path, MAKE["voc"]())
    source = open_set("voc", tmp_path, train_split="train_aug").split("train")
    names = [source.name(i).rsplit("/", 1)[1] for i in range(len(source))]
    assert names == ["2007_000032.jpg", "2008_000002.jpg"]
    assert 255 in source.raw_label(0)
    np.testing.assert_array_equal(source[1]["label"], official_files.spread(range(21)))
    # as mmsegmentation converts it: PNGs of all images
    folder = tmp_path / "VOCdevkit/VOC2012/SegmentationClassAug"
    folder.mkdir()
    for name in ("2007_000032", "2007_000033", "2008_000003"):
        (folder / f"{name}.png").write_bytes(official_files.gray([3]))
    source = open_set("voc", tmp_path).split("train_aug")
    assert source.name(1).endswith("2008_000003.jpg")
    assert (source[1]["label"] == 3).all()


def test_context_from_its_459_labels(tmp_path):
    members = MAKE["pascal_context"]()
    masks = {
        f"trainval/{name}.mat": official_files.matlab({"LabelMap": array})
        for name, array in (
            ("2008_000002", official_files.spread(range(200, 460)).astype(np.uint16)),
            ("2008_000003", official_files.spread([460]).astype(np.uint16)),
        )
    }
    members["trainval.tar.gz"] = masks
    official_files.write_tree(tmp_path, members)
    label = open_set("pascal_context60", tmp_path).split("train")[0]["label"]
    dataset = open_set("pascal_context60", tmp_path)
    at = {"horse": 207, "mountain": 259, "person": 284, "sky": 360, "wood": 458}
    raw = official_files.spread(range(200, 460))
    for name, number in at.items():
        assert (label[raw == number] == dataset.class_names.index(name)).all()
    assert (label[raw == 201] == 0).all()
    source = open_set("pascal_context60", tmp_path).split("val")
    assert "the data set has 0-459" in refuse(source.__getitem__, 0)


def test_cityscapes_coarse(tmp_path):
    official_files.write_archives(tmp_path, MAKE["cityscapes"]())
    dataset = open_set("cityscapes", tmp_path, train_split="train_extra")
    (example,) = examples(dataset.split("train"))
    assert sorted(set(example["label"].ravel())) == [0, 18, 255]
    assert len(dataset.split("train_coarse")) == 2
    assert len(dataset.split("val")) == 1


def test_unknown_split(tmp_path):
    dataset = open_set("voc", tmp_path, val_split="test")
    message = refuse(dataset.split, "val")
    assert message.startswith("voc has no split 'test'")
    assert "train, val, trainval, train_aug" in message


def test_folder_splits(tmp_path):
    for name in ("train", "extra"):
        for kind in ("images", "labels"):
            path = tmp_path / name / kind / f"{name}.png"
            path.parent.mkdir(parents=True)
            path.write_bytes(official_files.gray([0, 1]))
    (tmp_path / "classes.json").write_text('{"names": ["a", "b"]}')
    dataset = open_set("folder", tmp_path, train_split="extra")
    assert dataset.split("train").name(0).endswith("extra.png")


def test_a_part_of_a_split_is_told(tmp_path, caplog):
    official_files.write_tree(tmp_path, MAKE["ade20k"]())
    open_set("ade20k", tmp_path).split("train")
    assert "ade20k train: 1 of 20210 images" in caplog.text


@pytest.mark.parametrize(
    ("name", "archive"),
    [("voc", "VOCtrainval_11-May-2012.tar"), ("ade20k", "ADEChallengeData2016.zip")],
)
def test_a_damaged_archive_gives_no_wrong_label(tmp_path, name, archive):
    official_files.write_archives(tmp_path, MAKE[name]())
    path, rng = tmp_path / archive, np.random.default_rng(0)
    original, read = path.read_bytes(), 0
    for _ in range(200):
        damaged = bytearray(original)
        for place in rng.integers(len(damaged), size=3):
            damaged[place] = rng.integers(256)
        path.write_bytes(bytes(damaged))
        archives._members.cache_clear()  # a second copy may have the time of the first
        try:
            label = open_set(name, tmp_path).split("val")[0]["label"]
        except errors.UserError:
            continue
        read += 1
        np.testing.assert_array_equal(label, expected_label(name))
    assert read > 20
