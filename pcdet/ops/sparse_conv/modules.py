"""Sparse layers, with the names, the weights and the initial values that spconv's layers have.

A layer asks for its plan, which `plan_ahead` has made or it makes itself, then computes.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Hashable, Iterable, Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pcdet.ops.sparse_conv.backends import backend_for
from pcdet.ops.sparse_conv.gather_conv import gather_conv, gather_max
from pcdet.ops.sparse_conv.plan import Geometry, LayerPlan, Pairs, by_first_offset, make_plan
from pcdet.ops.sparse_conv.sites import Sites
from pcdet.ops.sparse_conv.tensor import SparseTensor

Size = int | Sequence[int]  # of all axes, or along z, y, x


class SparseModule(nn.Module):
    """A module that takes sparse tensors; others in a `SparseSequential` take their features."""


class SparseSequential(SparseModule, nn.Sequential):
    """Modules one after the other; those that are no `SparseModule` see the features alone.

    Where there is no voxel, batch normalisation sees nothing: it has no mean of nothing. Only one
    with the attribute `all_ranks`, of the voxels of all processes, sees that there are none here.
    """

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Apply the modules in turn."""
        for module in self:
            if isinstance(module, SparseModule):
                x = module(x)
            elif len(x.sites) or not any(map(_averages_rows, module.modules())):
                x = x.replace_feature(module(x.features))
        return x


def _averages_rows(module: nn.Module) -> bool:
    """Whether it is batch normalisation by the rows of this process alone."""
    return isinstance(module, _BatchNorm) and not getattr(module, "all_ranks", False)


class PlannedLayer(SparseModule):
    """A layer with a plan of its own, or of its `indice_key`.

    Attributes:
        geometry: what its kernel reaches.
        indice_key: layers with the same key have the same plan; None for a plan of its own.
    """

    def __init__(self, geometry: Geometry, indice_key: str | None):
        super().__init__()
        self.geometry = geometry
        self.indice_key = indice_key

    @property
    def plan_key(self) -> Hashable:
        """What a tensor keeps the plan under."""
        return self if self.indice_key is None else self.indice_key

    def new_plan(self, sites: Sites) -> LayerPlan:
        """Make the plan of an input at these sites, in the form that the device's backend takes."""
        return make_plan(sites, self.geometry, backend_for(sites.indices.device).takes_pairs)

    def plan_for(self, x: SparseTensor) -> LayerPlan:
        """The plan that is there, or a new one, which then is.

        Raises:
            ValueError: the plan of the `indice_key` is for other sites or another kernel.
        """
        plan = x.plans.get(self.plan_key)
        if plan is not None and plan.inputs is x.sites and plan.geometry == self.geometry:
            return plan
        if plan is not None and self.indice_key is not None:
            raise ValueError(
                f"layers with one indice_key must have the same kernel size and the same sites; "
                f"the first with {self.indice_key!r} has {plan.geometry} at {len(plan.inputs)} "
                f"voxels, this one {self.geometry} at {len(x.sites)}"
            )
        plan = self.new_plan(x.sites)
        x.sites.check()
        x.plans[self.plan_key] = plan
        return plan


def plan_ahead(x: SparseTensor, network: nn.Module) -> None:
    """Make the plans of all sparse layers of `network` before any of them runs.

    A GPU has no work yet then, so that the few waits for numbers of outputs cost least, and it need
    not wait for the host once it has. Layers are taken in the order in which they are registered,
    each at the output of the one before; those whose plan is there are passed over.

    Args:
        x: the input of the first layer.
        network: its sparse layers are registered in the order of their first run.

    Raises:
        IndexError: a voxel lies outside of the grid.
        ValueError: a voxel is there twice.
    """
    sites, plans = x.sites, dict(x.plans)
    for layer in network.modules():
        if isinstance(layer, PlannedLayer):
            if layer.plan_key not in plans:
                plans[layer.plan_key] = layer.new_plan(sites)
            sites = plans[layer.plan_key].outputs
    x.sites.check()
    x.plans.update(plans)  # at last, so that there is none of sites that are refused


class _Convolution(nn.Module):
    """Mixin: a weight (Cout, kd, kh, kw, Cin), a bias, and the product with neighbours.

    Attributes:
        relu: whether ReLU is part of the layer, as in a network that is folded for testing.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    relu: bool = False

    def make_weights(
        self, in_channels: int, out_channels: int, kernel_size: Sequence[int], bias: bool
    ) -> None:
        """Register the parameters, with torch's initial values of a convolution."""
        self.in_channels, self.out_channels = in_channels, out_channels
        self.weight = nn.Parameter(torch.empty(out_channels, *kernel_size, in_channels))
        with torch.no_grad():
            nn.init.kaiming_uniform_(self.weight.flatten(1), a=math.sqrt(5))
        if bias:
            bound = 1 / math.sqrt(in_channels * math.prod(kernel_size))
            self.bias = nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound))
        else:
            self.register_parameter("bias", None)

    def convolve(self, x: SparseTensor, plan: LayerPlan) -> SparseTensor:
        """Features at the outputs of the plan."""
        matrices = self.weight.flatten(1, 3).permute(1, 2, 0)  # (K, Cin, Cout)
        features = gather_conv(
            x.features, matrices, plan.neighbours, bias=self.bias, relu=self.relu
        )
        return x.moved_to(plan.outputs, features)

    def extra_repr(self) -> str:
        """Channels and kernel."""
        return f"{self.in_channels}, {self.out_channels}, {tuple(self.weight.shape[1:4])}"


