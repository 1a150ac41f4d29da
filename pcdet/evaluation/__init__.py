"""KITTI AP by the rules of the official program: 2D, orientation, BEV and 3D, on the CPU.

On the command line: `python -m pcdet.evaluation --gt LABELS --det RESULTS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pcdet.evaluation import reasons, rules
from pcdet.evaluation.result import EvalResult
from pcdet.evaluation.scoring import (
    evaluate,
    evaluate_folders,
    evaluate_overlap_sets,
)
from pcdet.evaluation.submission import check_frames, write_submission
from pcdet.utils.kitti_format.label import result_lines

__all__ = [
    "EvalResult",
    "check_frames",
    "evaluate",
    "evaluate_folders",
    "get_official_eval_result",
    "official_results",
    "result_lines",
    "summarize",
    "write_submission",
]


def official_results(
    gt_annos: Sequence[Mapping] | None,
    dt_annos: Sequence[Mapping],
    class_names: Sequence[str] = rules.CLASS_NAMES,
    overlaps: Mapping[str, float] | None = None,
) -> tuple[EvalResult, EvalResult]:
    """Evaluate at the benchmark's overlaps, and BEV and 3D at PCDet's looser ones as well.

    Args:
        gt_annos: one annotation dict a frame; None where the split has no labels.
        dt_annos: one annotation dict a frame.
        class_names: the classes to evaluate.
        overlaps: of classes that KITTI does not know, see `rules.overlap_sets`; without it such a
            class gets no AP, and the first result says why.
    """
    class_names = rules.check_class_names(class_names)
    if overlaps is not None:
        sets = rules.overlap_sets(overlaps, class_names)
        return tuple(evaluate_overlap_sets(gt_annos, dt_annos, class_names, sets))
    known = tuple(name for name in class_names if name.lower() in rules.OVERLAPS)
    if known:
        strict, loose = evaluate_overlap_sets(gt_annos, dt_annos, known, rules.OVERLAP_SETS)
    else:
        strict = loose = EvalResult((), {}, (), len(dt_annos), {}, {}, {})
    others = {name: [reasons.no_overlap(name)] for name in class_names if name not in known}
    return replace(strict, reasons={**strict.reasons, **others}), loose


def summarize(strict: EvalResult, loose: EvalResult) -> tuple[str, dict[str, float | None]]:
    """Return the tables as text, and AP by tag.

    Tags are `Car_3d/moderate_R40` and, at the looser overlap, `Car_3d_0.50/moderate_R40`; None
    where nothing is evaluated.
    """
    if not strict.has_labels:
        return strict.table(), strict.to_dict()
    tables = f"{strict.table()}\n{loose.table()}"
    return tables, {**strict.to_dict(), **loose.to_dict(show_overlap=True)}


def get_official_eval_result(
    gt_annos: Sequence[Mapping] | None,
    dt_annos: Sequence[Mapping],
    class_names: Sequence[str] = rules.CLASS_NAMES,
) -> tuple[str, dict[str, float | None]]:
    """Evaluate and summarize, see `official_results`: PCDet's call."""
    return summarize(*official_results(gt_annos, dt_annos, class_names))
