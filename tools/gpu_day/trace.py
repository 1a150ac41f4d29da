"""What the host and the GPU do in a training step of SECOND: trace.py JSON.

Launches, waits of the host, transfers, and the share of the time in which the GPU has nothing to
do; of four made-up frames, in float32 and bfloat16. Without a GPU, operators alone, of one small
frame.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmark_utils.networks import frames, load_network, made_up_frame, synchronized
from pcdet.engine.device_options import choose_algorithms
from pcdet.engine.optimization import build_optimizer
from pcdet.models import model_fn_decorator
from pcdet.utils import device_utils

_STEPS = 5
_LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "hipLaunchKernel")
_WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


def make_step(device: torch.device, amp: torch.dtype | None) -> Any:
    """A whole step: transfer, forward and backward pass, update."""
    # Without a GPU this is a rehearsal, and a small one will do.
    name, count = ("second", 4) if device.type == "cuda" else ("second_demo", 1)
    model, cfg = load_network(name, device)
    batch = frames(made_up_frame(cfg), count)
    optimizer = build_optimizer(model.train(), cfg.MODEL.TRAIN.OPTIMIZATION)
    model_func = model_fn_decorator(amp)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        model_func(model, batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0, foreach=True)
        optimizer.step()

    return step


def count_waits(step: Any, device: torch.device) -> dict[str, int]:
    """Lines of ours at which the host waits in a step, by torch's own debug mode."""
    if device.type != "cuda":
        return {}
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    places = (f"{Path(w.filename).name}:{w.lineno}" for w in caught if "synchron" in str(w.message))
    return dict(Counter(places))


def on_gpu(event: Any) -> bool:
    """Whether a row of the profile is work of the GPU itself.

    Rows of the host name the time of the kernels that they launched once more, those of annotations
    that of all kernels in them.
    """
    return event.device_type == DeviceType.CUDA and not event.is_user_annotation


def trace(device: torch.device, amp: torch.dtype | None) -> dict[str, Any]:
    """Time some steps, and profile another one."""
    step = make_step(device, amp)
    for _ in range(3):
        synchronized(step())
    begun = time.perf_counter()
    for _ in range(_STEPS):
        step()
    synchronized(None)
    milliseconds = 1000 * (time.perf_counter() - begun) / _STEPS
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        step()
        synchronized(None)
    events = profiler.key_averages()
    counts = {e.key: e.count for e in events}
    kernels = [e for e in events if on_gpu(e)]
    busy = sum(e.self_device_time_total for e in kernels) / 1000
    return {
        "milliseconds": milliseconds,
        "launches": sum(counts.get(name, 0) for name in _LAUNCHES),
        "waits": sum(counts.get(name, 0) for name in _WAITS),
        "operators": sum(n for name, n in counts.items() if name.startswith("aten::")),
        "gpu_busy_ms": busy,
        "idle_share": max(0.0, 1 - busy / milliseconds) if device.type == "cuda" else None,
        "waits_by_line": count_waits(step, device),
        "longest_kernels": [
            [e.key[:80], e.count, e.self_device_time_total / 1000]
            for e in sorted(kernels, key=lambda e: -e.self_device_time_total)[:15]
        ],
    }


def main(out: str) -> None:
    """Trace a step in each type and write what was seen."""
    device = device_utils.default_device()
    choose_algorithms()
    types = (
        {"float32": None, "bf16": torch.bfloat16} if device.type == "cuda" else {"float32": None}
    )
    report = {name: trace(device, dtype) for name, dtype in types.items()}
    Path(out).write_text(json.dumps(report, indent=1))
    sys.stdout.write(f"{json.dumps(report, indent=1)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
