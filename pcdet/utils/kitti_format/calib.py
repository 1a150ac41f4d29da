"""KITTI's calibration of one frame: between the LiDAR, the rectified camera and image 2.

All matrices are float32, as PCDet has them; points keep their own floating type.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pcdet.utils.errors import DataError
from pcdet.utils.io_utils import read_number, read_text

# Name in the file, name in the dict, shape.
_MATRICES = (
    ("P2", "P2", (3, 4)),
    ("R0_rect", "R0", (3, 3)),
    ("Tr_velo_to_cam", "Tr_velo2cam", (3, 4)),
)
_NAMES = {name for name, _, _ in _MATRICES}
# A rotation keeps volumes; rounded, or with an odd scale, it still does so nearly.
_LEAST_VOLUME = 0.5


def get_calib_from_file(calib_file: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read one of KITTI's `calib/<id>.txt`.

    Args:
        calib_file: lines of the form `name: numbers`; lines that are not needed may hold anything.

    Returns:
        P2 (3, 4) projection to image 2, R0 (3, 3) rectification, Tr_velo2cam (3, 4) LiDAR to
        camera; float32.

    Raises:
        DataError: the file or one of the matrices is missing, there twice, or of wrong numbers.
    """
    path = Path(calib_file)
    rows = {}
    for line in read_text(path, "calibration").splitlines():
        name, colon, values = line.partition(":")
        name = name.strip()
        if colon and name in rows and name in _NAMES:
            raise DataError(f"{path}: {name}: expected one line, got another: remove one of them")
        if colon:
            rows[name] = values.split()
    return {key: _matrix(path, name, rows.get(name), shape) for name, key, shape in _MATRICES}


def calib_text(matrices: Mapping[str, np.ndarray]) -> str:
    """Return the text of a calibration file: a line for each matrix, under its name in the file."""
    lines = (f"{name}: " + " ".join(f"{v:.12e}" for v in m.ravel()) for name, m in matrices.items())
    return "\n".join(lines) + "\n\n"


def _matrix(path: Path, name: str, values: list[str] | None, shape: tuple) -> np.ndarray:
    """Turn the numbers of one line into a float32 matrix of `shape`."""
    expected = f"expected a line '{name}: ' with {shape[0] * shape[1]} numbers"
    if values is None:
        raise DataError(f"{path}: {name} is missing: {expected}")
    try:
        matrix = np.array([read_number(value) for value in values], dtype=np.float32)
    except ValueError as error:
        raise DataError(f"{path}: {name}: {expected}: {error}") from error
    if matrix.size != shape[0] * shape[1]:
        raise DataError(f"{path}: {name}: {expected}, got {matrix.size}")
    return matrix.reshape(shape)


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Inverse of a (4, 4) motion of space, or of its transpose; a ValueError if it is none."""
    with np.errstate(all="ignore"):
        volume = np.linalg.det(matrix[:3, :3].astype(np.float64))
    if not _LEAST_VOLUME < volume < 1 / _LEAST_VOLUME:  # a mirror's is -1
        raise ValueError(f"expected rotations, whose determinant is 1, got {volume:.3g}")
    return np.linalg.inv(matrix)


class Calibration:
    """Moves points between the LiDAR frame, the rectified camera frame and image 2.

    LiDAR: x forward, y left, z up. Rectified camera: x right, y down, z forward. Both in metres.

    Attributes:
        P2: (3, 4) float32, rectified camera to pixels of image 2.
        R0: (3, 3) float32, camera to rectified camera.
        V2C: (3, 4) float32, LiDAR to camera.
    """

    def __init__(self, calib_file: str | os.PathLike | Mapping[str, np.ndarray]) -> None:
        """Take the matrices from a file, or from a dict with P2, R0 and Tr_velo2cam.

        Raises:
            DataError: see `get_calib_from_file`; or the way to the camera or the image has no way
                back.
        """
        matrices = calib_file
        if not isinstance(calib_file, Mapping):
            matrices = get_calib_from_file(calib_file)
        self.P2, self.R0, self.V2C = (
            np.asarray(matrices[key], dtype=np.float32)[: shape[0], : shape[1]]
            for _, key, shape in _MATRICES
        )
        self.lidar_to_rect_matrix = self.V2C.T @ self.R0.T  # (4, 3), for rows of points
        r0, v2c = np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32)
        r0[:3, :3], v2c[:3] = self.R0, self.V2C
        where = "calibration" if isinstance(calib_file, Mapping) else calib_file
        if not abs(np.linalg.det(self.P2[:, :3].astype(np.float64))) > 0:
            raise DataError(f"{where}: P2: expected a projection, got {self.P2.tolist()}")
        try:
            self._rect_to_lidar_matrix = _inverse((r0 @ v2c).T)  # (4, 4)
        except ValueError as error:
            raise DataError(f"{where}: R0_rect and Tr_velo_to_cam: {error}") from error

    @classmethod
    def from_info(cls, calib_info: Mapping[str, np.ndarray]) -> Calibration:
        """Take the 4x4 matrices P2, R0_rect and Tr_velo_to_cam of an info's `calib`."""
        return cls({key: calib_info[name] for name, key, _ in _MATRICES})

    @staticmethod
    def cart_to_hom(pts: np.ndarray) -> np.ndarray:
        """Turn (N, D) points into (N, D + 1) with a last column of ones, in the same dtype."""
        return np.concatenate((pts, np.ones((len(pts), 1), dtype=pts.dtype)), axis=1)

    def lidar_to_rect(self, pts_lidar: np.ndarray) -> np.ndarray:
        """Move (N, 3) points of the LiDAR frame to the rectified camera frame."""
        return self.cart_to_hom(pts_lidar) @ self.lidar_to_rect_matrix

    def rect_to_lidar(self, pts_rect: np.ndarray) -> np.ndarray:
        """Move (N, 3) points of the rectified camera frame to the LiDAR frame."""
        return (self.cart_to_hom(pts_rect) @ self._rect_to_lidar_matrix)[:, :3]

    def rect_to_img(self, pts_rect: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Project points of the rectified camera frame.

        Args:
            pts_rect: (N, 3).

        Returns:
            (N, 2) pixels u, v, and (N,) depth in metres. As in PCDet, pixels are divided by the
            depth in front of the rectified camera, which lies some millimetres from camera 2's.
            Points in the camera's own plane have no pixel: theirs are inf or nan.
        """
        projected = self.cart_to_hom(pts_rect) @ self.P2.T
        with np.errstate(divide="ignore", invalid="ignore"):
            pixels = projected[:, :2] / pts_rect[:, 2:3]
        return pixels, projected[:, 2] - self.P2[2, 3]

    def lidar_to_img(self, pts_lidar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Project (N, 3) points of the LiDAR frame: (N, 2) pixels and (N,) depth."""
        return self.rect_to_img(self.lidar_to_rect(pts_lidar))

    def corners3d_to_img_boxes(self, corners3d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Project the corners of boxes and take the rectangles around them.

        Args:
            corners3d: (N, 8, 3) corners in the rectified camera frame.

        Returns:
            (N, 4) rectangles x1, y1, x2, y2 and (N, 8, 2) projected corners, in pixels. Unlike
            `rect_to_img` this divides by the projected depth, as PCDet does.
        """
        projected = self.cart_to_hom(corners3d.reshape(-1, 3)) @ self.P2.T
        with np.errstate(divide="ignore", invalid="ignore"):
            pixels = (projected[:, :2] / projected[:, 2:3]).reshape(-1, 8, 2)
        return np.concatenate((pixels.min(axis=1), pixels.max(axis=1)), axis=1), pixels
