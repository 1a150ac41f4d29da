"""The parts of an info that labels and points decide on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pcdet.datasets.kitti.image_boxes import has_area, image_boxes
from pcdet.utils.kitti_format.calib import Calibration
from pcdet.utils.kitti_format.infos import LABELLED, lidar_boxes_of_labels
from pcdet.utils.kitti_format.label import DONT_CARE, Object3d


def object_annotations(
    objects: list[Object3d], calib: Calibration, image_shape: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Labels as arrays; DontCare regions come last, whatever their place in the file.

    An object without a 2D box gets the projection of its 3D box, on which its difficulty depends.

    Args:
        objects: G labels, M of them not DontCare.
        calib: of the frame.
        image_shape: (height, width); None without a camera, see `image_boxes`.

    Returns:
        name (G,) str; truncated, occluded, alpha, rotation_y, score (G,) float64; bbox (G, 4)
        float32; dimensions (G, 3) float64 l, h, w; location (G, 3) float32; difficulty, index
        (G,) int32, index -1 for DontCare; gt_boxes_lidar (M, 7) float64 LiDAR boxes.
    """
    objects = sorted(objects, key=lambda obj: obj.cls_type == DONT_CARE)
    objects = _with_box2d(objects, calib, image_shape)
    num_objects = sum(obj.cls_type != DONT_CARE for obj in objects)
    index = np.arange(len(objects), dtype=np.int32)
    index[num_objects:] = -1
    columns = {
        "name": ([obj.cls_type for obj in objects], np.str_, ()),
        "truncated": ([obj.truncation for obj in objects], np.float64, ()),
        "occluded": ([obj.occlusion for obj in objects], np.float64, ()),
        "alpha": ([obj.alpha for obj in objects], np.float64, ()),
        "bbox": ([obj.box2d for obj in objects], np.float32, (4,)),
        "dimensions": ([(obj.l, obj.h, obj.w) for obj in objects], np.float64, (3,)),
        "location": ([obj.loc for obj in objects], np.float32, (3,)),
        "rotation_y": ([obj.ry for obj in objects], np.float64, ()),
        "score": ([obj.score for obj in objects], np.float64, ()),
        "difficulty": ([obj.level for obj in objects], np.int32, ()),
    }
    annos = {
        key: np.array(values, dtype=dtype).reshape(-1, *shape)
        for key, (values, dtype, shape) in columns.items()
    }
    boxes = lidar_boxes_of_labels(*(annos[key][:num_objects] for key in LABELLED), calib)
    return {**annos, "index": index, "gt_boxes_lidar": boxes}


def _with_box2d(
    objects: list[Object3d], calib: Calibration, image_shape: np.ndarray | None
) -> list[Object3d]:
    """The objects, those that lack a 2D box with the projection of their 3D box."""
    marked = has_area(np.array([obj.box2d for obj in objects]).reshape(-1, 4))
    missing = [k for k, obj in enumerate(objects) if not marked[k] and obj.cls_type != DONT_CARE]
    if not missing:
        return objects
    chosen = [objects[k] for k in missing]
    boxes = np.array([[*obj.loc, obj.l, obj.h, obj.w, obj.ry] for obj in chosen])
    found = np.nan_to_num(image_boxes(boxes, calib, image_shape)).astype(np.float32)
    complete = list(objects)
    for k, rectangle in zip(missing, found):
        complete[k] = replace(objects[k], box2d=rectangle)
    return complete
