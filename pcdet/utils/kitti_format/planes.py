"""Ground planes: `planes/<frame>.txt`, three lines of header and a line with four numbers.

A plane is [a, b, c, d] with a x + b y + c z + d = 0 in the rectified camera frame, its normal of
length 1 and pointing up (b < 0, for y points down).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from pcdet.utils.box_columns import CENTER, Y, Z
from pcdet.utils.errors import DataError
from pcdet.utils.io_utils import read_number, read_text
from pcdet.utils.kitti_format.calib import Calibration

# cos(60 degrees): a plane that is steeper is no road at all.
_LEAST_UPRIGHT = 0.5


def read_road_plane(plane_file: str | os.PathLike) -> np.ndarray:
    """Read a planes file.

    Returns:
        (4,) float64 plane.

    Raises:
        DataError: the file cannot be read or holds no plane.
    """
    path = Path(plane_file)
    expected = "expected 4 numbers on line 4"
    lines = read_text(path, "road plane").splitlines()
    try:
        plane = np.array([read_number(word) for word in lines[3].split()])
    except (IndexError, ValueError) as error:
        raise DataError(f"{path}: {expected}: {error}") from error
    if plane.shape != (4,) or not is_road(plane):
        raise DataError(
            f"{path}: {expected} whose second, b, is the largest of the normal, as the road is "
            f"below the camera; got {lines[3][:80]!r}"
        )
    norm = np.linalg.norm(plane[:3])
    return plane / (-norm if plane[1] > 0 else norm)


def is_road(plane: np.ndarray) -> bool:
    """Tell whether a plane (4,) can be a road: heights above it must make sense."""
    return bool(abs(plane[1]) > _LEAST_UPRIGHT * np.linalg.norm(plane[:3]))


def heights_above_plane(boxes: np.ndarray, plane: np.ndarray, calib: Calibration) -> np.ndarray:
    """(M,) metres along the LiDAR's z from a plane (4,) up to the bottoms of (M, 7) LiDAR boxes."""
    a, b, c, d = plane
    ground = calib.lidar_to_rect(boxes[:, CENTER])
    ground[:, Y] = -(a * ground[:, 0] + c * ground[:, 2] + d) / b
    return boxes[:, Z] - calib.rect_to_lidar(ground)[:, Z]


def road_plane_text(plane: np.ndarray) -> str:
    """Return the text of the planes file of a plane (4,)."""
    return "# Plane\nWidth 4\nHeight 1\n" + " ".join(f"{value:.12e}" for value in plane) + "\n"
