"""Names of what a test leaves in a run's folder, and how to find it again."""

from __future__ import annotations

from pathlib import Path

RESULT = "result.pkl"
# What a test leaves for people, in the folder of the run.
REPORT, SCENES = "report.html", "scenes.html"


def newest_result(run_dir: Path, split: str) -> Path | None:
    """The result.pkl of a run that was written last for a split, or None."""
    found = list(run_dir.glob(f"eval/epoch_*/{split}/*/{RESULT}"))
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def title_of_result(path: Path) -> str:
    """What a reader calls a result: run and epoch, such as "second/default, epoch 80"."""
    parts = path.resolve().parts
    # .../<yaml>/<extra_tag>/eval/epoch_N/<split>/<eval_tag>/result.pkl
    if len(parts) > 7 and parts[-5] == "eval":
        return f"{parts[-7]}/{parts[-6]}, {parts[-4].replace('_', ' ')}"
    return path.resolve().parent.name
