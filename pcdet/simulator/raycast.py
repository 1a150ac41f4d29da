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

from pcdet.simulator.ground import HALF_SIZE, height_at

NOTHING, GROUND = -1, -2
FAR = np.float32(1e4)
# All single, so that the innermost loop is.
_PRIME_X, _PRIME_Y, _PRIME_Z, _PRIME_SEED = 73856093, 19349663, 83492791, 2654435761
_LANES = 8  # rays of a row that the triangles meet at once
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
    origins, directions = rays
    distance, index = hits.distance, hits.index
    rows, columns = distance.shape
    x0, y0 = origins[0, 0], origins[0, 1]
    for c in range(columns):
        flat = np.hypot(directions[0, rows - 1, c], directions[1, rows - 1, c])
        along, across = directions[0, rows - 1, c] / flat, directions[1, rows - 1, c] / flat
        before, rho = 1.0, _farther(1.0)
        height_before = height_at(field, x0 + before * along, y0 + before * across)
        height = height_at(field, x0 + rho * along, y0 + rho * across)
        for row in range(rows - 1, -1, -1):
            flat = np.hypot(directions[0, row, c], directions[1, row, c])
            start, tangent = origins[row, 2], directions[2, row, c] / flat
            while start + tangent * rho > height and rho < HALF_SIZE:
                before, height_before = rho, height
                rho = _farther(rho)
                height = height_at(field, x0 + rho * along, y0 + rho * across)
            below = height - start - tangent * rho
            if below < 0.0:
                break  # this ray and those above it leave the field
            above = start + tangent * before - height_before
            share = min(max(above / max(above + below, 1e-9), 0.0), 1.0)
            length = (before + share * (rho - before)) / flat
            if length < distance[row, c]:
                distance[row, c] = length
                index[row, c] = GROUND


@numba.njit(cache=True, fastmath=True)
def _farther(rho):
    """The next distance, metres, at which a ray is compared with the ground."""
    return rho + 0.04 + 0.012 * rho


# True divisions, not approximate ones, so that a ray's place in the row makes no difference.
@numba.njit(cache=True, fastmath={"contract", "nnan", "nsz"}, error_model="numpy")
def cast_triangles_(
    triangles: np.ndarray,
    is_glass: np.ndarray,
    owner: np.ndarray,
    windows: np.ndarray,
    rays: Rays,
    hits: Hits,
) -> None:
    """Meet triangles with the rays of their windows, by Moeller and Trumbore.

    Args:
        triangles: (T, 3, 3) float32; those of one object one after the other, objects' first.
        is_glass: (T,) bool.
        owner: (T,) int32 object of each triangle, -1 for none.
        windows: (T, 4) first row, row after the last, first column, column after the last;
            columns count on modulo C.
        rays: the rays.
        hits: written to where a triangle is nearer.
    """
    directions, stamp, columns = rays.directions, hits.stamp, rays.directions.shape[2]
    for k in range(len(triangles)):
        if is_glass[k]:
            distance, index = hits.glass_distance, hits.glass_index
        else:
            distance, index = hits.distance, hits.index
        what, mine, met = np.int32(k), owner[k], np.int32(0)
        # Unsigned: the compiler makes SIMD of the innermost loop only if it knows that no index
        # counts from the end.
        for r in range(np.uintp(windows[k, 0]), np.uintp(windows[k, 1])):
            (nx, ny, nz), (px, py, pz), (qx, qy, qz), reach = _edges(triangles, k, rays.origins, r)
            first, last = windows[k, 2], windows[k, 3]
            while first < last:  # a window may go beyond the last column and on from the first one
                start, stop, low, width = _piece(first, last, columns)
                first += stop - start
                for c in range(np.uintp(low), np.uintp(low + width)):
                    x, y, z = directions[0, r, c], directions[1, r, c], directions[2, r, c]
                    slope = x * nx + y * ny + z * nz
                    crosses = abs(slope) > _PARALLEL
                    inverse = _ONE / (slope if crosses else _ONE)
                    u = (x * px + y * py + z * pz) * inverse
                    v = (x * qx + y * qy + z * qz) * inverse
                    t = reach * inverse
                    hit = crosses & (u >= _ZERO) & (v >= _ZERO) & (u + v <= _ONE) & (t > _NEAR)
                    hit = hit & (c >= np.uintp(start)) & (c < np.uintp(stop))
                    met += np.int32(1) if hit & (stamp[r, c] != mine) else np.int32(0)
                    stamp[r, c] = mine if hit else stamp[r, c]
                    hit = hit & (t < distance[r, c])
                    distance[r, c] = t if hit else distance[r, c]
                    index[r, c] = what if hit else index[r, c]
        if mine >= 0:
            hits.reached[mine] += met


