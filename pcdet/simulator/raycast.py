"""Ray casting, for the LiDAR and the camera alike: the nearest thing on each ray of a grid.

Rays form a grid (R, C): rings by firings, or pixel rows by columns. Every triangle or volume comes
with a window of that grid outside which no ray can meet it; within the window each ray is
intersected exactly and the nearest hit kept. That is ray casting with the loops exchanged: true
occlusion, and no tree to build.

A hit is the index of a triangle; `GROUND`, or NOTHING; and T + v for volume v where there are T
triangles. Panes of glass are kept apart, since most beams pass through them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pcdet.simulator.ground import HALF_SIZE, heights_at_
from pcdet.utils.compiling import compiled

NOTHING, GROUND = -1, -2
FAR = np.float32(1e4)
_LANES = 8  # rays of a row that the triangles meet at once
# All single, so that the innermost loop is.
_ZERO, _ONE, _PARALLEL, _NEAR = np.array([0.0, 1.0, 1e-12, 0.3], np.float32)


class Rays(NamedTuple):
    """A grid of rays.

    Attributes:
        origins: (R, 3) float32 where the rays of a row begin, all at the same x and y.
        directions: (3, R, C) float32, x, y and z.
    """

    origins: np.ndarray
    directions: np.ndarray


class Hits(NamedTuple):
    """What each ray of a grid (R, C) meets; the casters write into it.

    Attributes:
        distance: of the nearest opaque thing, in lengths of the ray's direction; FAR if none.
        index: what it is (see the module).
        glass_distance: of the nearest pane, before or behind the opaque thing.
        glass_index: which it is.
        reached: (M,) rays that would meet each object if nothing stood before it.
    """

    distance: np.ndarray
    index: np.ndarray
    glass_distance: np.ndarray
    glass_index: np.ndarray
    reached: np.ndarray


def no_hits(shape: tuple[int, int], objects: int) -> Hits:
    """Hits of a grid of rays that meet nothing yet, with room for the counts of `objects`."""
    return Hits(
        np.full(shape, FAR, np.float32),
        np.full(shape, NOTHING, np.int32),
        np.full(shape, FAR, np.float32),
        np.full(shape, NOTHING, np.int32),
        np.zeros(objects, np.int64),
    )


def _distances() -> np.ndarray:
    """Distances, metres, at which rays are compared with the ground; the last is out of it."""
    distances = [1.0]
    while distances[-1] < HALF_SIZE:
        distances.append(distances[-1] + 0.04 + 0.012 * distances[-1])
    return np.array(distances)


_DISTANCES = _distances()


@compiled(fastmath=True)
def cast_ground_(field: np.ndarray, rays: Rays, hits: Hits) -> None:
    """Meet the ground with the rays of a grid whose columns lie in upright planes.

    Rows must run from the highest ray to the lowest. A steeper ray of a column ends nearer, so
    one walk outwards serves all of them. A camera's columns are upright to within its roll,
    which is small enough.

    Args:
        field: height field of the ground.
        rays: the rays.
        hits: written to where the ground is nearer.
    """
    (origins, directions), (distance, index) = rays, (hits.distance, hits.index)
    rows, columns = distance.shape
    heights = _profiles(field, rays)
    last = len(_DISTANCES) - 1
    at = np.ones(columns, np.int64)  # how far each column's walk has come
    for row in range(rows - 1, -1, -1):
        start, gone = origins[row, 2], 0
        for c in range(columns):
            k = at[c]
            if k > last:
                gone += 1
                continue
            x, y = directions[0, row, c], directions[1, row, c]
            flat = np.sqrt(x * x + y * y)
            tangent = directions[2, row, c] / flat
            while start + tangent * _DISTANCES[k] > heights[k, c] and k < last:
                k += 1
            below = heights[k, c] - start - tangent * _DISTANCES[k]
            at[c] = k if below >= 0.0 else last + 1
            if below < 0.0:
                continue  # this ray and those above it leave the field
            before, beyond = _DISTANCES[k - 1], _DISTANCES[k]
            above = start + tangent * before - heights[k - 1, c]
            share = min(max(above / max(above + below, 1e-9), 0.0), 1.0)
            length = (before + share * (beyond - before)) / flat
            if length < distance[row, c]:
                distance[row, c] = length
                index[row, c] = GROUND
        if gone == columns:
            break


@compiled(fastmath=True)
def _profiles(field, rays):
    """Heights (K, C) of the ground below the columns of a grid of rays, at all `_DISTANCES`."""
    rows, columns = rays.directions.shape[1:]
    along, across = np.empty(columns, np.float32), np.empty(columns, np.float32)
    for c in range(columns):
        x, y = rays.directions[0, rows - 1, c], rays.directions[1, rows - 1, c]
        flat = np.hypot(x, y)
        along[c], across[c] = x / flat, y / flat
    heights = np.empty((len(_DISTANCES), columns))
    x, y = np.empty(columns), np.empty(columns)
    for k in range(len(_DISTANCES)):
        for c in range(columns):
            x[c] = rays.origins[0, 0] + _DISTANCES[k] * along[c]
            y[c] = rays.origins[0, 1] + _DISTANCES[k] * across[c]
        heights_at_(field, x, y, heights[k])
    return heights


def cast_triangles_(
    triangles: np.ndarray,
    is_glass: np.ndarray,
    owner: np.ndarray,
    windows: np.ndarray,
    rays: Rays,
    hits: Hits,
) -> None:
    """Meet triangles with the rays of their windows.

    Each object is cast by itself and then added to what is met already: so all rays that reach it
    are counted, and the innermost loop has no more to do than to keep the nearest hit.

    Args:
        triangles: (T, 3, 3) float32; those of one object one after the other.
        is_glass: (T,) bool.
        owner: (T,) int32 object of each triangle, -1 for none.
        windows: (T, 4) first row, row after the last, first column, column after the last;
            columns count on modulo C. A few rays beside them are tried as well.
        rays: the rays.
        hits: written to where a triangle is nearer.
    """
    _cast_by_object_(triangles, is_glass, owner, windows, rays, hits, no_hits(hits.index.shape, 0))


@compiled()
def _cast_by_object_(triangles, is_glass, owner, windows, rays, hits, alone):
    """As `cast_triangles_`; `alone` are hits of nothing, before and afterwards."""
    first = 0
    while first < len(triangles):
        end = first + 1
        while end < len(triangles) and owner[end] == owner[first]:
            end += 1
        to = hits if owner[first] < 0 else alone
        area = to.index.shape[0], 0, to.index.shape[1], 0
        # One call for both layers, as a second one takes as long again to compile.
        for panes in (False, True):
            solid, glass = (to.distance, to.index), (to.glass_distance, to.glass_index)
            layer = glass if panes else solid
            area = _meet_(triangles, windows, is_glass, panes, (first, end), rays, layer, area)
        if owner[first] >= 0:
            hits.reached[owner[first]] += _add_(alone, area, hits)
        first = end


# True divisions, not approximate ones, so that a ray's place in the row makes no difference.
@compiled(fastmath={"contract", "nnan", "nsz"}, error_model="numpy")
def _meet_(triangles, windows, is_glass, panes, span, rays, layer, area):
    """Meet some triangles with the rays of their windows, by Moeller and Trumbore.

    Args:
        triangles: (T, 3, 3) float32.
        windows: (T, 4), as for `cast_triangles_`.
        is_glass: (T,) bool.
        panes: meet the triangles that are glass, or those that are not.
        span: first triangle and that after the last.
        rays: the rays.
        layer: distance and index of the hits; written to where a triangle is nearer.
        area: first row, row after the last, first column, column after the last.

    Returns:
        The area, extended by all that may have been written to.
    """
    (origins, directions), (distance, index) = rays, layer
    top, bottom, left, right = area
    columns = distance.shape[1]
    for k in range(span[0], span[1]):
        first, last = windows[k, 2], windows[k, 3]
        if is_glass[k] != panes or windows[k, 0] >= windows[k, 1] or first >= last:
            continue
        what = np.int32(k)
        ax, ay, az = triangles[k, 0, 0], triangles[k, 0, 1], triangles[k, 0, 2]
        ex, ey, ez = triangles[k, 1, 0] - ax, triangles[k, 1, 1] - ay, triangles[k, 1, 2] - az
        fx, fy, fz = triangles[k, 2, 0] - ax, triangles[k, 2, 1] - ay, triangles[k, 2, 2] - az
        nx, ny, nz = fy * ez - fz * ey, fz * ex - fx * ez, fx * ey - fy * ex
        top, bottom = min(top, windows[k, 0]), max(bottom, windows[k, 1])
        while first < last:  # a window may go beyond the last column and on from the first one
            low, high, first = _piece(first, last, columns)
            left, right = min(left, low), max(right, high)
            # Unsigned: the compiler makes SIMD of the innermost loop only if it knows that no index
            # counts from the end. It checks that the arrays read and written there are apart: with
            # one more of them that would take longer than the loop.
            for r in range(np.uintp(windows[k, 0]), np.uintp(windows[k, 1])):
                sx, sy, sz = origins[r, 0] - ax, origins[r, 1] - ay, origins[r, 2] - az
                px, py, pz = fy * sz - fz * sy, fz * sx - fx * sz, fx * sy - fy * sx
                qx, qy, qz = sy * ez - sz * ey, sz * ex - sx * ez, sx * ey - sy * ex
                reach = fx * qx + fy * qy + fz * qz
                for c in range(np.uintp(low), np.uintp(high)):
                    x, y, z = directions[0, r, c], directions[1, r, c], directions[2, r, c]
                    slope = x * nx + y * ny + z * nz
                    crosses = abs(slope) > _PARALLEL
                    inverse = _ONE / (slope if crosses else _ONE)
                    u = (x * px + y * py + z * pz) * inverse
                    v = (x * qx + y * qy + z * qz) * inverse
                    t = reach * inverse
                    before, what_before = distance[r, c], index[r, c]
                    hit = crosses & (u >= _ZERO) & (v >= _ZERO) & (u + v <= _ONE) & (t > _NEAR)
                    hit = hit & (t < before)
                    distance[r, c] = t if hit else before
                    index[r, c] = what if hit else what_before
    return top, bottom, left, right


@compiled()
def _piece(first, last, columns):
    """The next piece of a window that does not go beyond the last column.

    Returns:
        Its first column and that after its last, in whole lanes, since what is left over would be
        done one by one; and where the rest of the window begins.
    """
    start = first % columns
    stop = min(columns, start + last - first)
    width = min(_LANES * ((stop - start + _LANES - 1) // _LANES), columns)
    low = min(start, columns - width)
    return low, low + width, first + stop - start


@compiled()
def _add_(alone, area, hits):
    """Add what was met of one object to `hits`, and forget it.

    Args:
        alone: hits of the object; nothing afterwards.
        area: as returned by `_meet_`.
        hits: written to where the object is nearer.

    Returns:
        How many rays met the object.
    """
    met = 0
    for r in range(area[0], area[1]):
        for c in range(area[2], area[3]):
            near, pane = alone.distance[r, c], alone.glass_distance[r, c]
            if min(near, pane) == FAR:
                continue
            met += 1
            if near < hits.distance[r, c]:
                hits.distance[r, c], hits.index[r, c] = near, alone.index[r, c]
            if pane < hits.glass_distance[r, c]:
                hits.glass_distance[r, c], hits.glass_index[r, c] = pane, alone.glass_index[r, c]
            alone.distance[r, c] = alone.glass_distance[r, c] = FAR
    return met
