"""Calibration of the recording car, as KITTI publishes it: cameras, rectification, mountings.

The values are KITTI's own, of two recording days. Each frame belongs to a day, and the mounting
angles vary a little about that day's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pcdet.utils.kitti_format.calib import calib_text


@dataclass(frozen=True)
class _Day:
    """One recording day: size of the pictures, and the numbers of its calibration files."""

    share: float
    image_shape: tuple[int, int]
    focal: float
    centre: tuple[float, float]
    baselines: tuple[tuple[float, float, float], ...]
    rectification: tuple[float, ...]
    velo_to_cam: tuple[float, ...]
    imu_to_velo: tuple[float, ...]


_DAYS = (
    _Day(
        0.8,
        (375, 1242),
        721.5377,
        (609.5593, 172.8540),
        ((-387.5744, 0.0, 0.0), (44.85728, 0.2163791, 0.002745884),
         (-339.5242, 2.199936, 0.002729905)),
        (0.9999239, 0.009837760, -0.007445048, -0.009869795, 0.9999421, -0.004278459,
         0.007402527, 0.004351614, 0.9999631),
        (0.007533745, -0.9999714, -0.0006166020, -0.004069766, 0.01480249, 0.0007280733,
         -0.9998902, -0.07631618, 0.9998621, 0.007523790, 0.01480755, -0.2717806),
        (0.9999976, 0.0007553071, -0.002035826, -0.8086759, -0.0007854027, 0.9998898,
         -0.01482298, 0.3195559, 0.002024406, 0.01482454, 0.9998881, -0.7997231),
    ),
    _Day(
        0.2,
        (370, 1224),
        707.0493,
        (604.0814, 180.5066),
        ((-379.7842, 0.0, 0.0), (45.75831, -0.3454157, 0.004981016),
         (-334.1081, 2.330660, 0.003201153)),
        (0.9999128, 0.01009263, -0.008511932, -0.01012729, 0.9999406, -0.004037671,
         0.008470675, 0.004123522, 0.9999556),
        (0.006927964, -0.9999722, -0.002757829, -0.02457729, -0.001162982, 0.002749836,
         -0.9999955, -0.06127237, 0.9999753, 0.006931141, -0.001143899, -0.3321029),
        (0.9999976, 0.0007553071, -0.002035826, -0.8086759, -0.0007854027, 0.9998898,
         -0.01482298, 0.3195559, 0.002024406, 0.01482454, 0.9998881, -0.7997231),
    ),
)  # fmt: skip
_MOUNTING_SPREAD = 0.0006  # rad, of the LiDAR's angles to the cameras from frame to frame


@dataclass(frozen=True)
class Recording:
    """The matrices of one frame under the names of KITTI's calibration files.

    Attributes:
        image_shape: rows and columns of its picture.
        projections: P0 to P3, (4, 3, 4).
        rectification: R0_rect (3, 3).
        velo_to_cam: Tr_velo_to_cam (3, 4).
        imu_to_velo: Tr_imu_to_velo (3, 4).
    """

    image_shape: tuple[int, int]
    projections: np.ndarray
    rectification: np.ndarray
    velo_to_cam: np.ndarray
    imu_to_velo: np.ndarray

    @property
    def lidar_to_rect(self) -> np.ndarray:
        """(3, 4) from the LiDAR frame to the rectified camera frame."""
        return self.rectification @ self.velo_to_cam

    @property
    def lidar_to_image(self) -> np.ndarray:
        """(3, 4) from the LiDAR frame to pixels of image 2, up to scale."""
        return self.projections[2] @ np.vstack([self.lidar_to_rect, [0.0, 0.0, 0.0, 1.0]])

    def text(self) -> str:
        """Write the calibration file."""
        return calib_text(
            {
                **{f"P{k}": matrix for k, matrix in enumerate(self.projections)},
                "R0_rect": self.rectification,
                "Tr_velo_to_cam": self.velo_to_cam,
                "Tr_imu_to_velo": self.imu_to_velo,
            }
        )


def draw_recording(rng: np.random.Generator) -> Recording:
    """Draw the calibration of a random frame."""
    day = _DAYS[int(rng.choice(len(_DAYS), p=[day.share for day in _DAYS]))]
    base = np.array([[day.focal, 0, day.centre[0]], [0, day.focal, day.centre[1]], [0, 0, 1.0]])
    columns = np.vstack([np.zeros(3), day.baselines])
    projections = np.stack([np.column_stack([base, column]) for column in columns])
    mounting = np.reshape(day.velo_to_cam, (3, 4)).copy()
    a, b, c = rng.normal(0.0, _MOUNTING_SPREAD, 3)
    small = np.array([[0, -c, b], [c, 0, -a], [-b, a, 0]])
    mounting[:, :3] = _nearest_rotation(mounting[:, :3] @ (np.eye(3) + small))
    return Recording(
        day.image_shape,
        projections,
        np.reshape(day.rectification, (3, 3)),
        mounting,
        np.reshape(day.imu_to_velo, (3, 4)),
    )


def _nearest_rotation(matrix: np.ndarray) -> np.ndarray:
    """The rotation nearest to a matrix (3, 3)."""
    u, _, v = np.linalg.svd(matrix)
    return u @ np.diag([1.0, 1.0, np.linalg.det(u @ v)]) @ v
