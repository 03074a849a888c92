"""Weights from a file: `.safetensors`, or what `torch.save` wrote, without torch.

`torch.save` writes a zip archive (a pickle, and a member for each storage) or, before
torch 1.6, one stream (five pickles, then the storages). Nothing a file holds is ever
run, and no declared size is believed before it is compared with the bytes there.
"""

import io
import math
import os
import pathlib
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import safetensors.numpy

from jaxseg import errors
from jaxseg.pretrained import pickles, torch_names

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")
WRAPPERS = ("state_dict", "model_state_dict", "model")
# torch compresses nothing; this leaves room for an archive that was packed again.
MAX_COMPRESSION = 16
# An expanded tensor (stride 0) declares more than the file holds: up to this is fine.
MAX_EXPANDED_BYTES = 2**24
MAX_TOLD = 1000  # characters: names inside a file are its author's
# Of .safetensors; each byte takes up to 14 bytes of memory. 30,000 tensors need 4 MiB.
MAX_HEADER_BYTES = 2**24
FEW_OPCODES, MANY_OPCODES = 20_000, 200_000  # of a legacy file's shorter pickles
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # torch/serialization.py, MAGIC_NUMBER

_FOREIGN = {
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"<?xml": "an XML page",
    b"version https://git-lfs": "a Git LFS pointer",
}


