"""A reader of pickles that can build nothing but plain data and NumPy arrays.

`pickle.Unpickler` with a restricted `find_class` keeps a file from naming other code, but not from
taking the process down: CPython's unpickler hashes keys that are tuples a million levels deep and
makes room for entry 2**30 of its memo, and NumPy's reduce functions build dtypes from a state that
claims pointers where there are bytes. So the operations that plain data needs are carried out here,
each with its checks. The work that a file causes is proportional to its length.

Read are protocols 3 to 5, whatever NumPy wrote the arrays. Of protocol 2 only plain data is read
that holds no bytes, and so no array and no number of NumPy's: it writes bytes as a call of codecs.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

_LARGEST_INT_BYTES = 9  # of a uint64, with a bit for its sign
_LARGEST_ITEM_BYTES = 4096  # of an array: a name of 1024 characters
_LARGEST_KEY = 1024  # of a dict, in characters
_LARGEST_DTYPE_NAME = 16
_MOST_DIMENSIONS = 64  # of NumPy 2
_PLAIN_KINDS = "biufUS"
_KEY_TYPES = (str, bytes, int, float, type(None), np.generic)
_NATIVE_ORDERS = ("<" if np.little_endian else ">", "|", "=")


class _Global:
    """A name that NumPy's pickles hold; what it stands for is done here and not by NumPy."""

    def __init__(self, call: Callable[..., Any] | None = None) -> None:
        self.call = call


def _dtype(code: Any, align: Any = False, copy: Any = False) -> np.dtype:
    if not isinstance(code, str) or len(code) > _LARGEST_DTYPE_NAME:
        raise ValueError("a dtype without a name, or with one that is not NumPy's")
    dtype = np.dtype(code)
    if dtype.kind not in _PLAIN_KINDS or dtype.subdtype or dtype.itemsize > _LARGEST_ITEM_BYTES:
        raise ValueError(f"an array of {str(dtype)[:40]}, which is not plain data")
    return dtype


def _check_shape(shape: Any, dtype: Any, data: Any) -> None:
    """Raise a ValueError unless `data` are the bytes of an array of this shape and dtype."""
    if not isinstance(dtype, np.dtype):
        raise ValueError("an array without a dtype")
    if not isinstance(shape, tuple) or len(shape) > _MOST_DIMENSIONS:
        raise ValueError("an array without a shape, or with too many dimensions")
    if not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("an array whose shape is not of whole numbers")
    if not isinstance(data, (bytes, bytearray)):
        raise ValueError("an array whose values are not bytes")
    expected = dtype.itemsize
    for length in shape:
        expected *= length
    if len(data) != expected:
        raise ValueError(f"an array of {str(shape)[:80]} {dtype} in {len(data)} bytes")


def _empty_array(cls: Any, shape: Any, code: Any) -> np.ndarray:
    """The call with which an array begins; the state that follows fills it."""
    if cls is not _NDARRAY or shape != (0,):
        raise ValueError("an array that begins otherwise than NumPy's")
    return np.zeros(0, np.int8)


def _array_of_buffer(data: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> np.ndarray:
    """An array; from NumPy 2.4 on, order K says that its axes are those of `shape` permuted."""
    _check_shape(shape, dtype, data)
    if order == "K" and isinstance(axes, tuple) and all(type(axis) is int for axis in axes):
        if sorted(axes) != list(range(len(shape))):
            raise ValueError("an array whose axes are not permuted but others")
        return np.ndarray(shape, dtype, buffer=bytes(data)).transpose(axes).copy("K")
    if order not in ("C", "F") or axes is not None:
        raise ValueError("an array in neither C nor Fortran order")
    return np.ndarray(shape, dtype, buffer=bytes(data), order=order).copy(order)


def _scalar(dtype: Any, data: Any) -> np.generic:
    _check_shape((), dtype, data)
    return np.ndarray((), dtype, buffer=bytes(data))[()]


_NDARRAY = _Global()
_GLOBALS = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Global(_dtype),
}
for _core in ("numpy.core", "numpy._core"):  # NumPy 1 and NumPy 2
    _GLOBALS[f"{_core}.multiarray", "_reconstruct"] = _Global(_empty_array)
    _GLOBALS[f"{_core}.multiarray", "scalar"] = _Global(_scalar)
    _GLOBALS[f"{_core}.numeric", "_frombuffer"] = _Global(_array_of_buffer)


