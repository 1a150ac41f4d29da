"""A small folder of one's own data: a sensor 2.2 m above flat ground that sees all around."""

from __future__ import annotations

from pathlib import Path

import numpy as np

GROUND_Z = -2.2
# dx, dy, dz
SIZES = {"Car": (4.0, 1.6, 1.5), "Forklift": (2.4, 1.2, 2.2)}


def make_tiny_custom(root: str | Path, frames: int = 5, seed: int = 0) -> Path:
    """Write points/<frame>.npy and labels/<frame>.txt below `root`, and return it.

    Each frame has ground and two objects of each class, one of them behind, of 150 points each. The
    same seed makes the same bytes.
    """
    root, rng = Path(root), np.random.default_rng(seed)
    for folder in ("points", "labels"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for k in range(frames):
        rows = draw_rows(rng)
        clouds = [_ground(rng), *(points_in(row, rng) for _, row in rows)]
        np.save(root / "points" / f"{k:04d}.npy", np.concatenate(clouds))
        lines = [" ".join(f"{value:.3f}" for value in row) + f" {name}\n" for name, row in rows]
        (root / "labels" / f"{k:04d}.txt").write_text("".join(lines))
    return root


def draw_rows(rng: np.random.Generator) -> list[tuple[str, np.ndarray]]:
    """Class and x, y, z, dx, dy, dz, heading of the objects of a frame; none collide."""
    rows = []
    for k, name in enumerate(("Car", "Forklift", "Car", "Forklift")):
        angle = np.pi / 2 * (k + rng.uniform(-0.2, 0.2)) + 0.3
        x, y = rng.uniform(6, 11) * np.array([np.cos(angle), np.sin(angle)])
        size = np.array(SIZES[name]) * rng.uniform(0.95, 1.05)
        middle = GROUND_Z + size[2] / 2
        rows.append((name, np.array([x, y, middle, *size, rng.uniform(-np.pi, np.pi)])))
    return rows


def points_in(row: np.ndarray, rng: np.random.Generator, count: int = 150) -> np.ndarray:
    """Points (count, 4) in the upper half of a box."""
    own = rng.uniform(-0.45, 0.45, (count, 3)) * row[3:6]
    own[:, 2] = np.abs(own[:, 2])
    cos, sin = np.cos(row[6]), np.sin(row[6])
    x, y = own[:, 0] * cos - own[:, 1] * sin, own[:, 0] * sin + own[:, 1] * cos
    xyz = np.stack((x, y, own[:, 2]), axis=1) + row[:3]
    return np.column_stack((xyz, rng.uniform(0, 1, count))).astype(np.float32)


def _ground(rng: np.random.Generator, count: int = 4000) -> np.ndarray:
    xy = rng.uniform(-15, 15, (count, 2))
    z = GROUND_Z + rng.normal(0, 0.01, count)
    return np.column_stack((xy, z, rng.uniform(0, 1, count))).astype(np.float32)
