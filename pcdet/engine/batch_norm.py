"""Statistics of batch normalisation in a training: the options --precise_bn and --freeze_bn.

PCDet's momentum of 0.01 lets the running averages lag hundreds of iterations behind the weights,
which a short training cannot wait for (Wu and Johnson, Rethinking "Batch" in BatchNorm, 2021:
section 3 for measuring them anew, section 4 for freezing them afterwards).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice, repeat
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader
from tqdm import tqdm

from pcdet.engine.seeds import step_seed
from pcdet.models import example_convert_to_torch


def batch_norm_layers(model: nn.Module) -> Iterator[_BatchNorm]:
    """Yield the layers of batch normalisation."""
    return (module for module in model.modules() if isinstance(module, _BatchNorm))


def freeze_bn(model: nn.Module) -> None:
    """Normalise with the running averages, as in a test, until the next `model.train()`."""
    for layer in batch_norm_layers(model):
        layer.eval()


def precise_bn(
    model: nn.Module, train_loader: DataLoader, num_batches: int, it: int, seed: int, rank: int
) -> None:
    """Replace the running averages by those of the present weights.

    Args:
        model: alone or in DistributedDataParallel; all ranks must call this.
        train_loader: gives batches; begun again if it has fewer than `num_batches`.
        num_batches: to average over, on each rank.
        it: finished iterations; with `seed` and `rank` they decide the random numbers, such as
            dropout.
        seed: of the training.
        rank: of this process.
    """
    distributed = isinstance(model, nn.parallel.DistributedDataParallel)
    device = next(model.parameters()).device
    # Not itertools.cycle, which would keep all batches in memory.
    batches = islice(chain.from_iterable(repeat(train_loader)), num_batches)
    bar = tqdm(batches, "precise_bn", num_batches, leave=False, disable=rank != 0)

    def seeded_batches() -> Iterator[dict[str, Any]]:
        for step, batch in enumerate(bar, it + 1):
            torch.manual_seed(step_seed(seed, step, rank))
            yield example_convert_to_torch(batch, device)

    # Each rank measures its own frames; the parallel model as a whole would send the averages of
    # rank 0 to all before each batch.
    layers = _measure(model.module if distributed else model, seeded_batches())
    if distributed:
        average_over_ranks(layers)


@torch.no_grad()
def _measure(model: nn.Module, batches: Iterable[dict[str, Any]]) -> list[_BatchNorm]:
    """Average the statistics over batches; return the layers whose these are.

    As torch.optim.swa_utils.update_bn, but for parts that stay in evaluation mode
    (`Detector3D.fix`): their statistics stay as well.
    """
    was_training = model.training
    model.train()
    layers = [layer for layer in batch_norm_layers(model) if layer.training]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain average of all batches
    for batch in batches if layers else ():
        model(batch)
    for layer, momentum in zip(layers, momenta):
        layer.momentum = momentum
    model.train(was_training)
    return layers


def average_over_ranks(layers: Iterable[_BatchNorm]) -> None:
    """Replace the running averages of each rank by those of all ranks together."""
    ranks = torch.distributed.get_world_size()
    for layer in layers:
        mean, variance = layer.running_mean, layer.running_var
        moments = torch.stack((mean, variance + mean**2)) / ranks
        torch.distributed.all_reduce(moments)
        mean.copy_(moments[0])
        variance.copy_(moments[1] - moments[0] ** 2)
