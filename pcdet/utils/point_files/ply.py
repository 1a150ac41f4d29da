"""PLY files, the polygons of Stanford: the properties of their vertices."""

from __future__ import annotations

import numpy as np

from pcdet.utils.point_files.fields import check_row_count, fields_of_text

_LONGEST_HEADER = 1 << 14
_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


def read_ply(content: bytes) -> dict[str, np.ndarray]:
    """Read the properties of the vertices: name to (N,) numbers, in the order of the file.

    Raises:
        ValueError: the file is no PLY file, is damaged, or does not begin with its vertices.
    """
    form, names, kinds, count, others_follow, start = _read_header(content)
    if form == "ascii":
        return fields_of_text(content[start:], names, count, others_follow)
    row = np.dtype([(name, _ORDERS[form] + kind) for name, kind in zip(names, kinds)])
    end = start + count * row.itemsize if others_follow else None
    check_row_count(content[start:end], row.itemsize, count)
    rows = np.frombuffer(content, row, count, offset=start)
    return {name: rows[name] for name in names}


def _read_header(content: bytes) -> tuple[str, list[str], list[str], int, bool, int]:
    """What a header says, and where the data begin.

    It says the form of the data, names and types of the numbers of a vertex, how many vertices
    there are, and whether other elements, such as faces, follow them.
    """
    form, names, kinds, count, elements = "", [], [], 0, 0
    start = 0
    while True:
        end = content.find(b"\n", start, _LONGEST_HEADER)
        if end < 0 or not content.startswith(b"ply"):
            raise ValueError("expected the header of a PLY file, up to end_header")
        words = content[start:end].decode("latin-1").split()
        start = end + 1
        if words[:1] == ["end_header"]:
            break
        if words[:1] == ["format"]:
            form = words[1] if len(words) > 1 else ""
        elif words[:1] == ["element"]:
            elements += 1
            if elements == 1:
                count = _num_vertices(words, len(content))
        elif words[:1] == ["property"] and elements == 1:
            if len(words) != 3 or words[1] not in _TYPES or words[2] in names:
                raise ValueError(f"expected properties that are one number, got {' '.join(words)}")
            kinds.append(_TYPES[words[1]])
            names.append(words[2])
    if form not in _ORDERS or not names:
        raise ValueError("expected a PLY file with a format and a first element vertex")
    return form, names, kinds, count, elements > 1, start


def _num_vertices(words: list[str], most: int) -> int:
    if len(words) != 3 or words[1] != "vertex":
        raise ValueError(f"expected vertices as the first element, got {' '.join(words)[:80]}")
    if not (words[2].isascii() and words[2].isdigit() and len(words[2]) < 12):
        raise ValueError(f"expected a number of vertices, got {words[2][:40]!r}")
    if int(words[2]) > most:
        raise ValueError(f"it is too short for {words[2]} vertices")
    return int(words[2])
