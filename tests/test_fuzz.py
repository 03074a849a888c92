"""Thousands of damaged files: an error of one line or what was meant, nothing else.

Archives are damaged in test_archives.py.
"""

import json
import os
import subprocess
import sys

import numpy as np
import official_files
import program
import pytest
from test_archives import attempt, mutations
from test_bad_input import make_folder

from jaxseg.data import archives, folder, images, prepare

LABEL = official_files.spread((*range(21), 255)).astype(np.uint8)


@pytest.mark.parametrize("kind", ["gray", "palette"])
def test_1000_damaged_labels(kind):
    """PNG has checksums: no pixel may differ."""
    original = getattr(official_files, kind)((*range(21), 255))
    right = 0
    for damaged in mutations(original, 1000, seed=1):
        found = attempt(images.read_indices, archives.InMemory("a.png", damaged))
        if found is not None:
            np.testing.assert_array_equal(found, LABEL)
            right += 1
    assert 0 < right < 900


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_1000_damaged_images(kind):
    original = official_files.image(0, kind)
    expected = images.read_image(archives.InMemory("a", original))
    right = 0
    for damaged in mutations(original, 1000, seed=2):
        found = attempt(images.read_image, archives.InMemory("a", damaged))
        if found is None:
            continue
        assert found.dtype == np.uint8
        assert found.shape[2:] == (3,)
        right += np.array_equal(found, expected)
        assert kind == "JPEG" or np.array_equal(found, expected)
    assert 0 < right < 900


FACTS = {
    "names": ["sky", "road", "car"],
    "palette": [[1, 2, 3], [4, 5, 6], [7, 8, 9]],
    "map": {"0": 0, "7": 1, "8": 1, "26": 2},
    "ignore": [255, 9],
}
STRANGE = (
    *(None, True, False, -1, 0, 1, 2, 3, 254, 255, 256, 10**30, 0.0, 1.5, 1e400, ""),
    *("0", "7", " 7", "07", "-1", "256", "sky", "a\nb", "\ud800", [], {}, [[]]),
    *([0], [255, 255], ["0"], [[1, 2, 3]], {"0": 0}, {"": 0}, {"names": []}),
)


def meaning(text):
    """Names, what each raw value becomes (255: ignored), and colors; None: an error.

    The rules of a classes.json once more, in the words of this test.
    """
    facts = json.loads(text, object_pairs_hook=dict_of_different_keys)
    names = facts["names"]
    if type(names) is not list or not 2 <= len(set(names)) == len(names) <= 255:
        return None
    if any(
        type(name) is not str or not name or ascii(name)[1:-1] != name for name in names
    ):
        return None
    given, ignored = facts.get("map"), facts.get("ignore", [255])
    if type(ignored) is not list or (given is None and "map" in facts):
        return None
    classes = range(len(names))
    if given is None:
        given = {str(i): i for i in classes if i not in ignored}
    elif "ignore" not in facts:
        ignored = [raw for raw in ignored if str(raw) not in given]
    to_train = dict.fromkeys(map(str, ignored), 255)
    if any(type(value) is not int for value in [*ignored, *given.values()]):
        return None
    if set(to_train) & set(given) or not {*to_train, *given} <= {*map(str, range(256))}:
        return None
    if not set(given.values()) <= {*classes}:
        return None
    palette = facts.get("palette")
    if palette is not None:
        colors = [tuple(color) for color in palette]
        if type(palette) is not list or len(colors) != len(names):
            return None
        for color, values in zip(palette, colors, strict=True):
            if (
                type(color) is not list
                or [type(value) for value in values] != [int] * 3
            ):
                return None
            if not 0 <= min(values) <= max(values) <= 255:
                return None
        palette = tuple(colors)
    return tuple(names), {int(raw): i for raw, i in (to_train | given).items()}, palette


def dict_of_different_keys(pairs):
    keys = [key for key, _ in pairs]
    assert len(keys) == len(set(keys))
    return dict(pairs)


def places(value):
    """Every (container, key) within a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in [*items]:
        yield value, key
        if isinstance(each, dict | list):
            yield from places(each)


def changed_facts(count, seed):
    """Valid JSON, with one to three values replaced, removed, moved or renamed."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        facts = json.loads(json.dumps(FACTS))
        for _ in range(rng.integers(1, 4)):
            if not (found := [*places(facts)]):
                break
            container, key = found[rng.integers(len(found))]
            strange = json.loads(json.dumps(STRANGE[rng.integers(len(STRANGE))]))
            kind = rng.integers(4)
            if kind == 0:
                container[key] = strange
            elif kind == 1:
                del container[key]
            elif kind == 2 and isinstance(container, dict) and isinstance(strange, str):
                container[strange] = container.pop(key)
            elif isinstance(container, list):
                container.insert(key, strange)
        yield json.dumps(facts).encode()


@pytest.mark.parametrize(
    "make", [changed_facts, lambda *args: mutations(json.dumps(FACTS).encode(), *args)]
)
@pytest.mark.parametrize("count", [300, pytest.param(2000, marks=pytest.mark.slow)])
def test_changed_classes(tmp_path, make, count):
    path, right = tmp_path / "classes.json", 0
    for content in make(count, 4):
        path.write_bytes(content)
        found = attempt(folder.read_classes, path)
        try:
            expected = meaning(content.decode())
        except (ValueError, KeyError, TypeError, AttributeError, AssertionError):
            expected = None
        assert (found is None) == (expected is None), content
        if found is not None:
            right += 1
            names, to_train, palette = expected
            assert found.names == names
            assert palette in (None, found.palette)
            label_map = found.label_map(255)
            assert label_map.known == sorted(to_train)
            known = np.array([label_map.known], np.uint8)
            assert label_map(known, "").tolist() == [[to_train[i] for i in known[0]]]
    assert 3 < right < 0.9 * count


@pytest.mark.slow
@pytest.mark.parametrize("store", ["original", "raw"])
@pytest.mark.parametrize(
    ("file", "count"),
    [
        ("*validation.array_record*", 500),
        ("dataset_info.json", 200),
        ("features.json", 200),
    ],
)
def test_damaged_records(tmp_path, store, file, count):
    """In a process of its own, as the reader is no Python."""
    pytest.importorskip("tensorflow_datasets", reason="needs jaxseg[tfds]")
    root = make_folder(tmp_path / "data")
    path = prepare.run("folder", str(root), tmp_path / "tfds", store=store)
    paths = os.pathsep.join([str(program.ROOT), str(program.ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "tests/fuzz_records.py", path, file, str(count)],
        cwd=program.ROOT,
        env=program.environment() | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    *numbers, last = done.stdout.splitlines()
    assert done.returncode == 0, (last, done.stderr[-2000:])
    assert len([line for line in numbers if line.isdecimal()]) == count  # TFDS adds
    counts = json.loads(last)
    assert counts["wrong"] == 0
    assert counts["refused"] > count / 2
    assert counts["right"] > 0
