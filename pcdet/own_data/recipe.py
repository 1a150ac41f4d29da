"""The configuration for a folder: a template of the package with numbers from the data."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pcdet.datasets.custom.infos import dbinfos_path, infos_path, lidar_as_camera
from pcdet.evaluation.by_distance import default_overlap
from pcdet.own_data.anchors import ROTATIONS, AnchorChoice, choose_anchors
from pcdet.own_data.grid import Grid, choose_grid
from pcdet.own_data.objects import ObjectTable
from pcdet.utils.box_utils import DIMS, L
from pcdet.utils.kitti_format.calib import Calibration
from pcdet.utils.point_files.fields import intensity_column

# Of each class, objects that a training frame should have, as a factor of those it has on average.
_SAMPLED = 2.0
_SAMPLED_RANGE = (3, 15)
_LEAST_POINTS = 5
# Room for what ground-truth sampling adds.
_VOXEL_ROOM = 1.3
# Of the objects, the share that must stand on the estimated road, within so many metres.
_ON_ROAD, _ROAD_TOLERANCE = 0.8, 0.4
# Standard deviation of a feature times its input scale, as the intensities of second_demo.yaml.
_SPREAD = 0.5
# Steps of training that a network needs at least, by the template's epochs for large data sets.
_LEAST_STEPS = 300


@dataclass(frozen=True)
class FolderFacts:
    """What is known of a folder.

    Attributes:
        data_dir: DATA_DIR.
        columns: names of the numbers of a point.
        columns_from: where they were found.
        objects: of all labelled frames of train and val.
        infos: of the same frames.
        num_train: frames of train.
    """

    data_dir: str
    columns: Sequence[str]
    columns_from: str
    objects: ObjectTable
    infos: Sequence[Mapping[str, Any]]
    num_train: int


def adapt(template: Any, facts: FolderFacts, class_names: Sequence[str]) -> tuple[Any, dict]:
    """Fill a template with numbers from the data.

    Args:
        template: a whole configuration, which is not changed.
        facts: of the folder.
        class_names: the classes to learn.

    Returns:
        The configuration, without MAX_NUMBER_OF_VOXELS, which needs the points; and comments by
        path, see `yaml_text`.
    """
    config, comments = copy.deepcopy(template), {}
    for key in [key for key in config if key not in ("DATA_CONFIG", "MODEL")]:
        del config[key]
    config = type(config)({"CLASS_NAMES": list(class_names), **config})
    known = facts.objects.select(np.isin(facts.objects.name, class_names))
    counts = {name: int((known.name == name).sum()) for name in class_names}
    comments["CLASS_NAMES"] = "objects: " + ", ".join(f"{n} {c}" for n, c in counts.items())
    grid = choose_grid(known, template)
    _set_data(config.DATA_CONFIG, facts, grid, comments)
    _fit_input_scales(config, template.DATA_CONFIG.NUM_POINT_FEATURES.use)
    _set_sampling(config.DATA_CONFIG.AUGMENTATION, facts, known, class_names, comments)
    _set_classes(config.MODEL, known, class_names, grid, comments)
    _set_training(config.MODEL, facts, known, class_names, comments)
    return config, comments


def _set_data(data: Any, facts: FolderFacts, grid: Grid, comments: dict[str, str]) -> None:
    at = "DATA_CONFIG"
    total = len(facts.columns)
    data.DATASET, data.DATA_DIR, data.FOV_POINTS_ONLY = "CustomDataset", facts.data_dir, False
    comments[f"{at}.FOV_POINTS_ONLY"] = "there is no camera"
    data.POINT_COLUMNS = list(facts.columns)
    comments[f"{at}.POINT_COLUMNS"] = f"from {facts.columns_from}"
    intensity = intensity_column(facts.columns)
    use = 3 if intensity is None else intensity + 1
    data.NUM_POINT_FEATURES.update(total=total, use=use)
    if use < total:
        comments[f"{at}.NUM_POINT_FEATURES.use"] = (
            f"up to {facts.columns[use - 1]}, as networks usually have"
            if intensity is not None
            else "x, y, z alone, as no column is called intensity"
        )
    data.POINT_CLOUD_RANGE = grid.range
    data.VOXEL_GENERATOR.VOXEL_SIZE = grid.voxel_size
    comments[f"{at}.POINT_CLOUD_RANGE"] = grid.reasons["range"]
    comments[f"{at}.VOXEL_GENERATOR.VOXEL_SIZE"] = (
        f"{grid.reasons['voxel']}: {' x '.join(map(str, grid.cells))} voxels"
    )
    for mode, split in (("TRAIN", "train"), ("TEST", "val")):
        data[mode].INFO_PATH = [str(infos_path(_Folder(facts.data_dir), split))]


def _fit_input_scales(config: Any, features: int) -> None:
    """Give as many scales as these points have features, where the template's have `features`."""
    if scales := _input_scales(config):
        # After a point's own features come those that an encoder of pillars decorates it with.
        use = config.DATA_CONFIG.NUM_POINT_FEATURES.use
        own = [*scales[:features], *[1.0] * (use - features)][:use]
        config.MODEL.VFE.ARGS.input_scales = [*own, *scales[features:]]


