"""Casts rays through foliage: where each of them is stopped by some leaf (see `raycast`)."""

from __future__ import annotations

import numpy as np

from pcdet.simulator.foliage import ELLIPSOID
from pcdet.simulator.raycast import Hits, Rays
from pcdet.utils.compiling import compiled

_PRIME_X, _PRIME_Y, _PRIME_Z, _PRIME_SEED = 73856093, 19349663, 83492791, 2654435761


@compiled(fastmath=True)
def _hashed(n):
    """A pseudo-random number in [0, 1) for an integer."""
    n = (n ^ (n >> 13)) * 1274126177
    n = n ^ (n >> 16)
    return (n & 0xFFFFF) / 1048576.0


@compiled(fastmath=True, forceinline=True)
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


@compiled(fastmath=True)
def _local(x, y, z, turn, half):
    """A vector of the LiDAR frame along the axes of a volume, in units of its half size.

    Args:
        x: of the vector.
        y: of the vector.
        z: of the vector.
        turn: cosine and sine of the volume's heading.
        half: its half axes.
    """
    cosine, sine = turn
    return (x * cosine + y * sine) / half[0], (y * cosine - x * sine) / half[1], z / half[2]


@compiled(fastmath=True, error_model="numpy")
def _pierce_(body, origin, directions, distance, span, path):
    """Write where the rays of a row enter and leave a volume; those that miss it leave first.

    Args:
        body: shape, half axes, cosine and sine of the heading of the volume.
        origin: of the row's rays, in the volume's frame (`_local`).
        directions: of all rays.
        distance: (R, C) beyond which rays do not go.
        span: row, first column and that after the last.
        path: (2, C) written to: where each ray enters and leaves.
    """
    (shape, half, turn), (ox, oy, oz), (r, first, end) = body, origin, span
    enters, leaves = path[0], path[1]
    beyond, is_ball = ox * ox + oy * oy + oz * oz - 1.0, shape == ELLIPSOID
    # No branches, so that the compiler makes SIMD of it.
    for c in range(np.uintp(first), np.uintp(end)):
        x, y, z = directions[0, r, c], directions[1, r, c], directions[2, r, c]
        ex, ey, ez = _local(x, y, z, turn, half)
        low, high = 0.5, float(distance[r, c])
        if is_ball:
            a, b = ex * ex + ey * ey + ez * ez, ox * ex + oy * ey + oz * ez
            root = b * b - a * beyond
            reach = np.sqrt(max(root, 0.0))
            low, high = max(low, (-b - reach) / a), min(high, (-b + reach) / a)
            high = high if root > 0.0 else 0.0
        else:
            low, high = _slab(ox, ex, low, high)
            low, high = _slab(oy, ey, low, high)
            low, high = _slab(oz, ez, low, high)
        enters[c], leaves[c] = low, high


@compiled(fastmath=True, error_model="numpy")
def _slab(o, d, low, high):
    """Where o + t d lies between -1 and 1, cut with [low, high]."""
    d = d if abs(d) > 1e-9 else 1e-9
    t0, t1 = (-1.0 - o) / d, (1.0 - o) / d
    return max(low, min(t0, t1)), min(high, max(t0, t1))


@compiled(fastmath=True)
def _depth(shape, place, size):
    """How far inside a volume a place in units of its half size lies, metres; at most so far."""
    x, y, z = place
    rx, ry, rz = size
    if shape == ELLIPSOID:
        return (1.0 - np.sqrt(x * x + y * y + z * z)) * min(rx, min(ry, rz))
    depth = min((1.0 - abs(x)) * rx, (1.0 - abs(y)) * ry)
    return min(depth, (1.0 - z) * rz)


