"""The database of labelled objects that ground-truth sampling pastes into other frames.

For each object a small file `gt_database/<id>_<class>_<k>.bin`, as PCDet has it, one list of all
objects (the dbinfos), and beside it one packed file of all their points, which the sampler maps
into memory instead of opening thousands of files (its form: `dbsampler.packed_points_path`).
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from pcdet.datasets.data_augmentation.dbsampler import packed_points_path
from pcdet.utils.box_utils import CENTER
from pcdet.utils.errors import DataError
from pcdet.utils.frame_pool import map_frames
from pcdet.utils.io_utils import atomic_write, save_pickle
from pcdet.utils.object_points import points_of_boxes

# Of a frame's annos, what is known of each object besides, where there is such.
_FURTHER_KEYS = ("difficulty", "bbox", "score")
# A folder beside the database; one that a killed run left is removed by the next.
_UNFINISHED = ".unfinished_database"
# The dbinfo of an object, and its points.
CutObject: TypeAlias = "tuple[dict[str, Any], np.ndarray]"


class PointReader(Protocol):
    """Reads the points of a frame."""

    def get_lidar(self, idx: str) -> np.ndarray:
        """Read the (N, 3 + C) float32 points, LiDAR frame, metres."""


def create_database(
    dataset: PointReader,
    infos: Sequence[dict[str, Any]],
    folder: Path,
    dbinfos_path: Path,
    num_features: int,
    used_classes: Sequence[str] | None = None,
    num_workers: int = 4,
) -> dict[str, int]:
    """Cut all labelled objects out of frames, for ground-truth sampling; within `preparing`.

    Args:
        dataset: reads the points.
        infos: of the frames, with `annos`.
        folder: where the small files go.
        dbinfos_path: the list of the objects; the packed points go beside it.
        num_features: numbers of each point.
        used_classes: classes to list; None for all.
        num_workers: processes at most.

    Returns:
        The number of objects of each class.

    Raises:
        DataError: the points of a frame cannot be read.
    """
    frames = [info["point_cloud"]["lidar_idx"] for info in infos]
    with unfinished_folder(folder) as unfinished:
        work = functools.partial(_read_and_cut, dataset=dataset, folder=unfinished)
        found = map_frames(work, infos, frames, num_workers, f"objects for {folder.name}")
        objects = [entry for entries in found for entry in entries]
    return save_database(objects, dbinfos_path, num_features, used_classes)


def _read_and_cut(info: dict[str, Any], dataset: PointReader, folder: Path) -> list[CutObject]:
    return write_frame_objects(info, dataset.get_lidar(info["point_cloud"]["lidar_idx"]), folder)


def save_database(
    objects: Iterable[CutObject],
    dbinfos_path: Path,
    num_features: int,
    used_classes: Sequence[str] | None = None,
) -> dict[str, int]:
    """Write the list of objects that `write_frame_objects` cut out, and their packed points.

    Args:
        objects: of all frames.
        dbinfos_path: the list; the packed points go beside it.
        num_features: numbers of each point.
        used_classes: classes to list; None for all.

    Returns:
        The number of objects of each class.
    """
    dbinfos, points = group_by_class(objects, used_classes)
    with atomic_write(packed_points_path(dbinfos_path)) as file:
        np.save(file, points.reshape(-1, num_features))
    save_pickle(dbinfos, dbinfos_path)
    return {name: len(entries) for name, entries in dbinfos.items()}


def database_dir(root: str | os.PathLike, split: str) -> Path:
    """Return the folder of the small files."""
    return Path(root) / ("gt_database" if split == "train" else f"gt_database_{split}")


@contextmanager
def preparing(folder: Path) -> Iterator[None]:
    """Hold the lock of a database and of the infos beside it, where the file system has locks.

    Args:
        folder: of the small files. The lock is that of the folder in which they lie, or to whose
            disk a link leads: nobody removes it, so there is but one.

    Raises:
        DataError: another preparation is at work there.
    """
    parent = Path(os.path.realpath(folder)).parent
    parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(parent, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            told = "another preparation is at work there; wait until it is done"
            raise DataError(f"{parent}: {told}") from error
        except OSError:  # the file system has no locks
            pass
        yield
    finally:
        os.close(handle)


@contextmanager
def unfinished_folder(folder: Path) -> Iterator[Path]:
    """A folder of the same name for small files, which move to `folder` if the body succeeds.

    So a preparation that fails leaves the database of an earlier one as it was. Where `folder` is a
    link, they are beside what it points to, as files move within a disk alone. Only within
    `preparing`: what lies there from another run is removed.
    """
    folder = Path(os.path.realpath(folder))
    parent = folder.parent / _UNFINISHED
    unfinished = parent / folder.name
    shutil.rmtree(unfinished, ignore_errors=True)  # of one that was killed
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        folder.mkdir(exist_ok=True)
        for path in unfinished.iterdir():
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(parent, ignore_errors=True)


def write_frame_objects(info: dict[str, Any], points: np.ndarray, folder: Path) -> list[CutObject]:
    """Cut the labelled objects out of a frame and write their small files.

    Args:
        info: of the frame, with `annos`.
        points: (N, 3 + C) float32, those of the frame.
        folder: where the small files go, see `unfinished_folder`.

    Returns:
        For each object its dbinfo (name, path, image_idx, gt_idx, box3d_lidar, num_points_in_gt,
        difficulty and, where the annos have them, bbox and score) and its points (N, 3 + C)
        float32, xyz relative to the middle of the box's bottom face, not rotated.
    """
    sample_idx, annos = info["point_cloud"]["lidar_idx"], info["annos"]
    boxes = annos["gt_boxes_lidar"]
    objects = []
    for k, inside in enumerate(points_of_boxes(points, boxes)):
        object_points = points[inside]
        object_points[:, :3] -= boxes[k, CENTER]
        name = annos["name"][k]
        filename = f"{sample_idx}_{name}_{k}.bin"
        (folder / filename).write_bytes(object_points.tobytes())
        dbinfo = {
            "name": name,
            "path": f"{folder.name}/{filename}",
            "image_idx": sample_idx,
            "gt_idx": k,
            "box3d_lidar": boxes[k],
            "num_points_in_gt": len(object_points),
            **{key: annos[key][k] for key in _FURTHER_KEYS if key in annos},
        }
        objects.append((dbinfo, object_points))
    return objects


def group_by_class(
    objects: Iterable[CutObject], used_classes: Sequence[str] | None
) -> tuple[dict[str, list[dict[str, Any]]], np.ndarray]:
    """Sort objects into classes, in the order in which they come.

    Args:
        objects: dbinfos and points, see `write_frame_objects`.
        used_classes: classes to list; None for all.

    Returns:
        The dbinfos, class to list, and the packed points in their order: (T, 3 + C), or (0,).
    """
    dbinfos: dict[str, list[dict[str, Any]]] = {}
    points: dict[str, list[np.ndarray]] = {}
    for dbinfo, object_points in objects:
        name = dbinfo["name"]
        if used_classes is None or name in used_classes:
            dbinfos.setdefault(str(name), []).append(dbinfo)
            points.setdefault(str(name), []).append(object_points)
    parts = [part for name in dbinfos for part in points[name]]
    return dbinfos, np.concatenate(parts) if parts else np.zeros(0, np.float32)
