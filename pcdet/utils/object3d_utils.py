"""PCDet's name for the reader of labels, which is at home in `kitti_format.label`."""

from pcdet.utils.kitti_format.label import Object3d, get_objects_from_label

__all__ = ["Object3d", "get_objects_from_label"]
