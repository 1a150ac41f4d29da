"""A detector in five lines: from a checkpoint and scans to boxes.

detector = Detector.from_checkpoint("checkpoint.pth")
result = detector("scan.bin")
print(result.boxes, result.scores, result.names)
"""

from __future__ import annotations

import copy
import dataclasses
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from pcdet.config.schema import read_model
from pcdet.engine.detect import detect
from pcdet.engine.device_options import amp_type, checked_device, prepare_detector
from pcdet.inference.network import BuiltNetwork, load_network
from pcdet.inference.placement import doubt_about_intensity, doubt_about_place
from pcdet.inference.results import CONVENTIONS, Detections
from pcdet.inference.voxelize import voxelize
from pcdet.utils.array_utils import mask_points_by_range
from pcdet.utils.errors import ConfigError, DataError, lookup
from pcdet.utils.point_files.reader import list_scans, read_points

Scan = np.ndarray | torch.Tensor | str | os.PathLike
_LOGGER = logging.getLogger(__name__)
_SCANS_TO_LOOK_AT = 10
_MOST_COLUMNS = 64  # of a scan: an array of more has a column for each point


class Detector:
    """Finds objects in scans; made by `from_checkpoint`.

    Several threads may call it at once: it keeps nothing from one call to the next but how many of
    the first scans it has looked at, to warn of such as it cannot have learnt. It neither reads nor
    changes the global configuration.

    Attributes:
        class_names: label k means `class_names[k - 1]`.
        config: the configuration of the network.
        convention: of the boxes, a key of `results.CONVENTIONS`.
        device: where voxels, network and suppression are computed.
    """

    def __init__(
        self,
        network: BuiltNetwork,
        device: str | None = None,
        amp: str | None = None,
        score_thresh: float | Mapping[str, float] | None = None,
        convention: str = "kitti_lidar",
        compile: bool = False,
    ):
        """Put a network with its weights to work; see `from_checkpoint` for the arguments."""
        lookup(CONVENTIONS, convention, "convention")
        self.class_names = list(network.config.CLASS_NAMES)
        self.config = network.config
        self.convention = convention
        self.device = checked_device(device)
        self._amp = amp_type(amp, self.device, _LOGGER)
        self._model = prepare_detector(network.model, self.device, compile)
        processor = self._model.post_processor
        thresholds = _thresholds(score_thresh, processor.score_thresh, self.class_names)
        self._model.post_processor = dataclasses.replace(
            processor, use_raw_score=False, score_thresh=thresholds
        )
        self._samples = copy.copy(network.samples)
        self._num_stored = network.samples.num_stored_features
        anchors = read_model(network.config.MODEL).RPN.RPN_HEAD.TARGET_CONFIG.ANCHOR_GENERATOR
        self._lowest = min(a.bottom for a in anchors if a.class_name in self.class_names)
        self._to_look_at = _SCANS_TO_LOOK_AT
        self._columns = network.config.DATA_CONFIG.get("POINT_COLUMNS")
        # Samples are made of the columns that the network uses.
        self._samples.num_stored_features = self._samples.num_point_features

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike,
        cfg: str | os.PathLike | Mapping[str, Any] | None = None,
        device: str | None = None,
        amp: str | None = None,
        score_thresh: float | Mapping[str, float] | None = None,
        convention: str = "kitti_lidar",
        compile: bool = False,
    ) -> Detector:
        """Read a checkpoint, of whichever code base (docs/checkpoints.md).

        Args:
            path: of the checkpoint.
            cfg: yaml of its network, or a configuration; None for the one that it stores.
            device: cpu, cuda or cuda:N; None for a GPU if one is usable.
            amp: bf16, or fp16 on a GPU, to compute convolutions in 16 bits; auto for bf16 on CPUs
                that multiply it faster; None for 32 bits.
            score_thresh: least probability, for all classes or by class; None for the
                configuration's.
            convention: of the boxes: kitti_lidar, openpcdet or corners.
            compile: compile the dense network, which takes a minute once.

        Raises:
            CheckpointError: the file cannot be read or does not fit the configuration.
            ConfigError: an argument or the configuration does not fit.
        """
        network, _ = load_network(path, cfg, logger=_LOGGER)
        return cls(network, device, amp, score_thresh, convention, compile)

    def __call__(self, scans: Scan | Sequence[Scan]) -> Detections | list[Detections]:
        """Detect in a scan, or in a list of scans as one batch.

        Args:
            scans: (N, C) points in the LiDAR frame, x, y, z in metres and the other features of the
                network, as an array, a tensor or a file (.bin, .npy, .pcd, .ply); or a list of
                these. Of an array of three columns the intensity is taken as 0, and columns beyond
                the network's are left out; a file must have those that it was trained on.

        Returns:
            The detections of the scan, or a list of those of each.

        Raises:
            DataError: a file cannot be read, or points have another shape.
        """
        if isinstance(scans, (list, tuple)):
            return self._detect([self._read(scan, k) for k, scan in enumerate(scans)])
        return self._detect([self._read(scans, 0)])[0]

    def stream(
        self,
        scans: str | os.PathLike | Iterable[Scan],
        batch_size: int = 1,
        progress: bool = True,
        unreadable: Callable[[DataError], None] | None = None,
    ) -> Iterator[Detections]:
        """Detect in one scan after the other, and hold no more than a batch of them.

        Args:
            scans: a folder of scans, or anything that gives scans, such as a sensor's driver.
            batch_size: scans that are computed together.
            progress: show a bar.
            unreadable: told why a scan cannot be read, which is left out; without it, the error is
                raised after the results of the scans before.

        Yields:
            The detections of each scan, in order.

        Raises:
            ConfigError: the batch size is none, or there are no scans.
            DataError: as when called.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ConfigError(f"batch_size: a whole number from 1 on expected, got {batch_size!r}")
        given = list_scans(scans) if isinstance(scans, (str, os.PathLike)) else scans
        if not isinstance(given, Iterable):
            raise ConfigError(f"scans: expected a folder, or what gives scans, got {given!r}")
        source = iter(tqdm(given, desc="scans", dynamic_ncols=True, disable=not progress))
        number = 0
        while batch := list(islice(source, batch_size)):
            named, failed = [], None
            for k, scan in enumerate(batch):
                try:
                    named.append(self._read(scan, number + k))
                except DataError as error:
                    if unreadable is None:
                        failed = error
                        break
                    unreadable(error)
            yield from self._detect(named)
            if failed is not None:
                raise failed
            number += len(batch)

    def _detect(self, named: list[tuple[str, np.ndarray]]) -> list[Detections]:
        if not named:
            return []
        found, _ = detect(self._model, self._batch(named), self._amp)
        return [self._result(frame, *scan) for frame, scan in zip(found, named)]

    def _read(self, scan: Scan, number: int) -> tuple[str, np.ndarray]:
        """Name and points (N, C) of a scan, with the columns that the network uses."""
        name, use = str(number), self._samples.num_point_features
        if isinstance(scan, (str, os.PathLike)):
            name, scan = Path(scan).stem, read_points(scan, self._num_stored, self._columns)
        elif isinstance(scan, torch.Tensor):
            scan = scan.detach().cpu()
            scan = (scan.float() if scan.is_floating_point() else scan).numpy()
        points = np.asarray(scan)
        fits = points.ndim == 2 and 3 <= points.shape[1] <= _MOST_COLUMNS
        if not fits or points.dtype.kind not in "fiu":
            raise DataError(
                f"scan {name}: expected points of shape (N, {use}), a row for each, x, y, z first, "
                f"got an array of shape {points.shape} and type {points.dtype}"
            )
        points = points[:, :use].astype(np.float32)
        if points.shape[1] == 3 and use == 4:
            points = np.pad(points, ((0, 0), (0, 1)))
        elif points.shape[1] < use:
            raise DataError(f"scan {name}: expected {use} columns, got {points.shape[1]}")
        points = self._samples.finite_points(points, name)
        if not len(points):
            _LOGGER.warning("scan %s: it has no points", name)
        if self._to_look_at > 0:
            self._look_at(name, points)
        return name, points

    def _look_at(self, name: str, points: np.ndarray) -> None:
        """Warn of a scan that cannot be right; the next ones are of the same sensor."""
        self._to_look_at -= 1
        extent = self.config.DATA_CONFIG.POINT_CLOUD_RANGE
        doubt = doubt_about_place(points, extent, self._lowest)
        if doubt is None and self.config.DATA_CONFIG.DATASET == "KittiDataset":
            doubt = doubt_about_intensity(points)
        if doubt is not None:
            self._to_look_at = 0
            _LOGGER.warning("scan %s: %s", name, doubt)

    def _batch(self, named: Sequence[tuple[str, np.ndarray]]) -> dict[str, Any]:
        """The batch of some scans on the device; on a GPU the voxels are made there."""
        if self.device.type == "cpu":
            frames = ({"sample_idx": n, "points": p, "calib": None} for n, p in named)
            samples = [self._samples.prepare_data(frame, has_label=False) for frame in frames]
            return self._samples.collate_batch(samples)
        return self._batch_of_tensors([torch.from_numpy(points) for _, points in named])

    def _batch_of_tensors(self, scans: Sequence[torch.Tensor]) -> dict[str, Any]:
        generator = self._samples.voxel_generator
        frames = [voxelize(points.to(self.device), generator) for points in scans]
        coordinates = torch.cat([
            torch.nn.functional.pad(frame.coordinates, (1, 0), value=k)
            for k, frame in enumerate(frames)
        ])  # fmt: skip
        voxels = torch.cat([frame.voxels for frame in frames])
        size = voxels.new_tensor(generator.voxel_size.tolist(), dtype=torch.float64)
        low = size.new_tensor(generator.point_cloud_range[:3].tolist())
        centers = (coordinates[:, 1:].flip(1) + 0.5) * size + low
        return {
            "voxels": voxels,
            "num_points": torch.cat([frame.num_points for frame in frames]),
            "coordinates": coordinates,
            "voxel_centers": centers.to(voxels.dtype),
            "batch_size": len(frames),
        }

    def _result(
        self, found: Mapping[str, torch.Tensor], name: str, points: np.ndarray
    ) -> Detections:
        boxes, scores, labels = (found[k].numpy() for k in ("boxes", "scores", "labels"))
        extent = self.config.DATA_CONFIG.POINT_CLOUD_RANGE
        return Detections(
            boxes=CONVENTIONS[self.convention](boxes),
            scores=scores,
            labels=labels,
            names=[self.class_names[label - 1] for label in labels],
            frame_id=name,
            class_names=self.class_names,
            convention=self.convention,
            lidar_boxes=boxes,
            points=mask_points_by_range(points, extent),
            point_cloud_range=extent,
        )


def _thresholds(
    given: float | Mapping[str, float] | None,
    usual: float | Sequence[float],
    class_names: Sequence[str],
) -> float | list[float]:
    """The least score of all classes, or of each in their order.

    Raises:
        ConfigError: it is no probability, or of a class that there is not.
    """
    if given is None:
        return usual
    for value in given.values() if isinstance(given, Mapping) else [given]:
        number = isinstance(value, Real) and not isinstance(value, bool)
        if not number or not 0 <= value <= 1:
            raise ConfigError(
                f"score_thresh: a probability from 0 to 1 expected, or one by class, got {given!r}"
            )
    if not isinstance(given, Mapping):
        return float(given)
    unknown = sorted(set(given) - set(class_names))
    if unknown:
        raise ConfigError(f"score_thresh: no such classes: {unknown}; there are {class_names}")
    others = [usual] * len(class_names) if isinstance(usual, (int, float)) else usual
    return [float(given.get(name, other)) for name, other in zip(class_names, others)]
