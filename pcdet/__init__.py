"""3D object detection from LiDAR point clouds: SECOND, Part-A2 and PointPillar on KITTI."""

__version__ = "0.1.0"
