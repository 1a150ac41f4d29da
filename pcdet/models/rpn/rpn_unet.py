"""Part-A2's backbone: a sparse encoder and decoder that label and place every voxel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from pcdet.models.rpn.blocks import SparseBasicBlock, subm_block, up_block
from pcdet.models.rpn.rpn_backbone import BackBone8x
from pcdet.ops.sparse_conv import SparseSequential, SparseTensor, dense_bev
from pcdet.utils import loss_utils
from pcdet.utils.box_utils import BOX, LABEL
from pcdet.utils.part_utils import part_targets


class UNetOutputs(NamedTuple):
    """What the backbone gives for a batch.

    Attributes:
        spatial_features: (B, C, H, W) image for the anchor head.
        seg_features: (V, C) features of the voxels.
        seg_preds: (V,) logits of lying in an object.
        part_preds: (V, 3) logits of the place in the object.
    """

    spatial_features: torch.Tensor
    seg_features: torch.Tensor
    seg_preds: torch.Tensor
    part_preds: torch.Tensor


# GENERATED_ON of the yaml: the data set's worker processes, or the model's device.
TARGET_SOURCES = ("dataset", "head_gpu")


class UNetV2(BackBone8x):
    """SECOND's encoder, a decoder back to the voxels, and two linear heads on its features.

    Shi et al., From Points to Parts (Part-A2), TPAMI 2020, section 3.1.

    Attributes:
        num_seg_features: channels of the voxels' features.
    """

    def __init__(
        self,
        input_channels: int,
        grid_size: Sequence[int],
        num_filters: Sequence[int] = (16, 32, 64, 64),
        num_output_features: int = 128,
        generated_on: str = "dataset",
        gt_extend_width: float = 0.2,
    ):
        """Build the layers.

        Args:
            input_channels: C of the voxel features.
            grid_size: voxels along x, y, z.
            num_filters: channels at 1, 1/2, 1/4 and 1/8 of the voxel grid, the first those of the
                voxels' features.
            num_output_features: channels of the image, before heights are folded in.
            generated_on: "dataset" for targets that the batch brings, "head_gpu" to make them from
                its boxes on the model's device (the CPU, too).
            gt_extend_width: metres around a box in which "head_gpu" ignores voxels.

        Raises:
            ValueError: generated_on is neither.
        """
        c1, c2, c3, c4 = num_filters
        super().__init__(input_channels, grid_size, num_filters, num_output_features)
        if generated_on not in TARGET_SOURCES:
            raise ValueError(f"generated_on must be one of {TARGET_SOURCES}, got {generated_on!r}")
        self.generated_on = generated_on
        self.gt_extend_width = gt_extend_width
        self.num_seg_features = c1
        self.conv_up_t4 = SparseBasicBlock(c4, "subm4")
        self.conv_up_m4 = subm_block(2 * c4, c4, "subm4")
        self.inv_conv4 = up_block(c4, c3, "spconv4")
        self.conv_up_t3 = SparseBasicBlock(c3, "subm3")
        self.conv_up_m3 = subm_block(2 * c3, c3, "subm3")
        self.inv_conv3 = up_block(c3, c2, "spconv3")
        self.conv_up_t2 = SparseBasicBlock(c2, "subm2")
        self.conv_up_m2 = subm_block(2 * c2, c2, "subm2")
        self.inv_conv2 = up_block(c2, c1, "spconv2")
        self.conv_up_t1 = SparseBasicBlock(c1, "subm1")
        self.conv_up_m1 = subm_block(2 * c1, c1, "subm1")
        self.conv5 = SparseSequential(subm_block(c1, c1, "subm1"))
        self.seg_cls_layer = nn.Linear(c1, 1)
        self.seg_reg_layer = nn.Linear(c1, 3)

    def forward(
        self, voxel_features: torch.Tensor, coordinates: torch.Tensor, batch_size: int
    ) -> UNetOutputs:
        """Encode, and decode back to the voxels, which keep their order.

        Args:
            voxel_features: (V, C).
            coordinates: (V, 4) batch index, z, y, x.
            batch_size: number of frames; those without voxels give an image of zeros.
        """
        if self.training or len(voxel_features):  # see `BackBone8x.forward`
            levels = self.encode(voxel_features, coordinates, batch_size)
            image, features = self.decode(levels)
        else:
            image = self.empty_image(voxel_features, batch_size)
            features = voxel_features.new_zeros(0, self.num_seg_features)
        # Under autocast the layers compute, and the linear ones below too, in half precision.
        features = features.to(voxel_features.dtype)
        return UNetOutputs(
            spatial_features=image,
            seg_features=features,
            seg_preds=self.seg_cls_layer(features).squeeze(1).to(features.dtype),
            part_preds=self.seg_reg_layer(features).to(features.dtype),
        )

    def decode(self, levels: Sequence[SparseTensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """The image (B, C, H, W) and the voxels' features (V, C)."""
        x1, x2, x3, x4 = levels
        stacked = _stack(x4, self.conv_up_t4(x4))
        image = dense_bev(self.conv_out(x4 if self.image_parts == 1 else stacked))
        x = self.inv_conv4(_merge(stacked, self.conv_up_m4))
        x = self.inv_conv3(_merge(_stack(x, self.conv_up_t3(x3)), self.conv_up_m3))
        x = self.inv_conv2(_merge(_stack(x, self.conv_up_t2(x2)), self.conv_up_m2))
        x = self.conv5(_merge(_stack(x, self.conv_up_t1(x1)), self.conv_up_m1))
        return image, x.features

    def assign_targets(self, input_dict: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Targets of the two heads.

        Args:
            input_dict: the batch; with "dataset" seg_labels (V,) and part_labels (V, 3), with
                "head_gpu" voxel_centers (V, 3), coordinates (V, 4) and gt_boxes (B, M, 8).

        Returns:
            seg_labels (V,): class of the box around a voxel, 0 background, -1 ignored;
            part_labels (V, 3): place in that box as fractions of its w, l, h; and
            positive_voxels (P,): indices of the voxels in boxes.
        """
        if self.generated_on == "dataset":
            seg_labels, part_labels = input_dict["seg_labels"], input_dict["part_labels"]
        else:
            seg_labels, part_labels = self._make_targets(input_dict)
        positive = torch.nonzero(seg_labels > 0).squeeze(1)
        return {"seg_labels": seg_labels, "part_labels": part_labels, "positive_voxels": positive}

    def _make_targets(self, input_dict: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """seg_labels (V,) and part_labels (V, 3) from the boxes of the batch."""
        centers, coordinates = input_dict["voxel_centers"], input_dict["coordinates"]
        seg_labels = torch.zeros(len(centers), dtype=torch.int32, device=centers.device)
        part_labels = torch.zeros_like(centers)
        for frame, boxes in enumerate(input_dict["gt_boxes"]):
            own = torch.nonzero(coordinates[:, 0] == frame).squeeze(1)
            boxes = boxes[boxes[:, LABEL] > 0]
            seg_labels[own], part_labels[own] = part_targets(
                centers[own], boxes[:, BOX], boxes[:, LABEL], self.gt_extend_width
            )
        return seg_labels, part_labels

    def get_loss(
        self, outputs: UNetOutputs, targets: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Focal loss of the segmentation, and cross-entropy of the places in the objects.

        Args:
            outputs: what `forward` returned.
            targets: what `assign_targets` returned.

        Returns:
            The loss, and its terms by name (detached).
        """
        labels = targets["seg_labels"]
        positive, negative = labels > 0, labels == 0
        num_positive = positive.sum()
        divisor = loss_utils.divisor(num_positive)
        focal = (
            loss_utils.sigmoid_focal_loss(outputs.seg_preds, positive.to(outputs.seg_preds.dtype))
            / divisor
        )
        index = targets["positive_voxels"]
        seg_positive, seg_negative = focal[index].sum(), torch.where(negative, focal, 0).sum()
        logits = outputs.part_preds[index]
        part = F.binary_cross_entropy_with_logits(
            logits, targets["part_labels"][index].to(logits.dtype), reduction="sum"
        ) / (3 * divisor)
        seg = seg_positive + seg_negative
        loss = seg + part
        tb_dict = {
            "rpn_loss_u_cls": seg.detach(),
            "rpn_loss_u_cls_pos": seg_positive.detach(),
            "rpn_loss_u_cls_neg": seg_negative.detach(),
            "rpn_u_loss_reg": part.detach(),
            "rpn_loss_unet": loss.detach(),
            "rpn_pos_num": num_positive,
        }
        return loss, tb_dict


class UNetV0(UNetV2):
    """The earlier form: the image is made of the features that the decoder begins with.

    PCDet v0.1 feeds the 64 encoder channels to the layer for 128 and fails; the first sum of the
    decoder, encoder features beside transformed ones, is where 128 channels exist.
    """

    image_parts = 2


def _stack(x: SparseTensor, lateral: SparseTensor) -> SparseTensor:
    """Features of the level below beside those of this level, on the same sites."""
    return lateral.replace_feature(torch.cat((x.features, lateral.features), dim=1))


def _merge(stacked: SparseTensor, conv: SparseSequential) -> SparseTensor:
    """Halve the channels by `conv`, around which the sums of neighbouring channels are led."""
    merged = conv(stacked)
    shortcut = stacked.features.unflatten(1, (merged.features.shape[1], -1)).sum(dim=2)
    return merged.replace_feature(merged.features + shortcut)
