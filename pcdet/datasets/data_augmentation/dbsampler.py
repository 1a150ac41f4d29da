"""Ground-truth sampling: objects of other frames, put into a frame where there is room."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pcdet.datasets.data_augmentation.collision import select_free_boxes
from pcdet.utils.array_utils import FinitePoints
from pcdet.utils.box_utils import BOX, CENTER, DIMS, Z
from pcdet.utils.errors import DataError
from pcdet.utils.file_checks import check_array
from pcdet.utils.io_utils import LARGEST_NUMBER, load_pickle, regular_file_size
from pcdet.utils.kitti_format.planes import heights_above_plane
from pcdet.utils.point_files import read_rows
from pcdet.utils.preparing_commands import command_for

if TYPE_CHECKING:
    from pcdet.utils.kitti_format.calib import Calibration

_LEAST_FOR_BOTTOM = 10
_INFO_KEYS = ("name", "path", "box3d_lidar", "num_points_in_gt", "difficulty")


def packed_points_path(db_info_path: str | Path) -> Path:
    """Return the file with all objects' points of a database, beside its kitti_dbinfos_*.pkl.

    It is a NumPy file kitti_gt_points_*.npy, (T, C) float32, the points relative to their box's
    bottom centre and not turned. The objects follow each other as in the infos, class by class,
    each with `num_points_in_gt` rows. A database that PCDet made has no such file.
    """
    path = Path(db_info_path)
    return path.with_name(path.stem.replace("dbinfos", "gt_points") + ".npy")


@dataclass
class _Objects:
    """The objects of one class.

    Attributes:
        infos: their database infos.
        boxes: (K, 7) float64 LiDAR boxes.
        databases: (K,) number of the database that an object is from.
        first_rows: (K,) first row of an object's points in the packed file.
    """

    infos: list[dict[str, Any]]
    boxes: np.ndarray
    databases: np.ndarray
    first_rows: np.ndarray

    def __len__(self) -> int:
        return len(self.infos)


class DataBaseSampler:
    """Draws objects from databases of labelled objects and their points.

    Attributes:
        named_classes: key of the yaml to the classes that it names.
        num_objects: objects of each class in the databases.
    """

    def __init__(
        self,
        db_info_paths: Sequence[str | Path],
        class_names: Sequence[str],
        prepare: Mapping[str, Any],
        sample_groups: Sequence[str],
        rate: float = 1.0,
        use_road_plane: bool = False,
        logger: logging.Logger | None = None,
    ) -> None:
        """Read the database infos and drop the objects that `prepare` rules out.

        Args:
            db_info_paths: kitti_dbinfos_*.pkl files.
            class_names: classes of the model; groups of other classes are skipped, with a warning.
            prepare: filter_by_difficulty, a list of difficulties to drop; filter_by_min_points,
                entries such as `Car:5`.
            sample_groups: entries such as `Car:15`, the number of objects that a frame should
                have with its own ones counted.
            rate: the share of the missing objects to add.
            use_road_plane: put the objects on the ground of the frame.
            logger: where the sizes of the database go, and warnings of groups that have nothing to
                sample.

        Raises:
            DataError: an info file is missing, damaged, or lacks a key.
        """
        self.logger = logger or logging.getLogger(__name__)
        self.use_road_plane = use_road_plane
        self._rate = rate
        self._paths = [Path(path) for path in db_info_paths]
        groups = _named_numbers(sample_groups)
        self.named_classes = {
            "SAMPLE_GROUPS": list(groups),
            "PREPARE.filter_by_min_points": list(
                _named_numbers(prepare.get("filter_by_min_points") or [])
            ),
        }
        self.num_objects: Counter = Counter()
        self._groups = {name: count for name, count in groups.items() if name in class_names}
        is_wanted = _object_filter(prepare)
        found: dict[str, list[tuple]] = {name: [] for name in self._groups}
        self._num_rows = []
        for number, path in enumerate(self._paths):
            row = 0
            for info in _read_infos(path):
                if info["name"] in found and is_wanted(info):
                    found[info["name"]].append((info, number, row))
                row += int(info["num_points_in_gt"])
                self.num_objects[str(info["name"])] += 1
            self._num_rows.append(row)
        self._objects = {name: _gather(entries) for name, entries in found.items()}
        self._tell_sizes(groups)
        # Opened by the process that uses it: a mapped file would be copied into every worker.
        self._mapped: dict[int, np.ndarray | None] = {}
        self._finite_points = FinitePoints()

    def _tell_sizes(self, groups: Mapping[str, int]) -> None:
        """Log how many objects of each group there are, and warn of groups without any."""
        for name, count in groups.items():
            if name not in self._objects:
                self.logger.warning(
                    "DB_SAMPLER.SAMPLE_GROUPS: %s is not in CLASS_NAMES: none is sampled", name
                )
            elif count and not len(self._objects[name]):
                self.logger.warning(
                    "DB_SAMPLER.SAMPLE_GROUPS: no %s is sampled: none of the %d in the database "
                    "passes DB_SAMPLER.PREPARE",
                    *(name, self.num_objects[name]),
                )
            else:
                self.logger.info(
                    "Database %s: %d objects to sample from", name, len(self._objects[name])
                )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mapped": {}}

    def sample_all(
        self,
        root_path: str | Path,
        gt_boxes: np.ndarray,
        gt_names: np.ndarray,
        road_planes: np.ndarray | None = None,
        num_point_features: int = 4,
        calib: Calibration | None = None,
        rng: np.random.Generator | None = None,
    ) -> dict[str, np.ndarray] | None:
        """Draw objects that collide with no object of the frame and with none drawn before.

        Args:
            root_path: folder that the paths in the database infos start from.
            gt_boxes: (M, 7) LiDAR boxes of the frame, of any class.
            gt_names: (M,) their names.
            road_planes: (4,) ground plane [a, b, c, d] in the rectified camera frame, for a
                sampler with `use_road_plane`.
            num_point_features: features of a point in the database.
            calib: of the frame, needed with `road_planes`.
            rng: random numbers; None for fresh ones.

        Returns:
            None if there is nothing to add, else a dict of gt_names (S,), difficulty (S,) int32,
            gt_boxes (S, 7) float64, points (N, C) float32 in the LiDAR frame, and gt_masks (S,),
            all true: objects of the model's classes.

        Raises:
            DataError: the points of an object cannot be read.
        """
        rng = np.random.default_rng() if rng is None else rng
        taken = np.ascontiguousarray(gt_boxes[:, BOX], dtype=np.float64)
        drawn, boxes = self._draw(taken, gt_names, rng)
        if not drawn:
            return None
        points = [
            self._object_points(objects, k, root_path, num_point_features) for objects, k in drawn
        ]
        counts = [len(p) for p in points]
        shift = boxes[:, CENTER].copy()
        if self.use_road_plane and road_planes is not None:
            heights = heights_above_plane(boxes, road_planes, calib)
            boxes[:, Z] -= heights
            shift[:, Z] -= heights
        points = np.concatenate(points)
        points[:, CENTER] += np.repeat(shift, counts, axis=0).astype(points.dtype)
        infos = [objects.infos[k] for objects, k in drawn]
        return {
            "gt_names": np.array([info["name"] for info in infos]),
            "difficulty": np.array([info["difficulty"] for info in infos], dtype=np.int32),
            "gt_boxes": boxes,
            "points": points,
            "gt_masks": np.ones(len(boxes), dtype=bool),
        }

    def _draw(
        self, taken: np.ndarray, gt_names: np.ndarray, rng: np.random.Generator
    ) -> tuple[list[tuple[_Objects, int]], np.ndarray]:
        """Objects and their boxes (S, 7) that are clear of the boxes (M, 7) and of each other."""
        drawn, num_fixed = [], len(taken)
        for name, count in self._groups.items():
            objects = self._objects[name]
            missing = round(self._rate * (count - np.count_nonzero(gt_names == name)))
            if missing <= 0 or not len(objects):
                continue
            chosen = rng.permutation(len(objects))[:missing]
            together = np.concatenate((taken, objects.boxes[chosen]))
            chosen = chosen[select_free_boxes(together, len(taken))]
            taken = np.concatenate((taken, objects.boxes[chosen]))
            drawn.extend((objects, k) for k in chosen)
        return drawn, taken[num_fixed:]

    def _object_points(
        self, objects: _Objects, k: int, root_path: str | Path, num_point_features: int
    ) -> np.ndarray:
        """(n, C) float32 points of an object relative to its box's bottom centre."""
        info, database = objects.infos[k], int(objects.databases[k])
        count = int(info["num_points_in_gt"])
        if database not in self._mapped:
            self._mapped[database] = _map_points(
                self._paths[database], self._num_rows[database], num_point_features
            )
        packed = self._mapped[database]
        if packed is not None:
            first = objects.first_rows[k]
            points = packed[first : first + count]
        else:
            points = _read_object(Path(root_path) / info["path"], count, num_point_features)
            _check_bottom(points, info)
        return self._finite_points(points, f"object {info['path']}", self.logger)


