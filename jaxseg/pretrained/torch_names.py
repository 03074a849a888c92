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

# A pickle names a value it has built again in two bytes. So that each of its opcodes
# costs little, whatever it names, nothing below copies or compares more than this.
MAX_ARGUMENTS = 16  # torch takes 9 at most
MAX_DIMENSIONS = 32
MAX_NAME = 1000  # characters


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


def is_name(key: Any) -> bool:
    """Whether a tensor can have this name; hashing a text, unlike others, is safe."""
    return type(key) is str and len(key) <= MAX_NAME


def call(function: Any, arguments: Any) -> Any:
    """Calls one of the functions below; raises ValueError for anything else."""
    if isinstance(function, Inert):
        return function
    # The only functions a pickle can get hold of are those of GLOBALS.
    if not isinstance(function, types.FunctionType) or type(arguments) is not tuple:
        raise ValueError(f"a call of {type(function).__name__}")
    if len(arguments) > MAX_ARGUMENTS:
        raise ValueError(f"a call with {len(arguments)} arguments")
    return function(*arguments)


def is_int64(value: Any) -> bool:
    """Whether it is an integer that torch can hold; a pickle's can be megabytes."""
    return type(value) is int and -(2**63) <= value < 2**63


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
    if not isinstance(storage, Storage) or {type(shape), type(strides)} != {tuple}:
        raise ValueError("a tensor that is not made of a storage and two tuples")
    if max(len(shape), len(strides)) > MAX_DIMENSIONS:
        raise ValueError(f"a tensor of over {MAX_DIMENSIONS} dimensions")
    if not all(map(is_int64, (offset, *shape, *strides))):
        raise ValueError("a tensor whose size or place is not in 64-bit integers")
    return Tensor(storage, storage.dtype, offset + storage.start, shape, strides)


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
    if function is _subclass:
        raise ValueError("a subclass within a subclass")
    return call(function, arguments)


def _dictionary(items: Any = None) -> dict[str, Any]:
    if items is None:
        return {}
    if type(items) is not list:  # which Python 2 wrote, a new one for each dictionary
        raise ValueError(f"a dictionary made of a {type(items).__name__}")
    found = {key: value for key, value in items if is_name(key)}
    items.clear()  # else each further call with this list would build all of it again
    return found


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
