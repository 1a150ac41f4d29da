"""Triangle meshes and the materials on them: what every solid thing of a scene is made of.

An object is modelled in its own frame: x forward, y left, z up, metres, standing on z = 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numba
import numpy as np

SOLID, GLASS, RETRO, CLOTH = 0, 1, 2, 3


class Surface(NamedTuple):
    """A material as the two sensors see it.

    Attributes:
        kind: SOLID, GLASS (mostly transparent to the LiDAR), RETRO (a plate, lamp or sign) or CLOTH
            (folds and patterns: its intensity varies from beam to beam).
        reflectivity: diffuse reflectivity at 905 nm, 0..1; of a pane, the share of beams that come
            back from what is close behind it.
        shift: added to the intensity that the reflectivity gives.
        red, green, blue: colour in the image, 0..1.
    """

    kind: int
    reflectivity: float
    shift: float
    red: float
    green: float
    blue: float


@dataclass
class Mesh:
    """Triangles (T, 3, 3) and the material of each, rows of (T, 6) in `Surface` order."""

    triangles: np.ndarray
    surfaces: np.ndarray

    @property
    def extent(self) -> tuple[np.ndarray, np.ndarray]:
        """Least and greatest coordinates, (3,) each."""
        return _extent(self.triangles)

    def moved(
        self, offset: Sequence[float], yaw: float = 0.0, slope: tuple[float, float] = (0.0, 0.0)
    ) -> Mesh:
        """Turn about z by `yaw` (rad, counter-clockwise), shear onto a slope, then shift.

        Args:
            offset: (3,) metres.
            yaw: heading of the object's x axis in the target frame.
            slope: rise of the ground per metre along x and y of the target frame.
        """
        x, y, z = offset
        placing = np.array([np.cos(yaw), np.sin(yaw), *slope, x, y, z], dtype=np.float64)
        return Mesh(_moved(self.triangles, placing), self.surfaces)

    def fitted(self, size: Sequence[float]) -> Mesh:
        """Scale to a box of `size` (length, width, height), centred, standing on z = 0."""
        low, high = self.extent
        middle = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
        return Mesh((self.triangles - middle) * (np.asarray(size) / (high - low)), self.surfaces)


@numba.njit(cache=True)
def _extent(triangles):
    """Least and greatest coordinates, (3,) each, of triangles (T, 3, 3)."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for k in range(len(triangles)):
        for corner in range(3):
            for axis in range(3):
                value = triangles[k, corner, axis]
                low[axis], high[axis] = min(low[axis], value), max(high[axis], value)
    return low, high


@numba.njit(cache=True)
def _moved(triangles, placing):
    """Triangles (T, 3, 3) put in their place.

    Args:
        triangles: (T, 3, 3) float64.
        placing: (7,) cosine and sine of the yaw, slope along x and y, offset; see `Mesh.moved`.
    """
    cosine, sine, slope_x, slope_y = placing[0], placing[1], placing[2], placing[3]
    moved = np.empty(triangles.shape)
    for k in range(len(triangles)):
        for corner in range(3):
            x, y, z = triangles[k, corner, 0], triangles[k, corner, 1], triangles[k, corner, 2]
            along, across = x * cosine - y * sine, x * sine + y * cosine
            moved[k, corner, 0] = along + placing[4]
            moved[k, corner, 1] = across + placing[5]
            moved[k, corner, 2] = z + along * slope_x + across * slope_y + placing[6]
    return moved


def merge(meshes: Sequence[Mesh]) -> Mesh:
    """Join the triangles of `meshes`, in order, to one mesh."""
    if not meshes:
        return Mesh(np.zeros((0, 3, 3)), np.zeros((0, 6)))
    return Mesh(
        np.concatenate([mesh.triangles for mesh in meshes]),
        np.concatenate([mesh.surfaces for mesh in meshes]),
    )


def from_triangles(triangles: np.ndarray, surface: Surface) -> Mesh:
    """Make a mesh of triangles (T, 3, 3) of one material."""
    triangles = np.asarray(triangles, dtype=np.float64)
    surfaces = np.empty((len(triangles), len(surface)))
    surfaces[:] = surface
    return Mesh(triangles, surfaces)


@numba.njit(cache=True)
def grid_triangles(points: np.ndarray) -> np.ndarray:
    """Triangles of a sheet given by a grid of points.

    Args:
        points: (M, N, 3).

    Returns:
        ((M - 1) * (N - 1) * 2, 3, 3): the two triangles of each cell, cell by cell.
    """
    rows, columns = points.shape[0] - 1, points.shape[1] - 1
    triangles = np.empty((rows * columns * 2, 3, 3))
    for i in range(rows):
        for j in range(columns):
            k = 2 * (i * columns + j)
            for axis in range(3):
                triangles[k, 0, axis] = triangles[k + 1, 0, axis] = points[i, j, axis]
                triangles[k, 1, axis] = points[i + 1, j, axis]
                triangles[k, 2, axis] = triangles[k + 1, 1, axis] = points[i + 1, j + 1, axis]
                triangles[k + 1, 2, axis] = points[i, j + 1, axis]
    return triangles


def sheet(points: np.ndarray, surface: Surface) -> Mesh:
    """Make a sheet over a grid of points (M, N, 3), of one material."""
    return from_triangles(grid_triangles(np.ascontiguousarray(points, np.float64)), surface)


Corners = Sequence[Sequence[float]]