def _named_numbers(entries: Sequence[str]) -> dict[str, int]:
    """Entries such as `Car:15` as {class name: number}."""
    pairs = (entry.rpartition(":") for entry in entries)
    return {name.strip(): int(number) for name, _, number in pairs}


def _object_filter(prepare: Mapping[str, Any]) -> Any:
    """A function that tells from an object's info whether to keep it."""
    dropped = prepare.get("filter_by_difficulty") or []
    min_points = _named_numbers(prepare.get("filter_by_min_points") or [])

    def is_wanted(info: Mapping[str, Any]) -> bool:
        enough = info["num_points_in_gt"] >= min_points.get(info["name"], 0)
        return enough and info["difficulty"] not in dropped

    return is_wanted


def _read_infos(path: Path) -> list[dict[str, Any]]:
    """The infos of all objects of a database, in the order of the file."""
    if not path.exists():
        raise DataError(
            f"{path}: the database infos for ground-truth sampling are missing; make them with "
            f"`{command_for(path)}`"
        )
    database = load_pickle(path)
    try:
        if not isinstance(database, dict):
            raise ValueError(f"it is a {type(database).__name__}")
        for name, objects in database.items():
            if not isinstance(objects, list):
                raise ValueError(f"{name!r} is a {type(objects).__name__}")
            for info in objects:
                _check_object(info)
    except ValueError as error:
        raise DataError(
            f"{path}: expected a dict of lists of object infos, each with {list(_INFO_KEYS)}; "
            f"got one that does not fit: {error}"
        ) from error
    return [info for objects in database.values() for info in objects]


