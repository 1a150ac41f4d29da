"""Curves read back from the files that CurveWriter writes."""

from __future__ import annotations

import logging

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pcdet.run.curve_reader import read_curves
from pcdet.run.curve_writer import CurveWriter
from pcdet.utils.errors import DataError

LOGGER = logging.getLogger("curves")


def write(folder, steps, first_step=0):
    writer = CurveWriter(folder, LOGGER, first_step=first_step)
    for step in steps:
        writer.add_scalar("loss", 10 * first_step + step, step)
    writer.close()


def test_a_later_start_replaces_points_from_its_first_step_on(tmp_path):
    write(tmp_path, range(1, 6))
    write(tmp_path, (4, 5, 6), first_step=4)
    expected = [(1, 1.0), (2, 2.0), (3, 3.0), (4, 44.0), (5, 45.0), (6, 46.0)]
    assert read_curves(tmp_path) == {"loss": expected}
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == expected


def test_an_event_that_is_being_written_is_left_alone(tmp_path):
    write(tmp_path, (1, 2))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    assert read_curves(tmp_path) == {"loss": [(1, 1.0)]}


def test_a_damaged_file_is_named_and_a_missing_folder_has_no_curves(tmp_path):
    assert read_curves(tmp_path / "none") == {}
    write(tmp_path, (1,))
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    data[12:20] = b"\xff" * 8
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"{path.name}: not a file of curves, or damaged"):
        read_curves(tmp_path)


def test_hyperparameters_reach_tensorboard(tmp_path):
    writer = CurveWriter(tmp_path, LOGGER)
    writer.add_hparams({"LR": 0.003, "OPTIMIZER": "adam_onecycle"}, ["val/Car_3d/moderate_R40"])
    writer.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    content = events.PluginTagToContent("hparams")
    assert {"_hparams_/experiment", "_hparams_/session_start_info"} <= set(content)
    assert b"adam_onecycle" in content["_hparams_/session_start_info"]
    assert b"moderate_R40" in content["_hparams_/experiment"]
