"""Writes the report of a run after a test, or of a test that was made before."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pcdet.config import cfg
from pcdet.run.curve_reader import read_curves
from pcdet.run.record import RunRecord
from pcdet.utils.errors import DataError
from pcdet.utils.io_utils import load_pickle
from pcdet.utils.run_starts import trained_start
from pcdet.viewer.results import newest_result, title_of_result
from pcdet.viewer.sources import check_frames, check_scores


def report_test(
    run_dir: Path,
    result: Path,
    dataset: Any,
    num_scenes: int,
    logger: logging.Logger,
    checkpoint: Mapping[str, str] | None = None,
) -> None:
    """Write report.html and scenes.html into a run's folder.

    Args:
        run_dir: output/<yaml>/<extra_tag>.
        result: result.pkl of the test.
        dataset: of the split that was tested.
        num_scenes: frames of scenes.html; 0 for no such page.
        logger: told where the report is.
        checkpoint: name and sha256 of the one that was tested just now; None for a result that
            another command has left, whose scores may be of the other kind.
    """
    # Starts matplotlib, for which the first frame of a test need not wait.
    from pcdet.viewer.report import Tested, write_report

    annos = load_pickle(result)
    check_frames(annos, dataset, result)
    logits = cfg.MODEL.TEST.get("USE_RAW_SCORE", True)
    if checkpoint is None:
        check_scores(annos, result, logits)
    tested = Tested(
        title=title_of_result(result),
        dataset=dataset,
        annos=annos,
        scores_are_logits=logits,
        limit_range=cfg.DATA_CONFIG.POINT_CLOUD_RANGE,
        record=RunRecord(run_dir, logger, writes=False).read(),
        curves=read_curves(run_dir / "tensorboard"),
        num_scenes=num_scenes,
        checkpoint=checkpoint or {},
    )
    logger.info("report: %s", write_report(tested, run_dir))


def report_newest(
    run_dir: Path,
    dataset: Any,
    num_scenes: int,
    logger: logging.Logger,
    weights: str | None = None,
    eval_tag: str | None = None,
) -> None:
    """Write the report of the test of a run that was made last, see `report_test`.

    Args:
        run_dir: output/<yaml>/<extra_tag>.
        dataset: of the split that was tested.
        num_scenes: frames of scenes.html.
        logger: told where the report is.
        weights: that were tested, see `newest_result`, if it must be those.
        eval_tag: of the test, likewise.

    Raises:
        DataError: there is none.
    """
    split = cfg.MODEL.TEST.SPLIT
    result = newest_result(run_dir, split, weights, eval_tag)
    if result is None:
        of_weights = "" if weights is None else f" of {weights}"
        of_tag = "" if eval_tag is None else f" by --eval_tag {eval_tag}"
        raise DataError(
            f"{run_dir}: no results{of_weights}{of_tag} of the split {split!r}: test a checkpoint "
            "first"
        )
    report_test(run_dir, result, dataset, num_scenes, logger)


def hparams_of(record: Mapping[str, Any], yaml: str) -> dict[str, Any]:
    """What a run was trained with, as flat values for TensorBoard's table of runs.

    Args:
        record: of run.json; one without a training gives the yaml's name alone.
        yaml: name of the yaml.
    """
    values: dict[str, Any] = {"yaml": yaml}
    last = trained_start(record)
    if last is None:
        return values
    training = (last.get("config") or {}).get("MODEL", {}).get("TRAIN", {})
    for name, value in training.get("OPTIMIZATION", {}).items():
        values[name] = value if isinstance(value, (bool, int, float, str)) else str(value)
    for name in ("seed", "processes"):
        if last.get(name) is not None:
            values[name] = last[name]
    return values
