"""What every benchmark stage shares: a timer and the row that it reports."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Row:
    """One measured stage.

    Attributes:
        stage: what was measured.
        milliseconds: median time of this project's code.
        baseline: what the plain alternative is; empty if there is none.
        baseline_milliseconds: median time of the alternative, measured in the same run.
        note: sizes, or what a reader must know to compare.
        floor_ms: least time that the machine's measured ceilings allow, see `work`, or in which
            the files can be read, see `reading_ms`.
    """

    stage: str
    milliseconds: float
    baseline: str = ""
    baseline_milliseconds: float | None = None
    note: str = ""
    floor_ms: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times faster than the baseline."""
        if self.baseline_milliseconds is None:
            return None
        return self.baseline_milliseconds / self.milliseconds


def median_ms(function: Callable[[], object], repeat: int = 10, warmup: int = 2) -> float:
    """Median wall time of `function` in milliseconds; the warm-up calls are not counted."""
    for _ in range(warmup):
        function()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def reading_ms(files: Iterable[Path]) -> float:
    """Time in which one process reads files whole that lie in the memory, and does nothing else."""
    paths = list(files)
    return median_ms(lambda: [len(path.read_bytes()) for path in paths], 5, 1)
