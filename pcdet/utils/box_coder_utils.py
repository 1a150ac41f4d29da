"""Box coders: residuals of boxes with respect to anchors."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pcdet.utils import box_utils
from pcdet.utils.box_utils import RZ, H, L, W, X, Y, Z

# The first square roots of a process, if two threads compute them at once, came out wrong in the
# fifth digit in 3 of 40 processes (MKL, torch 2.13): one by itself comes first.
torch.ones(1).sqrt()


class ResidualCoder:
    """SECOND's residual code `[xt, yt, zt, wt, lt, ht, rt]` (Yan et al., SECOND, 2018, eq. 1).

    Centre offsets are divided by the anchor's BEV diagonal (x, y) and height (z, between the
    middles of the boxes), sizes are logarithms of ratios, the angle is a difference.
    """

    code_size = 7

    @staticmethod
    def encode(boxes: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
        """Return the residuals (..., 7) of LiDAR boxes (..., 7) to anchors (..., 7)."""
        diagonal = torch.sqrt(anchors[..., L] ** 2 + anchors[..., W] ** 2)
        boxes_mid_z = boxes[..., Z] + boxes[..., H] / 2
        anchors_mid_z = anchors[..., Z] + anchors[..., H] / 2
        return torch.stack(
            (
                (boxes[..., X] - anchors[..., X]) / diagonal,
                (boxes[..., Y] - anchors[..., Y]) / diagonal,
                (boxes_mid_z - anchors_mid_z) / anchors[..., H],
                torch.log(boxes[..., W] / anchors[..., W]),
                torch.log(boxes[..., L] / anchors[..., L]),
                torch.log(boxes[..., H] / anchors[..., H]),
                boxes[..., RZ] - anchors[..., RZ],
            ),
            dim=-1,
        )

    @staticmethod
    def decode(residuals: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
        """Return the LiDAR boxes (..., 7) of residuals (..., 7) and anchors (..., 7)."""
        diagonal = torch.sqrt(anchors[..., L] ** 2 + anchors[..., W] ** 2)
        height = torch.exp(residuals[..., H]) * anchors[..., H]
        mid_z = residuals[..., Z] * anchors[..., H] + anchors[..., Z] + anchors[..., H] / 2
        return torch.stack(
            (
                residuals[..., X] * diagonal + anchors[..., X],
                residuals[..., Y] * diagonal + anchors[..., Y],
                mid_z - height / 2,
                torch.exp(residuals[..., W]) * anchors[..., W],
                torch.exp(residuals[..., L]) * anchors[..., L],
                height,
                residuals[..., RZ] + anchors[..., RZ],
            ),
            dim=-1,
        )


BOX_CODERS = {"ResidualCoder": ResidualCoder}


def check_code_weights(code_weights: Sequence[float]) -> None:
    """Raise a ValueError unless there is one weight for each residual of a box."""
    size = ResidualCoder.code_size
    if len(code_weights) != size:
        raise ValueError(
            f"code_weights: {size} numbers expected, one for each residual of a box, "
            f"got {list(code_weights)}"
        )


def direction_bin(angles: torch.Tensor, dir_offset: float, num_bins: int = 2) -> torch.Tensor:
    """Find in which of `num_bins` equal sectors of the circle, from `dir_offset` on, angles lie.

    Args:
        angles: (...) radians.
        dir_offset: where the first sector begins, radians.
        num_bins: number of sectors.

    Returns:
        (...) int64 in [0, num_bins).
    """
    shifted = box_utils.limit_period(angles - dir_offset, 0, 2 * torch.pi)
    # limit_period may round up to a full turn
    return (shifted / (2 * torch.pi / num_bins)).floor().long().clamp(0, num_bins - 1)


def resolve_direction(
    angles: torch.Tensor,
    bins: torch.Tensor,
    dir_offset: float,
    dir_limit_offset: float = 0.0,
    num_bins: int = 2,
) -> torch.Tensor:
    """Put angles that are known up to one sector into the sector of the direction classifier.

    Args:
        angles: (...) radians, of which only the value modulo a sector counts.
        bins: (...) int64 sector.
        dir_offset: where the first sector begins, radians.
        dir_limit_offset: which representative modulo a sector is taken, see `limit_period`.
        num_bins: number of sectors.

    Returns:
        (...) radians, not wrapped.
    """
    period = 2 * torch.pi / num_bins
    within = box_utils.limit_period(angles - dir_offset, dir_limit_offset, period)
    return within + dir_offset + period * bins.to(angles.dtype)
