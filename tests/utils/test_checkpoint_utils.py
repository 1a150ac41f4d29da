"""Checkpoints: round trip, PCDet's weight layout, and files that do not fit."""

from __future__ import annotations

import logging
import os
import pickle
import zipfile

import pytest
import torch
from torch import nn

from models.model_fixture import small_model
from pcdet.models.fine_tuning import load_pretrained
from pcdet.utils import checkpoint_utils
from pcdet.utils.errors import CheckpointError

LOGGER = logging.getLogger("test")


def test_round_trip_of_model_and_optimiser(tmp_path):
    model = small_model(seed=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    sum(p.sum() for p in model.parameters()).backward()
    optimizer.step()
    path = tmp_path / "checkpoint_epoch_3.pth"
    checkpoint_utils.save_checkpoint(
        checkpoint_utils.checkpoint_state(model, optimizer, epoch=3, it=12), path
    )
    other = small_model(seed=2)
    other_optimizer = torch.optim.AdamW(other.parameters(), lr=0.01)
    assert other.load_params_with_optimizer(path, to_cpu=True, optimizer=other_optimizer) == (12, 3)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    for ours, theirs in zip(optimizer.state.values(), other_optimizer.state.values()):
        assert torch.equal(ours["exp_avg"], theirs["exp_avg"])


def test_weights_in_the_layout_of_spconv_1_are_converted():
    model = small_model(seed=1)
    state = {
        name: value.permute(1, 2, 3, 4, 0).contiguous() if value.dim() == 5 else value
        for name, value in model.state_dict().items()
    }
    other = small_model(seed=2)
    checkpoint_utils.load_matching_state(other, state, "old", LOGGER)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_each_entry_that_does_not_fit_is_reported(caplog):
    model = small_model()
    state = model.state_dict()
    state["rpn_head.conv_cls.bias"] = torch.zeros(7)
    state["rpn_head.extra.weight"] = torch.zeros(1)
    del state["rpn_head.conv_box.bias"]
    with caplog.at_level("INFO"):
        checkpoint_utils.load_matching_state(model, state, "file.pth", LOGGER)
    assert "rpn_head.conv_cls.bias: shape (7,) in the file, (18,) in the model" in caplog.text
    assert "rpn_head.extra.weight: not in the model" in caplog.text
    assert "rpn_head.conv_box.bias: not in the file" in caplog.text


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"model_state": nn.Linear(3, 3).state_dict()}, path)
    model = small_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"other\.pth: only 0 of the model's"):
        model.load_params_from_file(path)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("number", [torch.nan, torch.inf, 1e300])
def test_weights_that_are_not_finite_are_refused_at_every_door(number, tmp_path):
    """1e300 in double precision is infinite in the model's."""
    model, path = small_model(), tmp_path / "nan.pth"
    state = checkpoint_utils.checkpoint_state(model, None, 1, 1)
    broken = state["model_state"]["rpn_head.conv_cls.bias"].double()
    broken[0] = number
    state["model_state"] = {**model.state_dict(), "rpn_head.conv_cls.bias": broken}
    checkpoint_utils.save_checkpoint(state, path)
    doors = (
        lambda: model.load_params_from_file(path),
        lambda: model.load_params_from_file(path, strict=False),
        lambda: model.load_params_with_optimizer(path),
        lambda: load_pretrained(model, path, {}, LOGGER),
    )
    for door in doors:
        with pytest.raises(CheckpointError, match=r"nan\.pth: 1 of its .*, as rpn_head.conv_cls.b"):
            door()
    assert all(v.isfinite().all() for v in model.state_dict().values())


def test_an_optimiser_state_of_another_model_is_refused(tmp_path):
    model = small_model()
    state = checkpoint_utils.checkpoint_state(model, None, 1, 1)
    other = nn.Linear(2, 2)
    state["optimizer_state"] = torch.optim.SGD(other.parameters(), lr=1).state_dict()
    checkpoint_utils.save_checkpoint(state, tmp_path / "c.pth")
    with pytest.raises(CheckpointError, match="optimiser state does not fit"):
        model.load_params_with_optimizer(
            tmp_path / "c.pth", optimizer=torch.optim.SGD(model.parameters(), lr=1)
        )


@pytest.mark.parametrize("of", ["Adam", "SGD"])
def test_an_optimiser_state_of_another_optimiser_is_refused(of):
    model = nn.Linear(2, 2)
    model(torch.ones(1, 2)).sum().backward()
    kinds = {"Adam": torch.optim.Adam, "SGD": torch.optim.SGD}
    optimizer = kinds.pop(of)(model.parameters(), lr=0.1)
    optimizer.step()
    (other,) = kinds.values()
    with pytest.raises(CheckpointError, match=f"it is of {of.lower()}, .* asks for"):
        checkpoint_utils.load_optimizer_state(
            other(model.parameters(), lr=0.1),
            {"optimizer_state": optimizer.state_dict()},
            "c.pth",
            LOGGER,
        )


class Hostile:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", pickle.dumps(Hostile()), pickle.dumps({"model_state": Hostile()})],
)
def test_broken_and_hostile_files_are_named(tmp_path, content, recwarn):
    path = tmp_path / "broken.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"broken\.pth: not a readable checkpoint"):
        checkpoint_utils.load_checkpoint(path)
    assert not recwarn.list


