"""The one place that knows spconv: its import and its algorithms.

spconv's default algorithm is CUDA only. Convolutions of CPU tensors are computed by
`ops.sparse_conv`. Its `Native` algorithm, on the CPU that of pooling, needs indices that are int32
and contiguous (otherwise results are wrong, silently) and contiguous features.
"""

from __future__ import annotations

import logging
import math
import warnings

import torch

with warnings.catch_warnings():
    # spconv still names torch's decorators by their old path.
    warnings.simplefilter("ignore", FutureWarning)
    from spconv import core as _spconv_core
    from spconv.core import ConvAlgo

    if torch.version.cuda is None:
        # Importing spconv describes every kernel of these lists to the tuners of its CUDA
        # algorithms: ten seconds and more, for nothing where torch cannot use CUDA.
        for _name in ("ALL_NATIVE_PARAMS", "ALL_IMPGEMM_PARAMS"):
            getattr(_spconv_core, _name, []).clear()
    from spconv.pytorch import conv as _conv
    from spconv.pytorch import ops as _spconv_ops
    from spconv.pytorch import pool as _pool
    from spconv.pytorch.core import IndiceData, SparseConvTensor
    from spconv.pytorch.modules import SparseModule, SparseSequential

from pcdet.ops.sparse_conv.sparse_conv_utils import (
    indice_conv,
    strided_pairs,
    submanifold_pairs,
)

__all__ = [
    "SparseConv3d",
    "SparseConvTensor",
    "SparseInverseConv3d",
    "SparseMaxPool3d",
    "SparseModule",
    "SparseSequential",
    "SubMConv3d",
    "algorithm_of",
    "computes_in_half",
    "dense_bev",
    "dense_grid",
    "sparse_tensor",
]

# spconv asks torch whether it is being traced by a function that torch would like renamed.
logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)


def algorithm_of(device_type: str, kernel_volume: int) -> ConvAlgo:
    """The algorithm of a sparse layer on a device: spconv's own choice on CUDA, else Native.

    Args:
        device_type: "cuda", "cpu", ...
        kernel_volume: offsets of the kernel; on CUDA those of more than 32 have Native only.
    """
    if device_type == "cuda" and kernel_volume <= 32:
        return ConvAlgo.MaskImplicitGemm
    return ConvAlgo.Native


def computes_in_half(device_type: str) -> bool:
    """Whether sparse layers compute in float16 here: under autocast to float16 on CUDA.

    spconv's kernels know float32 and float16, and not bfloat16; on the CPU autocast leaves them in
    float32.
    """
    return (
        device_type == "cuda"
        and torch.is_autocast_enabled(device_type)
        and torch.get_autocast_dtype(device_type) == torch.float16
    )


class _DeviceAlgorithm:
    """Mixin for sparse layers: the algorithm and the precision that the input's device has.

    What comes out has the type that went in, whatever the layer computed in.
    """

    def forward(self, input: SparseConvTensor, *args, **kwargs):
        device_type = input.features.device.type
        self.algo = algorithm_of(device_type, math.prod(self.kernel_size))
        half = computes_in_half(device_type)
        with torch.autocast(device_type, enabled=half, dtype=torch.float16 if half else None):
            output = super().forward(input, *args, **kwargs)
        return output.replace_feature(output.features.to(input.features.dtype)) if half else output


