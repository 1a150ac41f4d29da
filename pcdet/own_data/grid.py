"""The scene's range and the voxels: where the objects are, in sides that fit the network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pcdet.own_data.objects import ObjectTable
from pcdet.utils.box_utils import H, X, Y, Z, boxes3d_to_corners3d_lidar
from pcdet.utils.data_report import apart_in_height
from pcdet.utils.errors import DataError

# Voxels along a cell of the backbone's image.
_STRIDES = {"PointPillarsScatter": 1}
_USUAL_STRIDE = 8
# Metres around the objects; above and below them; and from the sensor, beyond which no range goes.
_MARGIN, _MARGIN_Z, _FARTHEST = 2.0, 0.5, 100.0
# Of many objects, those that lie farthest out do not count: they may be mistakes.
_MANY, _OUTER_PERCENT = 50, 1.0
# Factors of the template's voxel size; the least is taken whose grid has at most so many times the
# cells of the template's.
_FACTORS = (1, 1.5, 2, 3, 4, 6, 8)
_MOST_CELLS = 2.0


@dataclass(frozen=True)
class Grid:
    """A range with its voxels.

    Attributes:
        range: x, y, z of the lowest and the highest corner, metres.
        voxel_size: along x, y, z, metres.
        reasons: of both, in words.
    """

    range: list[float]
    voxel_size: list[float]
    reasons: dict[str, str]

    @property
    def cells(self) -> tuple[int, int, int]:
        """Voxels along x, y, z."""
        sides = np.subtract(self.range[3:], self.range[:3]) / self.voxel_size
        return tuple(round(float(side)) for side in sides)


def choose_grid(objects: ObjectTable, template: Any) -> Grid:
    """Choose range and voxel size.

    Args:
        objects: of all frames.
        template: the configuration that is adapted; its number of voxels in height is kept, as the
            network's channels depend on it.

    Raises:
        DataError: no object is near the sensor.
    """
    nearest = float(objects.distance.min())
    if nearest > _FARTHEST:
        raise DataError(
            f"no labelled object lies within {_FARTHEST:g} m of the sensor, the nearest at "
            f"{nearest:.0f} m: scans and labels must be in metres around the sensor: subtract its "
            "place from map coordinates (UTM), divide millimetres by 1000"
        )
    low, high = _extent(objects)
    cells, voxel = _cells(template), template.DATA_CONFIG.VOXEL_GENERATOR.VOXEL_SIZE
    area = (high[0] - low[0]) * (high[1] - low[1])
    sizes = [round(voxel[0] * factor, 4) for factor in _FACTORS]
    most = _MOST_CELLS * cells[0] * cells[1]
    size = next((s for s in sizes if area / s**2 <= most), sizes[-1])
    multiple = _stride(template) * size
    limits = [_outwards(low[k], high[k], multiple) for k in (0, 1)]
    bottom, top, height = _heights(objects, cells[2], voxel[2])
    corners = [limits[0][0], limits[1][0], bottom, limits[0][1], limits[1][1], top]
    return Grid(
        [round(float(value), 4) for value in corners],
        [size, size, height],
        _reasons(objects, corners, size, multiple),
    )


def _extent(objects: ObjectTable) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest x, y that the range should reach; as far to the left as to the right."""
    corners = boxes3d_to_corners3d_lidar(objects.boxes)[:, :4, :2]
    nearest, farthest = corners.min(axis=1), corners.max(axis=1)
    outer = _OUTER_PERCENT if len(objects) > _MANY else 0
    low = np.percentile(nearest, outer, axis=0) - _MARGIN
    high = np.percentile(farthest, 100 - outer, axis=0) + _MARGIN
    side = max(-low[Y], high[Y])
    low, high = np.array([low[X], -side]), np.array([high[X], side])
    if (objects.boxes[:, X] >= 0).all():
        low[X] = 0
    return np.clip(low, -_FARTHEST, _FARTHEST - 1), np.clip(high, 1 - _FARTHEST, _FARTHEST)


def _cells(template: Any) -> tuple[int, int, int]:
    config = template.DATA_CONFIG
    return Grid(config.POINT_CLOUD_RANGE, config.VOXEL_GENERATOR.VOXEL_SIZE, {}).cells


def _stride(template: Any) -> int:
    """What the numbers of voxels along x and y must be multiples of."""
    rpn = template.MODEL.RPN
    backbone = _STRIDES.get(rpn.BACKBONE.NAME, _USUAL_STRIDE)
    return backbone * math.prod(rpn.RPN_HEAD.ARGS.layer_strides)


def _outwards(low: float, high: float, multiple: float) -> tuple[float, float]:
    """Multiples of a length that hold an interval."""
    return math.floor(low / multiple) * multiple, math.ceil(high / multiple) * multiple


def _heights(objects: ObjectTable, cells: int, usual: float) -> tuple[float, float, float]:
    """Bottom and top of the range, and the height of a voxel, which is not below the usual one."""
    # The height of an object, and not a mean of two, so that at least that one is kept.
    middle = np.percentile(objects.boxes[:, Z], 50, method="lower")
    objects = objects.select(~apart_in_height(objects.boxes, middle))
    bottoms = objects.boxes[:, Z]
    outer = _OUTER_PERCENT if len(objects) > _MANY else 0
    bottom = math.floor(10 * (np.percentile(bottoms, outer) - _MARGIN_Z)) / 10
    top = np.percentile(bottoms + objects.boxes[:, H], 100 - outer) + _MARGIN_Z
    height = max(usual, math.ceil(round(100 * (top - bottom) / cells, 6)) / 100)
    return bottom, bottom + height * cells, height


def _reasons(
    objects: ObjectTable, corners: Sequence[float], size: float, multiple: float
) -> dict[str, str]:
    x, y = objects.boxes[:, X], objects.boxes[:, Y]
    inside = (x > corners[0]) & (x < corners[3]) & (y > corners[1]) & (y < corners[4])
    behind = int((x < 0).sum())
    around = (
        f"{behind} of them behind the sensor: 360 degrees" if behind else "none behind the sensor"
    )
    return {
        "range": f"around the {len(objects)} labelled objects, {int(inside.sum())} of which lie in "
        f"it, {around}; sides in steps of {multiple:g} m, the network's strides",
        "voxel": f"{size:g} m: the least that gives a grid of the size the network is made for",
    }
