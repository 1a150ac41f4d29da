"""PointPillar (Lang et al., PointPillars: Fast Encoders for Object Detection, CVPR 2019)."""

from __future__ import annotations

from typing import Any

import torch

from pcdet.models.detectors.second_net import SECONDNet
from pcdet.ops.sparse_conv import SparseTensor


class PointPillar(SECONDNet):
    """Pillars, an encoder that learns, a 2D network in bird's-eye view, anchors.

    The same stages as SECOND, with a pillar feature net for the encoder and a scatter for the
    backbone; the batch needs voxel_centers (V, 3) too.
    """

    inputs = (*SECONDNet.inputs, "voxel_centers")

    def encode_voxels(self, input_dict: dict[str, Any]) -> torch.Tensor:
        """(V, C) features of the pillars."""
        return self.vfe(input_dict["voxels"], input_dict["num_points"], input_dict["voxel_centers"])

    def bev_image(
        self, voxel_features: torch.Tensor, coordinates: torch.Tensor, batch_size: int
    ) -> torch.Tensor | SparseTensor:
        """On a CPU the pillars alone, unless the head stacks the image itself.

        Nine cells in ten are empty, and the first convolution is the largest of all. On a GPU that
        brings nothing.
        """
        if voxel_features.device.type != "cpu" or self.rpn_head.concat_input:
            return super().bev_image(voxel_features, coordinates, batch_size)
        shape = (1, *self.rpn_net.bev_shape)
        return SparseTensor(voxel_features, coordinates, shape, batch_size)
