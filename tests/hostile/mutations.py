"""Damage to files: each mutation is a name, a place from 0 to 1, and a number for its variant.

Plain numbers, so that hypothesis can draw and shrink them and a long run can draw them fast.
"""

from __future__ import annotations

import io
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import yaml

from pcdet.utils import plain_pickle

Mutation = tuple[str, float, int]

ODD_WORDS = (
    *(b"nan", b"inf", b"-inf", b"1e300", b"-1e38", b"1e9", b"-1", b"0", b"9" * 30, b"0x10", b"1_0"),
    *(b"", b"text", b"\xd9\xa1", b"1e999", b"." * 50, b"9" * 5000, b"../../x", b"/dev/zero", b"[["),
)
ODD_BYTES = (
    *(b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\n", b"\r\n", b" ", b":"),
    *(b"\x85" * 2000, b"(" * 3000, b"[" * 3000, b"&a [*a]", b"\xc3", b"a" * 4000, b"\x94"),
)
ODD_FLOATS = tuple(
    struct.pack("<f", value) for value in (np.nan, np.inf, -np.inf, 3e38, 1e-40, -1.0)
)
ODD_WORDS_OF_4 = (*ODD_FLOATS, b"\xff" * 4, b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\x00" * 4)
ODD_VALUES = (
    *(None, True, -1, 2**62, -(2**63), 1e300, float("nan"), "", "text", "a\x00b", "../x", [], {}),
    *([[]], {"a": {}}, (), ((1,),), b"bytes", "x" * 5000),
    *(np.zeros(0), np.zeros((0, 10**6)), np.full(4, np.nan), np.full((4, 4), np.inf)),
    *(np.zeros((4, 4)), np.full((2,), 2**31 - 1, np.int32), np.array(["Car"] * 4), np.array(3)),
    *(np.zeros((3, 7), np.complex64), np.full((3, 7), 1e300), np.float64("nan"), np.str_("Car")),
)
_NUMBER = re.compile(rb"-?\d[\d.]*")


def _at(data: bytes, place: float) -> int:
    return min(int(place * len(data)), max(len(data) - 1, 0))


def _truncate(data: bytes, place: float, number: int) -> bytes:
    return data[: _at(data, place)]


def _flip(data: bytes, place: float, number: int) -> bytes:
    if not data:
        return data
    k = _at(data, place)
    return data[:k] + bytes([data[k] ^ (1 << number % 8)]) + data[k + 1 :]


def _insert(data: bytes, place: float, number: int) -> bytes:
    k = _at(data, place)
    return data[:k] + ODD_BYTES[number % len(ODD_BYTES)] + data[k:]


def _remove(data: bytes, place: float, number: int) -> bytes:
    k = _at(data, place)
    return data[:k] + data[k + 1 + number % 40 :]


def _repeat(data: bytes, place: float, number: int) -> bytes:
    k = _at(data, place)
    return data[:k] + data[k : k + 1 + number % 40] * (1 + number % 7) + data[k:]


def _swap_lines(data: bytes, place: float, number: int) -> bytes:
    lines = data.split(b"\n")
    a, b = _at(data, place) % len(lines), number % len(lines)
    lines[a], lines[b] = lines[b], lines[a]
    return b"\n".join(lines)


def _odd_word(data: bytes, place: float, number: int) -> bytes:
    found = list(_NUMBER.finditer(data))
    if not found:
        return data
    word = found[min(int(place * len(found)), len(found) - 1)]
    return data[: word.start()] + ODD_WORDS[number % len(ODD_WORDS)] + data[word.end() :]


def _odd_four(data: bytes, place: float, number: int) -> bytes:
    k = _at(data, place) // 4 * 4
    return data[:k] + ODD_WORDS_OF_4[number % len(ODD_WORDS_OF_4)] + data[k + 4 :]


def _nothing_left(data: bytes, place: float, number: int) -> bytes:
    return (b"", b"\x00", b"\n" * 5, b"\x00" * len(data))[number % 4]


BYTES: dict[str, Callable[[bytes, float, int], bytes]] = {
    "truncate": _truncate,
    "flip": _flip,
    "insert": _insert,
    "remove": _remove,
    "repeat": _repeat,
    "swap_lines": _swap_lines,
    "odd_word": _odd_word,
    "odd_four": _odd_four,
    "nothing_left": _nothing_left,
}


def _png_size(data: bytes, place: float, number: int) -> bytes:
    """Another width or height, with a checksum that fits."""
    sizes = (0, 1, 2**15, 2**31 - 1, 2**31, 2**32 - 1)
    start = 16 if place < 0.5 else 20
    header = bytearray(data[:33].ljust(33, b"\0"))
    header[start : start + 4] = struct.pack(">I", sizes[number % len(sizes)])
    header[29:33] = struct.pack(">I", zlib.crc32(bytes(header[12:29])))
    return bytes(header) + data[33:]


def _replace_in_tree(tree: Any, place: float, number: int) -> Any:
    """A copy of plain data with one value replaced; `place` chooses the path to it."""
    children = list(tree) if isinstance(tree, dict) else range(len(tree))
    scaled = place * len(children)
    k = min(int(scaled), len(children) - 1)
    child = tree[list(children)[k]]
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    key = list(children)[k]
    if isinstance(child, (dict, list)) and child and number % 8:
        copy[key] = _replace_in_tree(child, scaled - k, number // 8)
    elif number % 5 == 0 and isinstance(tree, dict):
        del copy[key]
    else:
        copy[key] = ODD_VALUES[number % len(ODD_VALUES)]
    return copy


def _pickle_value(data: bytes, place: float, number: int) -> bytes:
    try:
        tree = plain_pickle.loads(data)  # pickle's own might crash
    except Exception:  # damaged by a mutation before
        return data
    if not isinstance(tree, (dict, list)) or not tree:
        return data
    try:
        return pickle.dumps(_replace_in_tree(tree, place, number), 2 + number % 4)
    except RecursionError:  # nested too deeply by a mutation before
        return data


def _yaml_value(data: bytes, place: float, number: int) -> bytes:
    try:
        tree = yaml.safe_load(data)
        changed = _replace_in_tree(tree, place, number)
        return yaml.safe_dump(changed).encode()
    except Exception:  # damaged before, or a value that yaml does not write
        return data


def _inside_archive(data: bytes, place: float, number: int) -> bytes:
    """Damage a file inside a zip archive, whose checksums then fit again."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    except Exception:  # damaged before
        return data
    k = 0 if number % 3 else number // 3 % len(entries)  # mostly data.pkl
    names = list(BYTES)
    name, content = entries[k]
    entries[k] = (name, BYTES[names[number // 9 % len(names)]](content, place, number // 81))
    packed = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if number % 50 == 0 else zipfile.ZIP_STORED
    with zipfile.ZipFile(packed, "w", kind) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return packed.getvalue()


FURTHER: dict[str, dict[str, Callable[[bytes, float, int], bytes]]] = {
    "png": {"png_size": _png_size},
    "pickle": {"value": _pickle_value},
    "yaml": {"value": _yaml_value},
    "archive": {"inside": _inside_archive},
}


def mutations_for(form: str) -> dict[str, Callable[[bytes, float, int], bytes]]:
    """Names and functions of the mutations of a form of file; half of them know the form."""
    further = FURTHER.get(form, {})
    repeats = len(BYTES) // max(len(further), 1)
    return {**BYTES, **{f"{n}{k}": f for n, f in further.items() for k in range(repeats)}}


def mutate(data: bytes, form: str, mutations: Sequence[Mutation]) -> bytes:
    """Apply mutations one after the other."""
    functions = mutations_for(form)
    for name, place, number in mutations:
        data = functions[name](data, place, number)
    return data