def _build(obj: Any, state: Any) -> None:
    """Give an array or a dtype the state that NumPy wrote."""
    if not isinstance(state, tuple):
        raise ValueError("a state that is not NumPy's")
    if isinstance(obj, np.dtype):
        if len(state) < 5 or state[1] not in _NATIVE_ORDERS or state[2:5] != (None, None, None):
            raise ValueError("a dtype with fields, or of another byte order")
    elif isinstance(obj, np.ndarray) and obj.dtype == np.int8 and obj.shape == (0,):
        if len(state) != 5 or not isinstance(state[3], (bool, int)):
            raise ValueError("an array whose state is not NumPy's")
        _, shape, dtype, in_fortran_order, data = state
        _check_shape(shape, dtype, data)
        obj.__setstate__((1, shape, dtype, bool(in_fortran_order), bytes(data)))
    else:
        raise ValueError(f"a state for a {type(obj).__name__}")


class _Reader:
    """The stack machine that a pickle is a program of."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.stack: list[Any] = []
        self.outer_stacks: list[list[Any]] = []  # those below each mark
        self.memo: dict[int, Any] = {}
        self.array_bytes = 0  # of all arrays so far

    def load(self) -> Any:
        """Run the program and return what it leaves."""
        data = self.data
        while True:
            code = data[self.position]
            self.position += 1
            if code == _STOP:
                break
            operation = _OPERATIONS[code]
            if operation is None:
                name = _NAMES.get(code, f"byte {code}")
                raise ValueError(f"operation {name} at {self.position - 1} is not of plain data")
            operation(self)
        (result,) = self.stack
        if isinstance(result, (_Global, np.dtype)):
            raise ValueError("it is not plain data")
        return result

    def take(self, count: int) -> bytes:
        """Read the next bytes."""
        end = self.position + count
        if end > len(self.data):
            raise ValueError("it ends too early")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def byte(self) -> int:
        """Read the next byte as a number."""
        value = self.data[self.position]
        self.position += 1
        return value

    def number(self, size: int) -> int:
        """Read the next whole number, of `size` bytes without a sign."""
        return int.from_bytes(self.take(size), "little")

    def line(self) -> str:
        """Text up to the end of the line."""
        end = self.data.index(b"\n", self.position)
        return self.take(end + 1 - self.position)[:-1].decode("ascii")

    def pop_mark(self) -> list[Any]:
        """Take off the objects above the newest mark."""
        items = self.stack
        self.stack = self.outer_stacks.pop()
        return items

    def push_global(self, module: Any, name: Any) -> None:
        """Push a name of NumPy's."""
        # As with keys of dicts: nothing but text may be hashed.
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("it holds a name that is not text")
        found = _GLOBALS.get((module, name))
        if found is None:
            raise ValueError(f"it holds a {module[:80]}.{name[:80]}, which is not plain data")
        self.stack.append(found)

    def count(self, made: Any) -> None:
        """Add up the arrays: all are copies, and many can be made of the same few bytes."""
        if isinstance(made, (np.ndarray, np.generic)):
            self.array_bytes += made.nbytes
        if self.array_bytes > len(self.data):
            raise ValueError("its arrays are larger than the file")

    def remember(self, key: int) -> None:
        """Keep the top of the stack in the memo."""
        self.memo[key] = self.stack[-1]

    def extend(self, items: list[Any]) -> None:
        """Append to the list on top of the stack."""
        _expect(self.stack[-1], list).extend(items)

    def update(self, items: list[Any]) -> None:
        """Put keys and values in turn into the dict on top of the stack."""
        target = _expect(self.stack[-1], dict)
        for key, value in zip(items[::2], items[1::2]):
            # A tuple may be so deep that its hash overflows the stack of the process.
            if not isinstance(key, _KEY_TYPES):
                raise ValueError(f"a dict with a {type(key).__name__} as key")
            # Two that are equal are compared to their ends whenever one is looked up.
            if isinstance(key, (str, bytes)) and len(key) > _LARGEST_KEY:
                raise ValueError(f"a dict with a key of {len(key)} characters")
            target[key] = value


def _expect(obj: Any, kind: type) -> Any:
    if type(obj) is not kind:
        raise ValueError(f"a {type(obj).__name__} in place of a {kind.__name__}")
    return obj


def _push(value_of: Callable[[_Reader], Any]) -> Callable[[_Reader], None]:
    """The operation that pushes what `value_of` reads."""

    def operation(reader: _Reader) -> None:
        value = value_of(reader)  # may change which stack is the newest
        reader.stack.append(value)

    return operation


def _mark(reader: _Reader) -> None:
    reader.outer_stacks.append(reader.stack)
    reader.stack = []


def _append(reader: _Reader) -> None:
    value = reader.stack.pop()
    reader.extend([value])


def _set_item(reader: _Reader) -> None:
    value, key = reader.stack.pop(), reader.stack.pop()
    reader.update([key, value])


def _tuple_of(count: int) -> Callable[[_Reader], None]:
    def operation(reader: _Reader) -> None:
        if len(reader.stack) < count:
            raise ValueError("its stack is empty")
        reader.stack[-count:] = [tuple(reader.stack[-count:])]

    return operation