@numba.njit(cache=True, fastmath={"contract", "nnan", "nsz"}, error_model="numpy")
def _edges(triangles, k, origins, r):
    """What the intersection of rays of row r with triangle k needs but for their directions."""
    ax, ay, az = triangles[k, 0, 0], triangles[k, 0, 1], triangles[k, 0, 2]
    ex, ey, ez = triangles[k, 1, 0] - ax, triangles[k, 1, 1] - ay, triangles[k, 1, 2] - az
    fx, fy, fz = triangles[k, 2, 0] - ax, triangles[k, 2, 1] - ay, triangles[k, 2, 2] - az
    sx, sy, sz = origins[r, 0] - ax, origins[r, 1] - ay, origins[r, 2] - az
    normal = fy * ez - fz * ey, fz * ex - fx * ez, fx * ey - fy * ex
    across_f = fy * sz - fz * sy, fz * sx - fx * sz, fx * sy - fy * sx
    qx, qy, qz = sy * ez - sz * ey, sz * ex - sx * ez, sx * ey - sy * ex
    return normal, across_f, (qx, qy, qz), fx * qx + fy * qy + fz * qz


@numba.njit(cache=True)
def _piece(first, last, columns):
    """The next piece of a window that does not go beyond the last column.

    Returns:
        Its first column and that after its last; first and number of columns about it that make
        whole lanes, since what is left over would be done one by one.
    """
    start = first % columns
    stop = min(columns, start + last - first)
    width = min(_LANES * ((stop - start + _LANES - 1) // _LANES), columns)
    return start, stop, min(start, columns - width), width


@numba.njit(cache=True, fastmath=True)
def _hashed(n):
    """A pseudo-random number in [0, 1) for an integer."""
    n = (n ^ (n >> 13)) * 1274126177
    n = n ^ (n >> 16)
    return (n & 0xFFFFF) / 1048576.0


@numba.njit(cache=True, fastmath=True)
def _noise(x, y, z, seed):
    """Smooth noise in [0, 1) with features of unit size: between numbers at integer places."""
    i, j, k = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
    a, b, c = x - i, y - j, z - k
    a, b, c = a * a * (3 - 2 * a), b * b * (3 - 2 * b), c * c * (3 - 2 * c)
    # Written out, since each product of an integer serves four corners.
    i0, j0, k0 = i * _PRIME_X, j * _PRIME_Y, k * _PRIME_Z
    i1, j1, k1 = i0 + _PRIME_X, j0 + _PRIME_Y, k0 + _PRIME_Z
    k0, k1 = k0 ^ (seed * _PRIME_SEED), k1 ^ (seed * _PRIME_SEED)
    near = (1.0 - b) * ((1.0 - c) * _hashed(i0 ^ j0 ^ k0) + c * _hashed(i0 ^ j0 ^ k1))
    near += b * ((1.0 - c) * _hashed(i0 ^ j1 ^ k0) + c * _hashed(i0 ^ j1 ^ k1))
    far = (1.0 - b) * ((1.0 - c) * _hashed(i1 ^ j0 ^ k0) + c * _hashed(i1 ^ j0 ^ k1))
    far += b * ((1.0 - c) * _hashed(i1 ^ j1 ^ k0) + c * _hashed(i1 ^ j1 ^ k1))
    return (1.0 - a) * near + a * far


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
def _depth(shape, place, size):
    """How far inside a volume a place in units of its half size lies, metres; at most so far."""
    x, y, z = place
    rx, ry, rz = size
    if shape == 0:
        return (1.0 - np.sqrt(x * x + y * y + z * z)) * min(rx, min(ry, rz))
    depth = min((1.0 - abs(x)) * rx, (1.0 - abs(y)) * ry)
    return min(depth, (1.0 - z) * rz)


@numba.njit(cache=True, fastmath=True)
def cast_volumes_(
    volumes: np.ndarray,
    windows: np.ndarray,
    luck: np.ndarray,
    first: int,
    rays: Rays,
    hits: Hits,
) -> None:
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
        for r in range(np.uintp(windows[k, 0]), np.uintp(windows[k, 1])):
            px, py = origins[r, 0] - volumes[k, 1], origins[r, 1] - volumes[k, 2]
            pz = origins[r, 2] - volumes[k, 3]
            ox, oy, oz = (px * cos_y + py * sin_y) / rx, (py * cos_y - px * sin_y) / ry, pz / rz
            for count in range(windows[k, 2], windows[k, 3]):
                c = np.uintp(count if count < columns else count % columns)
                dx, dy, dz = directions[0, r, c], directions[1, r, c], directions[2, r, c]
                ex, ey, ez = (dx * cos_y + dy * sin_y) / rx, (dy * cos_y - dx * sin_y) / ry, dz / rz
                low, high = _crossing(shape, ox, oy, oz, ex, ey, ez, float(distance[r, c]))
                if low >= high:
                    continue
                size = np.sqrt(dx * dx + dy * dy + dz * dz)
                step = (0.10 + 0.004 * low * size) / size
                t = low + step * luck[r, c]
                wanted = -0.7 * scatter * np.log(1.0 - 0.98 * luck[r, c])
                while t < high:
                    ux, uy, uz = ox + t * ex, oy + t * ey, oz + t * ez
                    depth = _depth(shape, (ux, uy, uz), (rx, ry, rz))
                    stops = depth > wanted + rough  # whatever the bumps, which are below 1
                    if depth > wanted and not stops:
                        bump = _noise(ux * rx / grain, uy * ry / grain, uz * rz / grain, seed)
                        stops = depth > wanted + rough * bump
                    if stops:
                        distance[r, c] = t
                        index[r, c] = first + k
                        break
                    t += step
