"""Training samples of second.yaml a second, by the number of workers: loader.py DATA JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from easydict import EasyDict

from pcdet.config import cfg_from_yaml_file, find_yaml
from pcdet.datasets import build_dataloader

_SECONDS = 10.0
_WORKERS = (4, 8, 16)


def frames_a_second(data: Path, workers: int) -> float:
    """Samples that the main process gets, after the first batch has come."""
    cfg = cfg_from_yaml_file(find_yaml("second.yaml"), EasyDict())
    pin = torch.cuda.is_available()
    dataset, loader, sampler = build_dataloader(
        *(data.resolve(), 4, False, workers), cfg=cfg, seed=0, pin_memory=pin
    )
    count, begun, epoch = 0, None, 0
    while begun is None or time.perf_counter() - begun < _SECONDS:
        dataset.set_epoch(epoch)
        sampler.set_epoch(epoch)
        epoch += 1
        for batch in loader:
            if begun is None:
                begun = time.perf_counter()
            else:
                count += batch["batch_size"]
    return count / (time.perf_counter() - begun)


def main(data: str, out: str) -> None:
    """Measure with each number of workers and write the rates."""
    rates = {str(workers): frames_a_second(Path(data), workers) for workers in _WORKERS}
    Path(out).write_text(json.dumps(rates))
    sys.stdout.write(f"frames a second by workers: {rates}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
