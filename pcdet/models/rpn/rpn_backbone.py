"""SECOND's sparse middle network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from pcdet.models.rpn.blocks import down_block, subm_block
from pcdet.ops.sparse_conv import SparseSequential, SparseTensor, dense_bev, plan_ahead


def _halved(size: int, padding: int = 1) -> int:
    """Sites after a convolution of size 3 and stride 2."""
    return (size + 2 * padding - 3) // 2 + 1


class BackBone8x(nn.Module):
    """Sparse 3D convolutions down to 1/8 of the voxel grid in x and y, heights into channels.

    Attributes:
        bev_shape: H, W of the output image.
        bev_stride: voxels along a side of its cells.
        num_bev_features: channels of the output image.
        image_parts: channels of what the image is made of, over those of the last level.
    """

    bev_stride = 8
    image_parts = 1

    def __init__(
        self,
        input_channels: int,
        grid_size: Sequence[int],
        num_filters: Sequence[int] = (16, 32, 64, 64),
        num_output_features: int = 128,
    ):
        """Build the layers.

        Args:
            input_channels: C of the voxel features.
            grid_size: voxels along x, y, z.
            num_filters: channels at 1, 1/2, 1/4 and 1/8 of the voxel grid.
            num_output_features: channels of the last sparse layer, before heights are folded in.
        """
        super().__init__()
        x, y, z = (int(size) for size in grid_size)
        c1, c2, c3, c4 = num_filters
        # One more layer in z, as PCDet has it: odd sizes keep the voxels' centres aligned.
        self.sparse_shape = [z + 1, y, x]
        self.conv_input = subm_block(input_channels, c1, "subm1")
        self.conv1 = SparseSequential(subm_block(c1, c1, "subm1"))
        self.conv2 = SparseSequential(
            down_block(c1, c2, "spconv2"), subm_block(c2, c2, "subm2"), subm_block(c2, c2, "subm2")
        )
        self.conv3 = SparseSequential(
            down_block(c2, c3, "spconv3"), subm_block(c3, c3, "subm3"), subm_block(c3, c3, "subm3")
        )
        self.conv4 = SparseSequential(
            down_block(c3, c4, "spconv4", padding=(0, 1, 1)),
            subm_block(c4, c4, "subm4"),
            subm_block(c4, c4, "subm4"),
        )
        depth = _halved(_halved(_halved(z + 1)), padding=0)
        # A range of few voxels in height leaves less than the last kernel's three layers.
        last_padding = (0 if depth >= 3 else 1, 0, 0)
        self.conv_out = down_block(
            self.image_parts * c4,
            num_output_features,
            "spconv_down2",
            kernel_size=(3, 1, 1),
            stride=(2, 1, 1),
            padding=last_padding,
        )
        self.bev_shape = tuple(_halved(_halved(_halved(size))) for size in (y, x))
        self.num_bev_features = num_output_features * _halved(depth, last_padding[0])

    def forward(
        self, voxel_features: torch.Tensor, coordinates: torch.Tensor, batch_size: int
    ) -> torch.Tensor:
        """Sparse features to a dense image.

        Args:
            voxel_features: (V, C).
            coordinates: (V, 4) batch index, z, y, x.
            batch_size: number of frames; those without voxels give zeros.

        Returns:
            (B, num_bev_features, H, W), H along y and W along x, in channels_last memory.
        """
        # In a training the layers run all the same: normalisation over all ranks waits for them.
        if not (self.training or len(voxel_features)):
            return self.empty_image(voxel_features, batch_size)
        *_, last = self.encode(voxel_features, coordinates, batch_size)
        return dense_bev(self.conv_out(last))

    def encode(
        self, voxel_features: torch.Tensor, coordinates: torch.Tensor, batch_size: int
    ) -> list[SparseTensor]:
        """Features at 1, 1/2, 1/4 and 1/8 of the voxel grid."""
        x = SparseTensor(voxel_features, coordinates, self.sparse_shape, batch_size)
        plan_ahead(x, self)
        x = self.conv_input(x)
        levels = []
        for stage in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = stage(x)
            levels.append(x)
        return levels

    def empty_image(self, like: torch.Tensor, batch_size: int) -> torch.Tensor:
        """The image of frames that all have no voxel, with dtype and device of `like`."""
        shape = (batch_size, *self.bev_shape, self.num_bev_features)
        return like.new_zeros(shape).permute(0, 3, 1, 2)
