"""What the ranks of the tests do; a module of its own, as their processes import it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, Dataset

from models.model_fixture import random_batch, small_model
from pcdet.cli import test as test_command
from pcdet.cli import testing, train, training
from pcdet.engine.batch_norm import average_over_ranks
from pcdet.engine.data_parallel import data_parallel
from pcdet.engine.safe_update import SafeUpdate
from pcdet.models import model_fn_decorator
from pcdet.models.model_utils.norm import synchronise_norms_
from pcdet.models.model_utils.proposal_target_layer import ProposalTargetLayer
from pcdet.run.leaving import run_command
from pcdet.utils import dist_utils

DETECTORS = ("second", "pointpillar", "PartA2", "sassd_multi")
# Voxels of the two frames: both full, nothing to see in the second, in neither.
FRAMES = ((200, 300), (250, 0), (0, 0))


def join() -> int:
    """Join the group as train.py does; return the rank."""
    return dist_utils.init_dist_pytorch(2, None, None, "gloo", timeout=300)[1]


def first_rois(self: ProposalTargetLayer, iou: torch.Tensor) -> torch.Tensor:
    """Instead of drawing RoIs: those with most overlap, again and again."""
    order = torch.argsort(iou, descending=True, stable=True)
    return order[torch.arange(self.roi_per_image, device=iou.device) % len(order)]


def model_of_frames(name: str, synchronised: bool) -> nn.Module:
    """A detector in training mode whose frames depend on each other by `synchronised` norms only.

    Args:
        name: its yaml.
        synchronised: normalise by the statistics of both frames, else by the running ones.
    """
    ProposalTargetLayer.sample = first_rois
    model = small_model(name).train()
    norms = () if synchronised else (nn.modules.batchnorm._BatchNorm,)
    for layer in model.modules():
        if isinstance(layer, (*norms, nn.Dropout)):
            layer.eval()
            layer.train = lambda mode=True, layer=layer: layer
    return model


def one_frame(batch: dict[str, Any], frame: int) -> dict[str, Any]:
    """A batch of one of the frames."""
    own = batch["coordinates"][:, 0] == frame
    single: dict[str, Any] = {"batch_size": 1, "sample_idx": [batch["sample_idx"][frame]]}
    for key, value in batch.items():
        if key not in single:
            single[key] = value[frame : frame + 1] if key == "gt_boxes" else value[own]
    single["coordinates"] = single["coordinates"].copy()
    single["coordinates"][:, 0] = 0
    return single


def gradients_of(model: nn.Module, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    model_fn_decorator()(model, batch).loss.backward()
    inner = getattr(model, "module", model)
    return {
        name: torch.zeros_like(value) if value.grad is None else value.grad
        for name, value in inner.named_parameters()
    }


def all_gradients() -> dict[tuple, dict[str, torch.Tensor]]:
    """Gradients of each detector and batch; with several ranks each takes one frame."""
    found = {}
    for name, counts, synchronised in product(DETECTORS, FRAMES, (False, True)):
        model, batch = model_of_frames(name, synchronised), random_batch(counts, name=name)
        if dist.is_initialized():
            cpu = torch.device("cpu")
            model = data_parallel(synchronise_norms_(model, cpu) if synchronised else model, cpu)
            batch = one_frame(batch, dist.get_rank())
        found[name, counts, synchronised] = gradients_of(model, batch)
    return found


def distributed_gradients() -> dict[tuple, dict[str, torch.Tensor]]:
    join()
    return all_gradients()


def broadcast_buffers() -> dict[str, list[str]]:
    """Names of the buffers that torch sends before each forward pass, and of all."""
    join()
    model = data_parallel(small_model("PartA2"), torch.device("cpu"))
    every = [name for name, _ in model.module.named_buffers()]
    return {"sent": list(model.named_module_buffers), "all": every}


def averaged_statistics(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Running averages of both ranks together, each of which has seen one of `values` (2, N, C)."""
    rank = join()
    layer = nn.BatchNorm1d(values.shape[-1], momentum=None)
    layer(values[rank])
    average_over_ranks([layer])
    return layer.running_mean, layer.running_var


def scaled_steps() -> list[tuple[bool, float]]:
    """Whether the ranks halt, and their loss scale, when the loss of rank 1 is NaN in step 2."""
    rank, found = join(), []
    model = nn.parallel.DistributedDataParallel(nn.Linear(2, 1))
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    update = SafeUpdate(torch.optim.SGD(model.parameters(), lr=0.1, fused=True), scaler)
    for step in range(3):
        update.optimizer.zero_grad()
        factor = float("nan") if (rank, step) == (1, 1) else 1.0
        update(model(torch.ones(3, 2)).sum() * factor, model.parameters(), 10.0)
        found.append((bool(update.halted), scaler.get_scale()))
    return found


def train_and_test(commands: list[list[str]], port: int) -> dict[str, list[float]]:
    """train.py, then test.py; returns sums over the parameters at the beginning and at the end.

    Args:
        commands: arguments of train.py and of test.py for each rank.
        port: for the second process group.
    """
    models = []
    original = training.build_model

    def remembered(*args: Any) -> nn.Module:
        models.append(original(*args))
        sums.append(total(models[0]))
        return models[0]

    def total(model: nn.Module) -> float:
        return float(sum(value.detach().double().abs().sum() for value in model.parameters()))

    sums: list[float] = []
    training.build_model = remembered
    rank = int(os.environ["RANK"])
    train.main(commands[2 * rank])
    sums.append(total(models[0]))
    dist.destroy_process_group()
    os.environ["MASTER_PORT"] = str(port)
    test_command.main(commands[2 * rank + 1])
    return sums


