"""Reading weights files: hand-made ones and damaged ones; torch's are in parity/."""

import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from torch_files import DATA, STORAGES, emit, tensor, write_legacy, write_zip

from jaxseg import errors
from jaxseg.pretrained import read


@pytest.fixture(params=[write_zip, write_legacy])
def write(request, tmp_path):
    return lambda value, **more: request.param(tmp_path / "w.pth", value, **more)


def refusal(path) -> str:
    with pytest.raises(errors.UserError) as caught:
        read.read_weights(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert message.isprintable()
    return message


@pytest.mark.parametrize("kind", STORAGES)
def test_dtypes(tmp_path, kind):
    expected = np.array([0, 1, 1, 0, 1, 1]).astype(STORAGES[kind])
    data = expected.tobytes()
    value = {"a": tensor((2, 3), (3, 1), kind=kind, numel=6)}
    for path in (
        write_zip(tmp_path / "z.pt", value, storages={"0": data}),
        write_legacy(tmp_path / "l.bin", value, storages={"0": (6, data)}),
    ):
        (found,) = read.read_weights(path).values()
        assert found.dtype == STORAGES[kind]
        np.testing.assert_array_equal(found, expected.reshape(2, 3))


def test_views_of_one_storage(write):
    path = write(
        {
            "whole": tensor((3, 4), (4, 1)),
            "transposed": tensor((4, 3), (1, 4)),
            "part": tensor((2, 2), (8, 2), offset=1),
            "scalar": tensor((), (), offset=11),
            "empty": tensor((0, 3), (3, 1)),
            "expanded": tensor((2, 3), (0, 0), offset=5),
        }
    )
    found = read.read_weights(path)
    whole = DATA.reshape(3, 4)
    np.testing.assert_array_equal(found["whole"], whole)
    np.testing.assert_array_equal(found["transposed"], whole.T)
    np.testing.assert_array_equal(found["part"], whole[::2, 1::2])
    np.testing.assert_array_equal(found["scalar"], np.float32(11))
    np.testing.assert_array_equal(found["expanded"], np.full((2, 3), 5))
    assert found["empty"].shape == (0, 3)
    assert found["scalar"].shape == ()
    assert np.shares_memory(found["whole"], found["transposed"])


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict"])
def test_finds_the_state_dict_of_a_checkpoint(write, wrapper):
    namespace = b"cargparse\nNamespace\n)\x81}X\x02\x00\x00\x00lrK\x01sb"
    scalar = b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(tRtR"
    inner = {"a": tensor((12,), (1,)), "version": 3}
    value = {"epoch": 7, "args": namespace, "best": scalar, wrapper: inner}
    assert list(read.read_weights(write(value))) == ["a"]


def test_prefix_is_stripped_where_all_have_it(write):
    one, two = tensor((12,), (1,)), tensor((3, 4), (4, 1))
    found = read.read_weights(write({"module.a": one, "module.b": two}))
    assert {name: array.shape for name, array in found.items()} == {
        "a": (12,),
        "b": (3, 4),
    }
    assert list(read.read_weights(write({"module.a": one, "b": two}))) == [
        "module.a",
        "b",
    ]


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (tensor((13,), (1,)), "reaches past"),
        (tensor((12,), (1,), offset=1), "reaches past"),
        (tensor((2, 2), (11, 1)), "reaches past"),
        (tensor((2**62, 2**62), (2**62, 1)), "reaches past"),
        (tensor((3,), (-1,), offset=5), "negative"),
        (tensor((-3,), (1,)), "negative"),
        (tensor((3,), (1,), offset=-1), "negative"),
        (tensor((2, 3), (3,)), "zip()"),
        (tensor((10**9,), (0,)), "larger"),
        (tensor((12,), (1,), numel=-12), "storage"),
        (tensor((12,), (1,), key="9"), "KeyError"),
    ],
)
def test_wrong_geometry(write, broken, expected):
    assert expected in refusal(write({"a": broken}))


def test_storage_smaller_than_declared(tmp_path):
    value = {"a": tensor((12,), (1,))}
    path = write_zip(tmp_path / "a.pth", value, storages={"0": bytes(47)})
    assert "reaches past its 47 bytes" in refusal(path)
    huge = {"a": tensor((2**40,), (1,), numel=2**40)}
    path = write_legacy(tmp_path / "b.pth", huge, storages={"0": (2**40, b"")})
    assert "ends after the file" in refusal(path)


def test_legacy_storage_keys_are_texts(tmp_path):
    """Hashing a tuple within a tuple within ... would exhaust the C stack."""
    deep = b"N" + b"\x85" * 90_000
    path = write_legacy(tmp_path / "a.pth", {"a": tensor((12,), (1,))}, storages={})
    end = pickle.dumps([], protocol=2)
    path.write_bytes(path.read_bytes().removesuffix(end) + b"]" + deep + b"a.")
    assert "key is not a text" in refusal(path)


