"""PCDet's name for the calibration, which is at home in `kitti_format.calib`."""

from pcdet.utils.kitti_format.calib import Calibration, get_calib_from_file

__all__ = ["Calibration", "get_calib_from_file"]
