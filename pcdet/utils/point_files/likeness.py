"""What a file looks like that cannot be the scan it is taken for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_SIGNATURES = {
    b"version https://git-lfs": "a Git LFS pointer: fetch the file itself by `git lfs pull`",
    b"# .PCD": "a .pcd file: give it that suffix",
    b"VERSION .7": "a .pcd file: give it that suffix",
    b"VERSION 0.7": "a .pcd file: give it that suffix",
    b"ply\n": "a .ply file: give it that suffix",
    b"ply\r": "a .ply file: give it that suffix",
    b"\x93NUMPY": "a .npy file: give it that suffix",
    b"LASF": "a .las file",
    b"\x89HDF": "an HDF5 file",
    b"PK\x03\x04": "a zip archive (a .npz file is one, too)",
    b"\x1f\x8b": "a gzip archive: unpack it",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"#ROSBAG": "a ROS bag",
}
_LEAST_TEXT = 64
_DTYPES = {
    "<f4": "",
    "<f8": " of float64",
    ">f4": " of float32 in big-endian order",
    ">f8": " of float64 in big-endian order",
}
_COLUMNS = range(3, 11)
# Blocks of numbers that are looked at: a row of each of these lengths begins where one does.
_FIRST_OF_ROWS = 2520
_BLOCK = 420
_NUM_BLOCKS = 20
LEAST_ROWS = 64
# Metres: no LiDAR sees so far, and none sees so little.
FARTHEST = 1e3
_LEAST_SPREAD = 0.01
# Differences between columns that hold other things than x and y: of the mean size (a logarithm),
# and of the share of whole numbers; and the least share of negative numbers in x or y of a scan.
_OTHER_SIZE, _OTHER_WHOLE, _SIGNED = 1.3, 0.5, 0.25
# What columns of numbers without order share of the variance, and the parts of a transposed file.
_NO_ORDER, _ORDER_OF_PARTS = 0.02, 0.3
# Differences of mean size, sign and wholeness between columns that hold the same.
_SAME_TRAITS = np.array([0.2, 0.1, 0.1])
# What is beyond is no coordinate of any kind.
_GARBAGE = 1e8
_MOST_GARBAGE = 0.01


def signature(head: bytes) -> str:
    """What the first bytes of a file are those of; empty if nothing known."""
    for start, name in _SIGNATURES.items():
        if head.startswith(start):
            return name
    if len(head) >= _LEAST_TEXT and all(9 <= byte <= 13 or 32 <= byte < 127 for byte in head):
        return "text"
    return ""


def sample_blocks(values: np.ndarray) -> np.ndarray:
    """Some thousand of (n,) numbers, as (B, L) blocks from all over; a row begins with each."""
    starts = len(values) // _FIRST_OF_ROWS
    if starts < _NUM_BLOCKS:
        return values[None]
    chosen = np.linspace(0, starts - 1, _NUM_BLOCKS).astype(int)
    return values[: starts * _FIRST_OF_ROWS].reshape(starts, -1)[chosen, :_BLOCK]


def sample_rows(blocks: np.ndarray, columns: int) -> np.ndarray:
    """The whole rows (N, columns) of blocks (B, L)."""
    return blocks[:, : blocks.shape[1] // columns * columns].reshape(-1, columns)


def implausible(rows: np.ndarray) -> str:
    """Say why rows (N, 3 + C) cannot be points; empty if they can, or are too few to tell."""
    if len(rows) < LEAST_ROWS:
        return ""
    xyz = np.ascontiguousarray(rows[:, :3].T)  # sums along short rows take their time
    finite = np.isfinite(xyz).all(axis=0)
    # Organised clouds have a row without numbers wherever nothing came back.
    empty = np.isnan(xyz).all(axis=0)
    if not finite.any() or finite.sum() < 0.5 * (~empty).sum():
        return "most of its coordinates are not finite"
    if finite.sum() < LEAST_ROWS:
        return ""
    if not finite.all():
        xyz = xyz[:, finite]
    largest = np.abs(xyz).max(axis=0)
    if (largest > _GARBAGE).mean() > _MOST_GARBAGE:
        return f"coordinates are as large as {largest.max():.3g}"
    flat = np.flatnonzero(np.ptp(xyz, axis=1) == 0)
    if len(flat):
        axis = int(flat[0])
        return f"{'xyz'[axis]} is {xyz[axis, 0] + 0.0:g} in all points"
    return ""


class _Traits(NamedTuple):
    """Size, sign and wholeness of numbers in blocks: what tells one column from another.

    Attributes:
        means: (3, L) over the blocks, so that a row of any length is looked at quickly.
        of_each_block: (3, B) means of the blocks.
        variances: (3,) of all numbers.
    """

    means: np.ndarray
    of_each_block: np.ndarray
    variances: np.ndarray

    @classmethod
    def of_blocks(cls, blocks: np.ndarray) -> _Traits:
        """Of the numbers of blocks (B, L)."""
        with np.errstate(invalid="ignore"):
            sizes = np.log1p(np.minimum(np.abs(blocks), _GARBAGE))
            sizes[np.isnan(sizes)] = 0
            traits = (sizes, blocks < 0, blocks == np.rint(blocks))
        means, of_each_block = (np.stack([t.mean(axis=axis) for t in traits]) for axis in (0, 1))
        shares = means[1:].mean(axis=1)
        variances = np.array([sizes.var(), *(shares * (1 - shares))])
        return cls(means, of_each_block, variances)

    def of_columns(self, columns: int) -> np.ndarray:
        """Means (3, columns) in each column of rows of this length."""
        whole = self.means.shape[1] // columns * columns
        return self.means[:, :whole].reshape(3, -1, columns).mean(axis=1)

    def order(self, columns: int) -> float:
        """Tell how far numbers sort themselves into rows of `columns`: from 0 to 1.

        The columns of real points differ in size and sign and in being whole numbers. Those of rows
        that were cut at the wrong places are all the same mixture.
        """
        between = self.of_columns(columns).var(axis=1)
        return float((between / np.maximum(self.variances, 1e-9)).max())


def disorder(values: np.ndarray, columns: int) -> str:
    """Say what (n,) float32 numbers look like if they cannot be rows of `columns`; else nothing."""
    if len(values) < LEAST_ROWS * max(_COLUMNS):
        return ""
    traits = _Traits.of_blocks(sample_blocks(values))
    found = _better_columns(traits, columns, len(values))
    if found is not None:
        return f"it looks like {found} columns"
    if _is_transposed(traits, columns):
        return "it looks like all x, then all y, and so on: transpose it"
    if _is_shifted(traits, columns):
        return f"it looks like a header or {columns} columns in another order, not x, y, z first"
    return ""


def _better_columns(traits: _Traits, columns: int, count: int) -> int | None:
    """Find the number of columns that so many numbers have if it cannot be `columns`."""
    best, order = columns, max(2 * traits.order(columns), 0.05)
    for other in _COLUMNS if order < 1 else ():
        if other % columns and count % other == 0:
            found = traits.order(other)
            if found > 1.1 * order:
                best, order = other, found
    if best != columns:
        return best
    for factor in (2, 3):
        if count % (factor * columns) == 0 and _are_parts(traits, columns, factor):
            return factor * columns
    half = columns // 2
    return half if columns in (6, 8) and _are_same(traits, half) else None


def _is_transposed(traits: _Traits, columns: int) -> bool:
    """Tell whether parts of the file differ as columns do, and columns do not."""
    if traits.of_each_block.shape[1] < _NUM_BLOCKS or traits.order(columns) > _NO_ORDER:
        return False
    parts = np.array_split(traits.of_each_block, columns, axis=1)
    between = np.stack([part.mean(axis=1) for part in parts]).var(axis=0)
    return bool((between > _ORDER_OF_PARTS * traits.variances).any())


def _is_shifted(traits: _Traits, columns: int) -> bool:
    """Tell whether the fourth column is a coordinate, and one of the first three an intensity."""
    if columns != 4:  # what further columns are is not known
        return False
    sizes, signs, whole = traits.of_columns(columns)
    intensity = (signs == 0) & ((sizes < np.log1p(1)) | (whole == 1))
    return bool(signs[3] > _SIGNED and intensity[:3].any())


def _are_parts(traits: _Traits, columns: int, factor: int) -> bool:
    """Tell whether every second (third) row holds no points: it is further columns of the first.

    Its first numbers are of another size than x and y, or whole, or never negative.
    """
    sizes, signs, whole = traits.of_columns(factor * columns).reshape(3, factor, columns)[:, :, :2]
    other = (np.abs(sizes[1:] - sizes[0]) > _OTHER_SIZE) | (whole[1:] - whole[0] > _OTHER_WHOLE)
    return bool((other | ((signs[1:] == 0) & (signs[0] > _SIGNED))).any())


def _are_same(traits: _Traits, columns: int) -> bool:
    """Tell whether a row of twice as many columns holds two points."""
    means = traits.of_columns(2 * columns).reshape(3, 2, columns)
    return bool((np.abs(means[:, 1] - means[:, 0]) < _SAME_TRAITS[:, None]).all())


def looks_like(content: bytes) -> str:
    """Say what the bytes of a file look like, beginning with "it looks like"; or nothing."""
    found = signature(content[:256])
    if found:
        return f"it looks like {found}"
    candidates = []
    for dtype, form in _DTYPES.items():
        size = np.dtype(dtype).itemsize
        numbers = np.frombuffer(content, dtype, len(content) // size)
        if not len(numbers):
            continue
        blocks = sample_blocks(numbers).astype(dtype[1:])
        order_of = _Traits.of_blocks(blocks).order
        for columns in _COLUMNS:
            rows = sample_rows(blocks, columns)
            if len(rows) < LEAST_ROWS or implausible(rows):
                continue
            xyz = rows[:, :3]
            if np.nanmax(np.abs(xyz)) < FARTHEST and np.nanstd(xyz, axis=0).min() > _LEAST_SPREAD:
                cut = ", cut short" if len(content) % (size * columns) else ""
                name = f"{columns} columns{form}{cut}"
                candidates.append((round(order_of(columns), 2), -columns, name))
    return f"it looks like {max(candidates)[2]}" if candidates else ""
