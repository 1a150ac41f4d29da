"""What a training resumes from, and what is told when the command changed."""

from __future__ import annotations

import logging
import os
import re
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from command_line import train_arguments
from pcdet.cli import train
from pcdet.engine.train_loop import Position
from pcdet.run import checkpoint_folder
from pcdet.run.resume import (
    ckpt_of,
    find_start,
    plain_config,
    pretrained_of,
    start_position,
    statistics_are_due,
)
from pcdet.run.session import Run
from pcdet.utils.checkpoint_utils import load_checkpoint, save_checkpoint
from pcdet.utils.errors import CheckpointError, ConfigError

LOGGER = logging.getLogger("test")


def stored(**changes) -> dict:
    settings = {"epochs": 4, "batch_size": 2, "iterations_per_epoch": 10, "amp": None}
    settings.update({k: v for k, v in changes.items() if k in settings})
    config = {"MODEL": {"LR": changes.get("LR", 0.1), "STEPS": [1, 2], **changes.get("MODEL", {})}}
    return {"seed": changes.get("seed", 1), "config": config, "settings": settings}


def test_a_changed_command_is_told(caplog):
    checkpoint = {"epoch": 2, "it": 20, "epoch_it": 0, **stored()}
    assert start_position(checkpoint, stored(), "c.pth", LOGGER) == (2, 20, 0)
    assert not caplog.records
    now = stored(epochs=8, LR=0.5, batch_size=4, iterations_per_epoch=5)
    with caplog.at_level("WARNING"):
        assert start_position(checkpoint, now, "c.pth", LOGGER) == (2, 10, 0)
    assert "c.pth: --epochs was 4, is 8 now; the learning rate follows" in caplog.text
    assert "cfg.MODEL.LR was 0.1, is 0.5 now" in caplog.text
    # PCDet's checkpoints do not say how many iterations an epoch had.
    with caplog.at_level("WARNING"):
        assert start_position({"epoch": 3, "it": 9}, now, "pcdet.pth", LOGGER) == (3, 15, 0)
    assert "pcdet.pth: epoch 3 and iteration 9; it ends at 15 here; the learning" in caplog.text


def test_a_recipe_that_moved_into_the_yaml_is_no_change(caplog):
    checkpoint = {"epoch": 2, "it": 20, **stored()}
    recipe = {"EPOCHS": 4, "BATCH_SIZE": 2, "AMP": None, "PRECISE_BN": 0, "FREEZE_BN": 0}
    recipe["SYNC_BN"] = False
    moved = stored(MODEL={"TRAIN": {"OPTIMIZATION": recipe}})
    assert start_position(checkpoint, moved, "c.pth", LOGGER) == (2, 20, 0)
    assert not caplog.records
    with caplog.at_level("WARNING"):
        moved["settings"] = stored(epochs=5)["settings"]
        start_position(checkpoint, moved, "c.pth", LOGGER)
    assert caplog.messages == [
        "c.pth: --epochs was 4, is 5 now; the learning rate follows the schedule of the new length "
        "from here on"
    ]


@pytest.mark.parametrize(
    ("then", "now", "told"),
    [
        ({"STEPS": [1]}, {"STEPS": [1, 2]}, "cfg.MODEL.STEPS was [1], is [1, 2] now"),
        ({"STEPS": [1, 2]}, {"STEPS": []}, "cfg.MODEL.STEPS was [1, 2], is [] now"),
        ({"A": [{"n": 1}]}, {"A": [{"n": 2}]}, "cfg.MODEL.A.0.n was 1, is 2 now"),
        (
            {"A": [{"n": 1}]},
            {"A": [{"n": 1}, {"n": 3}]},
            "cfg.MODEL.A.1.n was not there, is 3 now",
        ),
        ({"RATE": 0.5}, {}, "cfg.MODEL.RATE was 0.5, is not there now"),
    ],
)
def test_a_list_of_another_length_and_a_key_that_came_or_went_are_told(caplog, then, now, told):
    checkpoint = {"epoch": 2, "it": 20, **stored(MODEL=then)}
    with caplog.at_level("WARNING"):
        start_position(checkpoint, stored(MODEL=now), "c.pth", LOGGER)
    assert [record.message for record in caplog.records] == [f"c.pth: {told}"]


def test_what_an_older_version_did_not_store_is_not_told(caplog):
    now = stored()
    checkpoint = {"epoch": 2, "it": 20, **stored()}
    del checkpoint["settings"]["amp"], checkpoint["config"]
    start_position(checkpoint, now, "c.pth", LOGGER)
    assert not caplog.records