def test_a_truncated_checkpoint_is_named(tmp_path):
    path = tmp_path / "half.pth"
    checkpoint_utils.save_checkpoint(
        checkpoint_utils.checkpoint_state(small_model(), None, 1, 1), path
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=r"half\.pth"):
        checkpoint_utils.load_checkpoint(path)


def test_missing_file_and_missing_entry(tmp_path):
    with pytest.raises(CheckpointError, match="there is no such checkpoint"):
        checkpoint_utils.load_checkpoint(tmp_path / "none.pth")
    torch.save({"weights": {}}, tmp_path / "plain.pth")
    with pytest.raises(CheckpointError, match="'model_state'"):
        checkpoint_utils.load_checkpoint(tmp_path / "plain.pth")


def small_checkpoint(path):
    """A linear layer and its optimiser after a step, saved; returns them."""
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    checkpoint_utils.save_checkpoint(
        checkpoint_utils.checkpoint_state(layer, optimizer, 1, 2), path
    )
    return layer, optimizer


def test_a_flipped_bit_of_a_weight_is_found(tmp_path):
    """Torch itself does not compare checksums."""
    path = tmp_path / "checkpoint_epoch_1.pth"
    layer, _ = small_checkpoint(path)
    content = bytearray(path.read_bytes())
    place = content.index(layer.weight.detach().numpy().tobytes())
    content[place] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)
    with pytest.raises(CheckpointError, match=r"epoch_1\.pth: .*the checksum of its entry "):
        checkpoint_utils.load_checkpoint(path)


def test_a_compressed_archive_is_refused(tmp_path):
    """It could claim a thousand times its size."""
    path, packed = tmp_path / "a.pth", tmp_path / "packed.pth"
    small_checkpoint(path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    with pytest.raises(CheckpointError, match="compressed"):
        checkpoint_utils.load_checkpoint(packed)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"it": "many"}, "expected a number in the entry 'it'"),
        ({"epoch": -1}, "expected a number in the entry 'epoch'"),
        ({"it": float("nan")}, "expected a number in the entry 'it'"),
        ({"it": None, "epoch": 3.0}, (0, 3)),  # as some of PCDet's files have it
    ],
)
def test_finished_iterations_and_epochs(tmp_path, entries, expected):
    layer, optimizer = small_checkpoint(tmp_path / "a.pth")
    state = {**checkpoint_utils.load_checkpoint(tmp_path / "a.pth"), **entries}
    restored = (layer, optimizer, state, "a.pth", LOGGER)
    if isinstance(expected, tuple):
        assert checkpoint_utils.restore_training(*restored) == expected
        return
    with pytest.raises(CheckpointError, match=rf"a\.pth: {expected}"):
        checkpoint_utils.restore_training(*restored)


def test_the_options_of_an_optimiser_are_not_those_of_the_checkpoint(tmp_path):
    """The file is as PCDet wrote it: a decay of 0 inside Adam, nothing fused, steps as int."""
    layer, _ = small_checkpoint(tmp_path / "a.pth")
    state = checkpoint_utils.load_checkpoint(tmp_path / "a.pth")
    for values in state["optimizer_state"]["state"].values():
        values["step"] = int(values["step"])
    (group,) = state["optimizer_state"]["param_groups"]
    kept = {key: group[key] for key in ("eps", "amsgrad", "params")}
    scheduled = {"lr": 0.5, "betas": (0.7, 0.99)}
    state["optimizer_state"]["param_groups"] = [{**kept, **scheduled, "weight_decay": 0}]
    optimizer = torch.optim.AdamW(layer.parameters(), weight_decay=0.1, fused=True)
    options = {k: v for k, v in optimizer.param_groups[0].items() if k != "params"}
    checkpoint_utils.load_optimizer_state(optimizer, state, "a.pth", LOGGER)
    restored = dict(optimizer.param_groups[0])
    assert restored.pop("params") == list(layer.parameters())
    assert restored == {**options, **scheduled}
    assert restored["weight_decay"] == 0.1 and restored["fused"]
    for parameter in layer.parameters():
        values, saved = optimizer.state[parameter], state["optimizer_state"]["state"]
        assert any(torch.equal(values["exp_avg"], theirs["exp_avg"]) for theirs in saved.values())
        assert values["step"] == torch.tensor(1.0) and values["step"].dtype == torch.float32
    optimizer.step()


def test_moments_of_another_shape_are_refused(tmp_path):
    path = tmp_path / "a.pth"
    _, optimizer = small_checkpoint(path)
    state = checkpoint_utils.load_checkpoint(path)
    state["optimizer_state"]["state"][0]["exp_avg"] = torch.zeros(7, 7)
    with pytest.raises(CheckpointError, match=r"exp_avg of shape \(7, 7\) for \(2, 3\)"):
        checkpoint_utils.load_optimizer_state(optimizer, state, "a.pth", LOGGER)


def test_a_sparse_entry_does_not_fit():
    layer = nn.Linear(3, 2)
    state = {**layer.state_dict(), "bias": torch.zeros(2).to_sparse()}
    checkpoint_utils.load_matching_state(layer, state, "a.pth", LOGGER)  # the weight alone fits
