"""All labelled objects of a folder in one table: what ranges and anchors are chosen by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pcdet.utils.box_utils import X, Y
from pcdet.utils.errors import DataError


@dataclass(frozen=True)
class ObjectTable:
    """M objects of F frames.

    Attributes:
        frames: names of the F frames.
        frame: (M,) index of an object's frame.
        name: (M,) class.
        boxes: (M, 7) LiDAR boxes.
        points: (M,) points in the box.
    """

    frames: list[str]
    frame: np.ndarray
    name: np.ndarray
    boxes: np.ndarray
    points: np.ndarray

    def __len__(self) -> int:
        return len(self.name)

    @property
    def class_names(self) -> list[str]:
        """The classes, the most frequent first."""
        names, counts = np.unique(self.name, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return [str(name) for name in names[order]]

    @property
    def distance(self) -> np.ndarray:
        """(M,) metres from the sensor, along the ground."""
        return np.hypot(self.boxes[:, X], self.boxes[:, Y])

    def of_class(self, name: str) -> ObjectTable:
        """Return the objects of a class; the frames stay."""
        return self.select(self.name == name)

    def select(self, kept: np.ndarray) -> ObjectTable:
        """Return the objects for which `kept`, (M,) bool or indices, says so."""
        columns = (self.frame, self.name, self.boxes, self.points)
        return ObjectTable(self.frames, *(column[kept] for column in columns))


def table_of_infos(infos: Sequence[Mapping[str, Any]], what: str = "frames") -> ObjectTable:
    """Gather the objects of frames.

    Args:
        infos: with `annos`, see `datasets.custom.infos.build_infos`.
        what: they are, for the message.

    Raises:
        DataError: there is no object at all.
    """
    annos = [info["annos"] for info in infos]
    table = ObjectTable(
        [info["point_cloud"]["lidar_idx"] for info in infos],
        np.repeat(np.arange(len(annos)), [len(anno["name"]) for anno in annos]),
        np.concatenate([anno["name"] for anno in annos]),
        np.concatenate([anno["gt_boxes_lidar"] for anno in annos]),
        np.concatenate([anno["num_points_in_gt"] for anno in annos]),
    )
    if not len(table):
        raise DataError(f"the labels of {len(infos)} {what} hold no object")
    return table
