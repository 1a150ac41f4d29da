"""Batch normalisation of voxels, points and images, with exact statistics on the CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from pcdet.ops.batch_norm.batch_norm_utils import batch_norm, fixed_norm

# Batch normalisation as PCDet's published models were trained with.
NORM = {"eps": 1e-3, "momentum": 0.01}
# Devices on which torch sums the rows of a batch one after the other, in float32.
_SUM_PLAINLY = {"cpu"}


class VoxelNorm(nn.BatchNorm1d):
    """Batch normalisation of rows of channels: voxels, or the points in them.

    A single row has no variance, and torch refuses it in training: the running averages, which it
    then does not change, normalise it. No row has no mean, and changes them no more.

    Attributes:
        all_ranks: normalise by the rows of all processes, see `synchronise_norms_`.
        relu: set what is negative afterwards to 0, see `folding.fuse_relu_`.
    """

    all_ranks = False
    relu = False

    def forward(self, input: torch.Tensor, counts: torch.Tensor | None = None) -> torch.Tensor:
        """(N, C) rows; N may be 0 or 1. On a CPU each can stand for `counts` (N,) equal ones."""
        plainly = _suits(self, input)
        # Not len() in a test, a number that torch.export would take for constant.
        alone = self.training and len(input) < 2
        few = alone and (counts is None or int(counts.sum()) < 2)
        few = few and self.running_mean is not None  # else torch tells
        if self.training and (self.all_ranks or ((plainly or counts is not None) and not few)):
            return _normalise_by_batch(self, input, counts)
        if plainly and self.relu:
            return _normalise_by_averages(self, input)
        if few:
            averages = (self.running_mean, self.running_var)
            rows = F.batch_norm(input, *averages, self.weight, self.bias, eps=self.eps)
        else:
            rows = super().forward(input)
        return F.relu(rows) if self.relu else rows


class ImageNorm(nn.BatchNorm2d):
    """Batch normalisation of images of any layout.

    Attributes:
        all_ranks: normalise by the images of all processes, see `synchronise_norms_`.
        relu: set what is negative afterwards to 0, see `folding.fuse_relu_`.
    """

    all_ranks = False
    relu = False

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) images, to the same layout."""
        cells = input.permute(0, 2, 3, 1)
        # In the usual layout torch sums well.
        plainly = _suits(self, input) and cells.is_contiguous()
        if self.training and (plainly or self.all_ranks):
            normalise = _normalise_by_batch
        elif plainly and self.relu:
            normalise = _normalise_by_averages
        else:
            image = super().forward(input)
            return F.relu(image) if self.relu else image
        rows = normalise(self, cells.flatten(0, 2))
        return rows.view(cells.shape).permute(0, 3, 1, 2)


def synchronise_norms_(model: nn.Module, device: torch.device) -> nn.Module:
    """Let layers of normalisation use the statistics of all processes' batches together.

    Args:
        model: of `VoxelNorm` and `ImageNorm`; it is changed in place.
        device: where it will compute.

    Returns:
        `model`; on CUDA with torch's layers for this.
    """
    if device.type not in _SUM_PLAINLY:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for layer in model.modules():
        if isinstance(layer, (VoxelNorm, ImageNorm, nn.SyncBatchNorm)):
            layer.all_ranks = True
    return model


def _suits(norm: VoxelNorm | ImageNorm, input: torch.Tensor) -> bool:
    """Whether the operators of `batch_norm` can do this: it has all tensors, in their types."""
    dtype = torch.float32 if input.dtype == torch.bfloat16 else input.dtype
    tensors = (norm.weight, norm.bias, norm.running_mean)
    return (
        input.device.type in _SUM_PLAINLY
        and dtype in (torch.float32, torch.float64)
        and all(tensor is not None and tensor.dtype == dtype for tensor in tensors)
    )


def _normalise_by_batch(
    norm: VoxelNorm | ImageNorm, rows: torch.Tensor, counts: torch.Tensor | None = None
) -> torch.Tensor:
    """Normalise (N, C) rows by their own statistics, and follow these with the running averages."""
    done = batch_norm(rows, norm.weight, norm.bias, norm.eps, norm.all_ranks, norm.relu, counts)
    if done.count == 0:  # on all ranks
        return done.rows
    with torch.no_grad():
        norm.num_batches_tracked += 1
        # Without a momentum the averages are those of all batches, as in torch's layers.
        share = 1 / norm.num_batches_tracked if norm.momentum is None else norm.momentum
        norm.running_mean.lerp_(done.mean, share)
        # That of the batch is biased, the running one is not.
        norm.running_var.lerp_(done.variance * (done.count / max(done.count - 1, 1)), share)
    return done.rows


def _normalise_by_averages(norm: VoxelNorm | ImageNorm, rows: torch.Tensor) -> torch.Tensor:
    """Normalise (N, C) rows by the running averages, which stay."""
    averages = (norm.running_mean, norm.running_var)
    return fixed_norm(rows, *averages, norm.weight, norm.bias, norm.eps, norm.relu)
