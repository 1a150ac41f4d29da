"""A made scan, and writers of its points in the forms that people have."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np


def made_scan(count: int = 6000, seed: int = 0) -> np.ndarray:
    """(count, 4) float32: ground, and walls around a sensor 1.7 m above it; intensity to 1."""
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(-np.pi, np.pi, count))
    distance = rng.uniform(3, 40, count)
    height = np.where(
        rng.random(count) < 0.7, rng.normal(-1.7, 0.03, count), rng.uniform(-1, 2, count)
    )
    columns = (distance * np.cos(angle), distance * np.sin(angle), height, rng.random(count))
    return np.stack(columns, axis=1).astype(np.float32)


def lzf_literals(data: bytes) -> bytes:
    """LZF of bytes that are kept as they are."""
    parts = [data[k : k + 32] for k in range(0, len(data), 32)]
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


def write_pcd(path: Path, points: np.ndarray, form: str, names: str, compress=lzf_literals) -> None:
    """Write float32 fields; `names` are those of the columns."""
    count = len(points)
    fields = names.split()
    header = (
        "# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\n"
        f"FIELDS {names}\nSIZE {' '.join(['4'] * len(fields))}\n"
        f"TYPE {' '.join(['F'] * len(fields))}\nCOUNT {' '.join(['1'] * len(fields))}\n"
        f"WIDTH {count}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {count}\nDATA {form}\n"
    )
    body = points.astype("<f4").tobytes()
    if form == "ascii":
        body = "".join(" ".join(f"{v:.9g}" for v in row) + "\n" for row in points).encode()
    elif form == "binary_compressed":
        raw = points.T.astype("<f4").tobytes()
        packed = compress(raw)
        body = struct.pack("<II", len(packed), len(raw)) + packed
    path.write_bytes(header.encode() + body)


def write_ply(path: Path, points: np.ndarray, form: str, names: str) -> None:
    """Write double properties, and after the vertices a face."""
    properties = "".join(f"property double {name}\n" for name in names.split())
    header = (
        f"ply\nformat {form} 1.0\ncomment made by hand\nelement vertex {len(points)}\n{properties}"
        "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    )
    order = ">" if "big" in form else "<"
    body = points.astype(f"{order}f8").tobytes() + b"\x03" + bytes(12)
    if form == "ascii":
        body = "".join(" ".join(f"{v:.9g}" for v in row) + "\n" for row in points).encode()
        body += b"3 0 1 2\n"
    path.write_bytes(header.encode() + body)
