"""The table of facts: consistent in itself, and equal to lists kept elsewhere."""

import pathlib
import re

import pytest

from jaxseg.data import datasets, schema
from jaxseg.data.facts import camvid, pascal


def color_map(index):
    """The VOC devkit's color of an index: its bits, three by three, from the top."""
    color = [0, 0, 0]
    for bit in range(24):
        color[bit % 3] |= (index >> bit & 1) << (7 - bit // 3)
    return tuple(color)


@pytest.mark.parametrize("name", datasets.FACTS)
def test_facts_fit_together(name):
    facts = datasets.FACTS[name]
    classes = facts.classes
    count = len(classes.names)
    assert len(classes.palette) == count == len(set(classes.names))
    assert all(each == each.strip() and each for each in classes.names)
    assert all(0 <= part <= 255 for color in classes.palette for part in color)
    assert sorted(set(classes.raw_to_train.values())) == list(range(count))
    raw = [*classes.raw_to_train, *classes.ignored]
    assert len(set(raw)) == len(raw)
    assert all(0 <= value <= 255 for value in raw)
    assert {"train", "val"} <= set(facts.splits)
    assert all(split.parts for split in facts.splits.values())
    assert re.search(r"https?://", facts.source)
    assert facts.license
    assert re.search(r"\b(19|20)\d\d\b", facts.cite)


@pytest.mark.parametrize("name", datasets.FACTS)
def test_label_map_covers_the_raw_values(name):
    classes = datasets.FACTS[name].classes
    known = sorted([*classes.raw_to_train, *classes.ignored])
    assert classes.label_map(255).known == known


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *(("cityscapes", 19), ("voc", 21), ("ade20k", 150), ("coco_stuff", 171)),
        *(("coco_voc", 21), ("pascal_context", 59), ("pascal_context60", 60)),
        *(("camvid", 11), ("camvid32", 31), ("pet", 2), ("loveda", 7)),
    ],
)
def test_number_of_classes(name, count):
    assert len(datasets.FACTS[name].classes.names) == count


def test_voc_colors():
    assert datasets.FACTS["voc"].classes.palette == tuple(map(color_map, range(21)))
    # of objects in the palette PNGs themselves: person, aeroplane, tvmonitor
    for index, color in ((15, (192, 128, 128)), (1, (128, 0, 0)), (20, (0, 64, 128))):
        assert color_map(index) == color


def test_sets_without_colors_have_those_of_voc():
    stuff = schema.read_rows("coco_stuff")
    assert all(color == color_map(raw + 1) for raw, c, color, _ in stuff if c != "-")
    context = schema.read_rows("pascal_context60")
    assert [color for _, _, color, _ in context] == [color_map(i) for i in range(60)]
    for name in ("voc", "coco_stuff", "pascal_context60", "camvid32", "loveda"):
        palette = datasets.FACTS[name].classes.palette
        assert len(set(palette)) == len(palette)


@pytest.mark.parametrize(
    ("name", "raw", "color", "called"),
    [
        ("ade20k", 1, (120, 120, 120), "wall"),
        ("ade20k", 13, (150, 5, 61), "person"),
        ("ade20k", 150, (92, 0, 255), "flag"),
        ("cityscapes", 26, (0, 0, 142), "car"),
        ("cityscapes", 33, (119, 11, 32), "bicycle"),
        ("camvid", 4, (60, 40, 222), "Pavement"),
        ("camvid32", 31, (64, 192, 0), "Wall"),
        ("loveda", 5, (159, 129, 183), "barren"),
    ],
)
def test_raw_values_colors_and_names(name, raw, color, called):
    classes = datasets.FACTS[name].classes
    train = classes.raw_to_train[raw]
    assert (classes.palette[train], classes.names[train]) == (color, called)


@pytest.mark.parametrize(
    ("raw", "called"),
    [
        *((0, "person"), (10, "fire hydrant"), (12, "stop sign"), (26, "backpack")),
        *((66, "dining table"), (71, "tv"), (89, "toothbrush"), (91, "banner")),
        *((95, "building-other"), (156, "sky-other"), (181, "wood")),
    ],
)
def test_coco_stuff_is_numbered_as_coco(raw, called):
    """Raw values are 1 less than COCO's category ids."""
    classes = datasets.FACTS["coco_stuff"].classes
    assert classes.names[classes.raw_to_train[raw]] == called


def test_context_names_are_those_of_the_459():
    """Both lists are alphabetical, so the numbers must rise with the names."""
    names = datasets.FACTS["pascal_context60"].classes.names
    assert len(pascal.CONTEXT_IDS) == len(names) == 60
    assert list(pascal.CONTEXT_IDS) == sorted(set(pascal.CONTEXT_IDS))
    assert list(names[1:]) == sorted(names[1:])
    assert names[1:] == datasets.FACTS["pascal_context"].classes.names


@pytest.mark.parametrize("name", datasets.FACTS)
def test_docs_list_what_the_table_holds(name):
    text = (pathlib.Path(__file__).parents[1] / "docs" / "datasets.md").read_text()
    facts = datasets.FACTS[name]
    row = f"| `{name}` | {facts.source} | {facts.license} | {facts.cite} |"
    assert row in text.splitlines()
    for split in facts.splits.values():
        for part in split.parts:
            for field in vars(part).values():
                archive = getattr(field, "archive", "")
                assert archive in text


def test_split_of_camvid():
    frames = {"0001TP_006690": "train", "0001TP_008520": "train"}
    frames |= {"0001TP_008550": "test", "0001TP_010380": "test"}
    frames |= {"0006R0_f00930": "train", "Seq05VD_f05100": "test"}
    frames |= {"0016E5_07920": "train", "0016E5_08190": "train"}
    frames |= {"0016E5_07959": "val", "0016E5_08159": "val"}
    assert {frame: camvid.split_of(frame) for frame in frames} == frames