def quad(
    a: Sequence[float], b: Sequence[float], c: Sequence[float], d: Sequence[float], surface: Surface
) -> Mesh:
    """Make a quadrilateral a-b-c-d."""
    return from_triangles(np.array([[a, b, c], [a, c, d]]), surface)


def quads(panels: Sequence[tuple[Corners, Surface]]) -> Mesh:
    """Quadrilaterals, each given by its corners in order and its material; at least one."""
    corners = np.array([corners for corners, _ in panels], dtype=np.float64)
    surfaces = np.array([surface for _, surface in panels], dtype=np.float64)
    halves = corners[:, [[0, 1, 2], [0, 2, 3]]]
    return Mesh(halves.reshape(-1, 3, 3), np.repeat(surfaces, 2, axis=0))


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


def box(size: Sequence[float], centre: Sequence[float], surface: Surface) -> Mesh:
    """Make a box of `size` (x, y, z) about `centre`."""
    corners = _BOX_CORNERS * np.asarray(size, dtype=np.float64) + np.asarray(centre)
    return from_triangles(corners[BOX_FACES], surface)


@lru_cache(maxsize=16)
def _circle(sides: int) -> np.ndarray:
    """Cosines and sines of a closed circle, (sides + 1, 2)."""
    angles = np.linspace(0.0, 2 * np.pi, sides + 1)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


@lru_cache(maxsize=16)
def _upright_circle(sides: int) -> np.ndarray:
    """A closed circle in the plane y = 0, (sides + 1, 3)."""
    return np.insert(_circle(sides), 1, 0.0, axis=1)


def tube(
    start: Sequence[float],
    end: Sequence[float],
    radii: tuple[float, float],
    surface: Surface,
    sides: int = 6,
    flatness: float = 1.0,
) -> Mesh:
    """Make a tapered tube with closed ends.

    Args:
        start: centre of the first end.
        end: centre of the second end.
        radii: radius at either end.
        surface: material.
        sides: number of faces around.
        flatness: depth over width of the cross-section; the width lies along y.
    """
    ends = np.array([start, end], dtype=np.float64)
    rings = _rings(ends, (float(radii[0]), float(radii[1])), flatness, _circle(sides))
    return from_triangles(grid_triangles(rings), surface)


@numba.njit(cache=True)
def _rings(ends, radii, flatness, circle):
    """Middle and rim of either end of a tube, (4, sides + 1, 3); see `tube`."""
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
    rings = np.empty((4, len(circle), 3))
    for k in range(len(circle)):
        cosine, sine = circle[k, 0], circle[k, 1] * flatness
        for axis in range(3):
            rim = cosine * across[axis] + sine * along[axis]
            rings[0, k, axis], rings[3, k, axis] = ends[0, axis], ends[1, axis]
            rings[1, k, axis] = ends[0, axis] + radii[0] * rim
            rings[2, k, axis] = ends[1, axis] + radii[1] * rim
    return rings


@lru_cache(maxsize=16)
def _ball(sides: int) -> np.ndarray:
    """Triangles (T, 3, 3) of a ball of radius 1 with `sides` faces around."""
    latitudes = np.linspace(-np.pi / 2, np.pi / 2, sides // 2 + 1)[:, None]
    longitudes = np.linspace(0.0, 2 * np.pi, sides + 1)[None, :]
    points = np.stack(
        [
            np.cos(latitudes) * np.cos(longitudes),
            np.cos(latitudes) * np.sin(longitudes),
            np.sin(latitudes) * np.ones_like(longitudes),
        ],
        axis=-1,
    )
    return grid_triangles(points)


def ellipsoid(
    centre: Sequence[float], radii: Sequence[float], surface: Surface, sides: int = 8
) -> Mesh:
    """Make an ellipsoid with its axes along x, y and z."""
    return from_triangles(_ball(sides) * np.asarray(radii) + np.asarray(centre), surface)


def wheel(
    centre: Sequence[float], radius: float, width: float, tyre: Surface, hub: Surface
) -> Mesh:
    """Make a wheel that turns about y: a tyre and a hub disc on either side."""
    x, y, z = centre
    parts = []
    circle = _upright_circle(14)
    for side in (-1.0, 1.0):
        middle = np.array([x, y + side * width / 2, z])
        disc = np.broadcast_to(middle, circle.shape)
        inner, outer = middle + 0.62 * radius * circle, middle + radius * circle
        parts += [sheet(np.stack([disc, inner]), hub), sheet(np.stack([inner, outer]), tyre)]
    shift = np.array([0.0, width / 2, 0.0])
    rim = np.asarray(centre) + radius * circle
    parts.append(sheet(np.stack([rim - shift, rim + shift]), tyre))
    return merge(parts)


def hoop(centre: Sequence[float], radius: float, thickness: float, surface: Surface) -> Mesh:
    """Make a thin open wheel (of a bicycle) that turns about y, with a few spokes."""
    circle = _upright_circle(16)
    centre = np.asarray(centre, dtype=np.float64)
    half = np.array([0.0, thickness / 2, 0.0])
    flat = np.stack([centre + (radius - thickness) * circle, centre + radius * circle])
    tread = np.stack([centre + radius * circle - half, centre + radius * circle + half])
    parts = [sheet(flat, surface), sheet(tread, surface)]
    for angle in np.arange(3) * np.pi / 3 + 0.3:
        reach = radius * np.array([np.cos(angle), 0.0, np.sin(angle)])
        parts.append(tube(centre - reach, centre + reach, (0.006, 0.006), surface, sides=3))
    return merge(parts)
