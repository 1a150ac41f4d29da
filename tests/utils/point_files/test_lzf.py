"""LZF against streams made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pcdet.utils.point_files.lzf import decompress


def as_array(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


@pytest.mark.parametrize(
    ("packed", "data"),
    [
        (b"", b""),
        (b"\x02abc", b"abc"),
        # Three bytes from three back; then, with a longer code, nine from one back, which overlap.
        (b"\x02abc\x20\x02", b"abcabc"),
        (b"\x00a\xe0\x00\x00", b"a" * 10),
        (b"\x00a\xe0\xff\x00\x00b", b"a" * 265 + b"b"),
    ],
)
def test_decompress(packed, data):
    assert decompress(as_array(packed), len(data)).tobytes() == data


def test_a_distance_of_more_than_a_byte():
    data = bytes(range(256)) + b"xyzw"
    literals = b"".join(
        bytes([len(p) - 1]) + p for p in (data[k : k + 32] for k in range(0, 260, 32))
    )
    # The distance is 1 + (1 << 8) + 3 = 260: back to the first byte.
    assert decompress(as_array(literals + b"\x21\x03"), 263).tobytes() == data + b"\x00\x01\x02"


@pytest.mark.parametrize(
    "packed", [b"\x02ab", b"\x00a\x20\x01", b"\x00a\x20", b"\x00a\xe0", b"\x02abc"]
)
def test_damage(packed):
    with pytest.raises(ValueError, match="LZF"):
        decompress(as_array(packed), 4)


def test_a_claim_of_too_much_memory():
    with pytest.raises(ValueError, match="cannot hold 1000000000000 bytes"):
        decompress(as_array(b"\x00a"), 10**12)
