"""Turns simple shapes into triangles: the compiled part of `mesh`."""

from __future__ import annotations

import math

import numpy as np

from pcdet.utils.compiling import compiled

# Kinds of shapes. A row of numbers is a shape: its kind, how many sides it has, its material (6),
# and what its kind measures, see `_draw_shape_`; the rest of `MEASURES` is filled up.
BOX, QUAD, TUBE, RING, BALL = range(5)
MEASURES, MOST_SIDES = 12, 32
_MATERIAL, _FIRST = 2, 8

_BOX_CORNERS = np.array([[x, y, z] for z in (-0.5, 0.5) for y in (-0.5, 0.5) for x in (-0.5, 0.5)])
# Triangles of a box whose corners are listed axis by axis, whichever axis comes first.
BOX_FACES = np.array(
    [
        [0, 1, 3],
        [0, 3, 2],
        [4, 5, 7],
        [4, 7, 6],
        [0, 1, 5],
        [0, 5, 4],
        [2, 3, 7],
        [2, 7, 6],
        [0, 2, 6],
        [0, 6, 4],
        [1, 3, 7],
        [1, 7, 5],
    ]
)


def _circle(first: float, last: float, sides: int) -> np.ndarray:
    """Cosines and sines from angle to angle, rad, filled up to (MOST_SIDES + 1, 2)."""
    angles = np.linspace(first, last, sides + 1)
    padding = ((0, MOST_SIDES - sides), (0, 0))
    return np.pad(np.stack([np.cos(angles), np.sin(angles)], axis=1), padding)


