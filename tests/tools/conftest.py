"""Fixtures of the tests that run commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import make_workplace

from pcdet.config import cfg


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
