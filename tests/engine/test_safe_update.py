"""One update that must not harm weights, and how the host learns of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pcdet.engine.safe_update import SafeUpdate
from pcdet.run.step_values import StepValues
from pcdet.utils.errors import NonFiniteLossError

NAN, INF = float("nan"), float("inf")


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def adam(model: nn.Module, fused: bool = True) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}
    return torch.optim.SGD(model.parameters(), **settings, fused=True)


def step(update: SafeUpdate, model: nn.Module, factor: float = 1.0, added: float = 0.0) -> None:
    update.optimizer.zero_grad()
    update(model(torch.ones(2, 3)).sum() * factor + added, model.parameters(), 10.0)


def snapshot(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    state = [v for entry in optimizer.state.values() for v in entry.values()]
    return [value.detach().clone() for value in (*model.parameters(), *state)]


@pytest.mark.parametrize("fused", [True, False])
def test_finite_steps_are_those_of_plain_torch(fused):
    ours, plain = linear(), linear()
    update, optimizer = SafeUpdate(adam(ours, fused)), adam(plain, fused)
    for factor in (1.0, 30.0):
        step(update, ours, factor)
        optimizer.zero_grad()
        (plain(torch.ones(2, 3)).sum() * factor).backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 10.0)
        optimizer.step()
    assert not update.halted
    expected = snapshot(plain, optimizer)
    assert all(map(torch.equal, snapshot(ours, update.optimizer), expected))


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("factor", "added"),
    [(NAN, 0.0), (INF, 0.0), (1.0, NAN), (1.0, INF)],
    ids=["nan", "inf", "nan with a finite gradient", "inf with a finite gradient"],
)
def test_nothing_changes_from_the_first_bad_loss_on(fused, factor, added):
    model = linear()
    update = SafeUpdate(adam(model, fused))
    step(update, model)
    before = snapshot(model, update.optimizer)
    step(update, model, factor, added)
    assert update.halted
    step(update, model)
    assert update.halted
    assert all(map(torch.equal, snapshot(model, update.optimizer), before))


def bad_gradient_step(update: SafeUpdate, model: nn.Module) -> None:
    """The loss is finite; its gradient is not, as the slope of the square root is not at 0."""
    update.optimizer.zero_grad()
    loss = model(torch.ones(2, 3)).sum() + ((model.weight * 0).sqrt() * 0).sum()
    assert loss.isfinite()
    update(loss, model.parameters(), 10.0)


def test_a_gradient_that_is_not_finite_halts_though_the_loss_is():
    model = linear()
    update = SafeUpdate(adam(model))
    step(update, model)
    before = snapshot(model, update.optimizer)
    bad_gradient_step(update, model)
    assert update.halted
    assert all(map(torch.equal, snapshot(model, update.optimizer), before))


def test_an_overflow_of_a_scaled_loss_leaves_out_this_update_alone():
    model = linear()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126)
    update = SafeUpdate(adam(model), scaler)
    before = snapshot(model, update.optimizer)
    step(update, model, 8.0)
    assert not update.halted and scaler.get_scale() == 2.0**125
    assert all(map(torch.equal, snapshot(model, update.optimizer), before))
    step(update, model)
    assert not update.halted and not torch.equal(model.weight, before[0])


@pytest.mark.parametrize("make", [adam, sgd])
@pytest.mark.parametrize("good_before", [0, 1])
def test_a_step_that_is_left_out_is_as_if_it_had_not_been(make, good_before):
    """The memory of new tensors is filled with NaN, which it may hold at any time."""
    torch.use_deterministic_algorithms(True)
    try:
        ours, plain = linear(), linear()
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
        updates = SafeUpdate(make(ours), scaler), SafeUpdate(make(plain))
        for update, model in zip(updates, (ours, plain)):
            for _ in range(good_before):
                step(update, model)
        bad_gradient_step(updates[0], ours)
        for update, model in zip(updates, (ours, plain)):
            step(update, model)
    finally:
        torch.use_deterministic_algorithms(False)
    expected = snapshot(plain, updates[1].optimizer)
    assert all(map(torch.equal, snapshot(ours, updates[0].optimizer), expected))


def test_momentum_of_a_parameter_begins_with_its_first_gradient():
    """Such as of sparse layers after a batch without voxels."""
    model = linear()
    update = SafeUpdate(sgd(model))
    model.bias.requires_grad_(False)
    step(update, model)
    model.bias.requires_grad_(True)
    before = model.bias.item()
    step(update, model)
    gradient = 2.0 + 0.1 * before
    assert model.bias.item() == pytest.approx(before - 0.1 * gradient)


def test_a_scaled_loss_that_is_not_finite_halts_at_once():
    model = linear()
    update = SafeUpdate(adam(model), torch.amp.GradScaler("cpu"))
    before = snapshot(model, update.optimizer)
    step(update, model, added=NAN)
    assert update.halted
    step(update, model)
    assert all(map(torch.equal, snapshot(model, update.optimizer), before))


def test_a_scaled_gradient_halts_when_no_scale_helps():
    model = linear()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**4)
    update = SafeUpdate(adam(model), scaler)
    before = snapshot(model, update.optimizer)
    for _ in range(5):
        bad_gradient_step(update, model)
        assert not update.halted
    bad_gradient_step(update, model)
    assert update.halted and scaler.get_scale() == 0.25
    assert all(map(torch.equal, snapshot(model, update.optimizer), before))


def test_values_come_together_and_the_first_bad_step_is_named():
    dumped = []

    def dump(it, batch, values):
        dumped.append((it, batch, values))
        return "it is in FILE"

    values = StepValues(dump)
    assert values.collect() == {}
    good, bad = torch.tensor(False), torch.tensor(True)
    values.add(1, {"sample_idx": ["a"]}, {"loss": torch.tensor(2.0), "count": 3}, good)
    values.add(2, {"sample_idx": ["b"]}, {"loss": torch.tensor(0.5), "count": 4}, good)
    assert values.collect() == {"loss": 0.5, "count": 4.0}
    for it, flag in ((3, good), (4, bad), (5, bad)):
        batch = {"sample_idx": [f"00{it}", "010"]}
        values.add(it, batch, {"loss": torch.tensor(NAN if flag else 1.0), "count": it}, flag)
    with pytest.raises(NonFiniteLossError, match=r"iteration 4: .*nan.*004, 010; .*it is in FILE"):
        values.collect()
    assert [entry[0] for entry in dumped] == [4]


@pytest.mark.parametrize(
    ("several", "loss", "told"), [(True, 1.0, True), (True, NAN, False), (False, 1.0, False)]
)
def test_a_rank_whose_own_loss_is_finite_points_to_the_others(several, loss, told):
    values = StepValues(lambda *_: "it is in FILE", several_ranks=several)
    numbers = {"loss": torch.tensor(loss), "grad_norm": torch.tensor(NAN)}
    values.add(1, {"sample_idx": ["a"]}, numbers, torch.tensor(True))
    with pytest.raises(NonFiniteLossError) as caught:
        values.collect()
    assert ("the fault may be in those of another rank" in str(caught.value)) == told


def test_no_more_batches_are_kept_than_needed():
    values = StepValues(lambda *_: "")
    for it in range(16):
        assert not values.full
        values.add(it, {}, {}, torch.tensor(False))
    assert values.full
