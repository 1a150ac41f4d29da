"""Pickles that crash or occupy CPython's unpickler, or NumPy, are refused without harm."""

from __future__ import annotations

import pickle
import struct

import numpy as np
import pytest

from pcdet.utils import plain_pickle

FROMBUFFER = b"cnumpy.core.numeric\n_frombuffer\n"
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
FLOAT64 = b"cnumpy\ndtype\n\x8c\x02f8\x85R"
# An array, by NumPy's two ways, and a text, each of the 4096 bytes that entry 0 of the memo holds.
BUFFER_CALL = FROMBUFFER + b"(h\x00" + FLOAT64 + b"M\x00\x02\x85\x8c\x01CtR"
PERMUTED = FROMBUFFER + b"(C\x10" + bytes(16) + FLOAT64 + b"K\x01K\x02\x86\x8c\x01K"
STATE = RECONSTRUCT + b"(K\x01M\x00\x02\x85" + FLOAT64 + b"\x89h\x00tb"
SCALAR = b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n\x8c\x05U1024\x85Rh\x00tR"


class FieldsOfPointers:
    """A dtype whose state names a field of Python objects, without the flag that says so."""

    def __reduce__(self):
        state = (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0)
        return np.dtype, ("V8", False, True), state


def program(body: bytes) -> bytes:
    return b"\x80\x04" + body + b"."


def text(value: bytes) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(value)) + value


def arrays_of_one_buffer(call: bytes, count: int) -> bytes:
    """`call` with the same bytes, which stand in the memo, again and again."""
    buffer = pickle.BINBYTES + struct.pack("<I", 4096) + b"a\0\0\0" * 1024
    return program(b"]" + buffer + b"q\x000(" + call * count + b"e")


# Bytes, and what the refusal says. With pickle.Unpickler and a list of allowed names, the first
# two end the process by SIGSEGV, and the third changes a function of NumPy's for the rest of it.
HOSTILE = [
    (program(b"})" + b"\x85" * 1_000_000 + b"Ns"), "a tuple as key"),
    (pickle.dumps([FieldsOfPointers()], 4), "not plain data"),
    (program(FROMBUFFER + b"N}\x8c\x0c__defaults__K\x01\x85s\x86b"), "a state for a _Global"),
    (program(b"N" + pickle.LONG_BINGET + struct.pack("<I", 2**31)), "2147483648"),
    (program(PERMUTED + b"K\x00K\x02\x86tR"), "axes are not permuted"),
    (program(PERMUTED + b"K\x00\x88\x86tR"), "neither C nor Fortran order"),
    (program(PERMUTED + b"K\x00\x85tR"), "axes are not permuted"),
    (program(PERMUTED + b"NtR"), "neither C nor Fortran order"),
    (program(b"cos\nsystem\n\x8c\x04true\x85R"), "os.system, which is not plain data"),
    (program(b"cnumpy\nndarray\nJ\x00\xe1\xf5\x05\x85\x85R"), "a call of what is no function"),
    (program(FLOAT64 + b"(K\x03\x8c\x01>NNNJ\xff\xff\xff\xfftb"), "byte order"),
    (program(RECONSTRUCT + b"(K\x01J\x00\xe1\xf5\x05\x85" + FLOAT64 + b"\x89C\x00tb"), "0 bytes"),
    (program(b"cnumpy\ndtype\n\x8c\x01O\x85R"), "object, which is not plain data"),
    (program(b"cnumpy\ndtype\n\x8c\x0aU100000000\x85R"), "not plain data"),
    (program(b"\x8e" + struct.pack("<Q", 2**62)), "ends too early"),
    (program(b"\x8a\xff" + b"\x01" * 255), "a whole number of 255 bytes"),
    (program(b"cnumpy\nndarray\n"), "not plain data"),
    (program(b"Pnumber\n"), "operation PERSID"),
    (program(b"\x82\x01"), "operation EXT1"),
    (program(b"])b"), "a state for a list"),
    (program(b"K\x01K\x02a"), "in place of a list"),
    (program(b"\x8c\x05numpy)" + b"\x85" * 300_000 + b"\x93"), "a name that is not text"),
    (arrays_of_one_buffer(BUFFER_CALL, 100), "its arrays are larger than the file"),
    (arrays_of_one_buffer(STATE, 100), "its arrays are larger than the file"),
    (arrays_of_one_buffer(SCALAR, 300), "its arrays are larger than the file"),
    (program(b"}" + text(b"a" * 5000) + b"Ns"), "a key of 5000 characters"),
    (program(b"cnumpy\ndtype\n" + text(b"U" + b"0" * 5000 + b"3") + b"\x85R"), "dtype without a"),
    (
        program(FROMBUFFER + b"(C\x00" + FLOAT64 + b"(" + b"K\x01" * 65 + b"t\x8c\x01CtR"),
        "dimensions",
    ),
]