def test_big_endian(tmp_path):
    value = {"a": tensor((12,), (1,))}
    path = write_zip(tmp_path / "a.pth", value, members={"byteorder": b"big"})
    assert "big-endian" in refusal(path)
    path = write_legacy(tmp_path / "b.pth", value, little_endian=False)
    assert "big-endian" in refusal(path)


def test_zip_bomb(tmp_path):
    value, zeros = {"a": tensor((12,), (1,))}, {"0": bytes(10**7)}
    packed = zipfile.ZIP_DEFLATED
    path = write_zip(tmp_path / "a.pth", value, storages=zeros, compression=packed)
    assert "unpacks to" in refusal(path)
    # The same, with a size in the archive's table that hides it.
    size, lie = struct.pack("<I", 10**7), struct.pack("<I", 48)
    path.write_bytes(path.read_bytes().replace(size, lie))
    assert "CRC" in refusal(path)
    path = write_zip(tmp_path / "b.pth", value, compression=packed)
    np.testing.assert_array_equal(read.read_weights(path)["a"], DATA)


def test_truncated_anywhere(write):
    path = write({"a": tensor((12,), (1,))})
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        refusal(path)


def test_flipped_bits_never_escape(write):
    path = write({"a": tensor((12,), (1,))})
    data = path.read_bytes()
    is_zip = data.startswith(b"PK")
    for position in range(len(data)):
        for bit in (1, 128):
            flipped = bytearray(data)
            flipped[position] ^= bit
            path.write_bytes(flipped)
            try:
                found = read.read_weights(path)
            except errors.UserError:
                continue
            # Only a zip archive has checksums, which cover what is read from it.
            if is_zip:
                np.testing.assert_array_equal(found["a"], DATA)


@pytest.mark.parametrize("wrapped", [False, True])
def test_code_is_named_and_not_run(write, tmp_path, wrapped):
    witness = tmp_path / "ran"
    call = b"cposix\nsystem\n" + emit((f"touch {witness}",)) + b"R"
    value = {"a": tensor((12,), (1,)), "state_dict": {"b": call}}
    message = refusal(write(value if wrapped else call))
    assert "posix.system" in message
    assert "state_dict()" in message
    assert not witness.exists()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.pth", b"  <!DOCTYPE html><html>no such page</html>", "web page"),
        ("a.safetensors", b"<html>", "web page"),
        ("a.pth", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        ("a.npz", b"PK", "'.npz'; expected one of .safetensors, .pth"),
        ("a.pth", b"", "damaged"),
        ("a.pth", bytes(range(256)), "weights"),
        ("a.pth", pickle.dumps({"a": 1}), "not written by torch.save"),
        ("a.safetensors", b"", "damaged"),
        ("a.safetensors", b"\xff" * 64, "damaged"),
        ("a.safetensors", struct.pack("<Q", 2**40) + b"{}", "header of 1099511627776"),
        (
            "a.safetensors",
            struct.pack("<Q", 2**24 + 1) + b" " * 2**24,
            "16777216 at most",
        ),
        ("a.safetensors", struct.pack("<Q", 2) + b"{}", "holds no tensors"),
    ],
)
def test_not_weights(tmp_path, name, content, expected):
    path = tmp_path / name
    path.write_bytes(content)
    assert expected in refusal(path)


def test_other_archives_and_values(tmp_path):
    path = tmp_path / "a.pth"
    value = {"a": tensor((12,), (1,))}
    write_zip(path, value, members={"constants.pkl": b""})
    assert "TorchScript" in refusal(path)
    assert "holds a int" in refusal(write_zip(path, 3))
    message = refusal(write_zip(path, {"backbone": {"a": tensor((12,), (1,))}}))
    assert "found backbone" in message
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photo.jpg", b"")
    assert "0 data.pkl" in refusal(path)
    assert "\x1b" not in refusal(write_zip(path, {"\x1b[31m\n": 1}))


def test_missing_and_folder(tmp_path):
    assert "No such file" in refusal(tmp_path / "none.pth")
    assert "folder" in refusal(tmp_path)


def test_safetensors(tmp_path):
    path = tmp_path / "a.safetensors"
    expected = {
        "module.a": np.arange(6).reshape(2, 3).astype(ml_dtypes.bfloat16),
        "module.b": np.array(2.5, np.float16),
        "module.c": np.zeros((0, 3), bool),
    }
    safetensors.numpy.save_file(expected, path)
    data = path.read_bytes()
    found = read.read_weights(str(path))
    path.write_bytes(b"")  # the arrays do not depend on the file any more
    assert list(found) == ["a", "b", "c"]
    for name, array in found.items():
        assert array.dtype == expected[f"module.{name}"].dtype
        np.testing.assert_array_equal(array, expected[f"module.{name}"])
    for size in range(len(data)):
        path.write_bytes(data[:size])
        refusal(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packed_in_a_way_that_has_no_bound(tmp_path, method):
    """700 bytes of bzip2 unpack to 768 MiB, whatever size the archive declares."""
    path = write_zip(tmp_path / "a.pth", {"a": tensor((12,), (1,))}, compression=method)
    assert f"is packed by method {method}" in refusal(path)
