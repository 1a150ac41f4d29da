"""The memory of this process."""

from __future__ import annotations

import ctypes
from contextlib import suppress


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, if its C library is glibc.

    A training step on the CPU allocates tensors of tens of megabytes; glibc gives those back to the
    kernel when they are freed, and the next step pays a page fault for every 4 kB again.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)
