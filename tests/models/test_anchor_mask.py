"""Voxels below anchors: by hand, and against a count of each anchor's cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pcdet.models.model_utils.anchor_mask import AnchorMask
from pcdet.models.model_utils.voxel_grid import VoxelGrid

GRID = VoxelGrid([0.0, -4.0, -3.0], [0.5, 0.5, 1.0], [20, 16, 4])


def box(x: float, y: float, w: float, length: float, rz: float = 0.0) -> list[float]:
    return [x, y, -1.0, w, length, 1.5, rz]


def test_by_hand(device):
    """Edges at 2.1 and 3.9, -1.9 and 1.9 m: columns 4 to 7, rows 4 to 11, without the lowest."""
    anchors = torch.tensor([box(3, 0, 1.8, 3.8), box(3, 0, 3.8, 1.8, 1.5), box(8, 3, 1, 1)])
    mask = AnchorMask(anchors, GRID, min_voxels=2).to(device)
    voxels = [  # frame, z, y, x
        *([0, 0, 5, 5], [0, 3, 5, 5]),  # one above the other
        *([0, 0, 11, 7], [0, 0, 4, 6], [0, 0, 6, 4]),  # the last two in the lowest row and column
        *([0, 0, 12, 7], [0, 0, 11, 8], [1, 0, 8, 6]),
    ]
    coordinates = torch.tensor(voxels, device=device)
    assert mask.count(coordinates, 3).tolist() == [[3, 3, 0], [1, 1, 0], [0, 0, 0]]
    assert mask(coordinates, 3).tolist() == [[True, True, False], [False] * 3, [False] * 3]
    assert not mask(coordinates[:0], 2).any()


@pytest.mark.parametrize("seed", range(5))
def test_equals_a_count_of_each_rectangle(seed):
    rng = np.random.default_rng(seed)
    anchors = torch.zeros(300, 7)
    anchors[:, 0] = torch.from_numpy(rng.uniform(-1, 11, 300))
    anchors[:, 1] = torch.from_numpy(rng.uniform(-5, 5, 300))
    anchors[:, 3:5] = torch.from_numpy(rng.uniform(0.2, 5, (300, 2)))
    anchors[:, 6] = torch.from_numpy(rng.choice([0, 0.3, 1.57, -1.4], 300))
    coordinates = np.column_stack(
        [rng.integers(0, 2, 400), *(rng.integers(0, GRID.size[axis], 400) for axis in (2, 1, 0))]
    )
    counts = AnchorMask(anchors, GRID, 1).count(torch.from_numpy(coordinates), 2)
    for anchor, found in zip(anchors.double().numpy(), counts.T.tolist()):
        half = anchor[3:5] / 2 if abs(anchor[6]) < np.pi / 4 else anchor[4:2:-1] / 2
        low = np.maximum(np.floor((anchor[:2] - half - [0, -4]) / 0.5), 0)
        high = np.clip(np.floor((anchor[:2] + half - [0, -4]) / 0.5), 0, [19, 15])
        cells = coordinates[:, [3, 2]]
        inside = ((cells > low) & (cells <= high)).all(axis=1)
        assert found == [int((inside & (coordinates[:, 0] == frame)).sum()) for frame in (0, 1)]