def _check_object(info: Any) -> None:
    """Raise a ValueError that says what of an object's info is missing or does not fit."""
    for key in _INFO_KEYS:
        if not isinstance(info, dict) or key not in info:
            raise ValueError(f"no {key!r}")
    for key in ("name", "path"):
        if not isinstance(info[key], str) or not info[key].isprintable():
            raise ValueError(f"{key!r} is not a printable string")
    for key in ("num_points_in_gt", "difficulty"):
        if not isinstance(info[key], (int, np.integer)) or abs(int(info[key])) > LARGEST_NUMBER:
            raise ValueError(f"{key!r} is not a valid integer")
    if info["num_points_in_gt"] < 0:
        raise ValueError("'num_points_in_gt' is negative")
    check_array(info["box3d_lidar"], "box3d_lidar", (7,))
    if not (info["box3d_lidar"][DIMS] > 0).all():
        raise ValueError(f"'box3d_lidar' has a size <= 0: {info['box3d_lidar'].tolist()}")


def _gather(entries: Sequence[tuple[dict[str, Any], int, int]]) -> _Objects:
    infos, databases, first_rows = ([entry[k] for entry in entries] for k in range(3))
    boxes = np.array([info["box3d_lidar"] for info in infos], dtype=np.float64).reshape(-1, 7)
    return _Objects(infos, boxes, np.array(databases), np.array(first_rows))


def _map_points(db_info_path: Path, num_rows: int, num_features: int) -> np.ndarray | None:
    """The packed points of a database as a mapped file, or None if there is none."""
    path = packed_points_path(db_info_path)
    if not path.exists():
        return None
    expected = f"expected float32 of shape ({num_rows}, {num_features}) for {db_info_path.name}"
    remedy = "make the database again, or delete this file"
    regular_file_size(path, "points of the database")
    try:
        points = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # a damaged header may raise anything
        reason = error or type(error).__name__
        raise DataError(f"{path}: {expected}: {reason}; {remedy}") from error
    if points.shape != (num_rows, num_features) or points.dtype != np.float32:
        raise DataError(f"{path}: {expected}, got {points.dtype} {points.shape}; {remedy}")
    return points


def _check_bottom(points: np.ndarray, info: Mapping[str, Any]) -> None:
    """Raise a DataError if an object's points lie around its middle and not above its bottom."""
    if len(points) >= _LEAST_FOR_BOTTOM and np.median(points[:, Z]) < 0:
        raise DataError(
            f"{info['path']}: expected points above the bottom of their box, got most below it: "
            "the database is of a program that gives boxes by their middle, such as OpenPCDet 0.3 "
            "or later: make it again"
        )


def _read_object(path: Path, count: int, num_features: int) -> np.ndarray:
    """The points of an object from its own file."""
    points = read_rows(path, num_features)
    if len(points) != count:
        raise DataError(f"{path}: expected {count} points, got {len(points)}")
    return points
