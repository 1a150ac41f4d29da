"""Evaluation of one set of weights on a split."""

from __future__ import annotations

import logging
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from easydict import EasyDict
from torch import nn
from tqdm import tqdm

from pcdet.models import example_convert_to_torch
from pcdet.utils.io_utils import save_pickle


def eval_one_epoch(
    cfg: EasyDict,
    model: nn.Module,
    dataloader: torch.utils.data.DataLoader,
    epoch_id: str | int,
    logger: logging.Logger,
    dist_test: bool = False,
    save_to_file: bool = False,
    result_dir: Path | None = None,
) -> dict[str, Any]:
    """Detect on all frames and score the result.

    Args:
        cfg: recall thresholds are read from MODEL.TEST.
        model: put into evaluation mode here.
        dataloader: gives each frame once, over all processes together.
        epoch_id: for the log.
        logger: the table goes here.
        dist_test: one of several processes; results are merged on rank 0.
        save_to_file: write the detections as KITTI txt files into result_dir/final_result/data.
        result_dir: folder of result.pkl and of those files.

    Returns:
        Recall and AP by name; empty on ranks other than 0.
    """
    dataset = dataloader.dataset
    result_dir = Path(result_dir or ".")
    output_dir = result_dir / "final_result" / "data"
    logger.info("*************** EPOCH %s EVALUATION *****************", epoch_id)
    begun = time.perf_counter()
    annos, counts = _detect(model, dataloader, save_to_file, output_dir)
    seconds = time.perf_counter() - begun
    if dist_test:
        annos, counts = _merge_ranks(annos, counts, dataset.sample_ids)
        if dist.get_rank() != 0:
            return {}
    logger.info(
        "%d frames, %d objects, %.4f seconds a frame",
        len(annos), sum(len(anno["name"]) for anno in annos), seconds / max(len(dataloader), 1)
        / (dataloader.batch_size or 1),
    )  # fmt: skip
    results = _recall(counts, cfg.MODEL.TEST.get("RECALL_THRESH_LIST", ()))
    for name, value in results.items():
        logger.info("%s: %.4f", name, value)
    save_pickle(annos, result_dir / "result.pkl")
    table, ap_dict = dataset.evaluation(annos, dataset.class_names)
    logger.info("\n%s", table)
    logger.info("results are in %s", result_dir)
    return {**results, **ap_dict}


@torch.inference_mode()
def _detect(
    model: nn.Module,
    dataloader: torch.utils.data.DataLoader,
    save_to_file: bool,
    output_dir: Path,
) -> tuple[list[dict], Counter]:
    """Annotations of this process's frames, and recall counts."""
    model.eval()
    dataset, device = dataloader.dataset, next(model.parameters()).device
    annos: list[dict] = []
    counts: Counter = Counter()
    disable = dist.is_initialized() and dist.get_rank() != 0
    for batch in tqdm(dataloader, desc="eval", leave=False, dynamic_ncols=True, disable=disable):
        detections, recall = model(example_convert_to_torch(batch, device=device))
        counts.update(recall)
        annos += dataset.generate_annotations(
            batch, detections, dataset.class_names, save_to_file=save_to_file, output_dir=output_dir
        )
    return annos, counts


def _merge_ranks(
    annos: list[dict], counts: Counter, sample_ids: list[str]
) -> tuple[list[dict], Counter]:
    """All ranks' annotations in the order of the split, each frame once, and summed counts."""
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, (annos, counts))
    by_id = {str(anno["sample_idx"]): anno for part, _ in gathered for anno in part}
    return [by_id[k] for k in sample_ids], sum((c for _, c in gathered), Counter())


def _recall(counts: Counter, thresholds: list[float]) -> dict[str, float]:
    total = max(counts["gt"], 1)
    names = [f"{stage}_{t}" for stage in ("roi", "rcnn") for t in thresholds]
    return {f"recall/{name}": counts[name] / total for name in names if name in counts}