@pytest.mark.parametrize(
    ("then", "at", "due"),
    [
        ({"precise_bn": 9, "epochs": 10, "freeze_bn": 2}, 8, False),  # just measured
        ({"precise_bn": 0, "epochs": 10, "freeze_bn": 2}, 8, True),
        ({"precise_bn": 0, "epochs": 10, "freeze_bn": 2}, 7, False),  # comes in any case
        ({"precise_bn": 9, "epochs": 12, "freeze_bn": 2}, 9, True),
        ({"precise_bn": 9, "epochs": 8, "freeze_bn": 0}, 8, False),  # at the end, then
        ({"precise_bn": 9, "epochs": 8}, 9, False),  # before there was FREEZE_BN
        ({"precise_bn": 9}, 9, True),
        ({}, 9, True),  # PCDet's
    ],
)
def test_statistics_are_measured_if_the_past_has_not(then, at, due):
    settings = {"precise_bn": 20, "epochs": 10, "freeze_bn": 2}
    checkpoint = {"settings": then} if then else {}
    assert statistics_are_due(checkpoint, settings, Position(at)) is due
    assert not statistics_are_due(checkpoint, {**settings, "precise_bn": 0}, Position(at))


def test_a_position_that_is_no_number_is_named():
    """PCDet wrote None for what it did not know."""
    assert start_position({"epoch": None, "it": 9.0}, stored(), "c.pth", LOGGER) == (0, 9, 0)
    for key in ("epoch", "it", "epoch_it"):
        with pytest.raises(CheckpointError, match=f"c.pth: expected a number in the entry '{key}'"):
            start_position({key: "x"}, stored(), "c.pth", LOGGER)


@pytest.mark.parametrize("change", [{"seed": 2}, {"batch_size": 4}, {"iterations_per_epoch": 9}])
def test_within_an_epoch_other_batches_are_refused(change):
    checkpoint = {"epoch": 2, "it": 23, "epoch_it": 3, **stored()}
    with pytest.raises(ConfigError, match="within epoch 3, whose batches would be others now"):
        start_position(checkpoint, stored(**change), "c.pth", LOGGER)


