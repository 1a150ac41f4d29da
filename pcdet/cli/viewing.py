"""What view.py does: choose frames and results, and write the page."""

from __future__ import annotations

import argparse
import copy
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pcdet.cli.start import choose_split, read_config
from pcdet.config import cfg
from pcdet.datasets import build_dataloader
from pcdet.utils import log_utils
from pcdet.utils.errors import ConfigError
from pcdet.utils.io_utils import load_pickle
from pcdet.viewer.page import write_page
from pcdet.viewer.results import newest_result, title_of_result
from pcdet.viewer.scene import Scene
from pcdet.viewer.sources import (
    check_frames,
    check_scores,
    evenly_spread,
    scenes_of_split,
    training_scenes,
)


def view(args: argparse.Namespace) -> None:
    """Write the page that the command line asks for."""
    logger = log_utils.create_logger()
    read_config(args)
    if args.split is not None:
        choose_split(args.split)
    build = _training_scenes if args.train_samples is not None else _split_scenes
    scenes, title = build(args, logger)
    if args.rerun is not None:
        from pcdet.viewer.rerun_log import logged

        scenes = logged(scenes, args.rerun, logger)
    size = write_page(scenes, cfg.CLASS_NAMES, args.out, title)
    logger.info("%s: %.1f MB; open it in a browser", args.out, size / 1e6)


def _build_dataset(args: argparse.Namespace, logger: logging.Logger, **options: Any) -> Any:
    """The data set of the split for training or testing."""
    folder = args.data_dir or cfg.ROOT_DIR / cfg.DATA_CONFIG.DATA_DIR
    data_dir = Path(folder).resolve()
    return build_dataloader(data_dir, 1, False, workers=0, logger=logger, **options)[0]


def _split_scenes(args: argparse.Namespace, logger: logging.Logger) -> tuple[Iterator[Scene], str]:
    """Frames of the test split, with the results that were asked for; and the page's title."""
    dataset = _build_dataset(args, logger, training=False)
    results = {}
    logits = cfg.MODEL.TEST.get("USE_RAW_SCORE", True)
    for path in _results_to_show(args, logger):
        annos = load_pickle(path)
        check_frames(annos, dataset, path)
        check_scores(annos, path, logits)
        title = title_of_result(path)
        results[f"{title} (2)" if title in results else title] = annos
    indices = _chosen_indices(dataset.sample_ids, args.ids, args.frames)
    scenes = scenes_of_split(dataset, indices, results, logits, args.whole_scan)
    return scenes, f"{cfg.TAG}, {dataset.split}"


def _results_to_show(args: argparse.Namespace, logger: logging.Logger) -> list[Path]:
    if args.result or args.labels_only:
        return args.result or []
    run_dir = (args.output_dir or cfg.ROOT_DIR / "output") / cfg.TAG / args.extra_tag
    newest = newest_result(run_dir, cfg.MODEL.TEST.SPLIT)
    if newest is None:
        logger.info("%s: no results of the split %r: labels alone", run_dir, cfg.MODEL.TEST.SPLIT)
        return []
    logger.info("detections: %s", newest)
    return [newest]


def _training_scenes(
    args: argparse.Namespace, logger: logging.Logger
) -> tuple[Iterator[Scene], str]:
    """Samples of the training split, before and after augmentation; and the page's title."""
    plain = copy.deepcopy(cfg)
    for section in plain.DATA_CONFIG.AUGMENTATION.values():
        section.ENABLED = False
    options = {"training": True, "seed": args.seed}
    dataset = _build_dataset(args, logger, **options)
    recorded = _build_dataset(args, logger, cfg=plain, **options)
    dataset.set_epoch(args.epoch)
    indices = _chosen_indices(dataset.sample_ids, args.ids, args.train_samples)
    title = f"{cfg.TAG}, training samples, seed {args.seed}, epoch {args.epoch}"
    return training_scenes(dataset, recorded, indices), title


def _chosen_indices(
    names: Sequence[str], wanted: Sequence[str] | None, count: int
) -> Sequence[int]:
    """Indices of the frames that were asked for by name, else spread over all."""
    if wanted is None:
        return evenly_spread(count, len(names))
    index = {name: k for k, name in enumerate(names)}
    for name in wanted:
        if name not in index:
            raise ConfigError(
                f"--ids {name}: no such frame among the {len(names)} of the split, which are "
                f"{names[0]} to {names[-1]}"
            )
    return [index[name] for name in wanted]
