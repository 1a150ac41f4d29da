"""Checkpoints of other code bases, by their lists of names and shapes."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from models.model_fixture import (
    fake_dataset,
    load_config,
    narrow_config,
    small_dataset,
    small_model,
)
from models.pcdet_numbers import listed_state
from pcdet.models import build_network
from pcdet.utils import checkpoint_formats, checkpoint_utils
from pcdet.utils.checkpoint_formats import SPARSE_LAYOUTS
from pcdet.utils.errors import CheckpointError

LISTED = listed_state(Path(__file__).parents[1] / "models" / "sassd_state_dict.txt")


def original_state() -> dict[str, torch.Tensor]:
    """A state with the names and shapes of the original SA-SSD."""
    generator = torch.Generator().manual_seed(0)
    counters = {name: torch.tensor(7) for name, shape in LISTED.items() if not shape}
    values = {n: torch.rand(shape, generator=generator) for n, shape in LISTED.items() if shape}
    return {name: counters.get(name, values.get(name)) for name in LISTED}


@pytest.fixture(scope="module")
def sassd():
    cfg = load_config("sassd")
    return build_network(fake_dataset(cfg), cfg)


@pytest.mark.parametrize(
    ("prefix", "layout"),
    [("", "spconv 1"), ("module.", "spconv 1"), ("", "spconv 2"), ("", "spconv 2.0 Native")],
)
def test_all_weights_of_the_original_sassd_find_their_place(
    sassd, prefix, layout, tmp_path, caplog
):
    state, path = original_state(), tmp_path / "original.pth"
    axes = torch.argsort(torch.tensor(SPARSE_LAYOUTS[layout])).tolist()
    stored = {
        name: value.permute(4, 0, 1, 2, 3).permute(axes) if value.dim() == 5 else value
        for name, value in state.items()
    }
    torch.save({"model_state": {f"{prefix}{name}": v for name, v in stored.items()}}, path)
    with caplog.at_level(logging.INFO):
        sassd.train().load_params_from_file(path)
    assert "loaded 148 of 149 entries" in caplog.text  # the count of steps is ours alone
    own = sassd.state_dict()
    same = {
        "rpn_net.down1.1.running_var": "neck.backbone.down1.1.running_var",
        "rpn_net.conv2.2.1.bias": "neck.backbone.conv2.7.bias",
        "rpn_net.aux.point_fc.weight": "neck.point_fc.weight",
        "rpn_head.blocks.0.1.weight": "neck.fcn.conv0.weight",
        "rpn_head.blocks.0.20.num_batches_tracked": "neck.fcn.bn6.num_batches_tracked",
        "rpn_head.deblocks.0.1.weight": "neck.fcn.bn7.weight",
        "rpn_head.conv_dir_cls.bias": "rpn_head.conv_dir_cls.bias",
        "extra_head.convs.3.weight": "extra_head.convs.3.weight",
    }
    for here, there in same.items():
        assert torch.equal(own[here], state[there]), here
    sparse = state["neck.backbone.conv1.3.weight"].permute(4, 0, 1, 2, 3)
    assert torch.equal(own["rpn_net.conv1.1.0.weight"], sparse)
    product = state["neck.backbone.extra_conv.0.weight"][0, 0, 0].T
    assert torch.equal(own["rpn_net.extra_conv.0.weight"], product)
    last = state["neck.fcn.conv7.weight"].transpose(0, 1)
    assert torch.equal(own["rpn_head.deblocks.0.0.weight"], last)


def test_our_own_names_stay():
    state = small_model("second").state_dict()
    translated = checkpoint_formats.translate(state)
    assert list(translated) == list(state)
    assert all(translated[name] is state[name] for name in state)
    wrapped = {f"module.{name}": value for name, value in state.items()}
    assert list(checkpoint_formats.translate(wrapped)) == list(state)
    assert checkpoint_formats.translate({}) == {}


@pytest.mark.parametrize("ratio", [0.0, 0.3])
def test_layers_of_pcdet_are_found_whether_or_not_it_put_dropout_between_them(ratio):
    """Without dropout, its shared layers are 0 and 1; with it 0 and 2."""
    cfg = narrow_config("PartA2")
    cfg.MODEL.RCNN.DP_RATIO = ratio
    model = build_network(small_dataset(cfg), cfg)
    own = model.state_dict()
    shared = "rcnn_net.shared_fc_layer."
    theirs = {}
    for name, value in own.items():
        if name.startswith(shared):
            number, rest = name.removeprefix(shared).split(".", 1)
            name = f"{shared}{int(number) // 2}.{rest}"
        theirs[name] = torch.rand_like(value) if value.is_floating_point() else value
    assert f"{shared}1.conv.weight" in theirs
    for state in (theirs, {f"module.{name}": value for name, value in theirs.items()}):
        checkpoint = {"model_state": state}
        checkpoint_utils.load_weights(model, checkpoint, "a.pth", logging.getLogger())
        loaded = model.state_dict()
        for k in range(2):
            here, there = (f"{shared}{number}.conv.weight" for number in (2 * k, k))
            assert torch.equal(loaded[here], theirs[there])


def test_entries_that_are_no_weights_are_refused_as_ever(sassd):
    """Whatever a file holds under those names: an error that names the file, no other one."""
    strange = {"neck.backbone.extra_conv.0.weight": "text", "neck.fcn.conv7.weight": None}
    for state in (strange, {5: torch.ones(2)}, {"neck.backbone.": torch.ones(2).to_sparse()}):
        translated = checkpoint_formats.translate(state)
        assert len(translated) == len(state)
        with pytest.raises(CheckpointError, match=r"a\.pth: only 0 of the model's"):
            checkpoint_utils.load_matching_state(sassd, translated, "a.pth", logging.getLogger())