def test_the_newest_readable_checkpoint_is_found(tmp_path, caplog):
    def save(name: str, epoch: int) -> None:
        save_checkpoint({"model_state": {}, "epoch": epoch}, tmp_path / name)

    def newest() -> str | None:
        path, checkpoint = checkpoint_folder.newest_checkpoint(tmp_path, LOGGER)
        assert (path is None) == (checkpoint is None)
        return path and path.name

    assert newest() is None
    save("checkpoint_epoch_1.pth", 1)
    save("checkpoint_epoch_2.pth", 2)
    save("latest_model.pth", 2)
    assert newest() == "latest_model.pth"
    save("checkpoint_epoch_10.pth", 10)
    assert newest() == "checkpoint_epoch_10.pth", "killed before latest_model.pth was removed"
    save("latest_model.pth", 10)
    for name in ("latest_model.pth", "checkpoint_epoch_10.pth"):
        data = bytearray((tmp_path / name).read_bytes())
        data[len(data) // 2] ^= 1
        (tmp_path / name).write_bytes(data[:-20])
    with caplog.at_level("WARNING"):
        assert newest() == "checkpoint_epoch_2.pth"
    assert "latest_model.pth: not a readable checkpoint" in caplog.text
    assert "checkpoint_epoch_10.pth: not a readable checkpoint" in caplog.text


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    keep = ("checkpoint_epoch_1.pth", "notes.tmp", ".hidden")
    for name in (*keep, ".checkpoint_epoch_2.pth.a1b2.tmp", ".latest_model.pth.xyz.tmp"):
        (tmp_path / name).write_text("x")
    checkpoint_folder.remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(keep)


def test_a_configuration_becomes_plain_data():
    plain = plain_config({"ROOT_DIR": Path("/r"), "A": {"B": (1, 2), "C": Path("x")}, "D": [{}]})
    assert plain == {"A": {"B": [1, 2], "C": "x"}, "D": [{}]}


def save(folder: Path, name: str, epoch: object, **entries) -> str:
    save_checkpoint({"model_state": {}, "epoch": epoch, "it": 100, **entries}, folder / name)
    return str(folder / name)


def test_the_same_ckpt_goes_on_from_what_it_has_led_to(tmp_path):
    """Beside what an earlier training in the folder has left, of later epochs."""
    folder = tmp_path / "ckpt"

    def found(ckpt: str | None) -> str | None:
        args = Namespace(ckpt=ckpt)
        run = Run(args, tmp_path, tmp_path, torch.device("cpu"), 2, False, 0, LOGGER)
        path, checkpoint = find_start(run)
        assert path is None or checkpoint["epoch"] == load_checkpoint(path)["epoch"]
        return path

    assert found(None) is None
    given, other = (save(tmp_path, f"{k}.pth", 10) for k in "ab")
    assert found(given) == given
    old = save(folder, "checkpoint_epoch_60.pth", 60, ckpt=None)
    assert found(given) == given and found(None) == old
    first = save(folder, "checkpoint_epoch_12.pth", 12, ckpt=given)
    assert found(given) == first and found(other) == other
    within = save(folder, "latest_model.pth", 12, ckpt=given)
    assert found(given) == within and found(other) == other
    second = save(folder, "checkpoint_epoch_14.pth", 14, ckpt=given)
    assert found(given) == second
    with pytest.raises(CheckpointError, match="there is no such checkpoint"):
        found(str(tmp_path / "none.pth"))
    released = save(tmp_path, "released.pth", 80, it=None, averaged=False)
    without_it = r"released\.pth: .* without 'it', .*--pretrained_mod"
    with pytest.raises(CheckpointError, match=without_it):
        found(released)
    save(folder, "checkpoint_epoch_80.pth", 80, it=None, averaged=False)
    with pytest.raises(CheckpointError, match=without_it.replace("released", "epoch_80")):
        found(None)


def test_a_ckpt_is_the_same_however_it_is_written(tmp_path, monkeypatch, caplog):
    given = save(tmp_path, "a.pth", 10)
    led_to = save(tmp_path / "ckpt", "checkpoint_epoch_12.pth", 12, ckpt=given)
    newest = checkpoint_folder.newest_checkpoint
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.pth").symlink_to("a.pth")
    for written in ("a.pth", "./a.pth", "ckpt/../a.pth", "link.pth"):
        assert ckpt_of(written, None) == given
        assert str(newest(tmp_path / "ckpt", LOGGER, ckpt_of(written, None))[0]) == led_to
    assert ckpt_of(None, {"ckpt": given}) == given and ckpt_of(None, None) is None
    assert not caplog.records
    other = save(tmp_path / "ckpt", "checkpoint_epoch_14.pth", 14)
    for ckpt in (given, str(tmp_path / "b.pth")):
        caplog.clear()
        newest(tmp_path / "ckpt", LOGGER, ckpt)
        assert f"{other} did not come of --ckpt {ckpt}: it is passed over" in caplog.text
    caplog.clear()
    newest(tmp_path / "ckpt", LOGGER, other)
    assert not caplog.records


def test_the_same_command_with_ckpt_trains_nothing_twice(workplace, tmp_path):
    options = train_arguments(workplace, tmp_path, "--epochs", "1")
    train.main(options)
    ckpt = tmp_path / "small" / "default" / "ckpt"
    given = tmp_path / "given.pth"
    (ckpt / "checkpoint_epoch_1.pth").replace(given)
    ckpt_option = ("--ckpt", str(given))
    train.main(train_arguments(workplace, tmp_path, "--epochs", "2", *ckpt_option))
    # Without the option in between: what the run began with is remembered.
    options = train_arguments(workplace, tmp_path, "--epochs", "3")
    train.main(options)
    written = (ckpt / "checkpoint_epoch_3.pth").stat().st_mtime_ns
    train.main([*options, *ckpt_option])
    assert (ckpt / "checkpoint_epoch_3.pth").stat().st_mtime_ns == written
    log = max(ckpt.parent.glob("log_train_*.txt"), key=lambda path: path.stat().st_mtime_ns)
    told = log.read_text().partition("(rpn_head)")[2]  # below the network, which is long
    assert re.search(
        r"all 3 epochs are trained already \(\S+checkpoint_epoch_3\.pth\): nothing to do", told
    )


def test_a_checkpoint_whose_epoch_is_no_number_is_left_out(tmp_path, caplog):
    good = save(tmp_path, "checkpoint_epoch_1.pth", 1)
    save(tmp_path, "latest_model.pth", "x")
    save(tmp_path, "checkpoint_epoch_2.pth", [2])
    with caplog.at_level("WARNING"):
        path, _ = checkpoint_folder.newest_checkpoint(tmp_path, LOGGER)
    assert str(path) == good
    assert "latest_model.pth: expected a number in the entry 'epoch'" in caplog.text


def test_what_was_just_written_is_kept_and_what_is_oldest_is_removed(tmp_path):
    """Also where an earlier training in the folder has left later epochs."""
    for epoch in (60, 70, 80):
        path = save(tmp_path, f"checkpoint_epoch_{epoch}.pth", epoch)
        os.utime(path, (epoch, epoch))
    folder = checkpoint_folder.CheckpointFolder(tmp_path, 3, None, LOGGER)
    for epoch, kept in ((12, [12, 70, 80]), (14, [12, 14, 80]), (16, [12, 14, 16])):
        assert folder.save_epoch(epoch, {"model_state": {}, "epoch": epoch})
        assert [k for k, _ in checkpoint_folder.list_checkpoints(tmp_path)] == kept


def test_nothing_begins_anew_over_checkpoints_that_cannot_be_read(workplace, tmp_path):
    """As PCDet's own were, or those of a later version: they are left as they are."""
    folder = tmp_path / "small" / "default" / "ckpt"
    folder.mkdir(parents=True)
    names = ("checkpoint_epoch_1.pth", "latest_model.pth")
    for name in names:
        (folder / name).write_bytes(b"of another world")
    with pytest.raises(CheckpointError, match=r"holds no checkpoint that can be read, and a train"):
        train.main(train_arguments(workplace, tmp_path, "--epochs", "1"))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == dict.fromkeys(
        names, b"of another world"
    )


def test_weights_alone_are_not_gone_on_from_and_not_written_over(workplace, tmp_path):
    folder = tmp_path / "small" / "default" / "ckpt"
    folder.mkdir(parents=True)
    path = folder / "checkpoint_epoch_2.pth"
    save_checkpoint({"model_state": {}, "epoch": None}, path)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=r"epoch_2\.pth: .* without 'it', .*--pretrained_mod"):
        train.main(train_arguments(workplace, tmp_path, "--epochs", "2"))
    assert path.read_bytes() == before


