"""pcdet-release: what is in the file, and that it loads as a whole."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from command_line import arguments, train_arguments
from pcdet import Detector
from pcdet.cli import release, train
from pcdet.cli import test as test_command
from pcdet.utils.checkpoint_utils import load_checkpoint
from pcdet.utils.errors import CheckpointError


@pytest.fixture(scope="module")
def released(workplace, tmp_path_factory):
    """The run's folder, its checkpoint, and the file that was released."""
    folder = tmp_path_factory.mktemp("release")
    ema = ("--set", "MODEL.TRAIN.EMA", "0.5")
    train.main(train_arguments(workplace, folder, "--epochs", "1", *ema))
    run = folder / "small" / "default"
    ckpt = run / "ckpt" / "checkpoint_epoch_1.pth"
    low = ("--set", "MODEL.TEST.SCORE_THRESH", "0.0001")
    test_command.main(arguments(workplace, folder, "--ckpt", str(ckpt), *low))
    release.main([str(ckpt), "--out", str(folder / "out")])
    (path,) = (folder / "out").glob("*.pth")
    return run, ckpt, path


def test_the_file_holds_what_a_test_needs_and_no_more(released):
    run, ckpt, path = released
    content, source = load_checkpoint(path), load_checkpoint(ckpt)
    assert path.stat().st_size < ckpt.stat().st_size / 3
    for name, value in source["ema_state"].items():
        assert torch.equal(content["model_state"][name], value), name
    assert content["averaged"] is True and "optimizer_state" not in content
    assert content["class_names"] == ["Car", "Pedestrian", "Cyclist"]
    assert content["config"]["MODEL"]["NAME"] == "second_net"
    assert content["seed"] == 666 and content["epoch"] == 1
    record = json.loads((run / "run.json").read_text())
    assert content["git"] == record["starts"][-1]["git"]
    assert content["ap"]["val"] == record["best"]["val"]["results"]
    assert content["source"]["sha256"] == hashlib.sha256(ckpt.read_bytes()).hexdigest()


def test_its_name_tells_its_sha256(released):
    _, _, path = released
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.name == f"small_{digest[:8]}.pth"
    assert (path.parent / f"{path.name}.sha256").read_text() == f"{digest}  {path.name}\n"


def test_a_detector_takes_it_alone(released):
    _, _, path = released
    detector = Detector.from_checkpoint(path, device="cpu")
    assert detector.class_names == ["Car", "Pedestrian", "Cyclist"]
    detector(torch.rand(100, 4))


@pytest.mark.parametrize("name", [None, "small", "small_1"])
def test_a_file_that_is_there_stays(released, tmp_path, name):
    _, ckpt, _ = released
    there = {tmp_path / f"{stem}.pth": ckpt.read_bytes() for stem in ("small", "small_1")}
    for path, content in there.items():
        path.write_bytes(content)
    source = tmp_path / f"{name or 'small'}.pth"
    release.main([str(source), "--out", str(tmp_path), *(["--name", name] if name else [])])
    assert all(path.read_bytes() == content for path, content in there.items())
    assert len(list(tmp_path.iterdir())) == 4  # the file and its sha256, nothing else


def test_a_file_in_the_root_folder_is_taken(released, tmp_path, monkeypatch):
    _, ckpt, _ = released
    monkeypatch.setattr(Path, "resolve", lambda self, strict=False: Path("/x.pth"))
    release.main([str(ckpt), "--out", str(tmp_path)])
    assert len(list(tmp_path.glob("*.pth"))) == 1


def test_without_a_record_or_a_configuration(released, tmp_path, capsys):
    _, ckpt, _ = released
    alone = tmp_path / "a" / "b" / "c.pth"
    alone.parent.mkdir(parents=True)
    alone.write_bytes(ckpt.read_bytes())
    release.main([str(alone), "--out", str(tmp_path), "--name", "mine"])
    (path,) = tmp_path.glob("mine_*.pth")
    content = load_checkpoint(path)
    told = capsys.readouterr().err
    assert "run.json, which keeps the best test of each split alone" in told
    assert "no run.json tells the revision of the source" in told and content["git"] is None
    assert content["ap"] == {} and content["version"]["pcdet"]
    torch.save({"model_state": content["model_state"]}, alone)
    with pytest.raises(CheckpointError, match=r"c\.pth: it holds no configuration"):
        release.main([str(alone), "--out", str(tmp_path)])
