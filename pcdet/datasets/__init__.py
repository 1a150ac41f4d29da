"""Data sets and the loaders that feed them to the models."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch.distributed as dist_package
from torch.utils.data import DataLoader, Sampler
from torch.utils.data.distributed import DistributedSampler

from pcdet.config import cfg as global_cfg
from pcdet.config.schema import read_config
from pcdet.datasets.dataset import DatasetTemplate
from pcdet.utils.errors import DataError, lookup
from pcdet.utils.paths import root_dir


def _kitti_dataset() -> type[DatasetTemplate]:
    from pcdet.datasets.kitti.kitti_dataset import KittiDataset

    return KittiDataset


def _custom_dataset() -> type[DatasetTemplate]:
    from pcdet.datasets.custom.custom_dataset import CustomDataset

    return CustomDataset


# Imported when asked for, as `python -m` runs the module of a data set on its own.
_DATASETS: Mapping[str, Callable[[], type[DatasetTemplate]]] = {
    "KittiDataset": _kitti_dataset,
    "CustomDataset": _custom_dataset,
}


class EveryKthSampler(Sampler):
    """Frames rank, rank + K, rank + 2K, ... of K ranks: each frame once."""

    def __init__(self, num_frames: int, num_replicas: int = 1, rank: int = 0) -> None:
        self._indices = range(rank, num_frames, num_replicas)

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)


class ResumableSampler(DistributedSampler):
    """A DistributedSampler whose next pass can begin within the epoch."""

    _skipped = 0

    def skip(self, num_samples: int) -> None:
        """Skip so many samples of this rank, once, at the start of the next pass."""
        self._skipped = num_samples

    def __iter__(self) -> Iterator[int]:
        skipped, self._skipped = self._skipped, 0
        return islice(super().__iter__(), skipped, None)


def leave_interrupts_to_parent(worker: int) -> None:
    """Let a worker process live through Ctrl-C and SIGTERM that go to a whole group of processes.

    The training saves a checkpoint then, for which it may still need a batch, and ends its workers
    itself: a SIGTERM of the parent is obeyed.
    """
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def obey_parent() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
            pass
        os._exit(0)

    threading.Thread(target=obey_parent, daemon=True).start()


def _worker_context() -> str | None:
    """How workers start: forked on Linux, as Python's default is before 3.14.

    They then have the log of this process, and obey its signals: it is their parent.
    """
    return "fork" if sys.platform == "linux" else None


def build_dataloader(
    data_dir: str | Path,
    batch_size: int,
    dist: bool,
    workers: int = 4,
    logger: logging.Logger | None = None,
    training: bool = True,
    cfg: Mapping[str, Any] | None = None,
    seed: int | None = None,
    pin_memory: bool = False,
) -> tuple[DatasetTemplate, DataLoader, Sampler]:
    """Make the data set that the config names, and a loader of its batches.

    For training, call `dataset.set_epoch(epoch)` and `sampler.set_epoch(epoch)` before each epoch:
    order and augmentation then depend on the seed and the epoch alone, not on the number of
    workers or on earlier epochs. For testing, the frames come in order, and each of K ranks gets
    every K-th one.

    Args:
        data_dir: folder of the data set; a relative one starts at `root_dir()`.
        batch_size: samples of a batch, on each rank.
        dist: share the frames among the ranks of torch's process group.
        workers: processes that make samples; 0 makes them in this process.
        logger: where warnings about the data go.
        training: use the split and the settings for training, else those for testing.
        cfg: the whole config; None for the global one.
        seed: decides the order and the augmentation of all epochs; None for torch's seed,
            in training with `dist` that of rank 0.
        pin_memory: for a GPU, make batches of tensors and pin them in a thread of the loader.

    Returns:
        The data set, the loader of batches (see `DatasetTemplate.collate_batch`) and its sampler.

    Raises:
        ConfigError: a key or a value of the config does not fit.
        DataError: a file of the data set cannot be read, or the split has no frame.
    """
    dataset = _make_dataset(data_dir, global_cfg if cfg is None else cfg, training, logger)
    dataset.seed = _seed_of_rank_0(dataset.seed, dist and training) if seed is None else seed
    sampler = _make_sampler(dataset, training, dist)
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=dataset.collate_tensors if pin_memory else dataset.collate_batch,
        pin_memory=pin_memory,
        persistent_workers=training and workers > 0,
        worker_init_fn=leave_interrupts_to_parent if training else None,
        multiprocessing_context=_worker_context() if workers else None,
    )
    return dataset, loader, sampler


def _make_dataset(
    data_dir: str | Path, cfg: Mapping[str, Any], training: bool, logger: logging.Logger | None
) -> DatasetTemplate:
    """The data set that the config names, on its split for training or for testing."""
    config = read_config(cfg)
    dataset_class = lookup(_DATASETS, config.DATA_CONFIG.DATASET, "DATA_CONFIG.DATASET")()
    split = (config.MODEL.TRAIN if training else config.MODEL.TEST).SPLIT
    root_path = Path(cfg.get("ROOT_DIR", root_dir())) / data_dir
    dataset = dataset_class(
        root_path=root_path,
        class_names=config.CLASS_NAMES,
        split=split,
        training=training,
        logger=logger,
        cfg=cfg,
    )
    if not len(dataset):
        raise DataError(f"{root_path}: split {split!r} has no frame")
    return dataset


def _seed_of_rank_0(seed: int, dist: bool) -> int:
    """By seeds of their own the ranks would not divide one order of the frames."""
    seeds = [seed]
    if dist:
        dist_package.broadcast_object_list(seeds, src=0)
    return seeds[0]


def _make_sampler(dataset: DatasetTemplate, training: bool, dist: bool) -> Sampler:
    """The frames of this rank: in a random order for training, in that of the split for testing."""
    replicas = dist_package.get_world_size() if dist else 1
    rank = dist_package.get_rank() if dist else 0
    if training:
        return ResumableSampler(dataset, replicas, rank, shuffle=True, seed=dataset.seed)
    return EveryKthSampler(len(dataset), replicas, rank)
