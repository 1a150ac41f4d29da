"""How much work a network is, from the shapes of its layers, and what the machine could do at best.

The floor of a layer is the longer of two times: its multiplications and additions at the measured
rate of a large matrix product, and its bytes, each input read and each output written once, at the
measured rate of a large copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmark_utils.common import median_ms
from benchmark_utils.networks import synchronized
from pcdet.models.bbox_heads.rpn_head import RPNV2
from pcdet.models.folding import PatchProduct
from pcdet.models.model_utils.first_convolution import FirstConvolution
from pcdet.ops.sparse_conv import SparseInverseConv3d, SparseTensor
from pcdet.ops.sparse_conv.modules import PlannedLayer

_COPY_BYTES = {"cpu": 1 << 27, "cuda": 1 << 30}
_PRODUCT_SIZE = {"cpu": 2048, "cuda": 8192}


@dataclass
class Ceilings:
    """Measured rates of a device.

    Attributes:
        copy: bytes read and written a second, by a large copy.
        product: multiplications and additions a second, by a large matrix product, for each dtype.
    """

    copy: float
    product: dict[torch.dtype, float]

    def floor_ms(self, work: Work, dtype: torch.dtype) -> float:
        """Least time of some work whose products are computed in `dtype`."""
        rate = self.product[dtype]
        return 1000 * sum(max(f / rate, b / self.copy) for f, b in work.layers)


@dataclass
class Work:
    """Operations and bytes of layers that run one after the other.

    Attributes:
        layers: for each its multiplications and additions, and its bytes.
    """

    layers: list[tuple[float, float]] = field(default_factory=list)

    @property
    def flop(self) -> float:
        """Multiplications and additions of all layers."""
        return sum(flop for flop, _ in self.layers)

    @property
    def bytes(self) -> float:
        """Bytes of all layers."""
        return sum(bytes for _, bytes in self.layers)

    def times(self, factor: float) -> Work:
        """So much more of each layer; a backward pass is twice the forward pass."""
        return Work([(factor * flop, factor * bytes) for flop, bytes in self.layers])


def measure_ceilings(device: torch.device, dtypes: tuple[torch.dtype, ...]) -> Ceilings:
    """Copy a large array and multiply large matrices, in each of the types."""
    source = torch.ones(_COPY_BYTES[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = median_ms(lambda: synchronized(target.copy_(source))) / 1000
    size, products = _PRODUCT_SIZE[device.type], {}
    for dtype in dtypes:
        a = torch.ones(size, size, dtype=dtype, device=device)
        products[dtype] = 2 * size**3 / (median_ms(lambda a=a: synchronized(a @ a), 5) / 1000)
    return Ceilings(2 * source.numel() / seconds, products)


@contextmanager
def counted(network: nn.Module) -> Iterator[Work]:
    """Collect the work of the layers of a network that run meanwhile."""
    work = Work()

    def add(layer: nn.Module, inputs: tuple, output: object) -> None:
        work.layers.append(work_of(layer, inputs[0], output))

    layers = [m for m in network.modules() if isinstance(m, tuple(_FLOPS))]
    handles = [layer.register_forward_hook(add) for layer in layers]
    try:
        yield work
    finally:
        for handle in handles:
            handle.remove()


def work_of(layer: nn.Module, x: object, output: object) -> tuple[float, float]:
    """Operations and bytes of one call of a layer."""
    count = next(count for kind, count in _FLOPS.items() if isinstance(layer, kind))
    weights = sum(_bytes(p) for p in layer.parameters())
    # A head's other layers are counted for themselves: what it adds is its product at the end.
    tensors = output.values() if isinstance(output, dict) else (x, output)
    return count(layer, x, output), weights + sum(map(_bytes, tensors))


def _bytes(x: object) -> float:
    if isinstance(x, SparseTensor):
        return _bytes(x.features)
    return x.numel() * x.element_size()


def _convolution(layer: nn.Conv2d, x: torch.Tensor, output: torch.Tensor) -> float:
    # A transposed convolution has an input for each product, an ordinary one an output.
    places = x if layer.transposed else output
    cells = places.numel() / places.shape[1]
    return 2 * cells * layer.in_channels * layer.out_channels * math.prod(layer.kernel_size)


def _first(layer: FirstConvolution, x: torch.Tensor | SparseTensor, output: torch.Tensor) -> float:
    if isinstance(x, torch.Tensor):
        return _convolution(layer, x, output)
    pairs = x.plans[layer].neighbours.num_pairs()
    return 2 * pairs * layer.in_channels * layer.out_channels


def _sparse(layer: nn.Module, x: SparseTensor, output: SparseTensor) -> float:
    if not hasattr(layer, "weight"):  # pooling
        return 0
    pairs = x.plans[getattr(layer, "plan_key", layer.indice_key)].neighbours.num_pairs()
    return 2 * pairs * layer.in_channels * layer.out_channels


def _outputs(head: RPNV2, x: torch.Tensor, output: dict[str, torch.Tensor]) -> float:
    return 2 * head.conv_cls.in_channels * sum(value.numel() for value in output.values())


def _elementwise(layer: nn.Module, x: object, output: object) -> float:
    return 0  # bytes alone


_FLOPS: dict[type, Callable[..., float]] = {
    FirstConvolution: _first,
    nn.Conv2d: _convolution,
    nn.ConvTranspose2d: _convolution,
    nn.Linear: lambda layer, x, output: 2 * layer.in_features * output.numel(),
    PatchProduct: lambda layer, x, output: 2 * layer.weight.shape[1] * output.numel(),
    PlannedLayer: _sparse,
    SparseInverseConv3d: _sparse,
    RPNV2: _outputs,
    _BatchNorm: _elementwise,
    nn.ReLU: _elementwise,
}
