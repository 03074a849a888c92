"""Preparing: killed and begun again, checked, refused."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import official_files
import program
import pytest
from PIL import Image
from refusals import refuse

from jaxseg import config, errors
from jaxseg.data import datasets, plans, prepare, shards

pytest.importorskip("tensorflow_datasets", reason="needs jaxseg[tfds]")

IMAGES = 12


@pytest.fixture
def folder(tmp_path):
    """A folder data set; each image has one value, its number, and label 1 or 255."""
    root = tmp_path / "folder"
    for index in range(IMAGES):
        split = "val" if index % 3 == 2 else "train"
        for kind, value in (
            ("images", (index,) * 3),
            ("labels", 255 - 254 * (index % 2)),
        ):
            path = root / split / kind / f"{index:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L" if kind == "labels" else "RGB", (24, 20), value).save(path)
    classes = {"names": ["a", "b"], "palette": [[1, 2, 3], [4, 5, 6]], "ignore": [255]}
    (root / "classes.json").write_text(json.dumps(classes))
    return root


@pytest.fixture
def start(tmp_path):
    """Starts the command, in a process that cannot import TensorFlow."""
    (tmp_path / "tensorflow").mkdir()
    absent = 'raise ImportError("not here")'
    (tmp_path / "tensorflow/__init__.py").write_text(absent)
    paths = [str(tmp_path), str(program.ROOT), os.environ.get("PYTHONPATH", "")]

    def start(*arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "jaxseg.data.prepare", *arguments],
            cwd=tmp_path,
            env=program.environment() | {"PYTHONPATH": os.pathsep.join(paths)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def finish(process):
    """Its status, standard output and standard error."""
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def open_prepared(root, **fields):
    data = config.Data(name="tfds", root=str(root), **fields)
    return datasets.open_dataset(data, ignore=255)


def contents(path):
    """Of all files but those that tell the time of writing."""
    return {
        each.name: each.read_bytes()
        for each in path.iterdir()
        if each.name != "dataset_info.json"
    }


def check_folder(root):
    """That a prepared `folder` holds each of its examples once."""
    dataset = open_prepared(root)
    assert dataset.class_names == ("a", "b")
    assert dataset.palette == ((1, 2, 3), (4, 5, 6))
    seen = []
    for split in ("train", "val"):
        source = dataset.split(split)
        for index in range(len(source)):
            number = int(source[index]["image"][0, 0, 0])
            assert source[index]["image"].shape == (20, 24, 3)
            assert (source[index]["image"] == number).all()
            assert (source[index]["label"] == (1 if number % 2 else 255)).all()
            assert (number % 3 == 2) == (split == "val")
            seen.append(number)
    assert sorted(seen) == list(range(IMAGES))


@pytest.mark.parametrize("store", ["original", "raw"])
def test_killed_and_begun_again(folder, tmp_path, start, store):
    """An image takes long to read; what is complete till then is kept."""
    data_dir = tmp_path / "tfds"
    image = folder / "val/images/08.png"
    content = image.read_bytes()
    Image.new("RGB", (8192, 8192)).save(image, compress_level=1)
    flags = ("--dataset=folder", f"--source={folder}", f"--data_dir={data_dir}")
    flags += (f"--store={store}", "--workers=2")
    process = start(*flags)
    deadline = time.monotonic() + 60
    while not list(data_dir.glob("folder/*/incomplete.shards/train-*")):
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    finish(process)
    (kept,) = data_dir.glob("folder/*/incomplete.shards/train-*")
    before = kept.stat()
    with pytest.raises(errors.UserError, match="holds no data set"):
        open_prepared(data_dir)
    image.write_bytes(content)
    code, out, err = finish(start(*flags))
    assert (code, err) == (0, "")
    assert out.endswith("/1.0.0: train 8, validation 4 examples\n")
    check_folder(data_dir)
    assert not list(data_dir.rglob("incomplete*"))
    (train,) = data_dir.rglob("*train.array_record*")
    after = train.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.fixture
def read(monkeypatch):
    """The names of the images that are read, with three examples in a file."""
    names, read_example = [], plans.read_example

    def noted(plan, source, index):
        names.append(source.name(index))
        return read_example(plan, source, index)

    monkeypatch.setattr(plans, "read_example", noted)
    monkeypatch.setattr(shards, "MAX_EXAMPLES", 3)
    return names


def test_goes_on_within_a_split(folder, tmp_path, read):
    """After an error that is repaired: only what is missing is read once more."""
    whole = prepare.run("folder", str(folder), tmp_path / "whole")
    order = [pathlib.Path(name) for name in read]
    assert len(order) == IMAGES
    path = order[4].parent.parent / "labels" / order[4].name  # of the second file
    content = path.read_bytes()
    Image.new("L", (24, 20), 7).save(path)
    assert refuse(prepare.run, "folder", str(folder), tmp_path / "d").startswith(
        str(path)
    )
    assert nothing_is_there(tmp_path / "d")
    path.write_bytes(content)
    read.clear()
    prepared = prepare.run("folder", str(folder), tmp_path / "d")
    assert read == [str(each) for each in order[3:]]
    assert contents(prepared) == contents(whole)
    check_folder(tmp_path / "d")


def test_what_changed_is_written_anew(folder, tmp_path, read):
    """A file is kept for what it was made of, not for its name."""
    prepare.run("folder", str(folder), tmp_path / "whole")
    order = [pathlib.Path(name) for name in read]
    labels = [image.parent.parent / "labels" / image.name for image in order]
    broken = labels[4].read_bytes()
    labels[4].write_bytes(b"")
    refuse(prepare.run, "folder", str(folder), tmp_path / "d")
    labels[4].write_bytes(broken)
    Image.new("L", (24, 20), 0).save(labels[0])
    read.clear()
    prepare.run("folder", str(folder), tmp_path / "d")
    assert read == [str(each) for each in order]
    source = open_prepared(tmp_path / "d").split("train")
    assert (source[0]["label"] == 0).all()


def test_other_settings_keep_nothing(folder, tmp_path, read):
    prepare.run("folder", str(folder), tmp_path / "whole")
    last = pathlib.Path(read[-1])
    content = last.read_bytes()
    last.write_bytes(b"")
    refuse(prepare.run, "folder", str(folder), tmp_path / "d")
    last.write_bytes(content)
    facts = json.loads((folder / "classes.json").read_text())
    facts["ignore"] = [254, 255]
    (folder / "classes.json").write_text(json.dumps(facts))
    read.clear()
    prepare.run("folder", str(folder), tmp_path / "d")
    assert len(read) == IMAGES


def test_the_same_for_any_number_of_workers(folder, tmp_path):
    one, four = (
        prepare.run("folder", str(folder), tmp_path / str(n), workers=n) for n in (1, 4)
    )
    assert contents(one) == contents(four)
    assert len(contents(one)) >= 4


def test_begun_again_when_all_is_done(folder, tmp_path, capsys):
    path = prepare.run("folder", str(folder), tmp_path / "tfds")
    before = {each: each.stat().st_mtime_ns for each in path.iterdir()}
    first = capsys.readouterr().out
    assert first == f"{path}: train 8, validation 4 examples\n"
    assert prepare.run("folder", str(folder), tmp_path / "tfds") == path
    assert {each: each.stat().st_mtime_ns for each in path.iterdir()} == before
    assert capsys.readouterr().out == first
    for kind in ("images", "labels"):
        (folder / f"train/{kind}/00.png").unlink()
    message = refuse(prepare.run, "folder", str(folder), tmp_path / "tfds")
    assert "holds train 8, validation 4 examples" in message
    assert "delete it" in message


@pytest.mark.parametrize("change", ["label", "classes"])
def test_begun_again_when_its_files_were_mended(folder, tmp_path, change):
    prepare.run("folder", str(folder), tmp_path / "tfds")
    if change == "label":
        Image.new("L", (24, 20), 1).save(folder / "train/labels/00.png")
    else:
        facts = json.loads((folder / "classes.json").read_text())
        (folder / "classes.json").write_text(json.dumps(facts | {"ignore": [254, 255]}))
    message = refuse(prepare.run, "folder", str(folder), tmp_path / "tfds")
    assert "prepared from other classes or files" in message
    assert "delete it" in message


def test_unfinished_folders_of_others_stay(folder, tmp_path):
    parent = tmp_path / "tfds/folder/semantic_segmentation"
    for name, mark in (("ours", ".jaxseg"), ("theirs", "train.array_record")):
        (parent / f"incomplete.{name}_1.0.0").mkdir(parents=True)
        (parent / f"incomplete.{name}_1.0.0" / mark).touch()
    path = prepare.run("folder", str(folder), tmp_path / "tfds")
    assert [each.name for each in parent.glob("incomplete.*")] == [
        "incomplete.theirs_1.0.0"
    ]
    assert not (path / ".jaxseg").exists()


def test_two_at_a_time(folder, tmp_path):
    path = tmp_path / "tfds/folder/semantic_segmentation"
    path.mkdir(parents=True)
    with prepare.filelock.FileLock(path / ".lock"):
        message = refuse(prepare.run, "folder", str(folder), tmp_path / "tfds")
    assert "is being prepared by another run" in message
    prepare.run("folder", str(folder), tmp_path / "tfds")
    check_folder(tmp_path / "tfds")


def test_names_and_splits(folder, tmp_path):
    path = prepare.run("folder", str(folder), tmp_path, name="mine", splits=["val"])
    assert path == tmp_path / "mine/semantic_segmentation_val/1.0.0"
    assert len(open_prepared(tmp_path / "mine").split("val")) == 4
    with pytest.raises(errors.UserError, match="no split 'train'"):
        open_prepared(path).split("train")
    message = refuse(prepare.run, "folder", str(folder), tmp_path, splits=["tran"])
    assert message.startswith("--splits=tran must be of those that folder has")
    assert "--name=My-Set must be" in refuse(
        prepare.run, "folder", str(folder), tmp_path, name="My-Set"
    )


def nothing_is_there(data_dir):
    """No data set, and no file but those that are complete."""
    left = [path for path in data_dir.glob("*/semantic*/**/*") if path.is_file()]
    known = ("train-", "validation-", ".lock")
    return all(path.name.startswith(known) for path in left)


def test_a_corrupt_member_is_named(tmp_path, start):
    members = official_files.ade20k()
    official_files.write_archives(tmp_path, members)
    archive = tmp_path / "ADEChallengeData2016.zip"
    name = "ADEChallengeData2016/images/validation/ADE_val_00000001.jpg"
    content = bytearray(archive.read_bytes())
    content[zipfile.ZipFile(archive).getinfo(name).header_offset + 200] ^= 255
    archive.write_bytes(content)
    flags = ("--dataset=ade20k", f"--source={tmp_path}", f"--data_dir={tmp_path / 'd'}")
    code, out, err = finish(start(*flags))
    *warnings, line = err.splitlines()
    assert all("images" in each for each in warnings)  # fewer than the official ones
    assert (code, out) == (1, "")
    assert line.startswith(f"error: {archive}/{name} cannot be read from its archive")
    assert nothing_is_there(tmp_path / "d")


@pytest.mark.parametrize("kind", ["image", "value", "size"])
def test_bad_examples_are_named(folder, tmp_path, kind):
    path = folder / (
        "train/images/04.png" if kind == "image" else "train/labels/04.png"
    )
    if kind == "image":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "value":
        Image.new("L", (24, 20), 7).save(path)
    else:
        Image.new("L", (20, 24), 1).save(path)
    message = refuse(prepare.run, "folder", str(folder), tmp_path / "d")
    assert message.startswith(str(path))
    assert nothing_is_there(tmp_path / "d")


def test_size_of_a_data_set_that_has_one(tmp_path):
    official_files.write_archives(tmp_path, official_files.cityscapes())
    message = refuse(prepare.run, "cityscapes", str(tmp_path), tmp_path / "d")
    assert "_leftImg8bit.png is 17x16" in message
    assert "all images of cityscapes are 1024x2048" in message
    assert nothing_is_there(tmp_path / "d")


def test_a_split_that_was_not_unpacked(tmp_path):
    archives = official_files.cityscapes()
    for members in archives.values():
        for name in [name for name in members if "/test/" in name]:
            del members[name]
    official_files.write_tree(tmp_path, archives)
    message = refuse(prepare.run, "cityscapes", str(tmp_path), tmp_path / "d")
    assert "leftImg8bit/test/" in message
    assert message.endswith("; --splits=train,val leaves it out")
    message = refuse(
        prepare.run, "cityscapes", str(tmp_path), tmp_path / "d", splits=["val"]
    )
    assert "17x16" in message


def test_labels_of_other_files(tmp_path):
    """MATLAB's files of SBD become PNGs of their values."""
    official_files.write_tree(tmp_path, official_files.voc())
    prepare.run("voc", str(tmp_path), tmp_path / "d", splits=["train_aug"])
    found = open_prepared(tmp_path / "d", train_split="train_aug").split("train")
    expected = {
        official_files.spread(values).astype(np.uint8).tobytes()
        for values in (official_files.VOC, range(21))
    }
    assert {found[i]["label"].tobytes() for i in range(len(found))} == expected


