"""MATLAB's files against scipy, which writes them, and against hostile ones."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import scipy.io

from jaxseg.data import matlab

HEAD = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x100) + b"IM"
KINDS = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")


def written(variables, **options):
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables, **options)
    return buffer.getvalue()


def element(code, body):
    return struct.pack("<II", code, len(body)) + body + bytes(-len(body) % 8)


def array(name, kind, shape, payload):
    head = element(6, struct.pack("<II", kind, 0))
    size = element(5, struct.pack(f"<{len(shape)}i", *shape))
    return element(14, head + size + element(1, name) + payload)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (3, 1), (0, 4), (50, 40)])
def test_as_scipy_writes_them(kind, shape, packed):
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    values = np.random.default_rng(0).integers(low, high, shape, kind, endpoint=True)
    variables = {"first": "text", "cells": np.array([1, "a"], object), "it": values}
    content = written(variables, do_compression=packed)
    found = matlab.read(content, "it")
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)
    struct_ = {"a": [1.5], "cells": np.array([[1, 2]], object), "it": values, "z": "z"}
    content = written({"x": 3, "s": struct_}, do_compression=packed)
    np.testing.assert_array_equal(matlab.read(content, "s", "it"), values)


def test_big_endian_and_values_stored_in_fewer_bits():
    """Both as other programs write them; 300 columns of uint16 kept as bytes."""
    values = np.arange(600).reshape(2, 300) % 200
    body = element(2, values.astype("u1").tobytes(order="F"))
    content = HEAD + array(b"it", 11, values.shape, body)
    assert (scipy.io.loadmat(io.BytesIO(content))["it"] == values).all()
    found = matlab.read(content, "it")
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, values)
    swapped = b"".join(
        (
            *(b"x" * 124, b"\1\0MI", struct.pack(">II", 14, 64)),
            *(struct.pack(">IIII", 6, 8, 11, 0), struct.pack(">IIii", 5, 8, 1, 2)),
            *(struct.pack(">II", 1, 2), b"it".ljust(8, b"\0")),
            struct.pack(">IIHHxxxx", 4, 4, 300, 7),
        )
    )
    assert (scipy.io.loadmat(io.BytesIO(swapped))["it"] == [[300, 7]]).all()
    np.testing.assert_array_equal(matlab.read(swapped, "it"), [[300, 7]])


@pytest.mark.parametrize(
    "value",
    [1.5, "text", np.ones((2, 2, 2), "u1"), {"a": 1}, np.array([[1, "a"]], "O")],
)
def test_other_values_are_refused(value):
    with pytest.raises(ValueError, match="no array of two dimensions of integers"):
        matlab.read(written({"it": value}), "it")


def test_no_such_name():
    content = written({"it": np.ones((1, 1), "u1"), "s": {"b": 1}})
    for names in (("none",), ("it", "a"), ("s", "a")):
        with pytest.raises(
            ValueError, match=r"no (variable|struct|field)|is no struct"
        ):
            matlab.read(content, *names)


def test_cells_within_cells_are_not_entered():
    """A hundred thousand of them overflow the C stack of a reader that recurses."""
    inner = array(b"", 9, (1, 1), element(2, b"\1"))
    size, heads = len(inner), []
    for _ in range(100_000):
        head = array(b"it", 1, (1, 1), b"")[8:]
        heads.append(struct.pack("<II", 14, len(head) + size) + head)
        size += 8 + len(head)
    content = HEAD + b"".join(reversed(heads)) + inner
    with pytest.raises(ValueError, match="no array"):
        matlab.read(content, "it")
    with pytest.raises(ValueError, match="no variable"):
        matlab.read(content, "other")


def test_bomb():
    """300 KiB that unpack to 300 MiB."""
    packer = zlib.compressobj(9)
    body = array(b"it", 9, (300 * 2**10, 2**10), b"")
    parts = [packer.compress(body + struct.pack("<II", 2, 300 * 2**20))]
    parts += [packer.compress(bytes(2**20)) for _ in range(300)]
    content = HEAD + element(15, b"".join((*parts, packer.flush())))
    assert len(content) < 400_000
    tracemalloc.start()
    with pytest.raises(ValueError, match="over 67108864 bytes"):
        matlab.read(content, "it")
    assert tracemalloc.get_traced_memory()[1] < 3 * matlab.MAX_BYTES
    tracemalloc.stop()


@pytest.mark.parametrize("shape", [(2**30, 2**30), (-1, 5), (2**31 - 1, 1), (5,), ()])
def test_sizes_are_not_believed(shape):
    content = HEAD + array(b"it", 9, shape, element(2, b"\1" * 8))
    with pytest.raises(ValueError, match=r"reshape|dimension"):
        matlab.read(content, "it")


def test_any_other_bytes_are_refused():
    content = written({"s": {"a": np.ones((3, 3), "u1")}, "it": np.ones((3, 3), "u1")})
    rng = np.random.default_rng(0)
    for _ in range(1000):
        changed = bytearray(content)
        for place in rng.integers(len(content), size=rng.integers(1, 4)):
            changed[place] = rng.integers(256)
        for names in (("it",), ("s", "a")):
            try:
                assert matlab.read(bytes(changed), *names).ndim == 2
            except (ValueError, struct.error):
                continue
    for size in range(len(content)):
        with pytest.raises((ValueError, struct.error)):
            matlab.read(content[:size], "it")
