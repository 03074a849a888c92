"""What TensorFlow Datasets itself makes of the data sets that prepare.py writes."""

import io
import json

import cv2
import numpy as np
import official_files
import pytest
from PIL import Image
from test_official import CAMVID32_COLORS, TRAIN_IDS

from jaxseg import config
from jaxseg.data import datasets, folder, plans, prepare

tfds = pytest.importorskip("tensorflow_datasets", reason="needs jaxseg[tfds]")

FINE, IMAGES = "gtFine_trainvaltest.zip", "leftImg8bit_trainvaltest.zip"
COARSE, EXTRA = "gtCoarse.zip", "leftImg8bit_trainextra.zip"


def cityscapes():
    """The archives with images of their real size, which deflate well."""
    rng, members = np.random.default_rng(0), official_files.cityscapes()
    for archive, channels, values in (
        *((IMAGES, 3, 256), (EXTRA, 3, 256), (FINE, 1, 34), (COARSE, 1, 34)),
    ):
        for name in members[archive]:
            if name.endswith(("_leftImg8bit.png", "_labelIds.png")):
                coarse = rng.integers(values, size=(16, 32, channels), dtype=np.uint8)
                pixels = coarse.squeeze().repeat(64, 0).repeat(64, 1)
                members[archive][name] = official_files.encode(Image.fromarray(pixels))
    return members


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    members = cityscapes()
    return official_files.write_archives(tmp_path_factory.mktemp("zip"), members)


@pytest.fixture(scope="module")
def members():
    archives = cityscapes()
    return archives[IMAGES] | archives[FINE] | archives[EXTRA] | archives[COARSE]


def frame(members, name, labels="gtFine"):
    """Image and raw label of an image_id, decoded by Pillow alone."""
    image, label = (
        next(content for path, content in members.items() if f"{name}_{end}" in path)
        for end in ("leftImg8bit.png", f"{labels}_labelIds.png")
    )
    return tuple(np.asarray(Image.open(io.BytesIO(each))) for each in (image, label))


def to_train(raw):
    return np.vectorize(lambda value: TRAIN_IDS.get(value, 255))(np.arange(256))[raw]


@pytest.fixture(scope="module")
def data_dir(archives, tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    prepare.run("cityscapes", str(archives), root, workers=2)
    return root


@pytest.fixture(scope="module")
def extra(archives, tmp_path_factory):
    root = tmp_path_factory.mktemp("extra")
    splits = ["train_coarse", "val_coarse", "train_extra"]
    prepare.run("cityscapes", str(archives), root, splits=splits, workers=2)
    return root


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("cityscapes", "gtFine", {"train": 2, "validation": 1, "test": 1}),
        (
            "cityscapes/semantic_segmentation_extra",
            "gtCoarse",
            {"train": 2, "validation": 1, "train_extra": 1},
        ),
    ],
)
def test_the_stock_builder_reads_it(
    data_dir, extra, members, tmp_path, name, labels, expected
):
    root = extra if name.endswith("extra") else data_dir
    stock = tfds.builder(name, data_dir=root)
    assert stock.info.full_name == f"cityscapes/{stock.builder_config.name}/1.0.0"
    assert stock.is_prepared()
    counts = {split: each.num_examples for split, each in stock.info.splits.items()}
    assert counts == expected
    for split, count in counts.items():
        source = tfds.data_source(name, split=split, data_dir=root)
        assert len(source) == count
        for example in source:
            image, label = frame(members, example["image_id"].decode(), labels)
            np.testing.assert_array_equal(example["image_left"], image)
            np.testing.assert_array_equal(example["segmentation_label"][..., 0], label)
    ours = tfds.builder_from_directory(stock.data_dir).info.features
    unprepared = tfds.builder(name, data_dir=tmp_path).info.features
    assert ours.to_json() == unprepared.to_json()


def test_coarse_labels_are_read(extra, members):
    data = config.Data(name="tfds", root=str(extra), train_split="train_extra")
    (example,) = datasets.open_dataset(data, ignore=255).split("train")
    image, label = frame(members, "nuernberg_000000_000000", "gtCoarse")
    np.testing.assert_array_equal(example["image"], image)
    np.testing.assert_array_equal(example["label"], to_train(label))


def test_only_some_coarse_splits(archives, tmp_path):
    path = prepare.run("cityscapes", str(archives), tmp_path, splits=["train_extra"])
    assert path.parent.name == "semantic_segmentation_train_extra"
    assert [*tfds.builder_from_directory(path).info.splits] == ["train_extra"]


def test_it_holds_the_files_as_they_came(data_dir, members):
    skip = dict.fromkeys(
        ("image_left", "segmentation_label"), tfds.decode.SkipDecoding()
    )
    source = tfds.data_source(
        "cityscapes", split="validation", data_dir=data_dir, decoders=skip
    )
    stored = {content for path, content in members.items() if "/val/" in path}
    assert source[0]["image_left"] in stored
    assert source[0]["segmentation_label"] in stored


@pytest.mark.parametrize("by", ["us", "others"])
def test_our_config_reads_it(data_dir, members, by, tmp_path):
    """With its metadata, and without, as the stock builder writes it."""
    path = data_dir / "cityscapes/semantic_segmentation/1.0.0"
    if by == "others":
        (tmp_path / path.name).mkdir()
        for each in path.iterdir():
            if each.name != "metadata.json":
                (tmp_path / path.name / each.name).symlink_to(each)
        path = tmp_path / path.name
    data = config.Data(name="tfds", root=str(path))
    dataset = datasets.open_dataset(data, ignore=255)
    assert dataset.class_names == datasets.FACTS["cityscapes"].classes.names
    example = dataset.split("val")[0]
    image, label = frame(members, "munster_000000_000019")
    np.testing.assert_array_equal(example["image"], image)
    np.testing.assert_array_equal(example["label"], to_train(label))


