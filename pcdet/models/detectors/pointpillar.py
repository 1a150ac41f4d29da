"""PointPillar (Lang et al., PointPillars: Fast Encoders for Object Detection, CVPR 2019)."""

from __future__ import annotations

from typing import Any

import torch

from pcdet.models.bbox_heads.rpn_head import RPNV2
from pcdet.models.detectors.second_net import SECONDNet
from pcdet.models.rpn import PointPillarsScatter
from pcdet.models.vfe.pillar_vfe import EMPTY_ONCE
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

    def head_input(
        self, voxel_features: torch.Tensor, coordinates: torch.Tensor, batch_size: int
    ) -> torch.Tensor | SparseTensor:
        """On a CPU the pillars in place of their image, of which nine cells in ten are empty.

        Not where the backbone does more than to scatter, or the head needs the image, too.
        """
        scatters = type(self.rpn_net) is PointPillarsScatter
        suffices = type(self.rpn_head) is RPNV2 and not self.rpn_head.concat_input
        if voxel_features.device.type in EMPTY_ONCE and scatters and suffices:
            return self.rpn_net.cells(voxel_features, coordinates, batch_size)
        return super().head_input(voxel_features, coordinates, batch_size)
