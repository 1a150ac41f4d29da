"""The ground as one plane, found in a frame's points by RANSAC; see `kitti_format.planes`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pcdet.utils.kitti_format.calib import Calibration

# KITTI's sensor is about 1.7 m above the road. Elsewhere the lowest dense layer of the points is
# taken for ground, and looked at so far below and above.
_Z_RANGE = (-3.0, -1.0)
_BELOW, _ABOVE = 1.3, 0.7
_LAYER = 0.25
_LEAST_CELLS = 30
_NUM_CANDIDATES = 4096
# One point of each square metre is kept, so that the far ground, which few points hit, counts as
# much as the near: with all points the plane tilts and is 0.6 m off at 60 m.
_CELL = 1.0
_NUM_SAMPLES = 128
_INLIER_DISTANCE = 0.1
_NUM_REFINEMENTS = 3
# cos(14 degrees): steeper planes are walls or chance, not road.
_LEAST_UPRIGHT = 0.97
_LEAST_POINTS = 20
# KITTI's camera is 1.65 m above the road.
FLAT_GROUND = np.array([0.0, -1.0, 0.0, 1.65])


@dataclass(frozen=True)
class RoadArea:
    """Where ground is looked for, in the LiDAR frame, metres; as default in front of KITTI's car.

    Attributes:
        x: limits.
        y: limits.
        z: limits; None for around the lowest dense layer of the points.
    """

    x: tuple[float, float] = (3.0, 60.0)
    y: tuple[float, float] = (-20.0, 20.0)
    z: tuple[float, float] | None = None

    def around(self, points: np.ndarray) -> np.ndarray:
        """Tell which of (N, 3) points lie in it, whatever their height: (N,) bool."""
        x, y, _ = points.T
        return (x > self.x[0]) & (x < self.x[1]) & (y > self.y[0]) & (y < self.y[1])


KITTI_AREA = RoadArea()


def estimate_road_plane(
    points: np.ndarray,
    calib: Calibration,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Find the road in a frame's points, see `find_road_plane`.

    Returns:
        (4,) float64 plane; flat ground below KITTI's camera if the points show no road.
    """
    plane = find_road_plane(points, calib, rng=rng)
    return FLAT_GROUND.copy() if plane is None else plane


def find_road_plane(
    points: np.ndarray,
    calib: Calibration,
    area: RoadArea = KITTI_AREA,
    rng: np.random.Generator | None = None,
) -> np.ndarray | None:
    """Find the road in a frame's points.

    RANSAC with the truncated squared distance as its loss (MSAC, Torr and Zisserman 2000), then
    least squares on the inliers.

    Args:
        points: (N, 3 + C) LiDAR frame, metres.
        calib: of the frame.
        area: where to look.
        rng: draws the samples.

    Returns:
        (4,) float64 plane; None if the points show no road.
    """
    rng = np.random.default_rng() if rng is None else rng
    candidates = calib.lidar_to_rect(_thin_out(points[:, :3], area)).astype(np.float64)
    if len(candidates) < _LEAST_POINTS:
        return None
    planes = _planes_through(candidates[rng.integers(len(candidates), size=(_NUM_SAMPLES, 3))])
    if not len(planes):
        return None
    squared = (planes[:, :3] @ candidates.T + planes[:, 3:]) ** 2
    plane = planes[np.minimum(squared, _INLIER_DISTANCE**2).sum(axis=1).argmin()]
    for _ in range(_NUM_REFINEMENTS):
        inliers = candidates[np.abs(candidates @ plane[:3] + plane[3]) < _INLIER_DISTANCE]
        if len(inliers) < _LEAST_POINTS:
            return None
        plane = _least_squares_plane(inliers)
    return plane


def _thin_out(points: np.ndarray, area: RoadArea) -> np.ndarray:
    """One point (the first) of each cell of a grid over the part of (N, 3) that may be road."""
    low, high = _heights_of_ground(points, area) if area.z is None else area.z
    x, y, z = points.T
    near = np.flatnonzero(area.around(points) & (z > low) & (z < high))
    column = ((y[near] - area.y[0]) / _CELL).astype(np.int32)
    row = ((x[near] - area.x[0] // _CELL * _CELL) / _CELL).astype(np.int32)
    cells = row * round((area.y[1] - area.y[0]) / _CELL) + column
    if len(cells):  # numbers of 16 bits are sorted several times as fast
        cells = cells.astype(np.min_scalar_type(cells.max()))
    _, first = np.unique(cells, return_index=True)
    return points[near[first]]


def _heights_of_ground(points: np.ndarray, area: RoadArea) -> tuple[float, float]:
    """Between which z the ground is: around the lowest of (N, 3) points in most square metres."""
    few = points[:: max(len(points) // _NUM_CANDIDATES, 1)]
    few = few[area.around(few)]
    cells = np.floor(few[:, 0] / _CELL) * 4096.0 + np.floor(few[:, 1] / _CELL)
    order = np.lexsort((few[:, 2], cells))
    lowest = few[order[np.diff(cells[order], prepend=-np.inf) > 0], 2]
    if len(lowest) < _LEAST_CELLS:
        return _Z_RANGE
    layers = np.floor(lowest / _LAYER).astype(np.int64)
    values, counts = np.unique(layers, return_counts=True)
    level = (values[counts.argmax()] + 0.5) * _LAYER
    if _Z_RANGE[0] < level < _Z_RANGE[1]:
        return _Z_RANGE
    return level - _BELOW, level + _ABOVE


def _planes_through(triples: np.ndarray) -> np.ndarray:
    """Planes (K, 4) through those of the (S, 3, 3) triples of points that span an upright one."""
    origin = triples[:, 0]
    normals = np.cross(triples[:, 1] - origin, triples[:, 2] - origin)
    lengths = np.linalg.norm(normals, axis=1)
    upright = np.abs(normals[:, 1]) > _LEAST_UPRIGHT * np.maximum(lengths, 1e-6)
    normals, origin = normals[upright] / lengths[upright, None], origin[upright]
    normals *= -np.sign(normals[:, 1:2])
    return np.column_stack((normals, -(normals * origin).sum(axis=1)))


def _least_squares_plane(points: np.ndarray) -> np.ndarray:
    """The plane (4,) with the least sum of squared distances to (N, 3) points."""
    mean = points.mean(axis=0)
    offset = points - mean
    normal = np.linalg.eigh(offset.T @ offset)[1][:, 0]
    normal = -normal if normal[1] > 0 else normal
    return np.append(normal, -normal @ mean)
