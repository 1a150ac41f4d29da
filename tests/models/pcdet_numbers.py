"""PCDet v0.1's numbers on a real frame: weights made by a rule, inputs, outputs of each stage."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

import numpy as np
import torch

from pcdet.utils.checkpoint_utils import load_matching_state

FRAME = "000003"


def listed_state(path: Path) -> dict[str, tuple]:
    """Names and shapes of a list of PCDet's state dict, sparse weights in spconv 1.x's layout."""
    entries = {}
    for line in path.read_text().splitlines():
        name, shape, *_ = line.split("\t")
        entries[name] = () if shape == "-" else tuple(int(n) for n in shape.split("x"))
    return entries


def check_names_and_shapes(model: torch.nn.Module, path: Path) -> None:
    """The model's state dict has the listed entries and no others."""
    state, listed = model.state_dict(), listed_state(path)
    assert set(state) == set(listed)
    for name, shape in listed.items():
        if len(shape) == 5:
            shape = (shape[4], *shape[:4])
        assert tuple(state[name].shape) == shape, name


def weights_rule(reference):
    """The module whose `weight(name, shape)` makes the weights of the reference numbers."""
    spec = importlib.util.spec_from_file_location("weights_rule", reference("weights_rule.py"))
    rule = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)
    return rule


def load_ruled_weights(model: torch.nn.Module, reference, name: str) -> None:
    """Give the model the weights that the reference numbers were made with, and check their sums.

    Args:
        model: gets the weights.
        reference: the fixture that finds the files.
        name: "second", "pointpillar" or "parta2".
    """
    rule = weights_rule(reference)
    listed = listed_state(reference(f"state_dict_{name}.txt"))
    numbers = reference(f"forward_eval_{name}.npz")
    sums = dict(zip(numbers["weights_check/names"], numbers["weights_check/sum_f64"]))
    state = {}
    for entry, shape in listed.items():
        value = rule.weight(entry, shape)
        if value is not None:
            state[entry] = torch.from_numpy(value)
        if entry in sums:
            np.testing.assert_allclose(value.astype(np.float64).sum(), sums[entry], atol=1e-9)
    load_matching_state(model, state, "the rule", logging.getLogger())


def with_batch_index(coordinates: np.ndarray) -> torch.Tensor:
    """(V, 4) coordinates of a batch of one frame."""
    return torch.from_numpy(np.pad(coordinates.astype(np.int32), ((0, 0), (1, 0))))


def sorted_features(tensor) -> torch.Tensor:
    """(V, C) features in the order of the sites."""
    order = np.lexsort(tensor.indices.numpy().T[::-1])
    return tensor.features[torch.from_numpy(order)]


def check_stages(
    numbers, stages: dict[str, torch.Tensor], atol: float = 2e-4, rtol: float = 0.0
) -> None:
    """Each tensor has the shape and the sampled values of the stage of that name."""
    for name, value in stages.items():
        assert list(value.shape) == numbers[f"{FRAME}/{name}/shape"].tolist(), name
        picked = value.flatten()[torch.from_numpy(numbers[f"{FRAME}/{name}/idx"])]
        np.testing.assert_allclose(
            picked.numpy(), numbers[f"{FRAME}/{name}/val"], atol=atol, rtol=rtol, err_msg=name
        )


class Recorder:
    """Keeps the output of modules by name while the model runs."""

    def __init__(self, modules: dict[str, torch.nn.Module]):
        self.outputs: dict[str, torch.Tensor] = {}
        for name, module in modules.items():
            module.register_forward_hook(self._keep(name))

    def _keep(self, name: str):
        def hook(module, inputs, output) -> None:
            self.outputs[name] = output

        return hook