class SubMConv3d(_Convolution, PlannedLayer):
    """Submanifold sparse convolution: outputs only where there are inputs."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        padding: Size = 0,
        dilation: Size = 1,
        bias: bool = True,
        indice_key: str | None = None,
    ):
        """Make the weights.

        Args:
            in_channels: of the input.
            out_channels: of the output.
            kernel_size: odd sizes along z, y, x; the centre lies on the output.
            padding: of no effect, as the centre lies where it does; spconv takes it, too.
            dilation: voxels from one offset to the next.
            bias: whether to add one.
            indice_key: layers at the same sites with the same kernel share a plan by it.
        """
        del padding
        geometry = _geometry(kernel_size, dilation=dilation, submanifold=True)
        PlannedLayer.__init__(self, geometry, indice_key)
        self.make_weights(in_channels, out_channels, geometry.kernel_size, bias)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Convolve; the sites stay."""
        return self.convolve(x, self.plan_for(x))


class SparseConv3d(_Convolution, PlannedLayer):
    """Sparse convolution: outputs wherever the kernel touches an input."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        bias: bool = True,
        indice_key: str | None = None,
    ):
        """Make the weights; the arguments are those of `nn.Conv3d`.

        Args:
            in_channels: of the input.
            out_channels: of the output.
            kernel_size: along z, y, x.
            stride: inputs from one output to the next.
            padding: inputs beyond the grid that the first output reaches.
            dilation: inputs from one offset to the next.
            bias: whether to add one.
            indice_key: by which a `SparseInverseConv3d` finds the way back.
        """
        geometry = _geometry(kernel_size, stride, padding, dilation)
        PlannedLayer.__init__(self, geometry, indice_key)
        self.make_weights(in_channels, out_channels, self.geometry.kernel_size, bias)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Convolve, onto other sites."""
        return self.convolve(x, self.plan_for(x))


class SparseInverseConv3d(_Convolution, SparseModule):
    """Sparse convolution back onto the inputs of the layer with the same `indice_key`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        indice_key: str,
        bias: bool = True,
    ):
        """Make the weights.

        Args:
            in_channels: of the input.
            out_channels: of the output.
            kernel_size: that of the layer whose way it goes back.
            indice_key: of that layer.
            bias: whether to add one.
        """
        SparseModule.__init__(self)
        self.indice_key = indice_key
        self.make_weights(in_channels, out_channels, _three("kernel_size", kernel_size), bias)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Convolve, onto the sites of before.

        Raises:
            KeyError: no layer before has the `indice_key`.
            ValueError: its kernel has another size, or its outputs are at other sites.
        """
        plan = x.plans.get(self.indice_key)
        if plan is None:
            keys = sorted(key for key in x.plans if isinstance(key, str))
            raise KeyError(
                f"no layer before this one has the indice_key {self.indice_key!r}; those there "
                f"are: {keys}"
            )
        size = tuple(self.weight.shape[1:4])
        if plan.geometry.kernel_size != size or plan.outputs is not x.sites:
            raise ValueError(
                f"the layer with the indice_key {self.indice_key!r} must have the same kernel size "
                f"and have led to the same sites; it has {plan.geometry.kernel_size} and led to "
                f"{len(plan.outputs)} voxels, this one has {size} at {len(x.sites)}"
            )
        return self.convolve(x, plan.inverse)


class SparseMaxPool3d(PlannedLayer):
    """Maximum over the inputs in each cell and 0, so for use after ReLU."""

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        indice_key: str | None = None,
    ):
        """Keep the geometry; the arguments are those of `nn.MaxPool3d`.

        Args:
            kernel_size: along z, y, x.
            stride: inputs from one output to the next; by default the kernel's size.
            padding: inputs beyond the grid that the first output reaches.
            dilation: inputs from one offset to the next.
            indice_key: by which a `SparseInverseConv3d` finds the way back.
        """
        stride = kernel_size if stride is None else stride
        geometry = _geometry(kernel_size, stride, padding, dilation)
        super().__init__(geometry, indice_key)

    def new_plan(self, sites: Sites) -> LayerPlan:
        """See `PlannedLayer`."""
        plan = super().new_plan(sites)
        return by_first_offset(plan) if isinstance(plan.neighbours, Pairs) else plan

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Pool, onto other sites."""
        plan = self.plan_for(x)
        return x.moved_to(plan.outputs, gather_max(x.features, plan.neighbours))


def _geometry(
    kernel_size: Size,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    submanifold: bool = False,
) -> Geometry:
    return Geometry(
        _three("kernel_size", kernel_size),
        _three("stride", stride),
        _three("padding", padding),
        _three("dilation", dilation),
        submanifold,
    )


def _three(name: str, size: Size) -> tuple[int, int, int]:
    """A size along z, y, x from one whole number or three; only of padding there may be none."""
    least = 0 if name == "padding" else 1
    try:
        z, y, x = map(operator.index, size if isinstance(size, Iterable) else (size,) * 3)
        if min(z, y, x) >= least:
            return z, y, x
    except (TypeError, ValueError):
        pass
    raise ValueError(
        f"{name} must be a whole number of at least {least}, or three (z, y, x), got {size!r}"
    )
