"""LZF, the compression of .pcd files with `DATA binary_compressed`."""

from __future__ import annotations

import numpy as np

from pcdet.utils.compiling import compiled

# The shortest code, three bytes, stands for at most 264 bytes.
_LARGEST_FACTOR = 88


def decompress(data: np.ndarray, size: int) -> np.ndarray:
    """Decompress LZF.

    Args:
        data: (N,) uint8.
        size: bytes that it holds.

    Returns:
        (size,) uint8.

    Raises:
        ValueError: the data are damaged, or hold another number of bytes.
    """
    if size > _LARGEST_FACTOR * len(data):
        raise ValueError(f"{len(data)} bytes of LZF cannot hold {size} bytes")
    result = np.empty(size, np.uint8)
    found = _decompress_(data, result)
    if found != size:
        raise ValueError(f"expected LZF data of {size} bytes, found {max(found, 0)} good ones")
    return result


@compiled()
def _decompress_(data, result):
    """Bytes written to `result`, -1 where the data refer to what is not there."""
    read, written = 0, 0
    while read < len(data):
        control = np.int64(data[read])
        read += 1
        if control < 32:  # so many bytes and one more as they are
            count = control + 1
            if read + count > len(data) or written + count > len(result):
                return -1
            for _ in range(count):
                result[written] = data[read]
                read += 1
                written += 1
            continue
        count = control >> 5  # so many bytes and two more from earlier on
        if count == 7:
            if read >= len(data):
                return -1
            count += np.int64(data[read])
            read += 1
        if read >= len(data):
            return -1
        source = written - ((control & 31) << 8) - np.int64(data[read]) - 1
        read += 1
        count += 2
        if source < 0 or written + count > len(result):
            return -1
        for _ in range(count):
            result[written] = result[source]
            source += 1
            written += 1
    return written
