"""Opens damaged copies of a prepared data set, in a process that may crash.

Run by test_fuzz.py: `python fuzz_records.py FOLDER FILE COUNT`. Prints the number of a
copy before it is opened, at the end how many were refused, read rightly and wrongly.
"""

import json
import pathlib
import sys

import numpy as np
from test_archives import attempt, mutations

from jaxseg import config
from jaxseg.data import datasets


def read_all(root):
    """Images and labels of all examples, in order."""
    data = config.Data(name="tfds", root=str(root))
    dataset = datasets.open_dataset(data, ignore=255)
    found = []
    for split in ("train", "val"):
        source = dataset.split(split)
        for index in range(len(source)):
            example = source[index]
            found += [example["image"], example["label"]]
    return found


def same(one, other):
    return len(one) == len(other) and all(map(np.array_equal, one, other))


def main(root, name, count):
    (path,) = root.glob(name)
    original, expected = path.read_bytes(), read_all(root)
    counts = {"refused": 0, "right": 0, "wrong": 0}
    for number, damaged in enumerate(mutations(original, int(count), seed=3)):
        print(number, flush=True)
        path.write_bytes(damaged)
        found = attempt(read_all, root)
        if found is None:
            counts["refused"] += 1
        elif same(found, expected):
            counts["right"] += 1
        else:
            counts["wrong"] += 1
    path.write_bytes(original)
    print(json.dumps(counts))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), *sys.argv[2:])
