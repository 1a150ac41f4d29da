"""The memory that a stage takes."""

from __future__ import annotations

import ctypes
import re
from contextlib import suppress
from pathlib import Path

import torch


class PeakMemory:
    """The greatest memory since `reset`, beyond what was held then.

    Of the allocator of a GPU where there is one; else of this process without its workers, as Linux
    tells, in pages of a few KiB.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            self._held = torch.cuda.memory_allocated()
        else:
            ctypes.CDLL(None).malloc_trim(0)  # what was freed, or taking it again costs nothing
            with suppress(OSError):  # where that is not allowed, the peak is that of all time
                Path("/proc/self/clear_refs").write_text("5")
            self._held = _of_process("VmRSS")

    def taken(self) -> int | None:
        """Bytes; None where there is a GPU, and nothing was computed on it."""
        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated() - self._held or None
        return _of_process() - self._held


def _of_process(entry: str = "VmHWM") -> int:
    """An entry of /proc/self/status in bytes; by default the greatest resident size."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"^{entry}:\s*(\d+) kB$", status, re.MULTILINE).group(1))
