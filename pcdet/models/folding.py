"""What a network can do in fewer passes: `folded` for a test, `fuse_relu_` for training.

With the running averages, normalisation is a factor and a summand for each channel, which the
weight and the bias of the convolution or product before it can take in. A pass over all features
goes with it, and another where the ReLU that follows works in place. In training a normalisation
can do the ReLU itself.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pcdet.models.model_utils.first_convolution import FirstConvolution
from pcdet.models.model_utils.norm import ImageNorm, VoxelNorm
from pcdet.ops.sparse_conv import SparseConv3d, SparseInverseConv3d, SubMConv3d

# Layers that can take in a normalisation, and the dimension of their weight that is the output's.
_OUTPUT_DIMENSION = {
    nn.Linear: 0,
    nn.Conv1d: 0,
    nn.Conv2d: 0,
    FirstConvolution: 0,
    nn.ConvTranspose2d: 1,
    SubMConv3d: 0,
    SparseConv3d: 0,
    SparseInverseConv3d: 0,
}
_OWN_NORMS = (VoxelNorm, ImageNorm)  # which can do a ReLU, too
_SPARSE = (SubMConv3d, SparseConv3d, SparseInverseConv3d)
_WITHOUT_EFFECT = (nn.Identity, nn.Dropout)  # when the network is not in training


class _Place(NamedTuple):
    """A layer, and where it is registered."""

    parent: nn.Module
    name: str
    layer: nn.Module

    def put(self, layer: nn.Module) -> None:
        """Register another layer here."""
        setattr(self.parent, self.name, layer)


@torch.no_grad()
def folded(model: nn.Module) -> nn.Module:
    """Copy a network for testing; the copy computes what `model.eval()` does, up to rounding.

    Layers of an `nn.Sequential`, or of a module with an attribute `runs_in_order`, run one after
    the other as they are registered. There

    - a convolution or linear layer takes in the normalisation after it, which becomes `Identity`;
    - a sparse convolution takes in the ReLU after it, which becomes `Identity`, too;
    - after another such layer it works in place;
    - a transposed convolution whose patches do not overlap becomes a product.

    What fits none of this stays as it is. At last, each module that has a method `fold_` is told,
    so that it can compute in a way of its own that is for testing alone.

    Args:
        model: any network; it is not changed.

    Returns:
        The copy, in evaluation mode and without gradients. It is neither for training nor for
        loading weights: where those of `model` change, fold it again.
    """
    result = copy.deepcopy(model).eval().requires_grad_(False)
    uses = _uses(result)
    for places in _sequences(result):
        _fold_sequence(places, uses)
    for module in result.modules():
        if hasattr(module, "fold_"):
            module.fold_()
    return result


def fuse_relu_(model: nn.Module) -> None:
    """Let each normalisation do the ReLU that follows it, in the same pass; for training.

    Weights keep their names, and results stay. What runs in which order is as in `folded`.

    Args:
        model: any network; it is changed in place.
    """
    uses = _uses(model)
    for places in _sequences(model):
        for norm, after in pairwise(places):
            once = uses[norm.layer] == uses[after.layer] == 1
            if once and isinstance(norm.layer, _OWN_NORMS) and isinstance(after.layer, nn.ReLU):
                norm.layer.relu = True
                after.put(nn.Identity())


def _uses(model: nn.Module) -> Counter[nn.Module]:
    """How often each module is registered."""
    return Counter(layer for _, layer in model.named_modules(remove_duplicate=False))


def _sequences(model: nn.Module) -> Iterator[list[_Place]]:
    """The layers of each module that runs them in order, as they are registered by then.

    A sequence in another is met again by itself, when nothing is left to do in it.
    """
    for module in list(model.modules()):
        if isinstance(module, nn.Sequential) or getattr(module, "runs_in_order", False):
            yield list(_in_order(module))


def _in_order(module: nn.Module) -> Iterator[_Place]:
    """The layers in the order in which they run; of a sequence in a sequence its layers."""
    for name, layer in module.named_children():
        if isinstance(layer, nn.Sequential):
            yield from _in_order(layer)
        elif not isinstance(layer, _WITHOUT_EFFECT):
            yield _Place(module, name, layer)


def _fold_sequence(places: list[_Place], uses: Counter[nn.Module]) -> None:
    """Fold what runs in this order; a layer that also runs elsewhere has its say there."""
    last: _Place | None = None  # the layer whose output the next one gets
    for place in places:
        if last is not None and uses[last.layer] == uses[place.layer] == 1:
            layer = place.layer
            if _can_take_in(last.layer, layer):
                _take_in(last.layer, layer)
                layer = nn.ReLU() if getattr(layer, "relu", False) else nn.Identity()
            if isinstance(layer, nn.ReLU) and type(last.layer) in _SPARSE:
                last.layer.relu = True
                layer = nn.Identity()
            elif isinstance(layer, nn.ReLU) and type(last.layer) in _OUTPUT_DIMENSION:
                layer.inplace = True
            if layer is not place.layer:
                place.put(layer)
            if isinstance(layer, nn.Identity):
                continue
        last = place
    for place in places:
        if uses[place.layer] == 1 and PatchProduct.equals(place.layer):
            place.put(PatchProduct(place.layer))


def _can_take_in(layer: nn.Module, norm: nn.Module) -> bool:
    """Whether one is a layer and the other its normalisation, by averages that stay."""
    return (
        type(layer) in _OUTPUT_DIMENSION
        and isinstance(norm, _BatchNorm)
        and norm.running_mean is not None
        and norm.num_features == layer.weight.shape[_OUTPUT_DIMENSION[type(layer)]]
        # Others normalise dimension 1, which of (B, N, C) is not that of the layer's output.
        and (type(layer) is not nn.Linear or isinstance(norm, VoxelNorm))
        and getattr(layer, "groups", 1) == 1
        and not getattr(layer, "relu", False)  # which would come before the normalisation
    )


def _take_in(layer: nn.Module, norm: _BatchNorm) -> None:
    """Multiply the factor of a normalisation into a layer's weight, and its summand to the bias."""
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale *= norm.weight.double()
    weight, mean = layer.weight, norm.running_mean.double()
    if layer.bias is not None:
        mean -= layer.bias.double()
    shift = -mean * scale
    if norm.bias is not None:
        shift += norm.bias.double()
    shape = [1] * weight.dim()
    shape[_OUTPUT_DIMENSION[type(layer)]] = -1
    # Rounded once: the products are taken in float64.
    layer.weight = _constant(weight.double() * scale.view(shape), weight.dtype)
    layer.bias = _constant(shift, weight.dtype)


