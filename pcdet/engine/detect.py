"""One batch from the loader to detections on the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from pcdet.models import example_convert_to_torch


@torch.inference_mode()
def detect(
    model: nn.Module, batch: dict[str, Any], amp: torch.dtype | None = None
) -> tuple[list[dict[str, torch.Tensor]], dict[str, int]]:
    """Detect objects in the frames of a batch.

    Args:
        model: a detector in evaluation mode.
        batch: of `collate_batch` or of a loader.
        amp: compute convolutions and products in this type where torch's autocast does; None for
            the type of the weights.

    Returns:
        For each frame boxes (n, 7), scores (n,) and labels (n,), on the CPU; and the counts of
        recall by name.
    """
    device = next(model.parameters()).device
    inputs = example_convert_to_torch(batch, device=device, names=model.inputs)
    with torch.autocast(device.type, dtype=amp, enabled=amp is not None):
        detections, recall = model(inputs)
    return to_host(detections), recall


def to_host(detections: Sequence[dict[str, torch.Tensor]]) -> list[dict[str, torch.Tensor]]:
    """Bring the detections of all frames to the CPU with one transfer, not one for each tensor."""
    counts = [len(frame["scores"]) for frame in detections]
    rows = [
        torch.cat((f["boxes"], f["scores"][:, None], f["labels"][:, None].to(f["boxes"])), dim=1)
        for f in detections
    ]
    parts = torch.cat(rows).cpu().split(counts)
    return [
        {"boxes": part[:, :-2], "scores": part[:, -2], "labels": part[:, -1].long()}
        for part in parts
    ]
