"""Which start of a run's run.json made its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def trained_start(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Find the newest start that came to train; None if there is none.

    One that was refused never tells where it began, and one whose epochs were all finished before
    it had nothing to do.

    Args:
        record: of run.json, see `pcdet.run.record`.
    """
    for start in reversed(record.get("starts") or []):
        began = start.get("finished_iterations") is not None
        if began and start.get("finished_epochs", 0) < start.get("epochs", float("inf")):
            return start
    return None