def _constant(value: torch.Tensor, dtype: torch.dtype) -> nn.Parameter:
    return nn.Parameter(value.to(dtype), requires_grad=False)


class PatchProduct(nn.Module):
    """A transposed convolution whose stride is its kernel's size: a product gives each patch."""

    def __init__(self, convolution: nn.ConvTranspose2d):
        """Take over the weights of a convolution for which `equals` is true."""
        super().__init__()
        self.out_channels = convolution.out_channels
        self.side = convolution.kernel_size
        weight = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (kh * kw * Cout, Cin)
        bias = convolution.bias
        self.weight = _constant(weight.contiguous(), weight.dtype)
        repeat = self.side[0] * self.side[1]
        self.bias = None if bias is None else _constant(bias.repeat(repeat), bias.dtype)

    @staticmethod
    def equals(convolution: nn.Module) -> bool:
        """Whether it is such a convolution."""
        return (
            type(convolution) is nn.ConvTranspose2d
            and convolution.stride == convolution.kernel_size
            and convolution.groups == 1
            and convolution.dilation == (1, 1)
            and convolution.padding == convolution.output_padding == (0, 0)
        )

    def forward(self, x: torch.Tensor, apart: bool = False) -> torch.Tensor:
        """Multiply.

        Args:
            x: (B, Cin, H, W) image.
            apart: leave the patches apart, which saves a copy.

        Returns:
            (B, Cout, H * kh, W * kw) in channels_last memory, or patches (B, H, W, kh, kw, Cout).
        """
        patches = F.linear(x.permute(0, 2, 3, 1), self.weight, self.bias)
        patches = patches.unflatten(3, (*self.side, -1))
        if apart:
            return patches
        return patches.transpose(2, 3).flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)
