"""Arrays of MATLAB's files of version 5, as label files of data sets have them.

"MAT-File Format", The MathWorks. scipy.io reads far more of it, but unpacks without a
bound, and crashes on cells within cells; here a variable is unpacked up to a limit, and
nothing within another but a field of a struct is looked at.
"""

import itertools
import math
import struct
import zlib
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Integer

Order = Literal["<", ">"]  # of bytes, as struct has it
MAX_BYTES = 2**26  # of a variable unpacked; a label of 512x512 has 0.5 MiB

# Codes of the format: of stored elements, and of classes of arrays.
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 12: "i8", 13: "u8"}
_STRUCT = 2
_CLASSES = {
    8: "i1",
    9: "u1",
    10: "i2",
    11: "u2",
    12: "i4",
    13: "u4",
    14: "i8",
    15: "u8",
}


class _Matrix(NamedTuple):
    """A variable or a field: its class, size, name, and the elements that follow."""

    kind: int
    shape: tuple[int, ...]
    name: str
    rest: Iterator[tuple[int, memoryview]]


def read(
    content: bytes, variable: str, field: str | None = None
) -> Integer[np.ndarray, "h w"]:
    """A variable, or a field of it if it is a struct of one element.

    Integers alone. Raises ValueError or struct.error if there is none.
    """
    orders: dict[bytes, Order] = {b"IM": "<", b"MI": ">"}
    order = orders.get(content[126:128])
    if order is None or len(content) < 128:
        raise ValueError("no MATLAB file of version 5")
    for code, body in _elements(memoryview(content)[128:], order):
        if code == _COMPRESSED:
            ((code, body),) = itertools.islice(_elements(_unpacked(body), order), 1)
        matrix = _matrix(code, body, order)
        if matrix.name == variable:
            return _array(
                matrix if field is None else _field(matrix, field, order), order
            )
    raise ValueError(f"no variable {variable!r}")


def _elements(data: memoryview, order: Order) -> Iterator[tuple[int, memoryview]]:
    """(code, bytes) of one element after the other; up to 4 bytes lie in its tag."""
    while len(data):
        code, size = struct.unpack_from(f"{order}II", data)
        if code >> 16:
            code, size, start, end = code & 0xFFFF, code >> 16, 4, 8
        else:
            start, end = 8, 8 + size
            if code != _COMPRESSED:
                end += -size % 8
        if start + size > min(end, len(data)):
            raise ValueError("an element ends after the file")
        yield code, data[start : start + size]
        data = data[end:]


def _unpacked(body: memoryview) -> memoryview:
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(body, MAX_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not unpacker.eof:
        raise ValueError(f"a variable is cut off, or has over {MAX_BYTES} bytes")
    return memoryview(data)


def _matrix(code: int, body: memoryview, order: Order) -> _Matrix:
    rest = _elements(body, order)
    parts = list(itertools.islice(rest, 3))
    if code != _MATRIX or [part[0] for part in parts] != [_UINT32, _INT32, _INT8]:
        raise ValueError("an element is no array")
    flags, shape, name = (bytes(part[1]) for part in parts)
    return _Matrix(
        struct.unpack_from(f"{order}I", flags)[0] & 0xFF,
        struct.unpack(f"{order}{len(shape) // 4}i", shape),
        name.decode("latin-1"),
        rest,
    )


def _field(matrix: _Matrix, field: str, order: Order) -> _Matrix:
    if matrix.kind != _STRUCT or math.prod(matrix.shape) != 1:
        raise ValueError(f"{matrix.name!r} is no struct of one element")
    (_, length), (_, names) = itertools.islice(matrix.rest, 2)
    (size,) = struct.unpack(f"{order}i", length)
    if size < 1:
        raise ValueError("a struct without names")
    for start, (code, body) in zip(
        range(0, len(names), size), matrix.rest, strict=False
    ):
        name = bytes(names[start : start + size]).partition(b"\0")[0]
        if name.decode("latin-1") == field:
            return _matrix(code, body, order)
    raise ValueError(f"no field {field!r}")


def _array(matrix: _Matrix, order: Order) -> np.ndarray:
    """The values, which may be stored in fewer bits than they have."""
    if matrix.kind not in _CLASSES or len(matrix.shape) != 2 or min(matrix.shape) < 0:
        raise ValueError("no array of two dimensions of integers")
    ((code, body),) = itertools.islice(matrix.rest, 1)
    if code not in _STORED:
        raise ValueError("values that are no integers")
    values = np.frombuffer(body, np.dtype(_STORED[code]).newbyteorder(order))
    return values.reshape(matrix.shape, order="F").astype(_CLASSES[matrix.kind])