def train_command(options: list[str], stop_at: int | None = None) -> None:
    """train.py; in the middle of step `stop_at`, SIGTERM comes to rank 1 alone."""
    if stop_at is not None:
        _on_rank_1(stop_at, lambda: signal.raise_signal(signal.SIGTERM))
    run_command(lambda _: train.main(options))


def _on_rank_1(step: int, action: Callable[[], None]) -> None:
    """Let rank 1 do something in the middle of a step of train.py."""
    original, steps = training.model_fn_decorator, []

    def decorator(amp: torch.dtype | None) -> Callable:
        model_func = original(amp)

        def acting_func(model: nn.Module, batch: dict[str, Any]) -> Any:
            steps.append(1)
            if len(steps) == step and os.environ["RANK"] == "1":
                action()
            return model_func(model, batch)

        return acting_func

    training.model_fn_decorator = decorator


class Seer(nn.Module):
    """A detector that finds the labelled objects, a little displaced, some with the wrong class."""

    inputs = ("gt_boxes",)

    def __init__(self, _: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def load_params_from_file(self, filename: Path, to_cpu: bool, logger: Any) -> None:
        logger.info("no weights are needed of %s", filename)

    def forward(self, batch: dict[str, Any]) -> tuple[list[dict[str, torch.Tensor]], dict]:
        found = []
        for name, rows in zip(batch["sample_idx"], batch["gt_boxes"]):
            rng = torch.Generator().manual_seed(int(name))
            rows = rows[rows[:, 7] > 0]
            boxes = rows[:, :7].clone()
            boxes[:, :3] += 0.15 * torch.rand(len(rows), 3, generator=rng)
            wrong = torch.rand(len(rows), generator=rng) < 0.2
            labels = torch.where(wrong, torch.ones(len(rows)), rows[:, 7]).long()
            scores = torch.rand(len(rows), generator=rng)
            found.append({"boxes": boxes, "scores": scores, "labels": labels})
        return found, {"gt": sum(map(len, found)), "rcnn_0.5": 0}


def ap_of_seer(commands: list[list[str]]) -> None:
    """test.py with a detector that reaches an AP."""
    testing.build_network = Seer
    test_command.main(commands[int(os.environ["RANK"])])


class _Frames(Dataset):
    def __init__(self, deadly: bool) -> None:
        self.deadly = deadly

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> torch.Tensor:
        if self.deadly and index == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.ones(2)


def wait_for_each_other(folder: Path) -> None:
    """So that a short timeout does not end while a process is still starting."""
    (folder / f"here_{os.environ['RANK']}").touch()
    while len(list(folder.glob("here_*"))) < 2:
        time.sleep(0.01)


def fail(how: str, timeout: float, folder: Path) -> None:
    """Train a linear layer; at some step, rank 1 is killed, raises, stalls, or loses its loader."""
    wait_for_each_other(folder)

    def main(_: Any) -> None:
        dist_utils.init_dist_pytorch(2, None, None, "gloo", timeout=timeout)
        on_rank_1 = dist.get_rank() == 1
        model = nn.parallel.DistributedDataParallel(nn.Linear(2, 1))
        frames = _Frames(on_rank_1 and how == "loader")
        loader = DataLoader(frames, num_workers=1, multiprocessing_context="fork")
        for step, batch in enumerate(loader):
            if on_rank_1 and step == 3:
                _go_wrong(how)
            model(batch).sum().backward()

    run_command(main)


def _go_wrong(how: str) -> None:
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "raise":
        raise ZeroDivisionError("a bug on one rank")
    if how == "stall":
        time.sleep(1000)


def start_command(options: list[str]) -> dict[str, int]:
    """Begin as train.py does; tell which rank this is, among all and on its machine."""
    args = train.parse_args(options)
    training.read_config(args)
    run = training.start(args, batch_size=4)
    numbers = {"rank": run.rank, "local_rank": training.cfg.LOCAL_RANK}
    return {**numbers, "num_ranks": run.num_ranks, "batch_size": run.batch_size}


def slurm(batch_size: int) -> dict[str, Any]:
    """Join as under srun; tell what was found, after one sum over all ranks."""
    own_batch, rank = dist_utils.init_dist_slurm(batch_size, None, None, "gloo", timeout=300)
    total = torch.tensor(rank + 1.0)
    dist.all_reduce(total)
    port = os.environ["MASTER_PORT"]
    local_rank = dist_utils.local_rank()
    numbers = {"batch": own_batch, "rank": rank, "local_rank": local_rank}
    return {**numbers, "total": total.item(), "port": port}


def meet_without_port() -> float:
    """Join without MASTER_PORT, as started by a launcher that sets the rank alone."""
    with contextlib.suppress(KeyError):
        del os.environ["MASTER_PORT"]
    total = torch.tensor(join() + 1.0)
    dist.all_reduce(total)
    return total.item()