def _input_scales(config: Any) -> list[float]:
    return config.MODEL.VFE.get("ARGS", {}).get("input_scales", [])


class _Folder(str):
    """A folder as the yaml names it, with forward slashes on all systems."""

    def __truediv__(self, name: str) -> str:
        return f"{self}/{name}"


def _set_sampling(
    section: Any,
    facts: FolderFacts,
    objects: ObjectTable,
    class_names: Sequence[str],
    comments: dict[str, str],
) -> None:
    at, sampler = "DATA_CONFIG.AUGMENTATION.DB_SAMPLER", section.DB_SAMPLER
    sampler.DB_INFO_PATH = [dbinfos_path(_Folder(facts.data_dir))]
    sampler.PREPARE = type(section)(
        filter_by_min_points=[f"{name}:{_LEAST_POINTS}" for name in class_names]
    )
    means = {name: (objects.name == name).sum() / len(facts.infos) for name in class_names}
    most = max(means.values())
    # Rare classes aim at half of what the most frequent one aims at, or more.
    wanted = {n: math.ceil(_SAMPLED * max(mean, most / 2)) for n, mean in means.items()}
    low, high = _SAMPLED_RANGE
    sampler.SAMPLE_GROUPS = [f"{n}:{min(max(count, low), high)}" for n, count in wanted.items()]
    comments[f"{at}.SAMPLE_GROUPS"] = "a frame has on average " + ", ".join(
        f"{name} {mean:.1f}" for name, mean in means.items()
    )
    share = share_on_road(facts.infos)
    sampler.USE_ROAD_PLANE = share >= _ON_ROAD
    comments[f"{at}.USE_ROAD_PLANE"] = (
        f"{100 * share:.0f}% of the objects stand within {_ROAD_TOLERANCE} m of the road that is "
        "estimated from the points"
    )


def share_on_road(infos: Sequence[Mapping[str, Any]]) -> float:
    """The share of the objects whose bottoms are near the estimated road."""
    calib: Calibration = lidar_as_camera()
    misses = [np.zeros(0)]
    for info in infos:
        boxes = info["annos"]["gt_boxes_lidar"]
        if "road_plane" in info and len(boxes):
            plane = info["road_plane"]
            misses.append(calib.lidar_to_rect(boxes[:, :3]) @ plane[:3] + plane[3])
    heights = np.abs(np.concatenate(misses))
    return float((heights < _ROAD_TOLERANCE).mean()) if len(heights) else 0.0


def _set_classes(
    model: Any,
    objects: ObjectTable,
    class_names: Sequence[str],
    grid: Grid,
    comments: dict[str, str],
) -> None:
    """Anchors of each class, and sizes where a backbone wants them."""
    targets = model.RPN.RPN_HEAD.TARGET_CONFIG
    at = "MODEL.RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR"
    cell = targets.DOWNSAMPLED_FACTOR * grid.voxel_size[0]
    generators = []
    for k, name in enumerate(class_names):
        choice = choose_anchors(objects.of_class(name), cell)
        generators.append(_generator(name, choice, grid))
        comments[f"{at}.{k}.anchor_range"] = choice.reasons["bottom"]
        comments[f"{at}.{k}.sizes"] = choice.reasons["sizes"]
        comments[f"{at}.{k}.matched_threshold"] = choice.reasons["matched"]
    targets.ANCHOR_GENERATOR = generators
    part_targets = model.RPN.BACKBONE.get("TARGET_CONFIG")
    if part_targets is not None:
        part_targets.MEAN_SIZE = {
            name: [
                round(float(value), 2)
                for value in objects.of_class(name).boxes[:, DIMS].mean(axis=0)
            ]
            for name in class_names
        }


