"""The files of a KITTI frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pcdet.datasets.ground_plane import estimate_road_plane
from pcdet.datasets.kitti.camera_view import read_image, read_image_shape, rect_points_in_view
from pcdet.utils.errors import DataError
from pcdet.utils.kitti_format.calib import Calibration
from pcdet.utils.kitti_format.folders import NUM_POINT_FEATURES, frame_path, image_path
from pcdet.utils.kitti_format.label import Object3d, get_objects_from_label
from pcdet.utils.kitti_format.planes import read_road_plane
from pcdet.utils.point_files import SCAN_SUFFIXES, read_points


class KittiFiles:
    """Reads what lies in a training/ or testing/ folder, frame by frame.

    A file that is missing or broken raises a DataError that names it.

    Attributes:
        root_split_path: the folder.
        num_stored_features: numbers of each point in the files.
        image_shape: (height, width) of images that are not there; None: an image must be there.
        has_camera: whether there is one, whose view counts.
    """

    root_split_path: Path
    num_stored_features: int = NUM_POINT_FEATURES
    image_shape: Sequence[int] | None = None
    has_camera: bool = True

    def _path(self, kind: str, idx: str) -> Path:
        return frame_path(self.root_split_path, kind, idx)

    def get_lidar(self, idx: str) -> np.ndarray:
        """Read the (N, C) float32 points of a frame: LiDAR x, y, z in metres, intensity, others."""
        path = self._path("velodyne", idx)
        try:
            return read_points(path, self.num_stored_features)
        except DataError as error:
            others = [path.with_suffix(suffix) for suffix in SCAN_SUFFIXES if not path.exists()]
            there = next((other.name for other in others if other.exists()), None)
            if there is None:
                raise
            raise DataError(
                f"{path}: missing, found {there}: KITTI's layout needs .bin, rows of float32; "
                "convert the scans, or use pcdet-custom, which reads other forms"
            ) from error

    def get_image_shape(self, idx: str) -> np.ndarray:
        """Read the (2,) int32 height and width of a frame's image from its header."""
        path = image_path(self.root_split_path, idx)
        if self.image_shape is not None and not path.exists():
            return np.array(self.image_shape, dtype=np.int32)
        return read_image_shape(path)

    def get_image(self, idx: str) -> np.ndarray:
        """Read the (height, width, 3) uint8 image of a frame."""
        return read_image(image_path(self.root_split_path, idx))

    def get_label(self, idx: str) -> list[Object3d]:
        """Read the labelled objects of a frame, DontCare regions included."""
        return get_objects_from_label(self._path("label_2", idx), need_sizes=True)

    def get_calib(self, idx: str) -> Calibration:
        """Read the calibration of a frame."""
        return Calibration(self._path("calib", idx))

    @property
    def planes_path(self) -> Path:
        """Folder of the planes files, which KITTI itself does not have."""
        return self.root_split_path / "planes"

    def has_road_plane(self, idx: str) -> bool:
        """Tell whether a frame has a planes file."""
        return self._path("planes", idx).is_file()

    def get_road_plane(self, idx: str) -> np.ndarray:
        """Read the ground plane of a frame, or estimate it from the points without a planes file.

        Returns:
            (4,) float64 [a, b, c, d] with ax + by + cz + d = 0 in the rectified camera frame, the
            normal of length 1 and pointing up.
        """
        if self.has_road_plane(idx):
            return read_road_plane(self._path("planes", idx))
        rng = np.random.default_rng(0)
        return estimate_road_plane(self.get_lidar(idx), self.get_calib(idx), rng=rng)

    @staticmethod
    def get_fov_flag(pts_rect: np.ndarray, img_shape: np.ndarray, calib: Calibration) -> np.ndarray:
        """Tell which points (N, 3) of the rectified camera frame lie in the image: (N,) bool."""
        return rect_points_in_view(pts_rect, img_shape, calib)
