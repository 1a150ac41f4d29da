"""Detect on a split with one set of weights, and score the result."""

from __future__ import annotations

import logging
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from easydict import EasyDict
from torch import nn
from tqdm import tqdm

from pcdet.engine.detect import detect
from pcdet.evaluation.found import LabelledObjects, found_table, labelled_objects
from pcdet.utils.io_utils import LateErrors, atomic_write, save_pickle
from pcdet.viewer.pictures import draw_frames, render, save_picture
from pcdet.viewer.sources import evenly_spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Least probability of a detection in the pictures.
_PICTURE_SCORE = 0.3
# Frames that TensorBoard shows of each test: the same ones, so that one can watch them change.
_TENSORBOARD_PICTURES = 3


def eval_one_epoch(
    cfg: EasyDict,
    model: nn.Module,
    dataloader: torch.utils.data.DataLoader,
    epoch_id: str | int,
    logger: logging.Logger,
    dist_test: bool = False,
    save_to_file: bool = False,
    result_dir: Path | None = None,
    tb_log: Any = None,
    num_pictures: int = 0,
    amp: torch.dtype | None = None,
    errors: LateErrors | None = None,
) -> dict[str, Any]:
    """Detect on all frames and score the result.

    Args:
        cfg: settings; MODEL.TEST is read from it.
        model: put into evaluation mode here.
        dataloader: gives each frame once, over all processes together.
        epoch_id: for the log and the curves.
        logger: the table goes here.
        dist_test: one of several processes; results are merged on rank 0.
        save_to_file: write files for other programs into result_dir/final_result.
        result_dir: folder of report.txt, result.pkl and all other files.
        tb_log: has add_scalar and add_image, as a TensorBoard writer; or None.
        num_pictures: frames of which pictures are drawn into result_dir/pictures.
        amp: type of the products where torch's autocast has it; None for that of the weights.
        errors: takes what could not be written; None to raise the first at the end.

    Returns:
        Recall and AP by name; empty on ranks other than 0.
    """
    late = LateErrors(logger) if errors is None else errors
    dataset = dataloader.dataset
    result_dir = Path(result_dir or ".")
    logger.info("*************** EPOCH %s EVALUATION *****************", epoch_id)
    if save_to_file:
        dataset.check_saving(result_dir / "final_result")
    begun = time.perf_counter()
    annos, counts = _detect(model, dataloader, amp)
    seconds = time.perf_counter() - begun
    if dist_test:
        annos, counts = _merge_ranks(annos, counts, dataset.sample_ids)
        if dist.get_rank() != 0:
            return {}
    _tell(logger, annos, model, seconds)
    _save(late, dataset, annos, result_dir, save_to_file, logger)
    recall = _recall(counts, cfg.MODEL.TEST.get("RECALL_THRESH_LIST", ()))
    for name, value in recall.items():
        logger.info("%s: %.4f", name, value)
    report, ap_dict, figures = dataset.evaluation_report(annos, dataset.class_names)
    objects = _labelled(dataset, annos)
    if objects is not None:
        report += "\n" + found_table(objects, dataset.overlap_sets)
    logger.info("\n%s", report)
    with late.noted(), atomic_write(result_dir / "report.txt") as file:
        file.write(f"{report}\n".encode())
    results = {**recall, **ap_dict}
    step, split = int(epoch_id) if str(epoch_id).isdigit() else 0, cfg.MODEL.TEST.SPLIT
    _log_to_tensorboard(tb_log, {**results, **_found_shares(objects or {})}, figures, split, step)
    with late.noted():
        _draw(cfg, dataset, annos, num_pictures, result_dir / "pictures", tb_log, step)
    logger.info("results are in %s", result_dir)
    if errors is None:
        late.raise_first()
    return results


def _tell(logger: logging.Logger, annos: list[dict], model: nn.Module, seconds: float) -> None:
    """Log how much was detected, how quickly, and what had to be dropped."""
    dropped = getattr(getattr(model, "post_processor", None), "num_non_finite", 0)
    if dropped:
        logger.warning("%d boxes held NaN or infinity and were dropped (of this process)", dropped)
    num_objects = sum(len(anno["name"]) for anno in annos)
    speed = seconds / max(len(annos), 1)
    logger.info("%d frames, %d objects, %.4f seconds a frame", len(annos), num_objects, speed)


