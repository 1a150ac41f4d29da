"""Triton's kernels, interpreted where there is no GPU, next to the native operators of the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="Triton has no wheel for this platform")

from ops.sparse_cases import STRIDED, SUBMANIFOLD, random_sites
from pcdet.ops.sparse_conv import SparseMaxPool3d, SparseTensor, SubMConv3d
from pcdet.ops.sparse_conv.backends import backend_for, triton_backend
from pcdet.ops.sparse_conv.backends.cpu_backend import CpuBackend
from pcdet.ops.sparse_conv.backends.triton_backend import TritonBackend, is_interpreted
from pcdet.ops.sparse_conv.gather_conv import gather_conv
from pcdet.ops.sparse_conv.plan import Geometry, LayerPlan, make_plan
from pcdet.ops.sparse_conv.sites import Sites

DEVICE = torch.device("cpu" if is_interpreted() else "cuda")
SCRIPT = Path(__file__).resolve().parents[2] / "tools/scripts/check_triton_compile.py"


@pytest.fixture(autouse=True)
def without_tf32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def results(backend, plan: LayerPlan, channels, dtype, device, inverse=False) -> list:
    """Output, sites, and both gradients; rows of outputs in the order of their voxels."""
    plan = plan.inverse if inverse else plan
    generator = torch.Generator().manual_seed(0)
    (c_in, c_out), offsets = channels, len(plan.neighbours.sources)
    order = plan.inputs.order.argsort()  # so that a voxel's numbers do not depend on its row
    features = torch.randn(len(plan.inputs), c_in, generator=generator)[order.cpu()]
    weight = torch.randn(c_out, offsets, c_in, generator=generator)
    leaves = [value.to(device, dtype).requires_grad_() for value in (features, weight)]
    output = gather_conv(leaves[0], leaves[1].permute(1, 2, 0), plan.neighbours, backend)
    order = plan.outputs.order
    grad = torch.randn(len(order), c_out, generator=generator).to(device, dtype)
    gradients = torch.autograd.grad(output[order], leaves, grad)
    found = [output[order], gradients[0][plan.inputs.order], gradients[1]]
    return [value.detach().cpu().float() for value in found]


def assert_as_on_the_cpu(sites: Sites, geometry, channels, dtype=torch.float32, inverse=False):
    cpu = Sites(sites.indices.cpu(), sites.spatial_shape, sites.batch_size)
    expected = results(
        CpuBackend(), make_plan(cpu, geometry, True), channels, torch.float32, "cpu", inverse
    )
    found = results(
        TritonBackend(), make_plan(sites, geometry, False), channels, dtype, DEVICE, inverse
    )
    for ours, theirs in zip(found, expected):
        tolerance = 1e-5 if dtype == torch.float32 else 2e-2
        scale = float(theirs.abs().max()) if theirs.numel() else 1.0
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("inverse", [False, True], ids=["forth", "back"])
@pytest.mark.parametrize(
    ("geometry", "channels"),
    [
        (Geometry((3, 1, 3), submanifold=True), (5, 7)),
        (Geometry((1, 3, 3), submanifold=True), (16, 64)),
        (SUBMANIFOLD["beyond the grid"], (3, 4)),  # most offsets are empty
        (STRIDED["z alone"], (1, 1)),
        (STRIDED["cells"], (33, 20)),
        (Geometry((1, 3, 3), (1, 2, 2), (0, 1, 1)), (4, 130)),
    ],
)
def test_convolutions_and_gradients(geometry, channels, inverse):
    assert_as_on_the_cpu(random_sites(0.2, device=DEVICE), geometry, channels, inverse=inverse)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    sites, geometry = random_sites(0.1, device=DEVICE), Geometry((1, 1, 3), submanifold=True)
    assert_as_on_the_cpu(sites, geometry, (17, 9), dtype)


@pytest.mark.parametrize("rows", [[], [[1, 4, 6, 4]]], ids=["no voxel", "one voxel"])
@pytest.mark.parametrize("geometry", [SUBMANIFOLD["3x3x3"], STRIDED["halved"]])
def test_next_to_nothing(rows, geometry):
    cells = torch.tensor(rows, dtype=torch.int64, device=DEVICE).view(-1, 4)
    assert_as_on_the_cpu(Sites(cells, (5, 7, 6), 3), geometry, (4, 5))


def test_more_cells_than_31_bits_count():
    """Cells that are 2^32 apart in number are no neighbours, and those side by side are."""
    rows = [[1, 4095, 4095, 4094], [1, 4095, 4095, 4095], [0, 4095, 4095, 4095], [0, 0, 0, 0],
            [0, 256, 0, 0], [0, 256, 0, 1]]  # fmt: skip
    sites = Sites(torch.tensor(rows, device=DEVICE), (2**12,) * 3, 2)
    assert_as_on_the_cpu(sites, Geometry((3, 1, 3), submanifold=True), (3, 4))
    assert_as_on_the_cpu(sites, Geometry((1, 2, 2), (1, 2, 2)), (3, 4))


def test_more_outputs_than_a_part_of_the_weights_gradient(monkeypatch):
    """The parts are added in order; the last is shorter."""
    monkeypatch.setattr(triton_backend, "_ROWS_OF_PART", 32)
    sites = random_sites(0.5, device=DEVICE)
    assert len(sites) > 4 * 32 and len(sites) % 32
    for most in (32, 3):
        monkeypatch.setattr(triton_backend, "_MOST_PARTS", most)
        assert_as_on_the_cpu(sites, Geometry((1, 1, 3), submanifold=True), (5, 4))


def test_the_same_result_each_time():
    geometry = Geometry((1, 3, 1), submanifold=True)
    plan = make_plan(random_sites(0.5, device=DEVICE), geometry, False)
    pair = [results(TritonBackend(), plan, (5, 4), torch.float32, DEVICE) for _ in range(2)]
    assert all(map(torch.equal, *pair))


def test_double_is_left_to_torch():
    plan = make_plan(random_sites(0.2, device=DEVICE), STRIDED["halved"], False)
    features = torch.randn(len(plan.inputs), 3, dtype=torch.float64, device=DEVICE)
    weight = torch.randn(27, 3, 2, dtype=torch.float64, device=DEVICE)
    leaves = (features.requires_grad_(), weight.requires_grad_())
    backend = TritonBackend()
    assert torch.autograd.gradcheck(
        lambda f, w: gather_conv(f, w, plan.neighbours, backend), leaves
    )


@pytest.mark.parametrize("newer", [False, True][: 1 + hasattr(torch.backends.cudnn, "conv")])
def test_factors_are_rounded_as_torchs_settings_say(newer):
    place, name, values = torch.backends.cudnn, "allow_tf32", (False, True)
    if newer:
        place, name, values = place.conv, "fp32_precision", ("ieee", "tf32")
    before = getattr(place, name)
    try:
        for value, expected in zip(values, ("ieee", "tf32")):
            setattr(place, name, value)
            assert triton_backend._precision(torch.float32) == expected
    finally:
        setattr(place, name, before)
    assert triton_backend._precision(torch.bfloat16) == "ieee"


def test_layers(monkeypatch):
    """Convolution and pooling, with SPARSE_CONV=triton, under autocast too."""
    monkeypatch.setenv("SPARSE_CONV", "triton")
    assert backend_for(DEVICE).name == "triton"
    sites = random_sites(0.1, device=DEVICE)
    layer, pool = SubMConv3d(4, 6, (1, 1, 3)).to(DEVICE), SparseMaxPool3d(2)
    features = torch.randn(len(sites), 4, device=DEVICE)
    tensors = {}
    for name in ("triton", "torch"):
        monkeypatch.setenv("SPARSE_CONV", name)
        x = layer(SparseTensor(features, sites.indices, sites.spatial_shape, 3))
        tensors[name] = pool(x).features
    torch.testing.assert_close(tensors["triton"], tensors["torch"], rtol=0, atol=1e-5)
    monkeypatch.setenv("SPARSE_CONV", "triton")
    with torch.autocast(DEVICE.type, dtype=torch.bfloat16):
        x = layer(SparseTensor(features, sites.indices, sites.spatial_shape, 3))
    assert x.features.dtype == torch.bfloat16


def test_the_kernels_compile_for_every_architecture(tmp_path):
    """In one type and one configuration; the script compiles all of them."""
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, str(SCRIPT), "--quick"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines == [
        f"check_triton_compile: 2 kernels compile for {name}"
        for name in ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120", "gfx942")
    ]
