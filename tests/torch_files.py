"""Files as torch.save writes them, made opcode by opcode, for tests without torch."""

import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np

from jaxseg.pretrained import read

STORAGES = {
    "Double": np.float64,
    "Float": np.float32,
    "Half": np.float16,
    "BFloat16": ml_dtypes.bfloat16,
    "Long": np.int64,
    "Int": np.int32,
    "Short": np.int16,
    "Char": np.int8,
    "Byte": np.uint8,
    "Bool": np.bool_,
}
DATA = np.arange(12, dtype=np.float32)


def emit(value) -> bytes:
    """The pickle of a value, without its end; bytes stand for themselves."""
    match value:
        case bytes():
            return value
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case int():
            return pickle.dumps(value, protocol=2)[2:-1]
        case tuple():
            return b"(" + b"".join(map(emit, value)) + b"t"
        case dict():
            pairs = (emit(key) + emit(item) for key, item in value.items())
            return b"}(" + b"".join(pairs) + b"u"
    raise TypeError(value)


def tensor(shape, strides, *, offset=0, key="0", kind="Float", numel=12) -> bytes:
    storage_type = f"ctorch\n{kind}Storage\n".encode()
    storage = emit(("storage", storage_type, key, "cpu", numel)) + b"Q"
    hooks = b"ccollections\nOrderedDict\n)R"
    arguments = (storage, offset, shape, strides, b"\x89", hooks)
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + emit(arguments) + b"R"


def write_zip(path, value, *, storages=None, members=None, compression=0):
    storages = {"0": DATA.tobytes()} if storages is None else storages
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("any/data.pkl", b"\x80\x02" + emit(value) + b".")
        for name, data in (members or {"byteorder": b"little"}).items():
            archive.writestr(f"any/{name}", data)
        for key, data in storages.items():
            archive.writestr(f"any/data/{key}", data)
    return path


def write_legacy(path, value, *, storages=None, little_endian=True):
    storages = {"0": (12, DATA.tobytes())} if storages is None else storages
    with path.open("wb") as file:
        for item in (read.LEGACY_MAGIC, 1001, {"little_endian": little_endian}):
            pickle.dump(item, file, protocol=2)
        file.write(b"\x80\x02" + emit(value) + b".")
        pickle.dump(list(storages), file, protocol=2)
        for numel, data in storages.values():
            file.write(struct.pack("<q", numel) + data)
    return path
