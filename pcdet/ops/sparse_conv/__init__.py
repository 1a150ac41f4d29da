"""Sparse 3D convolution: plans of neighbours, layers, and several ways to compute them.

docs/sparse_convolution.md explains it.
"""

from pcdet.ops.sparse_conv.modules import (
    SparseConv3d,
    SparseInverseConv3d,
    SparseMaxPool3d,
    SparseModule,
    SparseSequential,
    SubMConv3d,
    plan_ahead,
)
from pcdet.ops.sparse_conv.tensor import SparseConvTensor, SparseTensor, dense_bev

__all__ = [
    "SparseConv3d",
    "SparseConvTensor",
    "SparseInverseConv3d",
    "SparseMaxPool3d",
    "SparseModule",
    "SparseSequential",
    "SparseTensor",
    "SubMConv3d",
    "dense_bev",
    "plan_ahead",
]
