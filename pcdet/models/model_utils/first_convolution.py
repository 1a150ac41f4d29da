"""A convolution of an image that is mostly empty, and the layout of images in memory."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn

from pcdet.ops.sparse_conv import SparseTensor
from pcdet.ops.sparse_conv.backends import backend_for
from pcdet.ops.sparse_conv.gather_conv import gather_conv
from pcdet.ops.sparse_conv.plan import Geometry, make_plan


def laid_out(images: torch.Tensor, memory_format: torch.memory_format) -> torch.Tensor:
    """Images (B, C, H, W) in a layout, as by `contiguous`; from channels_last faster on a CPU.

    torch turns a matrix block by block, but images number by number.
    """
    turns = memory_format == torch.contiguous_format and images.device.type == "cpu"
    from_last = images.is_contiguous(memory_format=torch.channels_last)
    if not (turns and from_last) or images.is_contiguous() or torch.compiler.is_compiling():
        return images.contiguous(memory_format=memory_format)
    matrices = [frame.t().contiguous() for frame in images.permute(0, 2, 3, 1).flatten(1, 2)]
    turned = matrices[0][None] if len(matrices) == 1 else torch.stack(matrices)
    return turned.view(images.shape)


class FirstConvolution(nn.Conv2d):
    """A convolution of an image, or of the cells of one that are not zero.

    Of cells it is computed around them alone, and what it makes of them is laid out as its weight
    is. It has no groups.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        """Take the arguments of `nn.Conv2d`.

        Raises:
            ValueError: groups, a padding by name or not of zeros, which cells cannot have.
        """
        super().__init__(*args, **kwargs)
        if self.groups != 1:
            raise ValueError(f"groups must be 1, got {self.groups}")
        if isinstance(self.padding, str):
            raise ValueError(f"padding must be numbers, got {self.padding!r}")
        if self.padding_mode != "zeros":
            raise ValueError(f"padding_mode must be 'zeros', got {self.padding_mode!r}")

    def forward(self, input: torch.Tensor | SparseTensor) -> torch.Tensor:
        """(B, C, H, W) image, or a sparse tensor of depth 1, to (B, Cout, h, w)."""
        return super().forward(input) if isinstance(input, torch.Tensor) else self._around(input)

    def _around(self, cells: SparseTensor) -> torch.Tensor:
        by_axis = (self.kernel_size, self.stride)
        reach = Geometry(*((1, *size) for size in by_axis), (0, *self.padding), (1, *self.dilation))
        as_pairs = backend_for(cells.features.device).takes_pairs
        plan = cells.plans[self] = make_plan(cells.sites, reach, as_pairs)
        weight, bias = self.weight.flatten(2).permute(2, 1, 0), self.bias
        features = gather_conv(cells.features, weight, plan.neighbours, bias=bias)
        empty = features.new_zeros(self.out_channels) if bias is None else bias.to(features.dtype)
        shape = (cells.batch_size, *plan.outputs.spatial_shape[1:], self.out_channels)
        b, _, y, x = plan.outputs.indices.long().unbind(dim=1)
        image = empty.expand(shape).index_put((b, y, x), features)
        plain = self.weight.is_contiguous()
        layout = torch.contiguous_format if plain else torch.channels_last
        return laid_out(image.permute(0, 3, 1, 2), layout)


@functools.cache
def leave_cells_uncompiled() -> None:
    """Keep torch's compiler away from cells, of which there is another number each time.

    A decorator would load the compiler, for seconds, where nothing is ever compiled.
    """
    FirstConvolution._around = torch.compiler.disable(FirstConvolution._around)
