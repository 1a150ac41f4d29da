"""Fixtures that all tests share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
# Real KITTI frames and PCDet's numbers on them cannot be part of the repository (KITTI's licence);
# where they lie beside it, further tests run.
EXTRA_DATA = ROOT.parent / "shared"

# Triton asks when a kernel is defined, and a test may import them all.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

for folder in ("tools", "tests"):
    if str(ROOT / folder) not in sys.path:
        sys.path.insert(0, str(ROOT / folder))

from command_line import make_workplace  # noqa: E402 (after the path to it)
from pcdet.config import cfg  # noqa: E402


@pytest.fixture(autouse=True)
def restore_global_config():
    before = dict(cfg)
    yield
    cfg.clear()
    cfg.update(before)


@pytest.fixture(scope="session")
def workplace(tmp_path_factory) -> Path:
    """A folder with data and the yaml of a small SECOND."""
    return make_workplace(tmp_path_factory.mktemp("workplace"))


@pytest.fixture(scope="session")
def kitti_mini() -> Path:
    """A folder in KITTI's layout with nine real frames."""
    path = EXTRA_DATA / "kitti_mini"
    if not path.is_dir():
        pytest.skip("needs real KITTI frames beside the repository")
    return path


def load_from(folder: Path, what: str):
    """A function that loads a file of the folder, if that lies beside the repository."""
    if not folder.is_dir():
        pytest.skip(f"needs {what} beside the repository")

    def load(name: str):
        return np.load(folder / name, allow_pickle=False) if name.endswith("npz") else folder / name

    return load


@pytest.fixture(scope="session")
def reference():
    """Loads a file of PCDet v0.1's numbers on real frames."""
    return load_from(EXTRA_DATA / "reference", "PCDet's reference numbers")


@pytest.fixture(scope="session")
def reference_sassd():
    """Loads a file of the original SA-SSD's numbers on a real frame."""
    return load_from(EXTRA_DATA / "reference_sassd", "SA-SSD's reference numbers")


@pytest.fixture(scope="session")
def reference_openpcdet():
    """Loads a file of OpenPCDet's numbers on a real frame."""
    return load_from(EXTRA_DATA / "reference_openpcdet", "OpenPCDet's reference numbers")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request) -> torch.device:
    """Each device; CUDA is skipped where there is none."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    return torch.device(request.param)
