"""The pickle interpreter against pickles made to attack it."""

import argparse
import collections
import io
import os
import pickle
import pickletools

import numpy as np
import pytest

from jaxseg.pretrained import pickles, torch_names


def load(data: bytes):
    return pickles.load(io.BytesIO(data))[0]


class Attack:
    """Pickled, it becomes a call of any function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("function", "argument"),
    [(os.system, "true"), (eval, "1"), (exec, "1"), (open, "x"), (getattr, "x")],
)
def test_calls_are_refused_by_name(protocol, function, argument):
    data = pickle.dumps({"a": [Attack(function, argument)]}, protocol=protocol)
    if protocol == 0:  # torch never writes it, and its text opcodes are not read
        with pytest.raises(torch_names.Refusal):
            load(data)
        return
    module = "(builtins|__builtin__|io|_io|posix|nt)"
    with pytest.raises(torch_names.Refusal, match=f"{module}.{function.__name__}"):
        load(data)


@pytest.mark.parametrize(
    "data",
    [
        b"(S'true'\niposix\nsystem\n.",  # INST
        b"(cposix\nsystem\nS'true'\no.",  # OBJ
        b"cposix\nsystem\nS'true'\n\x85\x81.",  # NEWOBJ
        b"cposix\nsystem\nS'true'\n\x85}\x92.",  # NEWOBJ_EX
        b"\x8c\x05posix\x8c\x06system\x93S'true'\n\x85R.",  # STACK_GLOBAL
        b"cposix\nsystem\n}b.",  # BUILD
        b"cposix\nsystem\n.",  # only named
        b"ccollections\nOrderedDict\n)R0cposix\nsystem\n.",  # after something harmless
    ],
)
def test_every_way_to_a_name_is_closed(data):
    with pytest.raises(torch_names.Refusal, match=r"posix\.system"):
        load(data)


@pytest.mark.parametrize(
    "code", [b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00"]
)
def test_extension_registry_is_closed(code):
    with pytest.raises(torch_names.Refusal, match="EXT"):
        load(code + b".")


def test_dotted_names_do_not_reach_further():
    with pytest.raises(torch_names.Refusal, match=r"OrderedDict\.__init__"):
        load(b"\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93.")


def test_attributes_are_dropped():
    """BUILD could otherwise rewrite a function's defaults."""
    before = torch_names.GLOBALS["collections.OrderedDict"].__defaults__
    load(b"ccollections\nOrderedDict\nN}S'__defaults__'\nN\x85s\x86b.")
    assert torch_names.GLOBALS["collections.OrderedDict"].__defaults__ == before


@pytest.mark.parametrize(
    "data",
    [
        b"S'text'\n)R.",  # a call of a text
        b"ccollections\nOrderedDict\n]R.",  # arguments that are not a tuple
        b"K\x01K\x02a.",  # an item for a number
        b"K\x01K\x02K\x03s.",
        b"h\x07.",  # a memo entry that was never made
        b"0.",
        b".",
        b"}",
        b"(NNQ.",
        b"\x8a\xff" + b"\xff" * 10,
        b"X\xff\xff\xff\xffabc.",
        b"\x8d" + b"\xff" * 8 + b"abc.",
    ],
)
def test_nonsense_raises(data):
    with pytest.raises((ValueError, IndexError, KeyError, TypeError)):
        load(data)


def test_deep_and_wide_values_are_cheap():
    # Each tuple holds the one before twice: walking or hashing it would not end.
    bomb = b"N" + b"q\x00h\x00\x86" * 5000
    assert load(b"}" + bomb + b"K\x01s.") == {}
    load(bomb + b".")


def test_number_of_opcodes_is_limited(monkeypatch):
    monkeypatch.setattr(pickles, "MAX_OPCODES", 100)
    assert load(b"]" + b"0]" * 40 + b".") == []
    with pytest.raises(torch_names.Refusal, match="100 pickle opcodes"):
        load(b"]" + b"0]" * 60 + b".")


@pytest.mark.parametrize("protocol", range(1, 6))
def test_plain_values(protocol):
    value = {"a": [1, -1, 2**40, 2**2000, 1.5, None, True, False, "é", b"x"], "b": ()}
    value["a"] += [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {"c": "d"}, []]
    data = pickle.dumps(value, protocol=protocol)
    if protocol < 3:  # bytes are written as a call there
        value["a"].remove(b"x")
        data = pickle.dumps(value, protocol=protocol)
    if protocol < 2:  # and flags as numbers
        assert load(data)["b"] == ()
    else:
        assert load(data) == value


def test_extras_of_checkpoints_are_inert():
    extras = {
        "options": argparse.Namespace(lr=1, name=os.fspath("x")),
        "best": np.float32(0.5),
        "curve": np.arange(3),
        "seen": {1, 2},
        "counts": collections.Counter("ab"),
        "lists": collections.defaultdict(list, a=[1]),
        3: "dropped: not a text",
    }
    for protocol in (2, 4):
        found = load(pickle.dumps(extras, protocol=protocol))
        assert list(found) == list(extras)[:-1]
        assert isinstance(found["options"], torch_names.Inert)


def test_stream_is_left_after_the_pickle():
    stream = io.BytesIO(pickle.dumps(1) + pickle.dumps("b") + b"rest")
    assert [pickles.load(stream)[0] for _ in range(2)] == [1, "b"]
    assert stream.read() == b"rest"


def test_every_opcode_is_known_or_refused():
    names = {opcode.name for opcode in pickletools.opcodes}
    assert {*pickles._ACTIONS, *pickles._PUSHED} < names
