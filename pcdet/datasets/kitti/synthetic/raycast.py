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

import numba
import numpy as np

from pcdet.datasets.kitti.synthetic.ground import HALF_SIZE, height_at

NOTHING, GROUND = -1, -2
FAR = np.float32(1e4)


class Rays(NamedTuple):
    """A grid of rays.

    Attributes:
        origins: (R, 3) float32 where the rays of a row begin, all at the same x and y.
        directions: (R, C, 3) float32.
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
        stamp: the object last met by each ray, scratch of `cast_triangles_`.
    """

    distance: np.ndarray
    index: np.ndarray
    glass_distance: np.ndarray
    glass_index: np.ndarray
    reached: np.ndarray
    stamp: np.ndarray


def no_hits(shape: tuple[int, int], objects: int) -> Hits:
    """Hits of a grid of rays that meet nothing yet, with room for the counts of `objects`."""
    return Hits(
        np.full(shape, FAR, np.float32),
        np.full(shape, NOTHING, np.int32),
        np.full(shape, FAR, np.float32),
        np.full(shape, NOTHING, np.int32),
        np.zeros(objects, np.int64),
        np.full(shape, -1, np.int32),
    )


@numba.njit(cache=True, fastmath=True)
def cast_ground_(field, rays, hits):
    """Meet the ground with the rays of a grid whose columns lie in upright planes.

    Rows must run from the highest ray to the lowest. A steeper ray of a column ends nearer, so
    one walk outwards serves all of them. A camera's columns are upright to within its roll,
    which is small enough.

    Args:
        field: height field of the ground.
        rays: the rays.
        hits: written to where the ground is nearer.
    """
    origins, directions = rays
    distance, index = hits.distance, hits.index
    rows, columns = distance.shape
    x0, y0 = origins[0, 0], origins[0, 1]
    for c in range(columns):
        row = rows - 1
        flat = np.hypot(directions[row, c, 0], directions[row, c, 1])
        along, across = directions[row, c, 0] / flat, directions[row, c, 1] / flat
        before = 1.0
        height_before = height_at(field, x0 + before * along, y0 + before * across)
        while row >= 0 and before < HALF_SIZE:
            rho = before + 0.04 + 0.012 * before
            height = height_at(field, x0 + rho * along, y0 + rho * across)
            while row >= 0:
                flat = np.hypot(directions[row, c, 0], directions[row, c, 1])
                tangent = directions[row, c, 2] / flat
                below = height - origins[row, 2] - tangent * rho
                if below < 0.0:
                    break
                above = origins[row, 2] + tangent * before - height_before
                share = min(max(above / max(above + below, 1e-9), 0.0), 1.0)
                length = (before + share * (rho - before)) / flat
                if length < distance[row, c]:
                    distance[row, c] = length
                    index[row, c] = GROUND
                row -= 1
            before, height_before = rho, height


@numba.njit(cache=True, fastmath=True)
def cast_triangles_(triangles, is_glass, owner, windows, rays, hits):
    """Meet triangles with the rays of their windows.

    Args:
        triangles: (T, 3, 3) float32; those of one object one after the other.
        is_glass: (T,) bool.
        owner: (T,) object of each triangle, -1 for none.
        windows: (T, 4) first row, row after the last, first column, column after the last;
            columns count on modulo C.
        rays: the rays.
        hits: written to where a triangle is nearer.
    """
    origins, directions = rays
    distance, index, glass_distance, glass_index, reached, stamp = hits
    columns = distance.shape[1]
    for k in range(triangles.shape[0]):
        ax, ay, az = triangles[k, 0, 0], triangles[k, 0, 1], triangles[k, 0, 2]
        e1x, e1y, e1z = (triangles[k, 1, 0] - ax, triangles[k, 1, 1] - ay, triangles[k, 1, 2] - az)
        e2x, e2y, e2z = (triangles[k, 2, 0] - ax, triangles[k, 2, 1] - ay, triangles[k, 2, 2] - az)
        mine = owner[k]
        for r in range(windows[k, 0], windows[k, 1]):
            # Moeller and Trumbore, with what depends on the row alone taken out of the loop.
            sx, sy, sz = origins[r, 0] - ax, origins[r, 1] - ay, origins[r, 2] - az
            qx, qy, qz = sy * e1z - sz * e1y, sz * e1x - sx * e1z, sx * e1y - sy * e1x
            reach = e2x * qx + e2y * qy + e2z * qz
            for count in range(windows[k, 2], windows[k, 3]):
                c = count % columns
                dx, dy, dz = directions[r, c, 0], directions[r, c, 1], directions[r, c, 2]
                px, py, pz = dy * e2z - dz * e2y, dz * e2x - dx * e2z, dx * e2y - dy * e2x
                det = e1x * px + e1y * py + e1z * pz
                if abs(det) < 1e-12:
                    continue
                inverse = 1.0 / det
                u = (sx * px + sy * py + sz * pz) * inverse
                if u < 0.0 or u > 1.0:
                    continue
                v = (dx * qx + dy * qy + dz * qz) * inverse
                if v < 0.0 or u + v > 1.0:
                    continue
                t = reach * inverse
                if t <= 0.3:
                    continue
                if mine >= 0 and stamp[r, c] != mine:
                    stamp[r, c] = mine
                    reached[mine] += 1
                if is_glass[k]:
                    if t < glass_distance[r, c]:
                        glass_distance[r, c] = t
                        glass_index[r, c] = k
                elif t < distance[r, c]:
                    distance[r, c] = t
                    index[r, c] = k