@pytest.mark.parametrize(("data", "message"), HOSTILE, ids=[message for _, message in HOSTILE])
def test_hostile_programs_are_refused(data, message):
    with pytest.raises((ValueError, KeyError), match=message):
        plain_pickle.loads(data)


def test_a_memo_with_gaps_takes_no_room():
    """CPython's unpickler makes 64 GB of it."""
    far = pickle.LONG_BINPUT + struct.pack("<I", 2**32 - 1)
    assert plain_pickle.loads(program(b"K\x07" + far)) == 7


def test_deep_nesting_is_only_data():
    deep = plain_pickle.loads(program(b")" + b"\x85" * 300_000))
    for _ in range(300_000):
        (deep,) = deep
    assert deep == ()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_pickle_writes_is_read_back(protocol):
    data = {
        "text": ["Car", "straße", ""],
        "numbers": [0, 1, 255, 256, 65536, -1, -(2**40), 2**63, 0.5, True, False, None],
        "many": list(range(1100)),
        "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        3: {"nested": [{}]},
    }
    data["again"] = data["text"]
    loaded = plain_pickle.loads(pickle.dumps(data, protocol))
    assert loaded == data and loaded["again"] is loaded["text"]


ARRAYS = [
    np.arange(24.0).reshape(2, 3, 4),
    np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)),
    np.arange(24.0).reshape(2, 3, 4).transpose(1, 2, 0),
    np.arange(12)[::-2],
    np.array(["Car", "DontCare"]),
    np.zeros(0, np.float32),
    np.zeros((0, 7)),
    np.array([], dtype=np.str_),
    np.array([True, False]),
    np.array(3, np.uint8),
]


def test_one_array_of_a_buffer_is_read():
    for call in (BUFFER_CALL, STATE):
        (array,) = plain_pickle.loads(arrays_of_one_buffer(call, 1))
        assert array.tobytes() == b"a\0\0\0" * 1024


def test_small_arrays_that_share_their_only_byte_are_read():
    """CPython has each byte once, so pickle writes it once."""
    many = [np.array([7], np.uint8) for _ in range(1000)] + [np.bool_(True)] * 10
    for protocol in (3, 4, 5):
        loaded = plain_pickle.loads(pickle.dumps(many, protocol))
        assert all(map(np.array_equal, loaded, many)) and len(loaded) == len(many)


@pytest.mark.parametrize("value", [b"bytes", np.zeros(2), np.float32(1.5)])
def test_bytes_of_protocol_2_are_refused(value):
    with pytest.raises(ValueError, match=r"_codecs\.encode, which is not plain data"):
        plain_pickle.loads(pickle.dumps(value, 2))


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_arrays_are_read_back(array, protocol):
    loaded = plain_pickle.loads(pickle.dumps([array, array], protocol))
    np.testing.assert_array_equal(loaded[0], array)
    assert loaded[0].dtype == array.dtype and loaded[0].shape == array.shape
    assert loaded[0] is loaded[1] and loaded[0].flags.writeable
    assert loaded[0].flags.f_contiguous == array.flags.f_contiguous or array.ndim < 2


@pytest.mark.parametrize("value", [np.float64(1.5), np.int32(-3), np.bool_(True), np.str_("Car")])
def test_numpy_numbers_are_read_back(value):
    loaded = plain_pickle.loads(pickle.dumps(value))
    assert loaded == value and type(loaded) is type(value)
