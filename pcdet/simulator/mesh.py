"""Triangle meshes and the materials on them: what every solid thing of a scene is made of.

An object is modelled in its own frame: x forward, y left, z up, metres, standing on z = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np

from pcdet.simulator.drawing import (
    BALL,
    BOX,
    MEASURES,
    MOST_SIDES,
    QUAD,
    RING,
    TUBE,
    draw,
    grid_triangles,
)
from pcdet.utils.compiling import compiled

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


class Drawn(NamedTuple):
    """Triangles (T, 3, 3) and the material of each, rows of (T, 6) in `Surface` order."""

    triangles: np.ndarray
    surfaces: np.ndarray


Shape = tuple[float, ...]  # a row of `drawing`


@dataclass
class Mesh:
    """Triangles with materials; simple shapes become triangles when they are asked for.

    A scene has two thousand simple shapes, and one compiled call draws all of an object's.
    """

    parts: list[Shape | Drawn]

    @property
    def triangles(self) -> np.ndarray:
        """(T, 3, 3), to be changed in place at will."""
        return self._drawn().triangles

    @property
    def surfaces(self) -> np.ndarray:
        """(T, 6) the material of each triangle, in `Surface` order."""
        return self._drawn().surfaces

    def _drawn(self) -> Drawn:
        if len(self.parts) != 1 or not isinstance(self.parts[0], Drawn):
            self.parts = [_join(self.parts)]
        return self.parts[0]

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
        return Mesh([Drawn(_moved(self.triangles, placing), self.surfaces)])

    def fitted(self, size: Sequence[float]) -> Mesh:
        """Scale to a box of `size` (length, width, height), centred, standing on z = 0."""
        low, high = self.extent
        middle = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
        triangles = (self.triangles - middle) * (np.asarray(size) / (high - low))
        return Mesh([Drawn(triangles, self.surfaces)])


@compiled()
def _extent(triangles):
    """Least and greatest coordinates, (3,) each, of triangles (T, 3, 3)."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for k in range(len(triangles)):
        for corner in range(3):
            for axis in range(3):
                value = triangles[k, corner, axis]
                low[axis], high[axis] = min(low[axis], value), max(high[axis], value)
    return low, high


@compiled()
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
    """Join the parts of `meshes`, in order, to one mesh."""
    return Mesh([part for mesh in meshes for part in mesh.parts])


def _join(parts: Sequence[Shape | Drawn]) -> Drawn:
    """Draw what is not drawn yet, and put all in one piece."""
    drawn: list[Drawn] = []
    for ready, run in groupby(parts, lambda part: isinstance(part, Drawn)):
        pieces = list(run)
        drawn += pieces if ready else [Drawn(*draw(np.array(pieces, dtype=np.float64)))]
    if len(drawn) == 1:
        return drawn[0]
    return Drawn(
        np.concatenate([np.zeros((0, 3, 3)), *(part.triangles for part in drawn)]),
        np.concatenate([np.zeros((0, 6)), *(part.surfaces for part in drawn)]),
    )


def from_triangles(triangles: np.ndarray, surface: Surface) -> Mesh:
    """Make a mesh of triangles (T, 3, 3) of one material."""
    triangles = np.asarray(triangles, dtype=np.float64)
    surfaces = np.empty((len(triangles), len(surface)))
    surfaces[:] = surface
    return Mesh([Drawn(triangles, surfaces)])


def sheet(points: np.ndarray, surface: Surface) -> Mesh:
    """Make a sheet over a grid of points (M, N, 3), of one material."""
    return from_triangles(grid_triangles(np.ascontiguousarray(points, np.float64)), surface)


Corners = Sequence[Sequence[float]]


def _shape(kind: int, sides: int, surface: Surface, *measures: float) -> Mesh:
    """A mesh of one simple shape; `measures` are its own, see `drawing`."""
    if sides > MOST_SIDES:
        raise ValueError(f"a round shape has at most {MOST_SIDES} sides, not {sides}")
    rest = (0.0,) * (MEASURES - len(measures))
    return Mesh([(kind, sides, *surface, *measures, *rest)])


def quad(
    a: Sequence[float], b: Sequence[float], c: Sequence[float], d: Sequence[float], surface: Surface
) -> Mesh:
    """Make a quadrilateral a-b-c-d."""
    return _shape(QUAD, 0, surface, *a, *b, *c, *d)


def quads(panels: Sequence[tuple[Corners, Surface]]) -> Mesh:
    """Quadrilaterals, each given by its corners in order and its material."""
    return Mesh([(QUAD, 0, *surface, *a, *b, *c, *d) for (a, b, c, d), surface in panels])


def box(size: Sequence[float], centre: Sequence[float], surface: Surface) -> Mesh:
    """Make a box of `size` (x, y, z) about `centre`."""
    return _shape(BOX, 0, surface, *size, *centre)


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
    return _shape(TUBE, sides, surface, *start, *end, *radii, flatness)


def ellipsoid(
    centre: Sequence[float], radii: Sequence[float], surface: Surface, sides: int = 8
) -> Mesh:
    """Make an ellipsoid with its axes along x, y and z."""
    return _shape(BALL, sides, surface, *centre, *radii)


def _ring(
    x: float,
    z: float,
    first: tuple[float, float],
    second: tuple[float, float],
    surface: Surface,
    sides: int = 14,
) -> Mesh:
    """Make a sheet between two upright circles about one axis along y; each is y and a radius."""
    return _shape(RING, sides, surface, x, z, *first, *second)


def wheel(
    centre: Sequence[float], radius: float, width: float, tyre: Surface, hub: Surface
) -> Mesh:
    """Make a wheel that turns about y: a tyre and a hub disc on either side."""
    x, y, z = centre
    left, right, inner = y - width / 2, y + width / 2, 0.62 * radius
    parts = []
    for side in (left, right):
        parts.append(_ring(x, z, (side, 0.0), (side, inner), hub))
        parts.append(_ring(x, z, (side, inner), (side, radius), tyre))
    return merge([*parts, _ring(x, z, (left, radius), (right, radius), tyre)])


def hoop(centre: Sequence[float], radius: float, thickness: float, surface: Surface) -> Mesh:
    """Make a thin open wheel (of a bicycle) that turns about y, with a few spokes."""
    centre = np.asarray(centre, dtype=np.float64)
    x, y, z = centre
    half = thickness / 2
    parts = [
        _ring(x, z, (y, radius - thickness), (y, radius), surface, 16),
        _ring(x, z, (y - half, radius), (y + half, radius), surface, 16),
    ]
    for angle in np.arange(3) * np.pi / 3 + 0.3:
        reach = radius * np.array([np.cos(angle), 0.0, np.sin(angle)])
        parts.append(tube(centre - reach, centre + reach, (0.006, 0.006), surface, sides=3))
    return merge(parts)