def test_what_cannot_be_read_keeps_its_content_under_another_name(tmp_path, caplog):
    good = save(tmp_path, "checkpoint_epoch_1.pth", 1)
    (tmp_path / "checkpoint_epoch_2.pth").write_bytes(b"damaged")
    with caplog.at_level("WARNING"):
        path, _ = checkpoint_folder.newest_checkpoint(tmp_path, LOGGER)
    assert str(path) == good
    assert (tmp_path / "checkpoint_epoch_2.pth.unreadable").read_bytes() == b"damaged"
    assert "it is now checkpoint_epoch_2.pth.unreadable" in caplog.text
    folder = checkpoint_folder.CheckpointFolder(tmp_path, 1, None, LOGGER)
    folder.save_epoch(2, {"model_state": {}, "epoch": 2})
    assert (tmp_path / "checkpoint_epoch_2.pth.unreadable").read_bytes() == b"damaged"


def test_pretrained_weights_are_remembered_and_never_ignored(tmp_path, monkeypatch):
    given, other = (save(tmp_path, f"{k}.pth", 10) for k in "ab")
    assert pretrained_of(None, None, None) is None
    assert pretrained_of(given, None, None) == given
    begun = {"pretrained_model": given}
    assert pretrained_of(None, "c.pth", begun) == given
    assert pretrained_of(given, "c.pth", begun) == given
    for checkpoint in (begun, {}):
        with pytest.raises(ConfigError, match=r"goes on from c\.pth, which did not begin with it"):
            pretrained_of(other, "c.pth", checkpoint)
    with pytest.raises(CheckpointError, match=r"none\.pth: there is no such checkpoint"):
        pretrained_of(str(tmp_path / "none.pth"), None, None)
    monkeypatch.chdir(tmp_path)
    assert pretrained_of("./a.pth", None, None) == given
    (tmp_path / "a.pth").unlink()  # a run that goes on no longer needs it
    assert pretrained_of("./a.pth", "c.pth", begun) == given
    assert pretrained_of(given, "c.pth", {"pretrained_model": "a.pth"}) == "a.pth"


def test_a_run_goes_on_with_the_pretrained_model_that_it_began_with(workplace, tmp_path):
    train.main(train_arguments(workplace, tmp_path / "first", "--epochs", "1"))
    weights = tmp_path / "first" / "small" / "default" / "ckpt" / "checkpoint_epoch_1.pth"
    other = weights.rename(tmp_path / "other.pth")
    begin = ("--pretrained_model", str(other))
    train.main(train_arguments(workplace, tmp_path, "--epochs", "1", *begin))
    for more in (begin, ()):
        train.main(train_arguments(workplace, tmp_path, "--epochs", "2", *more))
    newest = tmp_path / "small" / "default" / "ckpt" / "checkpoint_epoch_2.pth"
    assert load_checkpoint(newest)["pretrained_model"] == str(other)
    with pytest.raises(ConfigError, match=r"--pretrained_model .*did not begin with it"):
        save(tmp_path, "third.pth", 1)
        third = ("--pretrained_model", str(tmp_path / "third.pth"))
        train.main(train_arguments(workplace, tmp_path, "--epochs", "2", *third))
    with pytest.raises(ConfigError, match="--ckpt and --pretrained_model exclude each other"):
        train.parse_args(["--cfg_file", "x", "--ckpt", "a", *begin])