def _long(reader: _Reader) -> int:
    count = reader.byte()
    if count > _LARGEST_INT_BYTES:
        raise ValueError(f"a whole number of {count} bytes")
    return int.from_bytes(reader.take(count), "little", signed=True)


def _reduce(reader: _Reader) -> None:
    arguments, function = reader.stack.pop(), reader.stack.pop()
    if not isinstance(function, _Global) or function.call is None:
        raise ValueError("a call of what is no function")
    made = function.call(*_expect(arguments, tuple))
    reader.count(made)
    reader.stack.append(made)


def _apply_state(reader: _Reader) -> None:
    state = reader.stack.pop()
    _build(reader.stack[-1], state)
    reader.count(reader.stack[-1])


def _memoize(reader: _Reader) -> None:
    reader.memo[len(reader.memo)] = reader.stack[-1]


def _get(reader: _Reader) -> None:
    reader.stack.append(reader.memo[reader.byte()])


def _stack_global(reader: _Reader) -> None:
    name, module = reader.stack.pop(), reader.stack.pop()
    reader.push_global(module, name)


def _counted(size: int, decode: Callable[[bytes], Any]) -> Callable[[_Reader], None]:
    """The operation that pushes bytes whose number stands before them."""
    return _push(lambda reader: decode(reader.take(reader.number(size))))


def _text(data: bytes) -> str:
    return data.decode("utf-8")


_STOP = pickle.STOP[0]
_BY_CODE: dict[bytes, Callable[[_Reader], None]] = {
    pickle.PROTO: lambda reader: reader.take(1),
    pickle.FRAME: lambda reader: reader.take(8),
    pickle.MARK: _mark,
    pickle.POP: lambda reader: reader.stack.pop(),
    pickle.POP_MARK: lambda reader: reader.pop_mark(),
    pickle.NONE: _push(lambda reader: None),
    pickle.NEWTRUE: _push(lambda reader: True),
    pickle.NEWFALSE: _push(lambda reader: False),
    pickle.BININT: _push(lambda reader: int.from_bytes(reader.take(4), "little", signed=True)),
    pickle.BININT1: _push(lambda reader: reader.byte()),
    pickle.BININT2: _push(lambda reader: reader.number(2)),
    pickle.LONG1: _push(_long),
    pickle.BINFLOAT: _push(lambda reader: struct.unpack(">d", reader.take(8))[0]),
    pickle.SHORT_BINUNICODE: _counted(1, _text),
    pickle.BINUNICODE: _counted(4, _text),
    pickle.BINUNICODE8: _counted(8, _text),
    pickle.SHORT_BINBYTES: _counted(1, bytes),
    pickle.BINBYTES: _counted(4, bytes),
    pickle.BINBYTES8: _counted(8, bytes),
    pickle.BYTEARRAY8: _counted(8, bytearray),
    pickle.EMPTY_LIST: _push(lambda reader: []),
    pickle.EMPTY_DICT: _push(lambda reader: {}),
    pickle.EMPTY_TUPLE: _push(lambda reader: ()),
    pickle.APPEND: _append,
    pickle.APPENDS: lambda reader: reader.extend(reader.pop_mark()),
    pickle.SETITEM: _set_item,
    pickle.SETITEMS: lambda reader: reader.update(reader.pop_mark()),
    pickle.LIST: _push(lambda reader: reader.pop_mark()),
    pickle.TUPLE: _push(lambda reader: tuple(reader.pop_mark())),
    pickle.TUPLE1: _tuple_of(1),
    pickle.TUPLE2: _tuple_of(2),
    pickle.TUPLE3: _tuple_of(3),
    pickle.GLOBAL: lambda reader: reader.push_global(reader.line(), reader.line()),
    pickle.STACK_GLOBAL: _stack_global,
    pickle.REDUCE: _reduce,
    pickle.BUILD: _apply_state,
    pickle.MEMOIZE: _memoize,
    pickle.BINPUT: lambda reader: reader.remember(reader.byte()),
    pickle.LONG_BINPUT: lambda reader: reader.remember(reader.number(4)),
    pickle.BINGET: _get,
    pickle.LONG_BINGET: _push(lambda reader: reader.memo[reader.number(4)]),
}
_OPERATIONS: list[Callable[[_Reader], None] | None] = [None] * 256
for _code, _operation in _BY_CODE.items():
    _OPERATIONS[_code[0]] = _operation
_NAMES = {
    value[0]: name
    for name, value in vars(pickle).items()
    if name.isupper() and isinstance(value, bytes) and len(value) == 1
}


def loads(data: bytes) -> Any:
    """Read a pickle of None, bool, int (64 bits), float, str, bytes, containers, NumPy arrays.

    Arrays hold numbers or text, not Python objects.

    Raises:
        ValueError, IndexError, KeyError, TypeError: it is damaged or holds anything else.
    """
    return _Reader(data).load()
