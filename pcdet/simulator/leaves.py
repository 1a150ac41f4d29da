"""Casts rays through foliage: where each of them is stopped by some leaf (see `raycast`)."""

from __future__ import annotations

import numba
import numpy as np

from pcdet.simulator.raycast import Hits, Rays

_PRIME_X, _PRIME_Y, _PRIME_Z, _PRIME_SEED = 73856093, 19349663, 83492791, 2654435761


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