def test_sets_of_different_kinds_are_mixed(tmp_path):
    """VOC and COCO's objects of its classes."""
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    for name, archives in (
        ("voc", official_files.voc()),
        ("coco_voc", official_files.coco_voc()),
    ):
        official_files.write_tree(tmp_path / name, archives)
        prepare.run(name, str(tmp_path / name), tmp_path / "d")
    root, other = tmp_path / "d/voc", tmp_path / "d/coco_voc"
    dataset = open_prepared(root, mix=(str(other),))
    train = dataset.split("train")
    assert len(train) == 2  # COCO's second image shows none of the classes
    label = train[0]["label"]
    np.testing.assert_array_equal(label, official_files.spread(official_files.VOC))
    assert train.name(1).startswith("coco_voc/")
    person = dataset.class_names.index("person")
    assert {0, person, 255} <= {*np.unique(train[1]["label"])}
    assert dataset.split("val").name(0).startswith("voc/")


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--dataset=city"], 2, "flag --dataset=city"),
        (["--config=configs/folder.py"], 2, "Unknown command line flag 'config'"),
        (["--source=nowhere"], 1, "--source='nowhere' is not a folder"),
    ],
)
def test_mistakes(tmp_path, start, flags, code, words):
    base = ["--dataset=voc", f"--source={tmp_path}", f"--data_dir={tmp_path / 'd'}"]
    found, _, err = finish(start(*base, *flags))
    assert found == code
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert not (tmp_path / "d").exists()