def read_weights(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a weights file by name, as NumPy arrays (bfloat16: ml_dtypes).

    Finds the state dict of a training checkpoint under one of `WRAPPERS`, and strips
    the prefix `module.` where every name has it (DistributedDataParallel). The arrays
    may be strided, read-only and share memory: copy before writing to them.
    Raises `errors.UserError`, whatever is wrong with the file.
    """
    path = pathlib.Path(path)
    try:
        start = _check_kind(path)
        if path.suffix.lower() == ".safetensors":
            _check_header(start)
            # bfloat16 is known to NumPy since `torch_names` imported ml_dtypes.
            tensors = safetensors.numpy.load_file(path)
        elif start.startswith(b"PK"):
            tensors = _read_zip(path)
        else:
            tensors = _read_legacy(path.read_bytes())
        if not tensors:
            raise torch_names.Refusal("holds no tensors; expected a network's weights")
    except torch_names.Refusal as error:
        raise errors.UserError(_told(f"{path}: {error}")) from None
    except OSError as error:
        reason = f"cannot read ({error.strerror or error}); expected a weights file"
        raise errors.UserError(_told(f"{path}: {reason}, check the path")) from None
    except Exception as error:  # a parser given damaged bytes may raise anything
        reason = f"damaged or not a weights file ({type(error).__name__}: {error})"
        remedy = "expected tensors by name; download or save it again"
        raise errors.UserError(_told(f"{path}: {reason}; {remedy}")) from None
    if all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): array for name, array in tensors.items()}
    return tensors


def _told(message: str) -> str:
    return errors.one_line(message[:MAX_TOLD])


def _check_kind(path: pathlib.Path) -> bytes:
    """The file's first bytes, unless they or its name show that it is no weights."""
    if path.is_dir():
        raise torch_names.Refusal("is a folder; expected a weights file inside it")
    with path.open("rb") as file:
        start = file.read(512)
    for prefix, kind in _FOREIGN.items():
        if start.lstrip().lower().startswith(prefix):
            raise torch_names.Refusal(
                f"is {kind}, not weights: the download got the wrong thing; "
                "open its address in a browser, or download the file itself again"
            )
    if path.suffix.lower() not in SUFFIXES:
        raise torch_names.Refusal(
            f"has the suffix {path.suffix!r}; expected one of {', '.join(SUFFIXES)}"
        )
    return start


def _check_header(start: bytes) -> None:
    """Raises ValueError for names and shapes that would take more than the tensors."""
    size = int.from_bytes(start[:8], "little")
    if size > MAX_HEADER_BYTES:
        raise ValueError(
            f"a header of {size} bytes, expected {MAX_HEADER_BYTES} at most"
        )


def _read_zip(path: pathlib.Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        for info in archive.infolist():  # the others are unpacked without a bound
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise torch_names.Refusal(
                    f"is packed by method {info.compress_type}, which torch.save never "
                    f"uses; {torch_names.REMEDY}"
                )
        limit = MAX_COMPRESSION * path.stat().st_size
        if sum(sizes.values()) > limit:
            raise torch_names.Refusal(
                f"unpacks to {sum(sizes.values())} bytes, expected at most {limit}; "
                f"do not trust it, or {torch_names.REMEDY}"
            )
        pickled = [name for name in sizes if name.endswith("/data.pkl")]
        if len(pickled) != 1:
            raise torch_names.Refusal(
                f"is a zip archive with {len(pickled)} data.pkl, expected 1; "
                f"{torch_names.REMEDY}"
            )
        root = pickled[0].removesuffix("data.pkl")
        if f"{root}constants.pkl" in sizes:
            raise torch_names.Refusal(
                f"is a TorchScript program, expected weights; {torch_names.REMEDY}"
            )

        def member(name: str) -> bytes:
            with archive.open(root + name) as file:
                return file.read(sizes[root + name])

        if f"{root}byteorder" in sizes:
            _check_byte_order(member("byteorder") == b"little")
        value, _ = pickles.load(io.BytesIO(member("data.pkl")))
        return _arrays(value, lambda key: member(f"data/{key}"))


def _read_legacy(data: bytes) -> dict[str, np.ndarray]:
    stream = io.BytesIO(data)
    magic, _ = pickles.load(stream, limit=FEW_OPCODES)
    if magic != LEGACY_MAGIC:
        raise torch_names.Refusal(
            f"is not written by torch.save; {torch_names.REMEDY}, or use .safetensors"
        )
    _protocol, _ = pickles.load(stream, limit=FEW_OPCODES)
    system, _ = pickles.load(stream, limit=FEW_OPCODES)
    _check_byte_order(system["little_endian"])
    value, storages = pickles.load(stream)
    keys, _ = pickles.load(stream, limit=MANY_OPCODES)
    places = _legacy_places(stream, keys, storages, len(data))
    return _arrays(value, lambda key: data[places[key]])


def _legacy_places(
    stream: BinaryIO,
    keys: list[Any],
    storages: dict[str, torch_names.Storage],
    end: int,
) -> dict[str, slice]:
    """Where each storage's bytes are: after their count (8 bytes), one by one."""
    places = {}
    for key in keys:
        if not torch_names.is_name(key):  # hashing others may exhaust the C stack
            raise ValueError("a storage whose key is not a text")
        numel = int.from_bytes(stream.read(8), "little", signed=True)
        start = stream.tell()
        stop = start + numel * storages[key].dtype.itemsize
        if not start <= stop <= end:
            raise ValueError(f"storage {key} of {numel} elements ends after the file")
        places[key] = slice(start, stop)
        stream.seek(stop)
    return places


def _check_byte_order(is_little: bool) -> None:
    if not is_little:
        raise torch_names.Refusal(
            "is big-endian, expected little-endian; save it again on another machine"
        )


def _arrays(value: Any, fetch: Callable[[str], bytes]) -> dict[str, np.ndarray]:
    if not isinstance(value, dict):
        raise torch_names.Refusal(
            f"holds a {type(value).__name__}, expected tensors by name; "
            f"{torch_names.REMEDY}"
        )
    candidates = [value[key] for key in WRAPPERS if isinstance(value.get(key), dict)]
    for candidate in [*candidates, value]:
        tensors = {
            k: v for k, v in candidate.items() if isinstance(v, torch_names.Tensor)
        }
        if tensors:
            break
    else:
        raise torch_names.Refusal(
            f"holds no tensors at its top (found {', '.join(list(value)[:8])}) nor "
            f"under {', '.join(WRAPPERS)}; {torch_names.REMEDY}"
        )
    # Each storage is read once, so that tensors that share one still share it.
    keys = {tensor.storage.key for tensor in tensors.values()}
    storages = {key: fetch(key) for key in keys}
    return {k: _view(k, t, storages[t.storage.key]) for k, t in tensors.items()}


def _view(name: str, tensor: torch_names.Tensor, data: bytes) -> np.ndarray:
    """The tensor's values in its storage's bytes; checks that all lie within them."""
    declared = tensor.storage.numel * tensor.storage.dtype.itemsize
    numel = declared // tensor.dtype.itemsize
    size = math.prod(tensor.shape)
    last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
    if min((tensor.offset, *tensor.shape, *tensor.strides)) < 0:
        raise ValueError(f"{name} has a negative size, stride or offset")
    if declared > len(data) or (size and tensor.offset + last >= numel):
        raise ValueError(f"{name} {tensor.shape} reaches past its {len(data)} bytes")
    if size * tensor.dtype.itemsize > max(declared, MAX_EXPANDED_BYTES):
        raise ValueError(
            f"{name} {tensor.shape} is far larger than its {declared} bytes"
        )
    if not size:
        return np.empty(tensor.shape, tensor.dtype)
    flat = np.frombuffer(data, tensor.dtype, numel)[tensor.offset :]
    strides = [stride * tensor.dtype.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)