def _save(
    late: LateErrors,
    dataset: Any,
    annos: list[dict],
    folder: Path,
    as_files: bool,
    logger: logging.Logger,
) -> None:
    """Write result.pkl and, if asked for, files for other programs."""
    with late.noted():
        save_pickle(annos, folder / "result.pkl")
    if as_files:
        with late.noted():
            path = dataset.save_results(annos, folder / "final_result")
            logger.info("results as files: %s", path)


def _labelled(dataset: Any, annos: list[dict]) -> dict[str, LabelledObjects] | None:
    """The objects of each class, and how well they were found; None without labels."""
    if dataset.truth() is None:
        return None
    return {
        name: labelled_objects(dataset.infos, annos, name, dataset.overlap_sets[0])
        for name in dataset.class_names
    }


def _found_shares(objects: dict[str, LabelledObjects]) -> dict[str, float]:
    """Share of each class's objects that were found, by distance."""
    return {
        f"{name}_found/{distance}": share
        for name, of_class in objects.items()
        for distance, share in of_class.by_distance().items()
    }


def _log_to_tensorboard(
    tb_log: Any, results: dict[str, Any], figures: dict[str, Figure], split: str, step: int
) -> None:
    if tb_log is None:
        return
    for name, value in results.items():
        if value is not None:
            tb_log.add_scalar(f"{split}/{name}", value, step)
    for name, figure in figures.items():
        tb_log.add_image(f"{split}/{name}", render(figure), step, dataformats="HWC")


def _draw(
    cfg: EasyDict,
    dataset: Any,
    annos: list[dict],
    num_pictures: int,
    folder: Path,
    tb_log: Any,
    step: int,
) -> None:
    """Draw frames, spread over the split, as PNG files, and for TensorBoard a few in any case."""
    count = num_pictures or (0 if tb_log is None else _TENSORBOARD_PICTURES)
    frames = evenly_spread(count, len(annos)) if count else []
    pictures = draw_frames(
        dataset,
        annos,
        frames,
        cfg.DATA_CONFIG.POINT_CLOUD_RANGE,
        _PICTURE_SCORE,
        cfg.MODEL.TEST.get("USE_RAW_SCORE", True),
    )
    for name, pixels in tqdm(pictures, desc="pictures", total=2 * len(frames), leave=False):
        if num_pictures:
            save_picture(pixels, folder / f"{name}.png")
        if tb_log is not None:
            tag = f"{cfg.MODEL.TEST.SPLIT}/pictures/{name}"
            tb_log.add_image(tag, pixels, step, dataformats="HWC")


def _detect(
    model: nn.Module, dataloader: torch.utils.data.DataLoader, amp: torch.dtype | None
) -> tuple[list[dict], Counter]:
    """Detect on this rank's frames; return annotations and recall counts."""
    model.eval()
    dataset = dataloader.dataset
    annos: list[dict] = []
    counts: Counter = Counter()
    disable = dist.is_initialized() and dist.get_rank() != 0
    for batch in tqdm(dataloader, desc="eval", leave=False, dynamic_ncols=True, disable=disable):
        detections, recall = detect(model, batch, amp)
        counts.update(recall)
        annos += dataset.generate_annotations(batch, detections, dataset.class_names)
    return annos, counts


def _merge_ranks(
    annos: list[dict], counts: Counter, sample_ids: list[str]
) -> tuple[list[dict], Counter]:
    """Gather on rank 0 all annotations in the order of the split, and the summed counts."""
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.gather_object((annos, counts), gathered if dist.get_rank() == 0 else None, dst=0)
    if dist.get_rank() != 0:
        return annos, counts
    by_id = {str(anno["sample_idx"]): anno for part, _ in gathered for anno in part}
    total: Counter = Counter()
    for _, part in gathered:
        total.update(part)  # unlike a sum of counters, this keeps what was counted as 0
    return [by_id[k] for k in sample_ids], total


def _recall(counts: Counter, thresholds: list[float]) -> dict[str, float]:
    total = max(counts["gt"], 1)
    names = [f"{stage}_{t}" for stage in ("roi", "rcnn") for t in thresholds]
    return {f"recall/{name}": counts[name] / total for name in names if name in counts}
