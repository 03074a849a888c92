"""Weight files with something wrong in them, each a function of a generator's state."""

import io
import json
import pickle
import pickletools
import struct
import zipfile

import numpy as np
import safetensors.numpy
import torch_files
from torch_files import emit, tensor

SIZES = (0, 1, 2, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1)
VALUE = {
    "state_dict": {
        "layer.weight": tensor((3, 4), (4, 1)),
        "layer.bias": tensor((4,), (1,), offset=8),
        "half": tensor((2, 3), (3, 1), key="1", kind="Half", numel=6),
    },
    "epoch": 7,
    "options": ("sgd", 3, {"lr": 1}),
}
STORAGES = {"0": torch_files.DATA.tobytes(), "1": bytes(range(12))}
NAMED = {
    "layer.weight": np.arange(600, dtype=np.float32).reshape(20, 30),
    "layer.bias": np.ones(40, np.float16),
    "empty": np.zeros((0, 3), np.int64),
}


class Touch:
    """Pickled, it becomes code that makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def hostile(witness):
    """Pieces of pickles: calls that would make the file `witness`, and much of a kind.

    Each leaves one value on the stack, or is cut off in the middle of one.
    """
    name = emit((str(witness), "w"))
    shell = emit((f"touch {witness}",))
    return [
        b"cio\nopen\n" + name + b"R",
        b"cposix\nsystem\n" + shell + b"R",
        b"cbuiltins\neval\n" + emit((f"open({str(witness)!r}, 'w')",)) + b"R",
        b"cbuiltins\nexec\n" + emit((f"open({str(witness)!r}, 'w')",)) + b"R",
        emit("os") + emit("system") + b"\x93" + shell + b"R",
        b"(" + emit(f"touch {witness}") + b"iposix\nsystem\n",
        b"(cposix\nsystem\n" + emit(f"touch {witness}") + b"o",
        b"cposix\nsystem\n" + shell + b"\x81",
        b"ccollections\nOrderedDict\n)R" + b"}" + shell + b"sb",
        b"ctorch._utils\n_rebuild_tensor_v2\n" + shell + b"R",
        b"\x82\x01",  # a copyreg extension
        b"N" + b"\x85" * 2000,
        b"]" * 2000,
        b"N" + b"\x94" * 2000,
        b"X" + struct.pack("<I", 2**32 - 1),
        b"\x8d" + struct.pack("<Q", 2**62),
        b"\x8b" + struct.pack("<i", 2**31 - 1),
        b"\x8b" + struct.pack("<i", 3000) + b"\x7f" * 3000,
        emit("\x1b[31m\n") * 3,
        tensor((2**40, 2**40), (0, 0)),
        tensor((2**62,), (0,)),
        tensor((1,) * 40, (1,) * 40),
        tensor((12,), (2**62,), numel=2**62),
        tensor((4,), (1,), key="9"),
        tensor((4,), (1,), offset=-(2**63)),
    ]


def opcodes(pickled):
    """The pickle cut into its opcodes."""
    places = [place for _, _, place in pickletools.genops(pickled)]
    ends = [*places[1:], len(pickled)]
    return [pickled[a:b] for a, b in zip(places, ends, strict=True)]


def change_pickle(rng, pickled, pieces):
    """Opcodes taken out, doubled, exchanged, or hostile ones put between them."""
    parts = opcodes(pickled)
    for _ in range(rng.integers(1, 4)):
        place, other = rng.integers(len(parts), size=2)
        match rng.integers(5):
            case 0:
                parts.pop(place)
            case 1:
                parts.insert(place, parts[other])
            case 2:
                parts[place], parts[other] = parts[other], parts[place]
            case 3:
                parts.insert(place, pieces[rng.integers(len(pieces))])
            case 4:
                parts[place] = change_bytes(rng, parts[place])
    return b"".join(parts)


def change_bytes(rng, data, donor=b"\0" * 16):
    """Bytes flipped, cut off, moved, or replaced by a large number."""
    data = bytearray(data or b"\0")
    place = int(rng.integers(len(data)))
    match rng.integers(5):
        case 0:
            for each in rng.integers(len(data), size=rng.integers(1, 9)):
                data[each] ^= 1 << rng.integers(8)
        case 1:
            del data[place:]
        case 2:
            start, length = rng.integers(len(donor)), rng.integers(1, 65)
            data[place:place] = donor[start : start + length]
        case 3:
            del data[place : place + rng.integers(1, 33)]
        case 4:
            width = 4 if rng.integers(2) else 8
            size = SIZES[rng.integers(len(SIZES))] % 256**width
            data[place : place + width] = size.to_bytes(width, "little")
    return bytes(data)


def zip_file(rng, pieces):
    """A .pth file of today."""
    pickled = b"\x80\x02" + emit(VALUE) + b"."
    storages, name = dict(STORAGES), "archive/data.pkl"
    how = rng.integers(4)
    if how == 0:  # what the pickle says, with right checksums around it
        pickled = change_pickle(rng, pickled, pieces)
    if how == 1 or rng.integers(4) == 0:
        storages["0"] = change_bytes(rng, storages["0"])
    buffer = io.BytesIO()
    method = rng.choice([0] * 12 + [8] * 2 + [12, 14])  # none, deflate, bzip2, lzma
    with zipfile.ZipFile(buffer, "w", int(method)) as archive:
        archive.writestr(name, pickled)
        archive.writestr("archive/byteorder", b"little")
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
    content = buffer.getvalue()
    if how == 2:
        return change_bytes(rng, content, donor=content)
    if how == 3:  # the table of contents, which lies at the end
        start = content.index(b"PK\1\2")
        return content[:start] + change_bytes(rng, content[start:], donor=content)
    return content


def legacy_file(rng, pieces):
    """A .pth file of torch before 1.6."""
    parts = [
        *(pickle.dumps(item, protocol=2) for item in (torch_files.read.LEGACY_MAGIC,)),
        pickle.dumps(1001, protocol=2),
        pickle.dumps({"little_endian": True}, protocol=2),
        b"\x80\x02" + emit(VALUE) + b".",
        pickle.dumps(list(STORAGES), protocol=2),
    ]
    counts = [len(STORAGES["0"]) // 4, len(STORAGES["1"]) // 2]
    data = [
        struct.pack("<q", count) + storage
        for count, storage in zip(counts, STORAGES.values(), strict=True)
    ]
    how = rng.integers(3)
    if how == 0:
        parts[3] = change_pickle(rng, parts[3], pieces)
    if how == 1:
        place = rng.integers(len(parts))
        parts[place] = change_pickle(rng, parts[place], pieces)
    content = b"".join((*parts, *data))
    return change_bytes(rng, content, donor=content) if how == 2 else content


def safetensors_file(rng, _pieces):
    """A .safetensors file."""
    content = safetensors.numpy.save(NAMED, metadata={"format": "pt"})
    if rng.integers(2):
        return change_bytes(rng, content, donor=content)
    end = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:end])
    for _ in range(rng.integers(1, 4)):
        change_header(rng, header)
    text = json.dumps(header).encode()
    if rng.integers(4) == 0:
        text = change_bytes(rng, text, donor=b'{"a":[[[[[[0,1e999,null]]]]]]}' * 4)
    size = len(text) if rng.integers(8) else SIZES[rng.integers(len(SIZES))]
    return struct.pack("<Q", size) + text + content[end:]


def change_header(rng, header):
    """One thing in it."""
    names = [name for name in header if name != "__metadata__"]
    name = names[rng.integers(len(names))] if names else "new"
    entry = header.setdefault(name, {})
    if not isinstance(entry, dict):
        entry = header[name] = {}
    size = int(rng.choice([*map(float, SIZES), 3, 4, 12, 48, -1]))
    match rng.integers(8):
        case 0:
            entry["shape"] = [size]
        case 1:
            entry["shape"] = [0, size, size]
        case 2:
            entry["data_offsets"] = [0, size]
        case 3:
            entry["data_offsets"] = [size, 1]
        case 4:
            entry["dtype"] = str(rng.choice(["F64", "BF16", "F8_E4M3", "U64", "X", ""]))
        case 5:
            header["\x1b[2J\u202e" * int(rng.integers(1, 9))] = dict(entry)
        case 6:
            header["__metadata__"] = [size, "a", {"b": None}][rng.integers(3)]
        case 7:
            header[name] = [None, [], 3, "x", {"shape": [[[]]]}][rng.integers(5)]


FORMATS = {
    "zip": (zip_file, ".pth"),
    "legacy": (legacy_file, ".pth"),
    "safetensors": (safetensors_file, ".safetensors"),
}
