"""TensorBoard's files: on the disk when a checkpoint is written, and read in the right order."""

from __future__ import annotations

import argparse
import logging
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kill_and_resume import curves_in
from pcdet.cli.training import open_curves
from pcdet.config import cfg
from pcdet.engine.train_loop import Position
from pcdet.run.curve_writer import CurveWriter
from pcdet.run.session import Run

LOGGER = logging.getLogger("test")
WRITE_AND_DIE = f"""
import logging, os, signal, sys
sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})
from pathlib import Path
from pcdet.run.curve_writer import CurveWriter
writer = CurveWriter(Path(sys.argv[1]), logging.getLogger())
for step in range(1, 1001):
    writer.add_scalar("loss", step / 7, step)
writer.flush()
writer.add_scalar("loss", 0.0, 1001)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_has_lost_no_point_before_its_flush(tmp_path):
    done = subprocess.run([sys.executable, "-c", WRITE_AND_DIE, str(tmp_path)], timeout=100)
    assert done.returncode == -signal.SIGKILL
    points = curves_in(tmp_path)["loss"]
    assert points[:1000] == [(step, float(np.float32(step / 7))) for step in range(1, 1001)]
    assert len(points) <= 1001


def test_all_points_are_readable_after_flush_while_the_file_is_open(tmp_path):
    writer = CurveWriter(tmp_path, LOGGER)
    for step in range(1, 200):
        writer.add_scalar("loss", float(step), step)
        if step % 50 == 0:
            writer.flush()
            assert [k for k, _ in curves_in(tmp_path)["loss"]] == list(range(1, step + 1))
    writer.close()


def test_starts_within_a_second_are_read_in_their_order(tmp_path):
    """Each takes back what the one before wrote from its first step on."""
    for first in (1, 4, 3, 5):
        writer = CurveWriter(tmp_path, LOGGER, first_step=first)
        for step in range(first, 7):
            writer.add_scalar("loss", float(step * first), step)
        writer.close()
    assert len(list(tmp_path.iterdir())) == 4
    assert curves_in(tmp_path)["loss"] == [(1, 1), (2, 2), (3, 9), (4, 12), (5, 25), (6, 30)]


def test_a_picture_keeps_its_size_and_step(tmp_path):
    writer = CurveWriter(tmp_path, LOGGER)
    writer.add_image("frame", np.zeros((5, 7, 3), dtype=np.uint8), 3, dataformats="HWC")
    writer.close()
    (event,) = EventAccumulator(str(tmp_path)).Reload().Images("frame")
    assert (event.step, event.width, event.height) == (3, 7, 5)


def test_a_folder_that_cannot_be_made_costs_the_curves_and_is_told(tmp_path, caplog):
    (tmp_path / "file").touch()
    with caplog.at_level("ERROR"):
        writer = CurveWriter(tmp_path / "file" / "tensorboard", LOGGER, first_step=3)
        writer.add_scalar("loss", 1.0, 3)
        writer.flush()
        writer.close()
    assert "curves cannot be written: Not a directory; all else goes on" in caplog.text
    assert "training continues" not in caplog.text, "it may be a test"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_command_for_the_curves_is_quoted(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(LOGGER, "propagate", True)
    caplog.set_level(logging.INFO)
    cfg.TAG = "a"
    args, folder = argparse.Namespace(extra_tag="a"), tmp_path / "my runs"
    run = Run(args, tmp_path, folder, torch.device("cpu"), 2, False, 1, LOGGER)
    with open_curves(run, Position()):
        pass
    assert f"curves: tensorboard --logdir '{folder}'" in caplog.text
