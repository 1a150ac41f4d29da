"""The walk of docs/own_data.md, command by command, on fewer frames and for one epoch."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from pcdet.cli import custom, train
from pcdet.cli import test as test_command
from pcdet.config import cfg
from pcdet.simulator import __main__ as simulator

PAGE = Path(__file__).resolve().parents[2] / "docs" / "own_data.md"
PROGRAMS = {
    "python -m pcdet.simulator": (simulator.main, ()),
    "pcdet-custom": (custom.main, ()),
    # One process and few of the batches by which normalisation is measured anew.
    "bash tools/scripts/dist_train.sh 2": (train.main, ("--epochs", "1", "--precise_bn", "1")),
    "python tools/test.py": (test_command.main, ("--workers", "0")),
}


def commands() -> list[str]:
    """The lines of the page that begin with a prompt."""
    return re.findall(r"^\$ (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_page_shows_the_whole_way():
    programs = [next(p for p in PROGRAMS if line.startswith(p)) for line in commands()]
    assert set(programs) == set(PROGRAMS)


@pytest.mark.slow
def test_the_walk_can_be_gone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg.ROOT_DIR = tmp_path
    for line in commands():
        program = next(p for p in PROGRAMS if line.startswith(p))
        run, more = PROGRAMS[program]
        line = line.replace("--train 16 --val 4", "--train 2 --val 1")
        assert not run([*shlex.split(line.removeprefix(program)), *more]), line
    results = tmp_path / "output/second_custom/default/eval/epoch_1/val/default"
    assert "40m+" in (results / "report.txt").read_text()
    assert list((results / "pictures").glob("*_bev.png"))
    assert (
        "data/custom/custom_infos_val.pkl"
        in (tmp_path / "data/custom/second_custom.yaml").read_text()
    )
