"""Statements of PCDet v0.1's data set, as an article on it quotes them: they call this package."""

from __future__ import annotations

import numpy as np

from pcdet.config import cfg
from pcdet.datasets.data_augmentation import augmentation_utils
from pcdet.utils import box_utils, common_utils


def process_single_scene(self, sample_idx):
    """The info of a frame; `self` is a BaseKittiDataset."""
    info = {"point_cloud": {"num_features": 4, "lidar_idx": sample_idx}}
    info["image"] = {"image_idx": sample_idx, "image_shape": self.get_image_shape(sample_idx)}
    calib = self.get_calib(sample_idx)
    last_row = np.array([[0.0, 0.0, 0.0, 1.0]])
    rect = np.zeros([4, 4], dtype=calib.R0.dtype)
    rect[3, 3] = 1.0
    rect[:3, :3] = calib.R0
    info["calib"] = {
        "P2": np.concatenate([calib.P2, last_row], axis=0),
        "R0_rect": rect,
        "Tr_velo_to_cam": np.concatenate([calib.V2C, last_row], axis=0),
    }
    obj_list = sorted(self.get_label(sample_idx), key=lambda obj: obj.cls_type == "DontCare")
    annos = {
        "name": np.array([obj.cls_type for obj in obj_list]),
        "truncated": np.array([obj.truncation for obj in obj_list]),
        "occluded": np.array([obj.occlusion for obj in obj_list]),
        "alpha": np.array([obj.alpha for obj in obj_list]),
        "bbox": np.concatenate([obj.box2d.reshape(1, 4) for obj in obj_list], axis=0),
        "dimensions": np.array([[obj.l, obj.h, obj.w] for obj in obj_list]),
        "location": np.concatenate([obj.loc.reshape(1, 3) for obj in obj_list], axis=0),
        "rotation_y": np.array([obj.ry for obj in obj_list]),
        "score": np.array([obj.score for obj in obj_list]),
        "difficulty": np.array([obj.level for obj in obj_list], np.int32),
    }
    num_objects = len([obj for obj in obj_list if obj.cls_type != "DontCare"])
    num_gt = len(annos["name"])
    index = list(range(num_objects)) + [-1] * (num_gt - num_objects)
    annos["index"] = np.array(index, dtype=np.int32)
    dims, rots = annos["dimensions"][:num_objects], annos["rotation_y"][:num_objects]
    loc_lidar = calib.rect_to_lidar(annos["location"][:num_objects])
    l, h, w = dims[:, 0:1], dims[:, 1:2], dims[:, 2:3]  # noqa: E741
    gt_boxes_lidar = np.concatenate([loc_lidar, w, l, h, rots[..., np.newaxis]], axis=1)
    annos["gt_boxes_lidar"] = gt_boxes_lidar
    points = self.get_lidar(sample_idx)
    pts_rect = calib.lidar_to_rect(points[:, 0:3])
    pts_fov = points[self.get_fov_flag(pts_rect, info["image"]["image_shape"], calib)]
    corners_lidar = box_utils.boxes3d_to_corners3d_lidar(gt_boxes_lidar)
    num_points_in_gt = -np.ones(num_gt, dtype=np.int32)
    for k in range(num_objects):
        num_points_in_gt[k] = box_utils.in_hull(pts_fov[:, 0:3], corners_lidar[k]).sum()
    annos["num_points_in_gt"] = num_points_in_gt
    info["annos"] = annos
    return info


