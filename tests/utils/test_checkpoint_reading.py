"""What a checkpoint is: whoever wrote it, and that none runs code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import nn

from pcdet.utils.checkpoint_reading import load_checkpoint
from pcdet.utils.errors import CheckpointError

WEIGHTS = {"a.weight": torch.ones(2, 3), "a.bias": torch.zeros(2)}


@pytest.mark.parametrize("key", ["model_state", "state_dict", "model", None])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("new_format", [True, False])
def test_weights_are_found_wherever_they_are(tmp_path, key, prefix, new_format):
    state = {f"{prefix}{name}": value for name, value in WEIGHTS.items()}
    content = state if key is None else {key: state, "epoch": 3}
    path = tmp_path / "a.pth"
    torch.save(content, path, _use_new_zipfile_serialization=new_format)
    checkpoint = load_checkpoint(path)
    assert list(checkpoint["model_state"]) == list(WEIGHTS)
    assert torch.equal(checkpoint["model_state"]["a.weight"], WEIGHTS["a.weight"])
    assert checkpoint.get("epoch") == (None if key is None else 3)


def test_a_file_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    (tmp_path / "a.pth").write_bytes(b"x")
    monkeypatch.setattr(Path, "open", Mock(side_effect=PermissionError(13, "Permission denied")))
    monkeypatch.setattr("builtins.open", Path.open)
    with pytest.raises(CheckpointError, match=r"a\.pth: cannot be read: Permission denied"):
        load_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_numpy_numbers_become_plain_ones(tmp_path, core):
    """As PCDet's schedules leave them in the optimiser's options, of NumPy 1 or 2."""
    numbers = {
        "lr": np.float64(0.1),
        "half": np.float16(0.5),
        "single": np.float32(0.25),
        "step": np.int64(-7),
        "small": np.uint8(200),
        "flag": np.bool_(True),
        "name": np.str_("adam"),
    }
    path = tmp_path / "a.pth"
    torch.save(
        {"model_state": WEIGHTS, "optimizer_state": numbers},
        path,
        _use_new_zipfile_serialization=False,
    )
    data = path.read_bytes()
    path.write_bytes(data.replace(b"cnumpy._core.multiarray", f"c{core}.multiarray".encode()))
    read = load_checkpoint(path)["optimizer_state"]
    assert read == {name: value.item() for name, value in numbers.items()}
    assert {type(value) for value in read.values()} == {float, int, bool, str}


class Hostile:
    def __init__(self, call, *arguments):
        self.call = call, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("call", "name"), [(os.system, "posix.system"), (eval, "eval"), (open, "io.open")]
)
@pytest.mark.parametrize("new_format", [True, False])
def test_the_object_that_was_refused_is_named_in_one_line(tmp_path, call, name, new_format):
    marker, path = tmp_path / "ran", tmp_path / "bad.pth"
    arguments = (str(marker), "w") if call is open else (f"open({str(marker)!r}, 'w')",)
    if call is os.system:
        arguments = (f"touch {marker}",)
    torch.save(
        {"model_state": WEIGHTS, "x": Hostile(call, *arguments)},
        path,
        _use_new_zipfile_serialization=new_format,
    )
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path)
    message = str(error.value)
    assert f"{path}: not a readable checkpoint: " in message and "\n" not in message
    assert "\x1b" not in message and name in message
    assert not marker.exists()


def test_a_whole_pickled_network_is_refused_by_name(tmp_path):
    torch.save({"model": nn.Linear(2, 2)}, tmp_path / "whole.pth")
    with pytest.raises(CheckpointError, match=r"whole\.pth: .*holds torch\.nn\.modules\.linear"):
        load_checkpoint(tmp_path / "whole.pth")


@pytest.mark.parametrize(
    "value",
    [
        np.array([1.0, 2.0]),
        np.array(["x"], object),
        np.dtype("O"),
        np.datetime64(1, "s"),
    ],
)
def test_other_things_of_numpy_are_refused(tmp_path, value):
    torch.save({"model_state": WEIGHTS, "x": value}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth: not a readable checkpoint"):
        load_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([1, 2], "it holds a list"),
        ({"weights": {}, "epoch": 2}, r"its entries are \['weights', 'epoch'\]"),
        ({}, r"its entries are \[\]"),
        ({"model": "a name"}, r"its entries are \['model'\]"),
    ],
)
def test_a_file_without_weights_is_told_of(tmp_path, content, told):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=f"'model_state', 'state_dict' or 'model'.*{told}"):
        load_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is empty"),
        (b"<html>404 Not Found</html>\n", "it looks like text, which begins with '<html>404 Not"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer: fetch"),
        (pickle.dumps({"a": 1}), "it is none that torch.save wrote"),
    ],
)
def test_what_torch_did_not_write_is_called_by_its_name(tmp_path, content, told):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"a\.pth: not a readable checkpoint: .*{told}"):
        load_checkpoint(tmp_path / "a.pth")


def test_loading_elsewhere_is_as_strict_as_before(tmp_path):
    torch.save(np.float64(1), tmp_path / "a.pth")
    load = lambda: torch.load(tmp_path / "a.pth", weights_only=True)  # noqa: E731
    with pytest.raises(pickle.UnpicklingError):
        load()
    torch.save({"model_state": WEIGHTS, "lr": np.float64(1)}, tmp_path / "b.pth")
    assert load_checkpoint(tmp_path / "b.pth")["lr"] == 1.0
    with pytest.raises(pickle.UnpicklingError):
        load()
