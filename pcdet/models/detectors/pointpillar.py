"""PointPillar (Lang et al., PointPillars: Fast Encoders for Object Detection, CVPR 2019)."""

from __future__ import annotations

from typing import Any

import torch

from pcdet.models.detectors.second_net import SECONDNet


class PointPillar(SECONDNet):
    """Pillars, an encoder that learns, a 2D network in bird's-eye view, anchors.

    The same stages as SECOND, with a pillar feature net for the encoder and a scatter for the
    backbone; the batch needs voxel_centers (V, 3) too.
    """

    inputs = (*SECONDNet.inputs, "voxel_centers")

    def encode_voxels(self, input_dict: dict[str, Any]) -> torch.Tensor:
        """(V, C) features of the pillars."""
        return self.vfe(input_dict["voxels"], input_dict["num_points"], input_dict["voxel_centers"])
