"""A pickle interpreter that can only build plain values and descriptions of tensors.

Python's own unpickler imports and calls whatever a file names, and restricting its
`find_class` still lets a file rewrite the attributes of what it was given. Here this
file alone carries out each opcode: a name outside `torch_names.GLOBALS` ends the
reading, only the functions in there are called, and attributes (BUILD) are dropped.
The opcodes are described in CPython's `pickletools`.
"""

import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from jaxseg.pretrained import torch_names

# A large network's training checkpoint takes about a million. Each takes up to some 150
# bytes of memory (a memo entry) and 2 microseconds, besides the text or number that it
# brings, and none copies a value of any size: so this bounds what a hostile file takes.
MAX_OPCODES = 2_000_000


def load(
    stream: BinaryIO, limit: int = MAX_OPCODES
) -> tuple[Any, dict[str, torch_names.Storage]]:
    """Reads one pickle, leaving `stream` just after it: its value, storages by key.

    Dictionaries keep only the keys that can name a tensor. Raises
    `torch_names.Refusal` for what is not allowed, and any of Python's errors for bytes
    that make no sense.
    """
    machine = _Machine()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if opcode.name == "STOP":
            break
        if count == limit:
            raise torch_names.Refusal(
                f"takes over {limit} pickle opcodes; {torch_names.REMEDY}"
            )
        if opcode.name in _PUSHED:
            machine.push(argument)
        elif opcode.name in _ACTIONS:
            _ACTIONS[opcode.name](machine, argument)
        else:
            raise torch_names.Refusal(
                f"uses the pickle opcode {opcode.name}; {torch_names.REMEDY}"
            )
    return machine.pop(), machine.storages


class _Machine:
    """The stack and memo of one pickle, and what the opcodes do to them."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, torch_names.Storage] = {}

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self, _: Any = None) -> Any:
        return self.stack.pop()

    def pop_to_mark(self, _: Any = None) -> list[Any]:
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def take(self, count: int) -> list[Any]:
        return [self.stack.pop() for _ in range(count)][::-1]

    def remember(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def add_to_list(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)
        elif not isinstance(self.stack[-1], torch_names.Inert):
            raise ValueError("items for what is not a list")

    def add_to_dict(self, items: list[Any]) -> None:
        pairs = zip(items[::2], items[1::2], strict=True)
        if isinstance(self.stack[-1], dict):
            self.stack[-1].update((k, v) for k, v in pairs if torch_names.is_name(k))
        elif not isinstance(self.stack[-1], torch_names.Inert):
            raise ValueError("keys for what is not a dictionary")

    def find(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise ValueError("a global whose name is not text")
        full_name = f"{module}.{name}"
        if full_name not in torch_names.GLOBALS:
            raise torch_names.Refusal(
                f"asks for {full_name}, which no weights need (nothing of it was run); "
                f"if you trust where it comes from, {torch_names.REMEDY}"
            )
        self.push(torch_names.GLOBALS[full_name])

    def call(self, arguments: Any) -> None:
        self.push(torch_names.call(self.stack.pop(), arguments))

    def instantiate(self, name: str) -> None:
        arguments = tuple(self.pop_to_mark())
        self.find(*name.split(" ", 1))
        self.call(arguments)

    def construct(self, _: Any) -> None:
        function, *arguments = self.pop_to_mark()
        self.push(torch_names.call(function, tuple(arguments)))

    def refer(self, _: Any) -> None:
        """A reference out of the pickle: torch keeps its storages there."""
        kind, *fields = self.stack.pop()[:6]  # all there can be
        if kind == "module":
            raise torch_names.Refusal(f"holds a whole module; {torch_names.REMEDY}")
        dtype, key, _device, numel, *view = fields
        start = view[0][1] if view and view[0] else 0
        is_sized = torch_names.is_int64(numel) and torch_names.is_int64(start)
        is_known = isinstance(dtype, np.dtype) and torch_names.is_name(key)
        if not is_known or not is_sized or numel < 0:
            raise ValueError("a storage without a type, key and size")
        self.push(torch_names.Storage(key, dtype, numel, start))
        self.storages.setdefault(key, self.stack[-1])


_MARK = object()
_INTEGERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4")
_FLOATS = ("FLOAT", "BINFLOAT")
_TEXTS = ("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_PYTHON2_TEXTS = ("STRING", "BINSTRING", "SHORT_BINSTRING")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
_PUSHED = {*_INTEGERS, *_FLOATS, *_TEXTS, *_PYTHON2_TEXTS, *_BYTES}
_ACTIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    "PROTO": lambda m, _: None,
    "FRAME": lambda m, _: None,
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    "MARK": lambda m, _: m.push(_MARK),
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_to_mark,
    "BINPUT": _Machine.remember,
    "LONG_BINPUT": _Machine.remember,
    "MEMOIZE": _Machine.remember,
    "BINGET": lambda m, index: m.push(m.memo[index]),
    "LONG_BINGET": lambda m, index: m.push(m.memo[index]),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "TUPLE": lambda m, _: m.push(tuple(m.pop_to_mark())),
    "TUPLE1": lambda m, _: m.push(tuple(m.take(1))),
    "TUPLE2": lambda m, _: m.push(tuple(m.take(2))),
    "TUPLE3": lambda m, _: m.push(tuple(m.take(3))),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "APPEND": lambda m, _: m.add_to_list(m.take(1)),
    "APPENDS": lambda m, _: m.add_to_list(m.pop_to_mark()),
    # A set is read as a list: nothing looks into it, and nothing has to be hashed.
    "EMPTY_SET": lambda m, _: m.push([]),
    "FROZENSET": lambda m, _: m.push(m.pop_to_mark()),
    "ADDITEMS": lambda m, _: m.add_to_list(m.pop_to_mark()),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "SETITEM": lambda m, _: m.add_to_dict(m.take(2)),
    "SETITEMS": lambda m, _: m.add_to_dict(m.pop_to_mark()),
    "GLOBAL": lambda m, name: m.find(*name.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.find(*m.take(2)),
    "REDUCE": lambda m, _: m.call(m.pop()),
    "NEWOBJ": lambda m, _: m.call(m.pop()),
    "NEWOBJ_EX": lambda m, _: m.call(m.take(2)[0]),
    "INST": _Machine.instantiate,
    "OBJ": _Machine.construct,
    "BUILD": _Machine.pop,
    "BINPERSID": _Machine.refer,
}
