"""One model on several ranks."""

from __future__ import annotations

import torch
from torch import nn


def data_parallel(model: nn.Module, device: torch.device) -> nn.Module:
    """Wrap a model so that all ranks begin with the weights of rank 0 and average gradients."""
    # Buffers that no checkpoint holds, such as the anchors, are constants, which every rank has of
    # its own; torch would send them before each forward pass, as it does running statistics.
    saved = model.state_dict().keys()
    constants = [name for name, _ in model.named_buffers() if name not in saved]
    parallel = nn.parallel.DistributedDataParallel
    parallel._set_params_and_buffers_to_ignore_for_model(model, constants)
    # A rank whose frames have no voxel leaves out the normalisation of its sparse layers: it then
    # counts as zero gradients, where torch would else wait for them. The search costs one walk over
    # the graph a step, and torch warns once that it found nothing to do.
    device_ids = [device.index] if device.type == "cuda" else None
    return parallel(model, device_ids=device_ids, find_unused_parameters=True)
