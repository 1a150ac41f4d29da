"""A stack of 3x3 convolutions around the occupied cells alone, with the result of the whole image.

A LiDAR's camera sees a cone, and far off nothing comes back: half of an image from above is empty.
What the convolutions make of emptiness depends on the distance to the image's border alone, so a
small empty image tells it for all.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn


class Window(NamedTuple):
    """Rows from `top` to before `bottom`, columns from `left` to before `right`."""

    top: int
    bottom: int
    left: int
    right: int


class WindowedStack:
    """The layers of a `BEVNetwork` level of stride 1, at test time.

    Attributes:
        reach: cells that a cell of the input influences on each side.
    """

    def __init__(self, layers: nn.Sequential):
        self.layers = layers
        self.reach = sum(isinstance(layer, nn.Conv2d) for layer in layers)

    def window(self, cells: torch.Tensor, height: int, width: int) -> Window | None:
        """The smallest window that holds all that differs from an empty image.

        Args:
            cells: (M, 2) rows and columns of the occupied cells.
            height: of the image.
            width: of the image.

        Returns:
            None if it would hardly be smaller than the image.
        """
        if not len(cells) or min(height, width) <= 2 * self.reach:
            return None
        (top, left), (bottom, right) = cells.amin(dim=0).tolist(), cells.amax(dim=0).tolist()
        window = Window(
            max(top - self.reach, 0),
            min(bottom + self.reach + 1, height),
            max(left - self.reach, 0),
            min(right + self.reach + 1, width),
        )
        area = (window.bottom - window.top) * (window.right - window.left)
        return window if area < 0.9 * height * width else None

    def __call__(self, image: torch.Tensor, window: Window) -> torch.Tensor:
        """(B, C, H, W) image to (B, C', H, W), as `layers` would give it.

        The image must be empty outside the window, and `reach` cells into it.
        """
        side = 2 * self.reach + 1
        empty = image.new_zeros(1, image.shape[1], side, side)
        rows = _distances(image.shape[2], self.reach, image.device)
        columns = _distances(image.shape[3], self.reach, image.device)
        x = image[:, :, window.top : window.bottom, window.left : window.right]
        around_rows = rows[window.top : window.bottom + 2]
        around_columns = columns[window.left : window.right + 2]
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                x = _surrounded(x, F.pad(empty, (1, 1, 1, 1)), around_rows, around_columns)
                x = F.conv2d(x, layer.weight, layer.bias)
            else:
                x = layer(x)
            empty = layer(empty)
        whole = empty[:, :, rows[1:-1] - 1][:, :, :, columns[1:-1] - 1]
        whole = whole.repeat(len(x), 1, 1, 1).contiguous(memory_format=torch.channels_last)
        whole[:, :, window.top : window.bottom, window.left : window.right] = x
        return whole


def _distances(size: int, reach: int, device: torch.device) -> torch.Tensor:
    """Which row of a small empty image, padded by one, stands for each row from -1 to `size`."""
    place = torch.arange(-1, size + 1, device=device)
    from_end = place - size + 2 * reach + 1
    middle = torch.full_like(place, reach)
    return torch.where(place < reach, place, torch.maximum(from_end, middle)) + 1


def _surrounded(
    x: torch.Tensor, empty: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
) -> torch.Tensor:
    """(B, C, h + 2, w + 2): x (B, C, h, w) with a cell of the empty image on all sides."""
    batch, channels, height, width = x.shape
    shape = (batch, channels, height + 2, width + 2)
    padded = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    padded[:, :, 1:-1, 1:-1] = x
    for side in (0, -1):
        padded[:, :, side] = empty[:, :, rows[side]][:, :, columns]
        padded[:, :, :, side] = empty[:, :, rows][:, :, :, columns[side]]
    return padded