def prepare_data(self, input_dict):
    """A sample of a frame with labels; `self` is a KittiDataset."""
    sample_idx, points, calib = (input_dict[key] for key in ("sample_idx", "points", "calib"))
    gt_boxes = input_dict["gt_boxes_lidar"].copy()
    gt_names = input_dict["gt_names"].copy()
    if self.training:
        selected = common_utils.drop_arrays_by_name(gt_names, ["DontCare", "Sign"])
        gt_boxes, gt_names = gt_boxes[selected], gt_names[selected]
        gt_boxes_mask = np.array([n in self.class_names for n in gt_names], dtype=np.bool_)
        if self.db_sampler is not None:
            road_planes = (
                self.get_road_plane(sample_idx)
                if cfg.DATA_CONFIG.AUGMENTATION.DB_SAMPLER.USE_ROAD_PLANE
                else None
            )
            sampled_dict = self.db_sampler.sample_all(
                self.root_path,
                gt_boxes,
                gt_names,
                road_planes=road_planes,
                num_point_features=cfg.DATA_CONFIG.NUM_POINT_FEATURES["total"],
                calib=calib,
            )
            if sampled_dict is not None:
                gt_names = np.concatenate([gt_names, sampled_dict["gt_names"]], axis=0)
                gt_boxes = np.concatenate([gt_boxes, sampled_dict["gt_boxes"]])
                gt_boxes_mask = np.concatenate([gt_boxes_mask, sampled_dict["gt_masks"]], axis=0)
                points = box_utils.remove_points_in_boxes3d(points, sampled_dict["gt_boxes"])
                points = np.concatenate([sampled_dict["points"], points], axis=0)
        noise = cfg.DATA_CONFIG.AUGMENTATION.NOISE_PER_OBJECT
        if noise.ENABLED:
            gt_boxes, points = augmentation_utils.noise_per_object_v3_(
                gt_boxes,
                points,
                gt_boxes_mask,
                rotation_perturb=noise.GT_ROT_UNIFORM_NOISE,
                center_noise_std=noise.GT_LOC_NOISE_STD,
                num_try=100,
            )
        gt_boxes, gt_names = gt_boxes[gt_boxes_mask], gt_names[gt_boxes_mask]
        gt_classes = np.array([self.class_names.index(n) + 1 for n in gt_names], dtype=np.int32)
        scene = cfg.DATA_CONFIG.AUGMENTATION.NOISE_GLOBAL_SCENE
        if scene.ENABLED:
            gt_boxes, points = augmentation_utils.random_flip(gt_boxes, points)
            gt_boxes, points = augmentation_utils.global_rotation(
                gt_boxes, points, rotation=scene.GLOBAL_ROT_UNIFORM_NOISE
            )
            gt_boxes, points = augmentation_utils.global_scaling(
                gt_boxes, points, *scene.GLOBAL_SCALING_UNIFORM_NOISE
            )
        pc_range = self.voxel_generator.point_cloud_range
        mask = box_utils.mask_boxes_outside_range(gt_boxes, pc_range)
        gt_boxes, gt_classes, gt_names = gt_boxes[mask], gt_classes[mask], gt_names[mask]
        gt_boxes[:, 6] = common_utils.limit_period(gt_boxes[:, 6], offset=0.5, period=2 * np.pi)
    points = points[:, : cfg.DATA_CONFIG.NUM_POINT_FEATURES["use"]]
    if cfg.DATA_CONFIG[self.mode].SHUFFLE_POINTS:
        np.random.shuffle(points)  # noqa: NPY002
    voxels, coordinates, num_points = self.voxel_generator.generate(points)
    voxel_centers = (coordinates[:, ::-1] + 0.5) * self.voxel_generator.voxel_size
    voxel_centers = voxel_centers + self.voxel_generator.point_cloud_range[0:3]
    if cfg.DATA_CONFIG.MASK_POINTS_BY_RANGE:
        points = common_utils.mask_points_by_range(points, cfg.DATA_CONFIG.POINT_CLOUD_RANGE)
    if not self.training:
        selected = common_utils.keep_arrays_by_name(gt_names, self.class_names)
        gt_boxes, gt_names = gt_boxes[selected], gt_names[selected]
        gt_classes = np.array([self.class_names.index(n) + 1 for n in gt_names], dtype=np.int32)
    gt_boxes = np.concatenate((gt_boxes, gt_classes.reshape(-1, 1).astype(np.float32)), axis=1)
    return {
        "voxels": voxels,
        "num_points": num_points,
        "coordinates": coordinates,
        "voxel_centers": voxel_centers,
        "calib": calib,
        "points": points,
        "gt_boxes": gt_boxes,
    }