# By the number of sides: full circles, and halves from the south to the north.
_CIRCLES = np.stack([_circle(0.0, 2 * np.pi, sides) for sides in range(MOST_SIDES + 1)])
_MERIDIANS = np.stack([_circle(-np.pi / 2, np.pi / 2, n) for n in range(MOST_SIDES // 2 + 1)])


@compiled()
def grid_triangles(points: np.ndarray) -> np.ndarray:
    """Triangles of a sheet given by a grid of points.

    Args:
        points: (M, N, 3).

    Returns:
        ((M - 1) * (N - 1) * 2, 3, 3): the two triangles of each cell, cell by cell.
    """
    triangles = np.empty(((points.shape[0] - 1) * (points.shape[1] - 1) * 2, 3, 3))
    _fill_sheet_(triangles, points)
    return triangles


@compiled()
def draw(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw shapes one after the other.

    Args:
        shapes: (K, 8 + MEASURES) rows.

    Returns:
        triangles (T, 3, 3) and their materials (T, 6).
    """
    total = 0
    for k in range(len(shapes)):
        total += _size(shapes[k])
    triangles, surfaces = np.empty((total, 3, 3)), np.empty((total, 6))
    start = 0
    for k in range(len(shapes)):
        stop = start + _size(shapes[k])
        _draw_shape_(triangles[start:stop], shapes[k])
        for row in range(start, stop):
            for column in range(6):
                surfaces[row, column] = shapes[k, _MATERIAL + column]
        start = stop
    return triangles, surfaces


@compiled()
def _size(shape):
    """The number of triangles of a shape."""
    kind, sides = int(shape[0]), int(shape[1])
    if kind == BOX:
        return 12
    if kind == QUAD:
        return 2
    if kind == TUBE:
        return 6 * sides
    if kind == RING:
        return 2 * sides
    return sides // 2 * sides * 2


@compiled()
def _draw_shape_(triangles, shape):
    """Write the triangles of one shape."""
    kind, sides, measures = int(shape[0]), int(shape[1]), shape[_FIRST:]
    if kind == BOX:
        _fill_box_(triangles, measures[:3], measures[3:6])
    elif kind == QUAD:
        for k in range(2):
            for corner in range(3):
                place = corner + k if corner else 0  # 0 1 2, then 0 2 3
                for axis in range(3):
                    triangles[k, corner, axis] = measures[3 * place + axis]
    elif kind == TUBE:
        _fill_sheet_(triangles, _tube(measures, _CIRCLES[sides, : sides + 1]))
    elif kind == RING:
        _fill_sheet_(triangles, _ring(measures, _CIRCLES[sides, : sides + 1]))
    else:
        _fill_sheet_(triangles, _ball(measures, sides))


@compiled()
def _fill_sheet_(triangles, points):
    """Write the triangles of a grid of points (M, N, 3), see `grid_triangles`."""
    rows, columns = points.shape[0] - 1, points.shape[1] - 1
    for i in range(rows):
        for j in range(columns):
            k = 2 * (i * columns + j)
            for axis in range(3):
                triangles[k, 0, axis] = triangles[k + 1, 0, axis] = points[i, j, axis]
                triangles[k, 1, axis] = points[i + 1, j, axis]
                triangles[k, 2, axis] = triangles[k + 1, 1, axis] = points[i + 1, j + 1, axis]
                triangles[k + 1, 2, axis] = points[i, j + 1, axis]


@compiled()
def _fill_box_(triangles, size, centre):
    """Write the triangles (12, 3, 3) of a box."""
    for k in range(12):
        for corner in range(3):
            for axis in range(3):
                place = _BOX_CORNERS[BOX_FACES[k, corner], axis]
                triangles[k, corner, axis] = place * size[axis] + centre[axis]


@compiled()
def _tube(measures, circle):
    """Rings (4, N, 3) of a tube with closed ends: its start, end, radii and flatness."""
    ends, radii, flatness = measures[:6].copy().reshape(2, 3), measures[6:8], measures[8]
    x, y, z = ends[1, 0] - ends[0, 0], ends[1, 1] - ends[0, 1], ends[1, 2] - ends[0, 2]
    length = max(math.sqrt(x * x + y * y + z * z), 1e-9)
    x, y, z = x / length, y / length, z / length
    # A unit vector across the axis, along y but for a tube that itself lies along y.
    if abs(y) < 0.9:
        a, b, c = -y * x, 1.0 - y * y, -y * z
    else:
        a, b, c = 1.0 - x * x, -x * y, -x * z
    size = math.sqrt(a * a + b * b + c * c)
    a, b, c = a / size, b / size, c / size
    across, along = (a, b, c), (y * c - z * b, z * a - x * c, x * b - y * a)
    rings = np.empty((4, len(circle), 3))  # middle and rim of either end
    for k in range(len(circle)):
        cosine, sine = circle[k, 0], circle[k, 1] * flatness
        for axis in range(3):
            rim = cosine * across[axis] + sine * along[axis]
            rings[0, k, axis], rings[3, k, axis] = ends[0, axis], ends[1, axis]
            rings[1, k, axis] = ends[0, axis] + radii[0] * rim
            rings[2, k, axis] = ends[1, axis] + radii[1] * rim
    return rings


@compiled()
def _ring(measures, circle):
    """Two upright circles (2, N, 3) about x, z: their y and radius, one after the other."""
    rims = np.empty((2, len(circle), 3))
    for end in range(2):
        y, radius = measures[2 + 2 * end], measures[3 + 2 * end]
        for k in range(len(circle)):
            rims[end, k, 0] = measures[0] + radius * circle[k, 0]
            rims[end, k, 1] = y
            rims[end, k, 2] = measures[1] + radius * circle[k, 1]
    return rims


@compiled()
def _ball(measures, sides):
    """Circles of latitude (sides // 2 + 1, sides + 1, 3) of an ellipsoid: its centre and radii."""
    points = np.empty((sides // 2 + 1, sides + 1, 3))
    for i in range(points.shape[0]):
        level, height = _MERIDIANS[sides // 2, i]
        for j in range(points.shape[1]):
            cosine, sine = _CIRCLES[sides, j]
            points[i, j, 0] = level * cosine * measures[3] + measures[0]
            points[i, j, 1] = level * sine * measures[4] + measures[1]
            points[i, j, 2] = height * measures[5] + measures[2]
    return points
