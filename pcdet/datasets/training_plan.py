"""What a training is about to learn from, and whether that is anything at all.

Told before the first step: a training on frames without objects or points runs to its end as any
other.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pcdet.datasets.dataset import DatasetTemplate
from pcdet.datasets.processor.voxel_generator import VoxelGenerator
from pcdet.utils.array_utils import mask_points_by_range
from pcdet.utils.box_utils import CENTER, Z, mask_boxes_outside_range
from pcdet.utils.data_report import describe_scan, other_names
from pcdet.utils.errors import ConfigError, DataError

# Frames whose points and voxels are looked at; they are read only for that.
_NUM_FRAMES = 4
_MANY_DROPPED = 0.05
# Metres from the bottoms of anchors to those of most objects; KITTI's pedestrians are 1.1 m below.
OFF_ANCHORS = 1.6


@dataclass(frozen=True)
class Objects:
    """The labelled objects of all frames: what there is, and what is left to learn from.

    Attributes:
        num_frames: of the training.
        found: objects by class, of any class, after CLASS_MAP.
        kept: objects of CLASS_NAMES that lie wholly in POINT_CLOUD_RANGE.
        bottoms: median z of the objects of each class of CLASS_NAMES, LiDAR frame.
        middle: median x, y, z of all objects, (3,); None if there is none.
    """

    num_frames: int
    found: Counter
    kept: Counter
    bottoms: dict[str, float]
    middle: list[float] | None


def count_labelled(dataset: DatasetTemplate) -> Objects | None:
    """Count the labelled objects by the infos of a data set; None if these do not have them."""
    infos = getattr(dataset, "infos", [])
    labelled = [dataset.labelled_objects(k) for k in range(len(infos))]
    if not labelled or any(pair is None for pair in labelled):
        return None
    names = np.concatenate([np.zeros(0, np.str_), *(names for names, _ in labelled)])
    names = dataset.learned_names(names)
    boxes = np.concatenate([np.zeros((0, 7)), *(boxes for _, boxes in labelled)])
    kept = np.isin(names, dataset.class_names)
    kept[kept] = mask_boxes_outside_range(boxes[kept], dataset.point_cloud_range)
    bottoms = {
        name: float(np.median(boxes[names == name, Z]))
        for name in dataset.class_names
        if (names == name).any()
    }
    middle = np.median(boxes[:, CENTER], axis=0).round(1).tolist() if len(boxes) else None
    found, left = Counter(names.tolist()), Counter(names[kept].tolist())
    return Objects(len(infos), found, left, bottoms, middle)


def tell_plan(
    dataset: DatasetTemplate,
    anchors: Mapping[str, Sequence[float]],
    logger: logging.Logger,
    allow_empty: bool = False,
) -> None:
    """Log what a training is about to learn from.

    Args:
        dataset: of the training, `configure`d.
        anchors: z of the bottoms of each class's anchors.
        logger: where the plan goes.
        allow_empty: go on, with a warning, where a class has no object.

    Raises:
        ConfigError: a class has no object, no box is in the range, or a class of the ground-truth
            sampling is known nowhere.
        DataError: no point is in the range.
    """
    objects = count_labelled(dataset)
    if objects is not None:
        _tell_objects(objects, dataset, logger)
        _check_classes(objects, dataset, logger, allow_empty)
        _check_anchors(objects, anchors, logger)
    _check_sampler(dataset, objects, logger, allow_empty)
    _tell_voxels(dataset, logger)


def _tell_objects(objects: Objects, dataset: DatasetTemplate, logger: logging.Logger) -> None:
    kept = ", ".join(
        f"{name} {objects.kept[name]} of {objects.found[name]}" for name in dataset.class_names
    )
    others = {k: v for k, v in objects.found.items() if k not in dataset.class_names}
    more = f"; not learned: {', '.join(f'{k} {v}' for k, v in others.items())}" if others else ""
    logger.info("plan: %d frames; objects in range: %s%s", objects.num_frames, kept, more)


def _check_classes(
    objects: Objects, dataset: DatasetTemplate, logger: logging.Logger, allow_empty: bool
) -> None:
    """Complain of classes without objects to learn from."""
    frames = f"the {objects.num_frames} training frames"
    problems = [
        f"CLASS_NAMES: no object of {name!r} in {frames}; {other_names(name, objects.found)}"
        for name in dataset.class_names
        if not objects.found[name]
    ]
    told = f"lies wholly in POINT_CLOUD_RANGE {list(dataset.point_cloud_range)}"
    remedy = "change the range, or move points and labels"
    if objects.found and not objects.kept and not problems:
        problems.append(
            f"no object of CLASS_NAMES in {frames} {told}; the median of all objects is "
            f"{objects.middle}: {remedy}"
        )
    _complain(problems, logger, allow_empty)
    for name in dataset.class_names:
        if objects.kept and objects.found[name] and not objects.kept[name]:
            count = objects.found[name]
            logger.warning("none of the %d objects of %s %s: %s", count, name, told, remedy)


def _complain(problems: Sequence[str], logger: logging.Logger, allow_empty: bool) -> None:
    """Raise a ConfigError with the first problem, or warn of them all."""
    if problems and not allow_empty:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ConfigError(f"{problems[0]}{more}; --allow_empty_classes trains all the same")
    for problem in problems:
        logger.warning("%s", problem)


def _check_anchors(
    objects: Objects, anchors: Mapping[str, Sequence[float]], logger: logging.Logger
) -> None:
    for name, bottom in objects.bottoms.items():
        heights = anchors.get(name, ())
        if heights and min(abs(bottom - z) for z in heights) > OFF_ANCHORS:
            logger.warning(
                "objects of %s stand at z %.1f m (median), its anchors at %s: correct anchor_range",
                *(name, bottom, ", ".join(f"{z:.1f}" for z in heights)),
            )


def _check_sampler(
    dataset: DatasetTemplate, objects: Objects | None, logger: logging.Logger, allow_empty: bool
) -> None:
    """Complain of classes that the ground-truth sampling names and no one knows."""
    sampler = dataset.db_sampler
    if sampler is None:
        return
    there = sampler.num_objects | (objects.found if objects is not None else Counter())
    problems = [
        f"DB_SAMPLER.{key}: class {name!r} is neither in CLASS_NAMES nor in the data; "
        f"{other_names(name, there)}"
        for key, names in sampler.named_classes.items()
        for name in names
        if name not in dataset.class_names and not there[name]
    ]
    _complain(problems, logger, allow_empty)


def _tell_voxels(dataset: DatasetTemplate, logger: logging.Logger) -> None:
    """Log how many voxels some frames have, and how many points find no room in them."""
    chosen = np.unique(np.linspace(0, len(dataset) - 1, _NUM_FRAMES).astype(int)).tolist()
    counts, points, lost = [], 0, 0
    for index in chosen:
        sample = dataset[index]
        counts.append(len(sample["coordinates"]))
        inside = mask_points_by_range(sample["points"], dataset.point_cloud_range)
        points += len(inside)
        lost += _num_dropped(inside, sample["coordinates"], dataset.voxel_generator)
    most, share = dataset.voxel_generator.max_voxels, lost / max(points, 1)
    between = " to ".join(map(str, sorted({min(counts), max(counts)})))
    logger.info(
        "plan: %s voxels in each of %d frames, MAX_NUMBER_OF_VOXELS %d, which drops %.1f %% of the "
        "points in range",
        *(between, len(chosen), most, 100 * share),
    )
    if not any(counts):
        raise DataError(_no_points(dataset, chosen))
    if share > _MANY_DROPPED:
        logger.warning(
            "%.0f %% of the points are dropped, as frames have more than MAX_NUMBER_OF_VOXELS, %d: "
            "raise it in DATA_CONFIG.TRAIN, or take larger voxels",
            *(100 * share, most),
        )


def _num_dropped(points: np.ndarray, coordinates: np.ndarray, voxels: VoxelGenerator) -> int:
    """How many points (N, 3 + C) in range are in none of the voxels (V, 3) [z, y, x]."""
    if len(coordinates) < voxels.max_voxels:
        return 0
    steps = np.array([1, voxels.grid_size[0], voxels.grid_size[0] * voxels.grid_size[1]])
    cells = np.floor((points[:, :3] - voxels.point_cloud_range[:3]) / voxels.voxel_size)
    kept = np.isin(cells.astype(np.int64) @ steps, coordinates[:, ::-1].astype(np.int64) @ steps)
    return int((~kept).sum())


def _no_points(dataset: DatasetTemplate, chosen: Sequence[int]) -> str:
    """The message for frames without any point in range."""
    told = f"no point of {len(chosen)} frames lies in POINT_CLOUD_RANGE"
    told += f" {list(dataset.point_cloud_range)}"
    name, read = dataset.sample_ids[chosen[0]], getattr(dataset, "get_lidar", None)
    scan = describe_scan(read(name)) if read is not None else None
    if scan is not None and scan.count:
        low, high = ([round(v, 1) for v in side] for side in (scan.low, scan.high))
        told += f"; those of frame {name} lie from {low} to {high}"
    return f"{told}: change the range, or move points (metres around the sensor) and labels"
