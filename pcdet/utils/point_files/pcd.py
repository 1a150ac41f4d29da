"""Point Cloud Data files of the Point Cloud Library: ascii, binary, binary_compressed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pcdet.utils.point_files.fields import check_row_count, fields_of_text

_LONGEST_HEADER = 1 << 14
_TYPES = {f"{letter}{size}" for letter in "IU" for size in (1, 2, 4, 8)} | {"F4", "F8"}
_MOST_POINTS = 1 << 28


class _Header(NamedTuple):
    """What a header says: names and dtypes of the fields, number of points, form of the data."""

    names: list[str]
    dtypes: list[np.dtype]
    num_points: int
    form: str

    @property
    def row(self) -> np.dtype:
        """The dtype of a point; numbers of which a field has several are fields, too."""
        return np.dtype(list(zip(self.names, self.dtypes)))


def read_pcd(content: bytes) -> dict[str, np.ndarray]:
    """Read the fields of the points: name to (N,) numbers, in the order of the file.

    Raises:
        ValueError: the file is no .pcd file, or is damaged.
    """
    header, start = _read_header(content)
    body = content[start:]
    if header.form == "ascii":
        return fields_of_text(body, header.names, header.num_points)
    if header.form == "binary":
        check_row_count(body, header.row.itemsize, header.num_points)
        rows = np.frombuffer(body, header.row, header.num_points)
        return {name: rows[name] for name in header.names}
    return _compressed_fields(body, header)


def _compressed_fields(body: bytes, header: _Header) -> dict[str, np.ndarray]:
    """The fields of a binary_compressed file, which follow each other, each a block of its own."""
    size = header.num_points * header.row.itemsize
    lengths = np.frombuffer(body[:8], "<u4")
    if len(lengths) < 2 or lengths[1] != size or len(body) < 8 + lengths[0]:
        raise ValueError(f"expected {size} bytes of points, compressed: it is damaged or truncated")
    from pcdet.utils.point_files.lzf import decompress  # it loads a compiler, and is seldom needed

    data = decompress(np.frombuffer(body, np.uint8, int(lengths[0]), offset=8), size)
    fields, start = {}, 0
    for name, dtype in zip(header.names, header.dtypes):
        end = start + header.num_points * dtype.itemsize
        fields[name] = data[start:end].view(dtype)
        start = end
    return fields


def _read_header(content: bytes) -> tuple[_Header, int]:
    """The header, and where the data begin."""
    entries: dict[str, list[str]] = {}
    start = 0
    while "DATA" not in entries:
        end = content.find(b"\n", start, _LONGEST_HEADER)
        if end < 0:
            raise ValueError("expected the header of a .pcd file, up to a line DATA")
        words = content[start:end].decode("latin-1").split()
        start = end + 1
        if words and not words[0].startswith("#"):
            entries[words[0].upper()] = words[1:]
    names = entries.get("FIELDS") or entries.get("COLUMNS") or []
    counts = entries.get("COUNT") or ["1"] * len(names)
    kinds = list(map("".join, zip(entries.get("TYPE", []), entries.get("SIZE", []))))
    form = " ".join(entries["DATA"]).lower()
    if not (len(names) == len(kinds) == len(counts) > 0) or not _TYPES.issuperset(kinds):
        raise ValueError("expected FIELDS, SIZE, TYPE and COUNT of a .pcd file that fit each other")
    if form not in ("ascii", "binary", "binary_compressed"):
        raise ValueError(f"expected DATA ascii, binary or binary_compressed, got {form[:40]!r}")
    columns: dict[str, np.dtype] = {}
    for k, (name, kind, count) in enumerate(zip(names, kinds, counts)):
        for part in range(_whole_number(count, "COUNT", 1 << 10)):
            # Further numbers of a field, and padding, whose fields share the name "_".
            own_name = f"_{name}_{k}_{part}" if part or name in columns else name
            columns[own_name] = np.dtype(f"<{kind.lower()}")
    if not columns:
        raise ValueError(f"expected fields of points, got COUNT {' '.join(counts)}")
    return _Header(list(columns), list(columns.values()), _num_points(entries), form), start


def _num_points(entries: dict[str, list[str]]) -> int:
    """POINTS of a header, or WIDTH times HEIGHT; if all are there, they must agree."""
    if not {"WIDTH", "HEIGHT"} <= entries.keys():
        return _number_of("POINTS", entries)
    width, height = (_number_of(key, entries) for key in ("WIDTH", "HEIGHT"))
    if "POINTS" in entries and _number_of("POINTS", entries) != width * height:
        raise ValueError(
            f"the header says POINTS {_number_of('POINTS', entries)}, and WIDTH {width} times "
            f"HEIGHT {height}, which is {width * height}: correct the header"
        )
    return width * height


def _number_of(key: str, entries: dict[str, list[str]]) -> int:
    return _whole_number(" ".join(entries.get(key, [])), key)


def _whole_number(word: str, what: str, most: int = _MOST_POINTS) -> int:
    if not (word.isascii() and word.isdigit() and len(word) < 12 and int(word) <= most):
        raise ValueError(f"expected a whole number of {what}, at most {most}, got {word[:40]!r}")
    return int(word)
