"""What the names in torch's pickles stand for: a closed list, of which nothing runs.

A tensor is only described here (where it lies in which storage); `read` takes its
values from the file. Names and arguments as in torch's `_utils.py` and `storage.py`.
"""

import dataclasses
import types
from typing import Any

import ml_dtypes
import numpy as np

REMEDY = "save the network's state_dict() alone with torch.save"


class Refusal(Exception):
    """Why a file is not read: what it holds and what to do, for one line."""


class Inert:
    """Stands for a value that no weights need (options, counters); does nothing."""


@dataclasses.dataclass(frozen=True)
class Storage:
    """A flat run of `numel` elements kept outside the pickle, under `key`."""

    key: str
    dtype: np.dtype
    numel: int
    start: int  # in elements; above 0 only where an old file stores a view of a storage


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A view of a storage as the file declares it, not yet checked; in elements."""

    storage: Storage
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def call(function: Any, arguments: Any) -> Any:
    """Calls one of the functions below; raises ValueError for anything else."""
    if isinstance(function, Inert):
        return function
    # The only functions a pickle can get hold of are those of GLOBALS.
    if not isinstance(function, types.FunctionType) or type(arguments) is not tuple:
        raise ValueError(f"a call of {type(function).__name__}")
    return function(*arguments)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, Storage) or any(type(n) is not int for n in numbers):
        raise ValueError("a tensor that is not made of a storage and integers")
    offset += storage.start
    return Tensor(storage, storage.dtype, offset, tuple(shape), tuple(strides))


def _tensor_v2(*arguments: Any) -> Tensor:
    *geometry, _requires_grad, _hooks = arguments[:6]
    if any(arguments[6:]):  # metadata: values to be conjugated or negated when read
        raise Refusal("holds a lazily negated tensor; save it after .resolve_neg()")
    return _tensor(*geometry)


def _tensor_v3(*arguments: Any) -> Tensor:
    dtype = arguments[6]  # its storage is of bytes
    if not isinstance(dtype, np.dtype):
        raise ValueError("a tensor without a dtype")
    tensor = _tensor_v2(*arguments[:6], *arguments[7:])
    return dataclasses.replace(tensor, dtype=dtype)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _subclass(function: Any, _kind: Any, arguments: Any, _state: Any) -> Any:
    return call(function, arguments)


def _dictionary(items: Any = ()) -> dict[str, Any]:
    return {key: value for key, value in items if type(key) is str}


_DTYPES = {
    "Double": ("float64", np.float64),
    "Float": ("float32", np.float32),
    "Half": ("float16", np.float16),
    "BFloat16": ("bfloat16", ml_dtypes.bfloat16),
    "Long": ("int64", np.int64),
    "Int": ("int32", np.int32),
    "Short": ("int16", np.int16),
    "Char": ("int8", np.int8),
    "Byte": ("uint8", np.uint8),
    "Bool": ("bool", np.bool_),
}
GLOBALS: dict[str, Any] = {
    **{f"torch.{k}Storage": np.dtype(t) for k, (_, t) in _DTYPES.items()},
    **{f"torch.cuda.{k}Storage": np.dtype(t) for k, (_, t) in _DTYPES.items()},
    **{f"torch.{name}": np.dtype(t) for name, t in _DTYPES.values()},
    **{f"torch.uint{n}": np.dtype(f"uint{n}") for n in (16, 32, 64)},
    "torch.storage.UntypedStorage": np.dtype(np.uint8),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "collections.OrderedDict": _dictionary,
    # What training checkpoints keep beside the weights.
    **dict.fromkeys(
        (
            "_codecs.encode",
            "argparse.Namespace",
            *(f"builtins.{name}" for name in ("dict", "float", "int", "list", "set")),
            *(
                f"__builtin__.{name}"
                for name in ("dict", "float", "int", "list", "set")
            ),
            "collections.Counter",
            "collections.defaultdict",
            "numpy.core.multiarray.scalar",
            "numpy._core.multiarray.scalar",
            "numpy.core.multiarray._reconstruct",
            "numpy._core.multiarray._reconstruct",
            "numpy.core.numeric._frombuffer",
            "numpy._core.numeric._frombuffer",
            "numpy.dtype",
            "numpy.ndarray",
            "pathlib.PosixPath",
            "torch.Size",
            "torch.Tensor",
            "torch.device",
            "torch.nn.parameter.Parameter",
            "types.SimpleNamespace",
        ),
        Inert(),
    ),
}