@pytest.mark.slow
def test_200_images_of_cityscapes(tmp_path, start):
    """At their real size; killed half-way, then done, then read by TFDS."""
    rng = np.random.default_rng(0)
    images, labels = {}, {}
    for index in range(200):
        split = ("val", "test", "train", "train")[index % 4]
        name = f"{split}/ulm/ulm_{index:06d}_000019"
        for members, folder, end, channels, values in (
            (images, "leftImg8bit", "leftImg8bit", 3, 256),
            (labels, "gtFine", "gtFine_labelIds", 1, 34),
        ):
            pixels = rng.integers(values, size=(16, 32, channels), dtype=np.uint8)
            pixels = pixels.squeeze().repeat(64, 0).repeat(64, 1)
            content = official_files.encode(Image.fromarray(pixels))
            members[f"{folder}/{name}_{end}.png"] = content
    archives = {"leftImg8bit_trainvaltest.zip": images}
    archives["gtFine_trainvaltest.zip"] = labels
    official_files.write_archives(tmp_path, archives)
    data_dir = tmp_path / "tfds"
    flags = ("--dataset=cityscapes", f"--source={tmp_path}", f"--data_dir={data_dir}")
    process = start(*flags)
    while not list(data_dir.glob("cityscapes/*/incomplete.shards/train-*")):
        assert process.poll() is None, finish(process)
        time.sleep(0.02)
    process.kill()
    finish(process)
    code, out, _ = finish(start(*flags))
    assert code == 0
    assert out.endswith("train 100, validation 50, test 50 examples\n")
    assert not list(data_dir.rglob("incomplete*"))
    tfds = pytest.importorskip("tensorflow_datasets")
    seen = set()
    for split in ("train", "validation", "test"):
        for example in tfds.data_source("cityscapes", split=split, data_dir=data_dir):
            name = example["image_id"].decode()
            seen.add(name)
            for found, members, end in (
                (example["image_left"], images, "leftImg8bit"),
                (example["segmentation_label"].squeeze(-1), labels, "gtFine_labelIds"),
            ):
                path = next(
                    p for p in members if pathlib.Path(p).stem == f"{name}_{end}"
                )
                expected = Image.open(prepare.io.BytesIO(members[path]))
                np.testing.assert_array_equal(found, expected)
    assert len(seen) == 200
