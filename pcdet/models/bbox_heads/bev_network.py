"""The dense 2D network over a bird's-eye-view feature image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import nn

from pcdet.models.folding import PatchProduct
from pcdet.models.model_utils.first_convolution import FirstConvolution, laid_out
from pcdet.models.model_utils.norm import NORM, ImageNorm
from pcdet.ops.sparse_conv import SparseTensor
from pcdet.utils import device_utils


def _fastest_memory_format() -> torch.memory_format:
    """The layout of images in which this machine's convolutions are faster, gradients included.

    channels_last suits tensor cores and oneDNN's kernels for AVX-512. With AVX2 alone, oneDNN takes
    three times as long for the gradient of a weight in it as in the usual layout.
    """
    only_avx2 = torch.backends.cpu.get_cpu_capability() == "AVX2"
    on_cpu = device_utils.default_device().type == "cpu"
    return torch.contiguous_format if only_avx2 and on_cpu else torch.channels_last


class BEVNetwork(nn.Module):
    """A pyramid of convolution blocks whose levels are upsampled to one size and stacked.

    Attributes:
        num_bev_features: channels of the output.
        feature_map_stride: size of the input over that of the output; below 1 if it is enlarged.
        level_stride: size of the input over that of the last level.
        memory_format: layout of the images inside; the input may have any.
        by_patches: whether `upsample` enlarges by `PatchProduct`s alone, as in a folded network.
    """

    by_patches = False

    def __init__(
        self,
        num_input_features: int,
        layer_nums: Sequence[int],
        layer_strides: Sequence[int],
        num_filters: Sequence[int],
        upsample_strides: Sequence[int],
        num_upsample_filters: Sequence[int],
        use_norm: bool = True,
    ):
        """Build the layers.

        Args:
            num_input_features: channels of the input image.
            layer_nums: (L,) convolutions of each level after its first, strided one.
            layer_strides: (L,) stride of each level's first convolution.
            num_filters: (L,) channels of each level.
            upsample_strides: (L,) factor by which each level's output is enlarged.
            num_upsample_filters: (L,) channels of each enlarged output.
            use_norm: batch normalisation after each convolution, else a bias in it.

        Raises:
            ValueError: the lists differ in length, or the enlarged levels differ in size.
        """
        super().__init__()
        lengths = {
            len(v)
            for v in (
                layer_nums,
                layer_strides,
                num_filters,
                upsample_strides,
                num_upsample_filters,
            )
        }
        if len(lengths) != 1:
            raise ValueError(f"{type(self).__name__}: lists of one length expected, got {lengths}")
        self.use_norm = use_norm
        in_channels = [num_input_features, *num_filters[:-1]]
        self.blocks = nn.ModuleList(
            map(self._block, in_channels, num_filters, layer_strides, layer_nums)
        )
        self.deblocks = nn.ModuleList(
            map(self._deblock, num_filters, num_upsample_filters, upsample_strides)
        )
        self.num_bev_features = sum(num_upsample_filters)
        self.feature_map_stride = self._output_stride(layer_strides, upsample_strides)
        self.level_stride = math.prod(layer_strides)
        self.memory_format = _fastest_memory_format()
        self.to(memory_format=self.memory_format)

    def _output_stride(self, strides: Sequence[int], upsample: Sequence[int]) -> Fraction:
        total, levels = 1, set()
        for stride, factor in zip(strides, upsample):
            total *= stride
            levels.add(Fraction(total, factor))
        if len(levels) != 1:
            raise ValueError(
                f"{type(self).__name__}: layer_strides {list(strides)} and upsample_strides "
                f"{list(upsample)} give levels of different sizes"
            )
        return levels.pop()

    def _norm_relu(self, channels: int) -> list[nn.Module]:
        norm = [ImageNorm(channels, **NORM)] if self.use_norm else [nn.Identity()]
        return [*norm, nn.ReLU()]

    def _block(self, in_channels: int, channels: int, stride: int, layers: int) -> nn.Sequential:
        # Entry 0 was a padding layer in PCDet; the convolution pads now, without a copy.
        modules: list[nn.Module] = [nn.Identity()]
        for k in range(layers + 1):
            source, step = (in_channels, stride) if k == 0 else (channels, 1)
            kind = FirstConvolution if k == 0 else nn.Conv2d
            conv = kind(source, channels, 3, stride=step, padding=1, bias=not self.use_norm)
            modules += [conv, *self._norm_relu(channels)]
        return nn.Sequential(*modules)

    def _deblock(self, in_channels: int, channels: int, stride: int) -> nn.Sequential:
        conv = nn.ConvTranspose2d(
            in_channels, channels, stride, stride=stride, bias=not self.use_norm
        )
        return nn.Sequential(conv, *self._norm_relu(channels))

    def forward(self, spatial_features: torch.Tensor | SparseTensor) -> torch.Tensor:
        """(B, num_input_features, H, W) to (B, num_bev_features, H / stride, W / stride)."""
        return self.upsample(self.levels(spatial_features))

    def levels(self, spatial_features: torch.Tensor | SparseTensor) -> list[torch.Tensor]:
        """The pyramid of an image (B, num_input_features, H, W): (B, C, h, w) for each level.

        Of an image that is mostly empty its cells, as a sparse tensor of depth 1, will do, too.
        """
        x, levels = spatial_features, []
        if isinstance(x, torch.Tensor):
            x = laid_out(x, self.memory_format)
        for block in self.blocks:
            x = block(x)
            levels.append(x)
        return levels

    def upsample(self, levels: list[torch.Tensor]) -> torch.Tensor:
        """What `levels` returned, enlarged to one size and stacked."""
        enlarged = [deblock(level) for deblock, level in zip(self.deblocks, levels)]
        return torch.cat(enlarged, dim=1) if len(enlarged) > 1 else enlarged[0]

    def fold_(self) -> None:
        """See `folded`."""
        self.by_patches = all(isinstance(deblock[0], PatchProduct) for deblock in self.deblocks)

    def upsample_and_multiply(
        self, levels: list[torch.Tensor], weight: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        """A linear layer on the cells of what `upsample` gives.

        Args:
            levels: what `levels` returned.
            weight: (n, num_bev_features).
            bias: (n,).

        Returns:
            (B, H, W, n).
        """
        if not self.by_patches:
            return F.linear(self.upsample(levels).permute(0, 2, 3, 1), weight, bias)
        # Each level by its share of the weight, and still in patches: the stacked maps, the largest
        # of all, are never made, and n is less than their channels.
        total = None
        shares = weight.split([deblock[0].out_channels for deblock in self.deblocks], dim=1)
        for (product, *rest), level, share in zip(self.deblocks, levels, shares):
            patches = nn.Sequential(*rest)(product(level, apart=True))
            part = F.linear(patches.flatten(0, -2), share, bias if total is None else None)
            part = part.view(*patches.shape[:-1], -1).transpose(2, 3)  # (B, h, kh, w, kw, n)
            if total is None:
                total = part.to(bias.dtype).flatten(3, 4).flatten(1, 2).contiguous()
            else:
                total.view(part.shape).add_(part)
        return total.to(part.dtype)