class _SparseConvolution(_DeviceAlgorithm):
    """Mixin for convolutions: computed by `ops.sparse_conv` on the CPU, else by spconv."""

    def forward(self, input: SparseConvTensor, *args, **kwargs):
        if input.features.device.type != "cpu":
            return self.forward_by_spconv(input, *args, **kwargs)
        data = self._indice_data(input)
        pairs, sites, shape = data.indice_pairs, data.out_indices, data.out_spatial_shape
        if self.inverse:
            pairs, sites, shape = pairs.flip(0), data.indices, data.spatial_shape
        matrices = self.weight.flatten(1, 3).permute(1, 2, 0)  # (K, Cin, Cout)
        with torch.autocast("cpu", enabled=False):
            features = indice_conv(input.features, matrices, pairs, len(sites))
        if self.bias is not None:
            features = features + self.bias
        output = input.replace_feature(features)
        output.indices, output.spatial_shape = sites, shape
        if self.indice_key is not None:
            output.indice_dict = {**input.indice_dict, self.indice_key: data}
        return output

    def forward_by_spconv(self, input: SparseConvTensor, *args, **kwargs):
        """The same by spconv alone, which is slower on the CPU."""
        return super().forward(input, *args, **kwargs)

    def _indice_data(self, input: SparseConvTensor) -> IndiceData:
        """The pairs of each offset: those of the `indice_key` if an earlier layer left some."""
        shape, data = input.spatial_shape, input.find_indice_pair(self.indice_key)
        if self.inverse:
            if data is None:
                raise KeyError(
                    f"no layer before this one has the indice_key {self.indice_key!r}; those there "
                    f"are: {sorted(input.indice_dict)}"
                )
            self._check_inverse_reuse_valid(input, shape, data)
            return data
        if data is not None:
            self._check_subm_reuse_valid(input, shape, data)
            return data
        sizes = (self.kernel_size, self.stride, self.padding, self.dilation)
        if self.subm:
            sites, out_shape = input.indices, shape
            pairs, counts = submanifold_pairs(sites, shape, self.kernel_size, self.dilation)
        else:
            out_shape = _spconv_ops.get_conv_output_size(shape, *sizes)
            sites, pairs, counts = strided_pairs(input.indices, shape, out_shape, *sizes)
        return IndiceData(
            sites,
            input.indices,
            pairs,
            counts,
            shape,
            out_shape,
            is_subm=self.subm,
            algo=ConvAlgo.Native,
            ksize=self.kernel_size,
            stride=self.stride,
            dilation=self.dilation,
            padding=self.padding,
        )


class SubMConv3d(_SparseConvolution, _conv.SubMConv3d):
    """Submanifold sparse convolution: outputs only where there are inputs."""


class SparseConv3d(_SparseConvolution, _conv.SparseConv3d):
    """Sparse convolution: outputs wherever the kernel touches an input."""


class SparseInverseConv3d(_SparseConvolution, _conv.SparseInverseConv3d):
    """Sparse convolution back onto the inputs of the convolution with the same `indice_key`."""


class SparseMaxPool3d(_DeviceAlgorithm, _pool.SparseMaxPool3d):
    """Maximum over the inputs in each cell; on the CPU over those and 0, so for use after ReLU."""


def sparse_tensor(
    features: torch.Tensor, coordinates: torch.Tensor, spatial_shape: list[int], batch_size: int
) -> SparseConvTensor:
    """A sparse tensor in the form that spconv's CPU algorithm needs.

    Args:
        features: (V, C).
        coordinates: (V, 4) batch index, z, y, x; any integer type.
        spatial_shape: sizes along z, y, x.
        batch_size: number of frames, empty ones included.
    """
    return SparseConvTensor(
        features.contiguous(), coordinates.int().contiguous(), spatial_shape, batch_size
    )


def dense_bev(tensor: SparseConvTensor) -> torch.Tensor:
    """A sparse tensor as a bird's-eye-view image, the height folded into the channels.

    Returns:
        (B, C * D, H, W), channel c * D + z, in channels_last memory: a voxel's features then lie
        side by side, and the convolutions that follow on the CPU are faster in this layout.
    """
    depth, height, width = tensor.spatial_shape
    features = tensor.features
    image = features.new_zeros(tensor.batch_size, height, width, features.shape[1], depth)
    b, z, y, x = tensor.indices.long().unbind(dim=1)
    image[b, y, x, :, z] = features
    return image.flatten(3).permute(0, 3, 1, 2)


def dense_grid(tensor: SparseConvTensor) -> torch.Tensor:
    """A sparse tensor as a grid that is zero elsewhere.

    spconv's own `dense` indexes by a list, which torch is about to read differently.

    Returns:
        (B, C, D, H, W).
    """
    features = tensor.features
    grid = features.new_zeros(tensor.batch_size, *tensor.spatial_shape, features.shape[1])
    grid[tuple(tensor.indices.long().unbind(dim=1))] = features
    return grid.permute(0, 4, 1, 2, 3)