def _generator(name: str, choice: AnchorChoice, grid: Grid) -> dict[str, Any]:
    x0, y0, _, x1, y1, _ = grid.range
    return {
        "anchor_range": [x0, y0, choice.bottom, x1, y1, choice.bottom],
        "sizes": choice.sizes,
        "rotations": list(ROTATIONS),
        "matched_threshold": choice.matched,
        "unmatched_threshold": choice.unmatched,
        "class_name": name,
    }


def _set_training(
    model: Any,
    facts: FolderFacts,
    objects: ObjectTable,
    class_names: Sequence[str],
    comments: dict[str, str],
) -> None:
    optimization, test = model.TRAIN.OPTIMIZATION, model.TEST
    batch = optimization.get("BATCH_SIZE") or 2
    steps = math.ceil(facts.num_train / batch)
    epochs = max(optimization.get("EPOCHS", 80), math.ceil(_LEAST_STEPS / steps))
    optimization.EPOCHS = epochs
    comments["MODEL.TRAIN.OPTIMIZATION.EPOCHS"] = (
        f"{epochs * steps} steps of {batch} of the {facts.num_train} frames"
    )
    model.TRAIN.SPLIT, test.SPLIT = "train", "val"
    test.BOX_FILTER = type(test)(USE_IMAGE_AREA_FILTER=False, LIMIT_RANGE=None)
    lengths = {name: float(np.median(objects.of_class(name).boxes[:, L])) for name in class_names}
    test.EVAL_OVERLAPS = {name: default_overlap(length) for name, length in lengths.items()}
    in_words = ", ".join(f"{name} {length:.1f} m" for name, length in lengths.items())
    comments["MODEL.TEST.EVAL_OVERLAPS"] = f"IoU of a hit, by median length: {in_words}"
    if "MATCHED_THRESHOLD" in model.get("EXTRA_HEAD", {}):
        model.EXTRA_HEAD.MATCHED_THRESHOLD = list(test.EVAL_OVERLAPS.values())
        comments["MODEL.EXTRA_HEAD.MATCHED_THRESHOLD"] = "as EVAL_OVERLAPS, in the order of classes"
    weights = model.LOSSES.LOSS_WEIGHTS
    if isinstance(weights.get("rpn_dir_weight"), list):  # of the template's classes
        weights.rpn_dir_weight = min(weights.rpn_dir_weight)


def set_voxels(config: Any, counts: Sequence[int], comments: dict[str, str]) -> None:
    """Set MAX_NUMBER_OF_VOXELS.

    Args:
        config: from `adapt`; changed here.
        counts: voxels with points in each of some frames.
        comments: from `adapt`; extended here.
    """
    for mode, room in (("TRAIN", _VOXEL_ROOM), ("TEST", 1.1)):
        most = max(1000, math.ceil(room * max(counts) / 1000) * 1000)
        config.DATA_CONFIG[mode].MAX_NUMBER_OF_VOXELS = most
        comments[f"DATA_CONFIG.{mode}.MAX_NUMBER_OF_VOXELS"] = (
            f"of {len(counts)} frames the fullest has {max(counts)}"
        )


def set_input_scales(config: Any, deviations: np.ndarray, comments: dict[str, str]) -> None:
    """Let features beside x, y, z spread as in the template: sensors have units of their own.

    Args:
        config: from `adapt`; changed here if its network multiplies its inputs.
        deviations: (C,) standard deviation of each column of the points.
        comments: from `adapt`; extended here.
    """
    scales, told = _input_scales(config), []
    for k in range(3, config.DATA_CONFIG.NUM_POINT_FEATURES.use) if scales else ():
        name = config.DATA_CONFIG.POINT_COLUMNS[k]
        told.append(f"the standard deviation of {name} is {deviations[k]:.3g}")
        if deviations[k] > 1e-6:  # else it is constant
            scales[k] = float(f"{_SPREAD / deviations[k]:.2g}")
    if told:
        comments["MODEL.VFE.ARGS.input_scales"] = ", ".join(told)
