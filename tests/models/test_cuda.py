"""A training step and an evaluation of every detector on a GPU, next to the same on the CPU."""

from __future__ import annotations

import pytest
import torch

from models.model_fixture import random_batch, small_model
from pcdet.models import example_convert_to_torch, model_fn_decorator

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
CUDA = torch.device("cuda")
detectors = pytest.mark.parametrize(
    "name", ["second", "pointpillar", "PartA2", "PartA2_fc", "sassd"]
)


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """No TF32: the CPU has none."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


def first_stage_terms(terms: dict[str, torch.Tensor]) -> dict[str, float]:
    """Those that no random number decides: RoIs are drawn by the device's own generator."""
    return {name: float(value) for name, value in terms.items() if name.startswith("rpn")}


@detectors
def test_a_training_step(name):
    results = {}
    for device in (torch.device("cpu"), CUDA):
        model = small_model(name).to(device).train()
        result = model_fn_decorator()(model, random_batch(name=name))
        result.loss.backward()
        norms = {n: p.grad.norm().item() for n, p in model.named_parameters() if "rcnn" not in n}
        results[device.type] = (first_stage_terms(result.tb_dict), norms)
        assert all(p.grad.isfinite().all() for p in model.parameters())
    assert results["cuda"][0] == pytest.approx(results["cpu"][0], rel=1e-3)
    if not name.startswith("PartA2"):  # the drawn RoIs decide a part of the gradient there
        assert results["cuda"][1] == pytest.approx(results["cpu"][1], rel=2e-2, abs=1e-4)


@detectors
def test_an_evaluation(name):
    """The best detections of each frame are the same; further down, ties may fall otherwise."""
    results = {}
    for device in (torch.device("cpu"), CUDA):
        model = small_model(name).to(device).eval()
        model.post_processor.score_thresh = 0.0
        with torch.inference_mode():
            detections, recall = model(example_convert_to_torch(random_batch(name=name), device))
        results[device.type] = detections
        assert recall["gt"] == 6
        assert all(value.device.type == device.type for d in detections for value in d.values())
    for on_cpu, on_cuda in zip(results["cpu"], results["cuda"]):
        scores = on_cuda["scores"][:10].cpu()
        torch.testing.assert_close(scores, on_cpu["scores"][:10], rtol=0, atol=1e-3)


@detectors
@pytest.mark.parametrize("amp", [torch.bfloat16, torch.float16])
def test_a_training_step_in_half_precision(name, amp):
    expected = model_fn_decorator()(small_model(name).to(CUDA).train(), random_batch(name=name))
    model = small_model(name).to(CUDA).train()
    scaler = torch.amp.GradScaler("cuda", init_scale=128.0)
    result = model_fn_decorator(amp=amp)(model, random_batch(name=name))
    scaler.scale(result.loss).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    terms, wanted = first_stage_terms(result.tb_dict), first_stage_terms(expected.tb_dict)
    assert terms == pytest.approx(wanted, rel=0.1, abs=0.02)


def test_a_training_step_does_not_read_from_the_device():
    """It waits as often as test_other_device.py counts (of a detector without spconv)."""
    model = small_model("pointpillar").to(CUDA).train()
    batch = example_convert_to_torch(random_batch(name="pointpillar"), CUDA)
    model(batch)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with pytest.warns(UserWarning, match="synchronizing") as caught:
            model(batch)[0]["loss"].backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(caught) <= 5
