"""What every data set shares: a raw frame becomes a sample, samples become a batch."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.utils.data

from pcdet.config.schema import read_data_config
from pcdet.datasets.frame_checks import checked_class_map, checked_ground_truth
from pcdet.datasets.processor.part_targets import PartTargetGenerator
from pcdet.datasets.processor.voxel_generator import VoxelGenerator
from pcdet.datasets.scored import ScoredFrames
from pcdet.utils import array_utils, box_utils
from pcdet.utils.errors import ConfigError, DataError
from pcdet.utils.kitti_format.label import DONT_CARE
from pcdet.utils.paths import root_dir

if TYPE_CHECKING:
    from pcdet.datasets.data_augmentation.data_augmentor import DataAugmentor
    from pcdet.datasets.data_augmentation.dbsampler import DataBaseSampler

# Arrays of a batch that are the samples' arrays one after the other.
_CONCATENATED = (
    *("voxels", "num_points", "voxel_centers"),
    *("seg_labels", "part_labels", "bbox_reg_labels"),
)
# Those whose rows begin with the number of the sample.
_NUMBERED = {"coordinates", "points"}


class DatasetTemplate(ScoredFrames, torch.utils.data.Dataset):
    """Base of the data sets: a subclass reads frames, this class makes samples and batches of them.

    It can be made without arguments, for tools that only read a data set; `configure` gives it
    all that `prepare_data` needs.

    Attributes:
        root_path: folder of the data set, set by the subclass.
        infos: what is known of each frame, set by the subclass; see `labelled_objects`.
        class_names: names of the classes; label k is `class_names[k - 1]`.
        training: samples are augmented and boxes outside the range dropped.
        num_stored_features: numbers of each point in the files, x, y, z first.
        num_point_features: how many of them are used.
        seed: with the epoch and the index it decides every random number of a sample.
        voxel_generator: has voxel_size, point_cloud_range and grid_size.
        unused: arrays that samples go without, as no one reads them: they would only be copied.
        logger: where warnings about the data go.
    """

    def __init__(self) -> None:
        self.root_path: Path | None = None
        self.infos: list[dict[str, Any]] = []
        self.class_names: list[str] = []
        self.training = False
        self.seed = 0
        self.unused: frozenset[str] = frozenset()
        self.logger = logging.getLogger(__name__)
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._data_dir = Path()
        self._class_map: dict[str, str] = {}
        self._finite_points = array_utils.FinitePoints()
        self.voxel_generator: VoxelGenerator | None = None
        self.augmentor: DataAugmentor | None = None
        self.part_target_generator: PartTargetGenerator | None = None

    def configure(
        self,
        data_config: Mapping[str, Any],
        class_names: Sequence[str],
        training: bool,
        part_targets: Mapping[str, Any] | None = None,
        logger: logging.Logger | None = None,
        seed: int | None = None,
    ) -> None:
        """Take over the yaml's DATA_CONFIG; `root_path` must be set before.

        Args:
            data_config: the section DATA_CONFIG. Its keys are all checked, also those that only
                the subclass reads (DATASET, FOV_POINTS_ONLY, INFO_PATH).
            class_names: CLASS_NAMES.
            training: use the section TRAIN and the augmentations, else the section TEST.
            part_targets: the section TARGET_CONFIG of MODEL.RPN.BACKBONE, if there is one.
            logger: where warnings go; None for this module's logger.
            seed: of the random numbers; None for that of torch (`torch.manual_seed`).

        Raises:
            ConfigError: a key is missing or unknown, or a value does not fit.
            DataError: the database of the ground-truth sampling cannot be read.
        """
        config = read_data_config(data_config)
        self.class_names = list(class_names)
        self._class_map = checked_class_map(config.CLASS_MAP, class_names)
        self.training = training
        self.logger = logger or self.logger
        self.seed = torch.initial_seed() % 2**32 if seed is None else seed
        # Worker processes that outlive an epoch see the next one's number.
        self._epoch.share_memory_()
        self._data_dir = Path(config.DATA_DIR)
        self.num_stored_features = config.NUM_POINT_FEATURES.total
        self.num_point_features = config.NUM_POINT_FEATURES.use
        mode, voxels = config.TRAIN if training else config.TEST, config.VOXEL_GENERATOR
        self._shuffle_points = mode.SHUFFLE_POINTS
        self._mask_points = config.MASK_POINTS_BY_RANGE
        self._point_cloud_range = [float(value) for value in config.POINT_CLOUD_RANGE]
        self.voxel_generator = VoxelGenerator(
            voxel_size=voxels.VOXEL_SIZE,
            point_cloud_range=self._point_cloud_range,
            max_num_points=mode.MAX_POINTS_PER_VOXEL or voxels.MAX_POINTS_PER_VOXEL,
            max_voxels=mode.MAX_NUMBER_OF_VOXELS,
        )
        self.augmentor = None
        if training:
            # It loads Numba, which takes time and which nothing else needs.
            from pcdet.datasets.data_augmentation.data_augmentor import DataAugmentor

            self.augmentor = DataAugmentor.from_config(
                config.AUGMENTATION,
                self.class_names,
                resolve_path=self.resolve_path,
                logger=self.logger,
            )
        self.part_target_generator = PartTargetGenerator.from_config(part_targets, self.class_names)

    @property
    def point_cloud_range(self) -> list[float]:
        """POINT_CLOUD_RANGE: x, y, z of the lowest and of the highest corner, metres."""
        return self._point_cloud_range

    def labelled_objects(self, index: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Names (M,) and LiDAR boxes (M, 7) of a frame's objects, as `infos` know them.

        None if these do not have them: what is told before a training then counts no objects.
        """
        annos = self.infos[index].get("annos") or {}
        if not {"name", "gt_boxes_lidar"} <= annos.keys():
            return None
        names = annos["name"]
        return names[names != DONT_CARE], annos["gt_boxes_lidar"].reshape(-1, 7)

    def learned_names(self, names: np.ndarray) -> np.ndarray:
        """Names (M,) that labels (M,) have in training, by CLASS_MAP."""
        return np.array([self._class_map.get(name, name) for name in names.tolist()], np.str_)

    @property
    def mode(self) -> str:
        """Section of DATA_CONFIG that is in force: TRAIN or TEST."""
        return "TRAIN" if self.training else "TEST"

    @property
    def db_sampler(self) -> DataBaseSampler | None:
        """What adds objects of other frames to a training frame, if it is configured."""
        return None if self.augmentor is None else self.augmentor.db_sampler

    def resolve_path(self, path: str | Path) -> Path:
        """Find a file that the yaml names.

        A path below DATA_DIR, both absolute or both relative, is looked up in `root_path`, so that
        another data folder needs no other yaml; any other relative path starts at `root_dir()`.
        """
        if self.root_path is None:
            return Path(path)
        try:
            return Path(self.root_path) / Path(path).relative_to(self._data_dir)
        except ValueError:
            return root_dir() / path

    @property
    def epoch(self) -> int:
        """The epoch that the random numbers of the samples belong to."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Give the samples other random numbers; call it before an epoch's first batch."""
        self._epoch.fill_(epoch)

    def sample_rng(self, index: int) -> np.random.Generator:
        """Random numbers of sample `index` in this epoch, the same in every process."""
        return np.random.default_rng((self.seed, self.epoch, index))

    def get_road_plane(self, sample_idx: str) -> np.ndarray:
        """Return the ground plane (4,) [a, b, c, d] of a frame: ax + by + cz + d = 0, b < 0."""
        raise NotImplementedError(f"{type(self).__name__} has no road planes")

    def prepare_data(
        self,
        input_dict: Mapping[str, Any],
        has_label: bool = True,
        rng: np.random.Generator | None = None,
    ) -> dict[str, Any]:
        """Turn a raw frame into a sample. The input arrays are not modified.

        Args:
            input_dict: of the frame
                sample_idx: str;
                points: (N, 3 + C) float32, LiDAR frame, metres;
                calib: passed through; the road planes need it;
                gt_boxes_lidar: (M, 7) LiDAR boxes, if `has_label`;
                gt_names: (M,) str, if `has_label`;
                image_shape: optional, passed through.
            has_label: the frame has ground truth (it may be empty).
            rng: random numbers, see `sample_rng`; None for fresh ones.

        Returns:
            voxels (V, P, C) float32, num_points (V,) int32, coordinates (V, 3) int32 [z, y, x],
            voxel_centers (V, 3) float64 metres, points (N, C) float32, calib, sample_idx,
            image_shape if given; with labels gt_boxes (M, 8), the last column the label, and,
            where they are configured, seg_labels (V,), part_labels (V, 3) and
            bbox_reg_labels (V, 7); all but what is `unused`.

        Raises:
            DataError: an array of the frame has a shape that does not fit, or a box cannot be one.
        """
        rng = np.random.default_rng() if rng is None else rng
        points = self._checked_points(input_dict)
        gt_boxes = gt_classes = None
        if has_label:
            gt_boxes, gt_names = checked_ground_truth(input_dict)
            if self.training:
                gt_names = self.learned_names(gt_names)
                gt_boxes, gt_names, points = self._augment(
                    input_dict, gt_boxes, gt_names, points, rng
                )
            selected = array_utils.keep_arrays_by_name(gt_names, self.class_names)
            gt_boxes, gt_names = gt_boxes[selected], gt_names[selected]
            gt_classes = np.array([self.class_names.index(n) + 1 for n in gt_names], np.int32)

        example = {
            "sample_idx": input_dict["sample_idx"],
            "calib": input_dict["calib"],
            **self._voxelized(points[:, : self.num_point_features], rng),
        }
        if "image_shape" in input_dict:
            example["image_shape"] = input_dict["image_shape"]
        if has_label:
            if self.part_target_generator is not None:
                centers = example["voxel_centers"]
                example.update(self._part_targets(centers, gt_boxes, gt_classes))
            example["gt_boxes"] = np.concatenate((gt_boxes, gt_classes[:, None]), axis=1)
        left_out = self.unused - {"coordinates"}  # a batch counts its voxels by them
        return {name: value for name, value in example.items() if name not in left_out}

    def _voxelized(self, points: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """The voxels of the points (N, C) of a frame, and those points themselves."""
        if self._shuffle_points:
            points = points.take(rng.permutation(len(points)), axis=0)
        voxels, coordinates, num_points = self.voxel_generator.generate(points)
        if self._mask_points:
            points = array_utils.mask_points_by_range(points, self._point_cloud_range)
        return {
            "voxels": voxels,
            "num_points": num_points,
            "coordinates": coordinates,
            "voxel_centers": self.voxel_generator.voxel_centers(coordinates),
            "points": points,
        }

    def _augment(
        self,
        input_dict: Mapping[str, Any],
        gt_boxes: np.ndarray,
        gt_names: np.ndarray,
        points: np.ndarray,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Augment a training frame; keep the boxes of known classes that lie in the range."""
        # Regions hold no place against sampled objects.
        selected = array_utils.drop_arrays_by_name(gt_names, [DONT_CARE])
        gt_boxes, gt_names = gt_boxes[selected], gt_names[selected]
        sampling = {
            "root_path": self.root_path,
            "calib": input_dict["calib"],
            "num_point_features": self.num_stored_features,
        }
        if self.augmentor.needs_road_plane:
            sampling["road_planes"] = self.get_road_plane(input_dict["sample_idx"])
        gt_boxes, gt_names, points = self.augmentor(gt_boxes, gt_names, points, sampling, rng)
        mask = box_utils.mask_boxes_outside_range(gt_boxes, self._point_cloud_range)
        gt_boxes, gt_names = gt_boxes[mask], gt_names[mask]
        gt_boxes[:, box_utils.RZ] = box_utils.limit_period(
            gt_boxes[:, box_utils.RZ], offset=0.5, period=2 * np.pi
        )
        return gt_boxes, gt_names, points

    def _checked_points(self, input_dict: Mapping[str, Any]) -> np.ndarray:
        """The points of a frame, without those that are not finite."""
        points = np.asarray(input_dict["points"], dtype=np.float32)
        if points.ndim != 2 or points.shape[1] != self.num_stored_features:
            raise DataError(
                f"sample {input_dict['sample_idx']}: expected points of shape (N, "
                f"{self.num_stored_features}), NUM_POINT_FEATURES.total, got {points.shape}"
            )
        return self.finite_points(points, input_dict["sample_idx"])

    def finite_points(self, points: np.ndarray, sample_idx: str) -> np.ndarray:
        """Drop those of (N, C) points that hold NaN or infinity, see `FinitePoints`."""
        return self._finite_points(points, f"sample {sample_idx}", self.logger)

    def generate_voxel_part_targets(
        self,
        voxel_centers: np.ndarray,
        gt_boxes: np.ndarray,
        gt_classes: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Targets of Part-A2's segmentation and part heads; see PartTargetGenerator.

        Args:
            voxel_centers: (V, 3) LiDAR frame, metres.
            gt_boxes: (M, 7) LiDAR boxes.
            gt_classes: (M,) int, 1-based labels.

        Returns:
            seg_labels (V,), part_labels (V, 3), and bbox_reg_labels (V, 7) or None.

        Raises:
            ConfigError: `configure` was given no TARGET_CONFIG with GENERATED_ON: dataset.
        """
        if self.part_target_generator is None:
            raise ConfigError(
                "MODEL.RPN.BACKBONE.TARGET_CONFIG: part targets need GENERATED_ON: dataset"
            )
        return self.part_target_generator(voxel_centers, gt_boxes, gt_classes)

    def _part_targets(
        self, voxel_centers: np.ndarray, gt_boxes: np.ndarray, gt_classes: np.ndarray
    ) -> dict[str, np.ndarray]:
        names = ("seg_labels", "part_labels", "bbox_reg_labels")
        targets = self.generate_voxel_part_targets(voxel_centers, gt_boxes, gt_classes)
        return {name: value for name, value in zip(names, targets) if value is not None}

    @staticmethod
    def collate_batch(batch_list: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Join B samples to a batch of NumPy arrays.

        Returns:
            the samples' keys, with voxels, num_points, voxel_centers and the part targets one
            after the other; coordinates (V, 4) int32 [b, z, y, x] and points (N, 1 + C) float32
            with the sample's number first; gt_boxes (B, M, 8) float32, short samples filled with
            zero rows; image_shape (B, 2); sample_idx and calib as lists; and, as no other key
            tells of a sample without voxels, num_voxels (B,) int32 and batch_size.

        Raises:
            DataError: a sample lacks what another has, as one without labels does.
        """
        first = batch_list[0]
        for sample in batch_list:
            if alone := sample.keys() ^ first.keys():
                raise DataError(
                    f"samples {first['sample_idx']} and {sample['sample_idx']}: expected the same "
                    f"entries in all samples of a batch, {sorted(alone)} are in one of them alone: "
                    "frames with labels or cameras and frames without need data sets of their own"
                )
        columns = {key: [sample[key] for sample in batch_list] for key in first}
        batch: dict[str, Any] = dict(columns)
        for key in _CONCATENATED:
            if key in columns:
                batch[key] = np.concatenate(columns[key])
        for key in _NUMBERED & columns.keys():
            numbers = np.arange(len(batch_list), dtype=columns[key][0].dtype)
            counts = [len(rows) for rows in columns[key]]
            rows = np.concatenate(columns[key])
            batch[key] = np.concatenate((np.repeat(numbers, counts)[:, None], rows), axis=1)
        if "gt_boxes" in columns:
            batch["gt_boxes"] = array_utils.zero_padded(columns["gt_boxes"])
        if "image_shape" in columns:
            batch["image_shape"] = np.stack(columns["image_shape"])
        batch["num_voxels"] = np.array([len(rows) for rows in columns["coordinates"]], np.int32)
        batch["batch_size"] = len(batch_list)
        return batch

    @classmethod
    def collate_tensors(cls, batch_list: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """As `collate_batch`, with tensors for the arrays that a model computes with.

        A data loader passes tensors on without a copy and pins them in a thread of its own; real
        numbers are float32, as a copy to a GPU that also converts would be made by the host.
        """
        batch = cls.collate_batch(batch_list)
        for name in batch.keys() & {*_CONCATENATED, *_NUMBERED, "gt_boxes"}:
            tensor = torch.from_numpy(batch[name])
            batch[name] = tensor.float() if tensor.is_floating_point() else tensor
        return batch