@pytest.mark.parametrize("labels", prepare.LABELS)
@pytest.mark.parametrize("store", ["raw", "jpeg"])
def test_other_forms(archives, members, tmp_path, store, labels):
    prepare.run("cityscapes", str(archives), tmp_path, store=store, labels=labels)
    name = f"semantic_segmentation_{store}" + "_train_ids" * (labels == "train")
    data = config.Data(name="tfds", root=str(tmp_path), tfds_name=f"cityscapes/{name}")
    example = datasets.open_dataset(data, ignore=255).split("val")[0]
    image, label = frame(members, "munster_000000_000019")
    np.testing.assert_array_equal(example["label"], to_train(label))
    written = tfds.builder(f"cityscapes/{name}", data_dir=tmp_path)
    assert written.info.metadata["labels"] == labels
    decoded = written.as_data_source(split="validation")[0]
    stored = label if labels == "raw" else to_train(label)
    np.testing.assert_array_equal(decoded["segmentation_label"][..., 0], stored)
    if store == "raw":
        np.testing.assert_array_equal(example["image"], image)
        np.testing.assert_array_equal(decoded["image_left"], image)
    else:
        assert cv2.PSNR(example["image"], image) > 30


@pytest.mark.parametrize("store", ["original", "raw"])
@pytest.mark.parametrize(
    ("name", "make", "size"),
    [
        ("voc", official_files.voc, None),
        ("ade20k", official_files.ade20k, None),
        ("coco_stuff", official_files.coco_stuff, None),
        ("camvid", official_files.camvid, (360, 480)),
        (
            "camvid32",
            lambda: official_files.camvid32(CAMVID32_COLORS),
            (720, 960),
        ),
    ],
)
def test_other_data_sets(tmp_path, monkeypatch, name, make, size, store):
    monkeypatch.setattr(official_files, "SIZE", size or official_files.SIZE)
    official_files.write_archives(tmp_path, make())
    path = prepare.run(name, str(tmp_path), tmp_path / "tfds", store=store)
    direct = datasets.open_dataset(
        config.Data(name=name, root=str(tmp_path)), ignore=255
    )
    found = datasets.open_dataset(
        config.Data(name="tfds", root=str(tmp_path / "tfds"), tfds_name=name),
        ignore=255,
    )
    assert found.class_names == direct.class_names
    assert found.palette == direct.palette
    written = tfds.builder_from_directory(path)
    for split in ("train", "val"):
        ours, theirs = found.split(split), direct.split(split)
        assert len(ours) == len(theirs) == 1
        for key in ("image", "label"):
            np.testing.assert_array_equal(ours[0][key], theirs[0][key])
        tfds_split = "validation" if split == "val" else split
        (record,) = written.as_data_source(split=tfds_split)
        np.testing.assert_array_equal(record["label"][..., 0], theirs.raw_label(0))


@pytest.mark.parametrize("store", ["original", "raw"])
def test_images_that_readers_see_differently(tmp_path, rng, store):
    """Turned by EXIF, with transparency, of palettes: TFDS gives what we read."""
    picture = Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8))
    exif = Image.Exif()
    exif[0x112] = 6
    for kind in ("images", "labels"):
        (tmp_path / "train" / kind).mkdir(parents=True)
    (tmp_path / "classes.json").write_text('{"names": ["a", "b"]}')
    for name, image, options in (
        ("plain.png", picture, {}),
        ("turned.jpg", picture.transpose(Image.Transpose.ROTATE_90), {"exif": exif}),
        ("alpha.png", picture.convert("RGBA"), {}),
        ("transparent.png", picture, {"transparency": (1, 2, 3)}),
        ("palette.png", picture.quantize(), {}),
        ("gray.jpg", picture.convert("L"), {}),
    ):
        image.save(tmp_path / "train/images" / name, **options)
        label = tmp_path / "train/labels" / name.replace(".jpg", ".png")
        Image.new("L", (24, 20), 1).save(label)
    path = prepare.run("folder", str(tmp_path), tmp_path / "tfds", store=store)
    data = config.Data(name="tfds", root=str(path))
    ours = datasets.open_dataset(data, ignore=255).split("train")
    theirs = tfds.builder_from_directory(path).as_data_source(split="train")
    assert len(ours) == len(theirs) == 6
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])
        np.testing.assert_array_equal(one["label"], other["label"][..., 0])


@pytest.mark.parametrize("name", datasets.FACTS)
def test_metadata_is_a_classes_json(name, tmp_path):
    facts = datasets.FACTS[name]
    plan = plans.Plan(name, name, "any", facts.classes, {}, "raw", "raw", facts)
    (tmp_path / "metadata.json").write_text(json.dumps(plans.metadata(plan)))
    found = folder.read_classes(tmp_path / "metadata.json")
    assert found.names == facts.classes.names
    assert found.palette == facts.classes.palette
    found_map, expected = (each.label_map(255) for each in (found, facts.classes))
    assert found_map.known == expected.known
    known = np.array([expected.known], np.uint8)
    np.testing.assert_array_equal(found_map(known, ""), expected(known, ""))
