"""The recording for the Rerun viewer, and its absence."""

from __future__ import annotations

import importlib.util
import logging

import numpy as np
import pytest

from pcdet.utils.box_utils import boxes3d_to_corners3d_lidar
from pcdet.viewer import rerun_log
from viewer.made_scenes import car, drawn, two_scenes

LOGGER = logging.getLogger("viewer")


def test_without_the_package_a_line_says_so_and_scenes_pass(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    scenes = two_scenes()
    with caplog.at_level("WARNING"):
        assert list(rerun_log.logged(scenes, tmp_path / "out.rrd", LOGGER)) == scenes
    (line,) = caplog.messages
    assert "out.rrd: skipped: pip install 'pcdet[rerun]'" in line
    assert not (tmp_path / "out.rrd").exists()


def test_scenes_become_a_recording(tmp_path, caplog):
    caplog.set_level("INFO")
    pytest.importorskip("rerun", reason="the extra pcdet[rerun] is not installed")
    path = tmp_path / "a new one" / "out.rrd"
    assert len(list(rerun_log.logged(two_scenes(), path, LOGGER))) == 2
    assert f"rerun '{path}'" in caplog.text
    content = path.read_bytes()
    assert content.startswith(b"RRF") and len(content) > 50_000


def test_boxes_stand_as_they_do_everywhere_else():
    class Recorder:
        def Boxes3D(self, **arguments):
            return arguments

    box = car(10, 2, 0.7)
    told = rerun_log._boxes(Recorder(), drawn([box], ["Car"]), "#009e73")
    x, y, z, w = told["quaternions"][0]
    assert (x, y) == (0, 0)
    turn = 2 * np.arctan2(z, w)
    cos, sin = np.cos(turn), np.sin(turn)
    signs = np.array([[1, -1], [-1, -1], [-1, 1], [1, 1]])
    flat = signs * told["half_sizes"][0, :2] @ np.array([[cos, sin], [-sin, cos]])
    corners = boxes3d_to_corners3d_lidar(np.array([box]))[0]
    assert flat + told["centers"][0, :2] == pytest.approx(corners[:4, :2])
    middle = (corners[0, 2] + corners[4, 2]) / 2
    assert told["centers"][0, 2] == pytest.approx(middle)
    assert told["colors"] == [(0, 158, 115)] and told["labels"] == ["Car"]