@compiled(fastmath=True)
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
    path = np.empty((2, columns))
    for k in range(len(volumes)):
        shape, half = volumes[k, 0], (volumes[k, 4], volumes[k, 5], volumes[k, 6])
        turn = np.cos(volumes[k, 7]), np.sin(volumes[k, 7])
        body = shape, half, turn
        texture = volumes[k, 8], volumes[k, 9], volumes[k, 10], int(volumes[k, 11] * 1000.0)
        for r in range(windows[k, 0], windows[k, 1]):
            px, py = origins[r, 0] - volumes[k, 1], origins[r, 1] - volumes[k, 2]
            origin = _local(px, py, origins[r, 2] - volumes[k, 3], turn, half)
            start, last = windows[k, 2], windows[k, 3]
            while start < last:  # as windows of triangles, it may go beyond the last column
                low = start % columns
                high = min(columns, low + last - start)
                start += high - low
                _pierce_(body, origin, directions, distance, (r, low, high), path)
                for c in range(np.uintp(low), np.uintp(high)):
                    if path[0, c] < path[1, c]:
                        ray = directions[0, r, c], directions[1, r, c], directions[2, r, c]
                        span = path[0, c], path[1, c], luck[r, c]
                        stop = _stop(body, origin, ray, span, texture)
                        if stop > 0.0:
                            distance[r, c], index[r, c] = stop, first + k


@compiled(fastmath=True, forceinline=True)
def _stop(body, origin, ray, span, texture):
    """Where along a ray a leaf stops it, 0 if none does.

    Args:
        body: as for `_pierce_`.
        origin: of the ray, in the volume's frame (`_local`).
        ray: its direction.
        span: where it enters and leaves the volume, and its luck.
        texture: rough, scatter, grain and seed, see `foliage.Volume`.
    """
    (shape, half, turn), (ox, oy, oz), (dx, dy, dz) = body, origin, ray
    (low, high, luck), (rough, scatter, grain, seed) = span, texture
    ex, ey, ez = _local(dx, dy, dz, turn, half)
    size = np.sqrt(dx * dx + dy * dy + dz * dz)
    step = (0.10 + 0.004 * low * size) / size
    t = low + step * luck
    wanted = -0.7 * scatter * np.log(1.0 - 0.98 * luck)
    low, high = _deeper(body, origin, (ex, ey, ez), (low, high), wanted)
    t += step * np.ceil(max(low - t, 0.0) / step)
    while t < high:
        ux, uy, uz = ox + t * ex, oy + t * ey, oz + t * ez
        further = _depth(shape, (ux, uy, uz), half) - wanted
        if further > rough:  # whatever the bumps, which are below 1
            return t
        x, y, z = ux * half[0] / grain, uy * half[1] / grain, uz * half[2] / grain
        if further > rough * _noise(x, y, z, seed):
            return t
        t += step
    return 0.0


@compiled(fastmath=True, forceinline=True)
def _deeper(body, origin, ray, span, depth):
    """Where a ray is deeper inside a volume than `depth`: where it enters and leaves, or 0, 0.

    Args:
        body: as for `_pierce_`.
        origin: of the ray, in the volume's frame (`_local`).
        ray: its direction there.
        span: where it enters and leaves the volume.
        depth: as told by `_depth`, 0 or more.
    """
    (shape, half, _), (ox, oy, oz), (ex, ey, ez), (low, high) = body, origin, ray, span
    if shape == ELLIPSOID:
        radius = 1.0 - depth / min(half[0], min(half[1], half[2]))
        a, b = ex * ex + ey * ey + ez * ez, ox * ex + oy * ey + oz * ez
        root = b * b - a * (ox * ox + oy * oy + oz * oz - radius * radius)
        if radius <= 0.0 or root <= 0.0:
            return 0.0, 0.0
        reach = np.sqrt(root)
        return max(low, (-b - reach) / a), min(high, (-b + reach) / a)
    x, y, z = 1.0 - depth / half[0], 1.0 - depth / half[1], 1.0 - 0.5 * depth / half[2]
    if min(x, min(y, z)) <= 0.0:
        return 0.0, 0.0
    low, high = _slab(ox / x, ex / x, low, high)
    low, high = _slab(oy / y, ey / y, low, high)
    return _slab((oz + 1.0) / z - 1.0, ez / z, low, high)  # nothing is cut off below
