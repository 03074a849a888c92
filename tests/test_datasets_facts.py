"""What classes.json of a folder data set may hold."""

import json

import pytest
from refusals import refuse

from jaxseg import config, errors
from jaxseg.data import datasets

NAMES = ["sky", "road", "car"]
PALETTE = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
FACTS = {"names": NAMES, "palette": PALETTE}


def write_classes(root, facts):
    (root / "classes.json").write_text(json.dumps(facts))


def open_folder(root):
    return datasets.open_dataset(config.Data(name="folder", root=str(root)), ignore=255)


def refuse_folder(root):
    """The message with which the folder's classes.json is refused."""
    message = refuse(open_folder, root)
    assert str(root / "classes.json") in message
    return message


def refuse_facts(root, facts):
    write_classes(root, facts)
    return refuse_folder(root)


def test_classes_are_missing(tmp_path):
    message = refuse_folder(tmp_path)
    assert message.startswith(f"{tmp_path / 'classes.json'} does not exist")
    assert '"names"' in message


@pytest.mark.parametrize("text", ["", "{", '{"names": [1,]}', "\xff"])
def test_bad_json(tmp_path, text):
    (tmp_path / "classes.json").write_text(text, encoding="latin-1")
    message = refuse_folder(tmp_path)
    assert message.startswith(f"{tmp_path / 'classes.json'} is not valid JSON: ")


@pytest.mark.parametrize(
    "facts",
    [
        *([], 3, {}, {"names": "abc"}, {"names": ["one"]}, {"names": [1, 2]}),
        *({"names": [{}, {}]}, {"names": [str(i) for i in range(256)]}),
    ],
    ids=lambda facts: str(facts)[:20],
)
def test_bad_names(tmp_path, facts):
    assert '"names", a list of 2 to 255' in refuse_facts(tmp_path, facts)


def test_a_name_twice(tmp_path):
    assert "twice" in refuse_facts(tmp_path, {"names": ["a", "b", "a"]})


@pytest.mark.parametrize("name", ["", "sky\n", "a\tb", "\ud800", "\x00"], ids=ascii)
def test_names_that_cannot_be_told_in_a_line(tmp_path, name):
    message = refuse_facts(tmp_path, {"names": ["road", name]})
    assert "names a class " in message
    assert "one line of at most 200 characters" in message
    assert errors.is_plain(message)


def test_keys_that_are_there_twice(tmp_path):
    """The last one would count, whichever was meant."""
    text = '{"names": ["a", "b"], "map": {"0": 0, "1": 1, "0": 1}}'
    (tmp_path / "classes.json").write_text(text)
    assert "the key '0' is there twice" in refuse_folder(tmp_path)


def test_nested_too_deep(tmp_path):
    (tmp_path / "classes.json").write_text("[" * 100_000)
    assert "is not valid JSON" in refuse_folder(tmp_path)


def test_a_folder_of_that_name(tmp_path):
    (tmp_path / "classes.json").mkdir()
    assert "is no regular file" in refuse_folder(tmp_path)


def test_mark_of_byte_order(tmp_path):
    """As some editors write it before UTF-8."""
    text = json.dumps({"names": ["Straße", "b"]}, ensure_ascii=False)
    (tmp_path / "classes.json").write_text(text, encoding="utf-8-sig")
    assert open_folder(tmp_path).class_names == ("Straße", "b")


@pytest.mark.parametrize(
    "palette",
    [
        *([], PALETTE[:2], 5, "abc", {"a": 1, "b": 2, "c": 3}, [1, 2, 3]),
        *([[0, 0], *PALETTE[1:]], [[0, 0, 256], *PALETTE[1:]]),
        *([[0, 0, -1], *PALETTE[1:]], [[0, 0, 0.5], *PALETTE[1:]]),
        ["abc", "def", "ghi"],
    ],
    ids=str,
)
def test_bad_palette(tmp_path, palette):
    message = refuse_facts(tmp_path, FACTS | {"palette": palette})
    assert '"palette" must be 3 colors' in message


def test_palette_is_optional(tmp_path):
    write_classes(tmp_path, {"names": NAMES})
    assert len(set(open_folder(tmp_path).palette)) == 3


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"map": {"0": 3}}, '"map" must give classes 0..2'),
        ({"map": {"0": -1}}, '"map" must give classes 0..2'),
        ({"map": {"0": 1.0}}, '"map" must give classes 0..2'),
        ({"map": {"256": 0}}, "raw values must be in 0..255"),
        ({"map": {"-1": 0}}, "raw values must be in 0..255"),
        ({"map": {"sky": 0}}, "raw values must be in 0..255"),
        ({"map": {"\u00b2": 0}}, "raw values must be in 0..255"),
        ({"map": {"00": 0}}, "raw values must be in 0..255"),
        ({"map": {"\u0661": 0}}, "raw values must be in 0..255"),
        ({"map": {"9": 0}, "ignore": [9]}, "raw value 9 has a class"),
        ({"ignore": [256]}, "raw values must be in 0..255"),
        ({"map": [0, 1]}, '"map" must be'),
        ({"ignore": 255}, '"ignore" [raw'),
        ({"ignore": ["255"]}, '"ignore" [raw'),
    ],
    ids=str,
)
def test_bad_values(tmp_path, facts, words):
    assert words in refuse_facts(tmp_path, FACTS | facts)
