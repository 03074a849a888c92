"""The pickle interpreter against pickles made to attack it."""

import argparse
import collections
import io
import os
import pickle
import pickletools
import tracemalloc

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


STORAGE = (
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x0ct"
)
DICTIONARY = b"ccollections\nOrderedDict\n"
TENSOR = b"ctorch._utils\n_rebuild_tensor\n"
SUBCLASS = b"ctorch._tensor\n_rebuild_from_type_v2\n"
PAIRS = b"".join(b"\x8c\x03%03dN\x86" % i for i in range(1000))
HUGE_INTEGER = b"\x8b\xff\xff\x00\x00" + b"\x7f" * 0xFFFF


@pytest.mark.parametrize(
    ("start", "again", "opcodes"),
    [
        # A call with a list of many pairs, which is in the memo.
        (DICTIONARY + b"q\x00](" + PAIRS + b"e\x85q\x01", b"h\x00h\x01R", 3),
        (DICTIONARY + b"q\x00", b"h\x00)R", 3),
        (TENSOR + b"q\x00(" + STORAGE + b"QK\x00)" + b")tq\x01", b"h\x00h\x01R", 3),
        (STORAGE + b"q\x00", b"h\x00Q", 2),
        (b"X\x01\x00\x00\x00kq\x00", b"}h\x00Ns", 4),
        (b"N", b"\x94", 1),
        (b"", b"}", 1),
        (b"", b"]", 1),
        (b"", b"\x8c\x02ab", 1),
    ],
)
def test_each_opcode_takes_little_memory(start, again, opcodes):
    stream = io.BytesIO(start + again * 4000 + b".")
    tracemalloc.start()
    try:
        pickles.load(stream)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 150 * 4000 * opcodes + 400_000


def test_a_list_makes_one_dictionary():
    pairs = b"](X\x01\x00\x00\x00kK\x07\x86e\x85q\x01"
    call = DICTIONARY + b"h\x01R"
    assert load(pairs + b"0" + call + b".") == {"k": 7}
    assert load(pairs + b"0(" + call * 3 + b"t.") == ({"k": 7}, {}, {})


@pytest.mark.parametrize(
    "data",
    [
        TENSOR + b"(" + STORAGE + b"QK\x00(" + b"K\x01" * 33 + b"t)tR.",
        TENSOR + b"(" + STORAGE + b"QK\x00)(" + b"K\x01" * 33 + b"ttR.",
        TENSOR + b"(" + STORAGE + b"Q" + HUGE_INTEGER + b"))tR.",
        TENSOR + b"(" + STORAGE + b"QK\x00" + HUGE_INTEGER + b"\x85K\x01\x85tR.",
        TENSOR + b"(" + STORAGE + b"QK\x00]]tR.",  # lists would have to be copied
        STORAGE.replace(b"K\x0c", HUGE_INTEGER) + b"Q.",
        STORAGE.replace(b"X\x01\x00\x00\x000", b"X\xe9\x03\x00\x00" + b"0" * 1001)
        + b"Q.",
        b"ctorch._utils\n_rebuild_parameter\n(" + b"N" * 17 + b"tR.",
        SUBCLASS + b"(" + SUBCLASS + b"N)NtR.",
        DICTIONARY + b"}\x85R.",
    ],
)
def test_what_a_call_must_copy_is_small(data):
    """Else a value in the memo would be copied each time two bytes name it."""
    with pytest.raises(ValueError, match=r"^a (tensor|storage|call|subclass|dict)"):
        load(data)


def test_names_are_short():
    pickled = pickle.dumps({"a" * 1000: 1, "b" * 1001: 2})
    assert load(pickled) == {"a" * 1000: 1}


def test_memo_keys_of_any_size_are_refused():
    """Only protocol 0 writes them; chosen ones would all collide in a dictionary."""
    for opcode in ("p", "g"):
        with pytest.raises(torch_names.Refusal, match=r"opcode (PUT|GET)"):
            load(f"N{opcode}{2**61 - 1}\n.".encode())


def test_number_of_opcodes_is_limited():
    short, long = (io.BytesIO(b"]" + b"0]" * n + b".") for n in (40, 60))
    assert pickles.load(short, limit=100) == ([], {})
    with pytest.raises(torch_names.Refusal, match="100 pickle opcodes"):
        pickles.load(long, limit=100)


@pytest.mark.slow
def test_number_of_opcodes_that_is_read():
    with pytest.raises(torch_names.Refusal, match="2000000 pickle opcodes"):
        load(b"N0" * 1_000_001)


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
