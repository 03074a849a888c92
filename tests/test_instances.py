"""COCO's objects as class maps; how outlines are filled is pycocotools' matter."""

import json
import pickle
import sys

import numpy as np
import official_files
import pytest
from refusals import refuse

from jaxseg import config
from jaxseg.data import archives, datasets, instances


@pytest.fixture(autouse=True)
def kept(tmp_path_factory, monkeypatch):
    """The folder of the archives that are made of the lists."""
    root = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("JAXSEG_CACHE", str(root))
    return root / "objects"


def objects_of(image, listed):
    """An image's objects as they come out of the archive."""
    packed = archives.InMemory("packed", json.dumps(listed).encode())
    return instances.Objects(image, packed)


def open_voc(root):
    data = config.Data(name="coco_voc", root=str(root))
    return datasets.open_dataset(data, ignore=255)


def test_categories_are_those_of_voc():
    """COCO's names for its ids, in the order of VOC's classes."""
    coco = {1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane"}
    coco |= {6: "bus", 7: "train"}
    coco |= {9: "boat", 16: "bird", 17: "cat", 18: "dog", 19: "horse", 20: "sheep"}
    coco |= {21: "cow", 44: "bottle", 62: "chair", 63: "couch", 64: "potted plant"}
    coco |= {67: "dining table", 72: "tv"}
    voc = {"airplane": "aeroplane", "motorcycle": "motorbike", "couch": "sofa"}
    voc |= {"dining table": "diningtable", "tv": "tvmonitor"}
    voc |= {"potted plant": "pottedplant"}
    names = [voc.get(coco[i], coco[i]) for i in instances.CATEGORIES]
    assert ["background", *names] == list(datasets.FACTS["voc"].classes.names)


@pytest.mark.parametrize("packed", [False, True])
def test_coco_voc(tmp_path, packed):
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    write = official_files.write_archives if packed else official_files.write_tree
    write(tmp_path, official_files.coco_voc())
    dataset = open_voc(tmp_path)
    source = dataset.split("val")
    assert len(source) == 2
    label = source[0]["label"]
    assert label.shape == official_files.SIZE == source[0]["image"].shape[:2]
    person, car = 15, 7
    expected = np.zeros(official_files.SIZE, np.uint8)  # the zebra is background
    expected[:4, :4] = expected[2:8, 2:8] = person
    expected[2:4, 2:4] = 255  # two persons
    expected[:, 12] = car  # run lengths go down the columns
    np.testing.assert_array_equal(label, expected)
    assert (source[1]["label"] == 0).all()
    assert len(dataset.split("train")) == 1  # an image without objects is left out
    image, objects = source.stored(0)
    assert image.startswith(b"\xff\xd8")
    assert json.loads(objects)["size"] == list(official_files.SIZE)


def test_a_list_is_read_once(tmp_path, kept, monkeypatch):
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    official_files.write_tree(tmp_path, official_files.coco_voc())
    before = open_voc(tmp_path).split("val")
    assert len([*kept.iterdir()]) == 1
    with monkeypatch.context() as patched:
        patched.setattr(instances, "_read_json", None)
        again = open_voc(tmp_path).split("val")
        assert again.pairs == before.pairs
        copied = pickle.loads(pickle.dumps(again))
        np.testing.assert_array_equal(copied[0]["label"], before[0]["label"])
    path = tmp_path / "annotations/instances_val2017.json"
    listed = json.loads(path.read_text())
    listed["annotations"] = []
    path.write_text(json.dumps(listed))
    assert not open_voc(tmp_path).split("val")[0]["label"].any()
    assert len(open_voc(tmp_path).split("train")) == 1
    assert len([*kept.iterdir()]) == 3


def test_a_worker_gets_no_outlines(tmp_path):
    """They stay in the archive: COCO's are 180 MiB, once for each worker."""
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    official_files.write_tree(tmp_path, official_files.coco_voc())
    path = tmp_path / "annotations/instances_val2017.json"
    listed = json.loads(path.read_text())
    listed["annotations"] *= 1000
    path.write_text(json.dumps(listed))
    assert len(pickle.dumps(open_voc(tmp_path).split("val"))) < 2000


def test_damaged_annotations(tmp_path, kept):
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    official_files.write_tree(tmp_path, official_files.coco_voc())
    path = tmp_path / "annotations/instances_val2017.json"
    listed = json.loads(path.read_text())
    texts = ("", "{", "[]", "[" * 100_000, "\xff", '{"images": []}')
    texts += (
        '{"images": [3], "annotations": []}',
        '{"images": [], "annotations": [{}]}',
    )
    for text in texts:
        path.write_bytes(text.encode("latin-1"))
        message = refuse(open_voc(tmp_path).split, "val")
        assert message.startswith(f"{path} is no list of COCO's objects (")
    for names in ([5], ["../a.jpg"], ["a.jpg", "a.jpg"], [""]):
        content = [dict(file_name=n, id=0, height=1, width=1) for n in names]
        path.write_text(json.dumps({"images": content, "annotations": []}))
        message = refuse(open_voc(tmp_path).split, "val")
        assert "is no list of COCO's objects (ValueError: a file_name" in message
    assert not [*kept.iterdir()]
    listed["annotations"][0]["segmentation"] = [["a"]]
    path.write_text(json.dumps(listed))
    message = refuse(open_voc(tmp_path).split("val").__getitem__, 0)
    assert message.startswith("the objects of 000000000009.jpg: an outline")
    (tmp_path / "val2017/000000000025.jpg").unlink()
    message = refuse(open_voc(tmp_path).split, "val")
    assert message.endswith(f"expected {tmp_path}/val2017/000000000025.jpg")


def test_without_pycocotools(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    official_files.write_tree(tmp_path, official_files.coco_voc())
    message = refuse(open_voc(tmp_path).split, "val")
    assert "pip install 'jaxseg[coco]'" in message


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    "outline",
    [
        *([[0, 0, 1e9, 0, 1e9, 1e9]], [[0, 0, NAN, 0, 5, 5]], [[0, 0, INF, 0, 5, 5]]),
        *([[-1e6, 0, 5, 0, 5, 5]], [[0, 0, 10**400, 0, 5, 5]], [[0, 10] * 10**6]),
        *([[]], [[1, 2]], [[[1]]], [[True] * 6], "abc", 5, None, [], [{}]),
        {"counts": "4", "size": [10**6, 10**6]},
        *(
            {"counts": counts, "size": [10, 10]}
            for counts in ("z" * 18, "P" * 50, "\x7f")
        ),
        {"counts": [10, 10**6], "size": [10, 10]},
        {"counts": [-5, 105], "size": [10, 10]},
        {"counts": [2**40, 10], "size": [10, 10]},
        {"counts": [True, 99], "size": [10, 10]},
        *({"counts": 5, "size": [10, 10]}, {"size": [10, 10]}, {"counts": "4"}, {}),
        [{"counts": [5, 95], "size": [2**20, 2**20]}],
    ],
)
def test_hostile_outlines(outline):
    """Some of them crash the process if pycocotools gets to see them."""
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    listed = {"size": [10, 10], "objects": [[1, outline]]}
    file = objects_of("a\x1b.jpg", listed)
    message = refuse(instances.read_label, file)
    assert message.startswith("the objects of a\\x1b.jpg: an outline cannot be read")


@pytest.mark.parametrize("size", [[10**5, 10**5], [0, 5], [-1, 5], [1.5, 2], ["a", 1]])
def test_hostile_sizes(size):
    file = objects_of("a", {"size": size, "objects": []})
    assert (
        "is no size" in (told := refuse(instances.read_label, file)) or "pixels" in told
    )


def test_compressed_run_lengths(tmp_path):
    """As pycocotools packs them; a size that a list of them tells is not believed."""
    masks = pytest.importorskip("pycocotools.mask", reason="pycocotools is missing")
    rng = np.random.default_rng(0)
    for share in (0, 0.001, 0.1, 0.5, 1):
        mask = np.asfortranarray(rng.random((70, 90)) < share)
        packed = masks.encode(mask.astype(np.uint8))["counts"].decode()
        outline = {"counts": packed, "size": [2**20, 2**20]}
        listed = {"size": [70, 90], "objects": [[1, outline]]}
        file = objects_of("a", listed)
        np.testing.assert_array_equal(instances.read_label(file), mask)
