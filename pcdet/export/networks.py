"""The parts of detectors that other programs can compute, as modules of tensors alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn

from pcdet.inference.network import BuiltNetwork
from pcdet.models.bbox_heads.rpn_head import RPNV2
from pcdet.models.rpn import PointPillarsScatter
from pcdet.utils.box_utils import RZ, W, X, Y, Z
from pcdet.utils.errors import ConfigError

_FEW = 7  # pillars of the example that a graph is traced with


class Exportable(NamedTuple):
    """What is exported.

    Attributes:
        module: from tensors to a tuple of tensors, in evaluation mode.
        example: arguments of it, by name.
        dynamic: of each argument, the dimensions that may have any size, and their names.
        outputs: names of the results.
        note: what is in it, and what is not and why.
    """

    module: nn.Module
    example: dict[str, torch.Tensor]
    dynamic: dict[str, dict[int, str]]
    outputs: tuple[str, ...]
    note: str


class PillarsToOutputs(nn.Module):
    """A whole PointPillar but for making pillars before it and choosing boxes after it."""

    def __init__(self, network: BuiltNetwork, batch_size: int):
        super().__init__()
        model, generator = network.model, network.samples.voxel_generator
        self.vfe, self.rpn_net, self.rpn_head = model.vfe, model.rpn_net, model.rpn_head
        self.batch_size = batch_size
        self.register_buffer("voxel_size", torch.from_numpy(generator.voxel_size))
        self.register_buffer("low", torch.from_numpy(generator.point_cloud_range[:3]))

    def forward(
        self, voxels: torch.Tensor, num_points: torch.Tensor, coordinates: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """(V, P, C), (V,) and (V, 4) [frame, z, y, x] to the outputs of the head."""
        place = coordinates[:, 1:].flip(1).to(voxels.dtype)
        centers = (place + 0.5) * self.voxel_size + self.low
        features = self.vfe(voxels, num_points, centers)
        # A pillar without points, which stands for none, has features by the normalisation.
        features = features * (num_points > 0).unsqueeze(1)
        image = self.rpn_net(features, coordinates, self.batch_size)
        return tuple(self.rpn_head(image).values())


class ImageToOutputs(nn.Module):
    """The dense network behind a sparse backbone: from its image from above to the outputs."""

    def __init__(self, network: BuiltNetwork):
        super().__init__()
        self.rpn_head = network.model.rpn_head

    def forward(self, spatial_features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(B, C, H, W) to the outputs of the head."""
        return tuple(self.rpn_head(spatial_features).values())


def exportable(network: BuiltNetwork, batch_size: int) -> Exportable:
    """The part of a network that can be exported.

    Args:
        network: with its weights.
        batch_size: frames of a batch of a PointPillar, which is part of the graph.

    Raises:
        ConfigError: nothing of it can be exported, or a batch size where it is free.
    """
    model = network.model.eval()
    head = type(model.rpn_head)
    if head is not RPNV2:
        raise ConfigError(
            f"MODEL.RPN.RPN_HEAD.NAME: only RPNV2 can be exported, not {head.__name__}"
        )
    outputs = ("cls_preds", "box_preds", "dir_cls_preds")
    outputs = outputs if model.rpn_head.direction is not None else outputs[:2]
    if isinstance(model.rpn_net, PointPillarsScatter):
        return _pillars(network, batch_size, outputs)
    if batch_size != 1:
        raise ConfigError(
            f"--batch_size {batch_size}: only PointPillars take it, as the graph of a "
            f"{type(model).__name__} takes batches of any size: leave it out"
        )
    channels, shape = model.rpn_net.num_bev_features, model.rpn_net.bev_shape
    example = {"spatial_features": torch.zeros(2, channels, *shape)}
    note = (
        f"{type(model).__name__}: the dense network alone, from the image from above "
        "(spatial_features) to the outputs. Left out: the sparse 3D convolutions before it, as "
        "ONNX has no operator for them"
    )
    if getattr(model, "rcnn_net", None) is not None:
        note += ", and the second stage, whose pooling looks for the points in each proposal"
    module = ImageToOutputs(network).eval()
    return Exportable(module, example, {"spatial_features": {0: "batch"}}, outputs, note)


def _pillars(network: BuiltNetwork, batch_size: int, outputs: tuple[str, ...]) -> Exportable:
    generator, use = network.samples.voxel_generator, network.samples.num_point_features
    example = {
        "voxels": torch.zeros(_FEW, generator.max_num_points, use),
        "num_points": torch.ones(_FEW, dtype=torch.int32),
        "coordinates": torch.zeros(_FEW, 4, dtype=torch.int32),
    }
    dynamic = {name: {0: "pillars"} for name in example}
    note = "PointPillar: the whole network, from pillars to the outputs of the head"
    return Exportable(PillarsToOutputs(network, batch_size).eval(), example, dynamic, outputs, note)


def settings_of(network: BuiltNetwork, batch_size: int) -> dict[str, Any]:
    """What pillars and boxes are made by, as `standalone.py` reads it.

    Raises:
        ConfigError: boxes are chosen in a way that `standalone.py` does not know.
    """
    model, generator = network.model, network.samples.voxel_generator
    choice, anchors = model.post_processor, model.rpn_head.target_assigner.anchors.cpu()
    if choice.nms_type != "nms_gpu":
        raise ConfigError(
            f"MODEL.TEST.NMS_TYPE: nms_gpu expected for export, got {choice.nms_type}"
        )
    direction = model.rpn_head.direction
    least = choice.score_thresh
    return {
        "class_names": list(network.config.CLASS_NAMES),
        "batch_size": batch_size,
        "point_cloud_range": [float(v) for v in network.config.DATA_CONFIG.POINT_CLOUD_RANGE],
        "voxel_size": [float(v) for v in network.config.DATA_CONFIG.VOXEL_GENERATOR.VOXEL_SIZE],
        "grid_size": generator.grid_size.tolist(),
        "max_points_per_voxel": generator.max_num_points,
        "max_voxels": generator.max_voxels,
        "num_point_features": network.samples.num_point_features,
        "anchors": {
            "x": anchors[0, :, :, X].tolist(),
            "y": anchors[:, 0, :, Y].tolist(),
            "per_location": anchors[0, 0, :, [Z, *range(W, RZ + 1)]].tolist(),
        },
        "direction": None
        if direction is None
        else {
            "bins": direction.num_direction_bins,
            "offset": direction.dir_offset,
            "limit_offset": direction.dir_limit_offset,
        },
        "score_thresh": least if isinstance(least, (int, float)) else list(least),
        "multi_classes_nms": choice.multi_classes_nms,
        "nms_thresh": choice.nms_thresh,
        "nms_pre": choice.nms_pre_maxsize_last,
        "nms_post": choice.nms_post_maxsize_last,
        "box_voting": choice.box_voting,
    }
