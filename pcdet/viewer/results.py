"""Names of what a test leaves in a run's folder, and how to find it again."""

from __future__ import annotations

import glob
import re
from pathlib import Path

RESULT = "result.pkl"
# What a test leaves for people, in the folder of the run.
REPORT, SCENES = "report.html", "scenes.html"


def newest_result(
    run_dir: Path, split: str, weights: str | None = None, eval_tag: str | None = None
) -> Path | None:
    """The result.pkl of a run that was written last for a split, or None.

    Args:
        run_dir: output/<yaml>/<extra_tag>.
        split: that was tested.
        weights: name of the folder of what was tested, such as epoch_80; None for any.
        eval_tag: of the test; None for any.
    """
    tested, tags = ("*" if name is None else glob.escape(name) for name in (weights, eval_tag))
    found = list(run_dir.glob(f"eval/{tested}/{glob.escape(split)}/{tags}/{RESULT}"))
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def title_of_result(path: Path) -> str:
    """What a reader calls a result: run and epoch, such as "second/default, epoch 80"."""
    parts = path.resolve().parts
    # .../<yaml>/<extra_tag>/eval/epoch_N/<split>/<eval_tag>/result.pkl
    if len(parts) > 7 and parts[-5] == "eval":
        return f"{parts[-7]}/{parts[-6]}, {re.sub('^epoch_', 'epoch ', parts[-4])}"
    return path.resolve().parent.name