@numba.njit(cache=True, fastmath=True)
def _lattice(i, j, k, seed):
    """A pseudo-random number in [0, 1) for a point of the integer lattice."""
    n = (i * 73856093) ^ (j * 19349663) ^ (k * 83492791) ^ (seed * 2654435761)
    n = (n ^ (n >> 13)) * 1274126177
    n = n ^ (n >> 16)
    return (n & 0xFFFFF) / 1048576.0


@numba.njit(cache=True, fastmath=True)
def _noise(x, y, z, seed):
    """Smooth noise in [0, 1) with features of unit size."""
    i, j, k = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
    a, b, c = x - i, y - j, z - k
    a, b, c = a * a * (3 - 2 * a), b * b * (3 - 2 * b), c * c * (3 - 2 * c)
    total = 0.0
    for di in range(2):
        wa = a if di else 1.0 - a
        for dj in range(2):
            wb = b if dj else 1.0 - b
            for dk in range(2):
                wc = c if dk else 1.0 - c
                total += wa * wb * wc * _lattice(i + di, j + dj, k + dk, seed)
    return total


@numba.njit(cache=True, fastmath=True)
def _slab(o, d, low, high):
    """Where o + t d lies between -1 and 1, cut with [low, high]."""
    if abs(d) < 1e-9:
        if abs(o) > 1.0:
            return 1.0, 0.0
        return low, high
    t0, t1 = (-1.0 - o) / d, (1.0 - o) / d
    return max(low, min(t0, t1)), min(high, max(t0, t1))


@numba.njit(cache=True, fastmath=True)
def _crossing(shape, ox, oy, oz, ex, ey, ez, farthest):
    """Where o + t e enters and leaves the unit ball or cube, no farther than `farthest`."""
    low, high = 0.5, farthest
    if shape == 0:
        a = ex * ex + ey * ey + ez * ez
        b = ox * ex + oy * ey + oz * ez
        root = b * b - a * (ox * ox + oy * oy + oz * oz - 1.0)
        if root <= 0.0:
            return 1.0, 0.0
        root = np.sqrt(root)
        return max(low, (-b - root) / a), min(high, (-b + root) / a)
    low, high = _slab(ox, ex, low, high)
    low, high = _slab(oy, ey, low, high)
    return _slab(oz, ez, low, high)


@numba.njit(cache=True, fastmath=True)
def cast_volumes_(volumes, windows, luck, first, rays, hits):
    """Walk through the volumes of foliage until a leaf stops the ray.

    At a point `depth` metres inside the volume's nominal outside a leaf stops the ray where
    depth > rough * noise + scatter * luck: bumps and holes shared by all rays, and leaves that
    only this ray meets.

    Args:
        volumes: (V, 15) float64, rows of `foliage.Volume`.
        windows: (V, 4) as for `cast_triangles_`.
        luck: (R, C) float32 in [0, 1).
        first: index of the first volume among the hits.
        rays: the rays.
        hits: written to where a leaf is nearer.
    """
    origins, directions = rays
    distance, index = hits.distance, hits.index
    columns = distance.shape[1]
    for k in range(volumes.shape[0]):
        shape = volumes[k, 0]
        rx, ry, rz = volumes[k, 4], volumes[k, 5], volumes[k, 6]
        cos_y, sin_y = np.cos(volumes[k, 7]), np.sin(volumes[k, 7])
        rough, scatter, grain = volumes[k, 8], volumes[k, 9], volumes[k, 10]
        seed = int(volumes[k, 11] * 1000.0)
        least = min(rx, min(ry, rz))
        for r in range(windows[k, 0], windows[k, 1]):
            px, py, pz = (
                origins[r, 0] - volumes[k, 1],
                origins[r, 1] - volumes[k, 2],
                origins[r, 2] - volumes[k, 3],
            )
            ox, oy, oz = (px * cos_y + py * sin_y) / rx, (py * cos_y - px * sin_y) / ry, pz / rz
            for count in range(windows[k, 2], windows[k, 3]):
                c = count % columns
                dx, dy, dz = directions[r, c, 0], directions[r, c, 1], directions[r, c, 2]
                size = np.sqrt(dx * dx + dy * dy + dz * dz)
                ex, ey, ez = (dx * cos_y + dy * sin_y) / rx, (dy * cos_y - dx * sin_y) / ry, dz / rz
                low, high = _crossing(shape, ox, oy, oz, ex, ey, ez, float(distance[r, c]))
                if low >= high:
                    continue
                step = (0.10 + 0.004 * low * size) / size
                t = low + step * luck[r, c]
                wanted = -0.7 * scatter * np.log(1.0 - 0.98 * luck[r, c])
                while t < high:
                    ux, uy, uz = ox + t * ex, oy + t * ey, oz + t * ez
                    if shape == 0:
                        depth = (1.0 - np.sqrt(ux * ux + uy * uy + uz * uz)) * least
                    else:
                        depth = min((1.0 - abs(ux)) * rx, (1.0 - abs(uy)) * ry)
                        depth = min(depth, (1.0 - uz) * rz)
                    if depth > wanted:
                        bump = _noise(ux * rx / grain, uy * ry / grain, uz * rz / grain, seed)
                        if depth > wanted + rough * bump:
                            distance[r, c] = t
                            index[r, c] = first + k
                            break
                    t += step
