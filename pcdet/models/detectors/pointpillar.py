"""PointPillar (Lang et al., PointPillars: Fast Encoders for Object Detection, CVPR 2019)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

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

    def fold_(self) -> None:
        """See `folded`: the first convolution goes to the backbone, which knows what is empty.

        Not on a GPU, where that brings nothing, nor where the image itself is needed, too.
        """
        block = self.rpn_head.blocks[0]
        convolution, norm = block[1:3]
        whole = isinstance(norm, nn.Identity) and convolution.bias is not None
        on_cpu = convolution.weight.device.type == "cpu"
        if whole and on_cpu and not self.rpn_head.concat_input:
            self.rpn_net.convolve_(convolution)
            block[1] = block[3] = nn.Identity()
