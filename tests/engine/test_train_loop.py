"""The training loop alone, with an observer, and as PCDet's `train_model`."""

from __future__ import annotations

import pytest
import torch
from easydict import EasyDict
from tensorboardX import SummaryWriter
from torch import nn
from torch.utils.data import DataLoader, Dataset

from kill_and_resume import curves_in
from pcdet.engine.train_loop import Observer, Position, Training, train_epochs
from pcdet.models import ModelReturn
from train_utils.train_utils import train_model

OPTIM_CFG = EasyDict(GRAD_NORM_CLIP=10.0)


class Numbers(Dataset):
    """Six vectors, whose order of magnitude is that of the epoch."""

    def __init__(self) -> None:
        self.epoch = None

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> dict:
        x = torch.randn(4, generator=torch.Generator().manual_seed(index)) * 2.0**self.epoch
        return {"x": x, "sample_idx": index}


class Net(nn.Module):
    """Normalisation, dropout and one output."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))

    def forward(self, batch: dict) -> torch.Tensor:
        return self.layers(batch["x"])


class Rates:
    """Remembers the iterations that it was asked for."""

    T_max = 2

    def __init__(self) -> None:
        self.asked: list[int] = []

    def step(self, it: int) -> None:
        self.asked.append(it)


def model_func(model: nn.Module, batch: dict) -> ModelReturn:
    loss = model(batch).square().mean()
    return ModelReturn(loss, {"term": loss.detach() / 2}, {"shown": "yes"})


def parts() -> dict:
    torch.manual_seed(0)
    model = Net()
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "train_loader": DataLoader(Numbers(), batch_size=2),
        "model_func": model_func,
        "lr_scheduler": Rates(),
        "optim_cfg": OPTIM_CFG,
        "total_epochs": 3,
    }


class Notes(Observer):
    """Keeps what it heard."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.heard: list[tuple] = []
        self.means: list[torch.Tensor] = []

    def note(self, what: str, at: Position) -> None:
        self.heard.append((what, at.epoch, at.it, at.batches_done))

    def before_epoch(self, at: Position) -> None:
        self.note("before", at)

    def after_step(self, at: Position, step) -> None:
        self.note("step", at)
        assert list(step.values) == ["loss", "term", "grad_norm"]
        assert step.disp_dict == {"shown": "yes"} and not step.halted
        last = 2 * at.batches_done - 1
        assert step.batch["sample_idx"].tolist() == [last - 1, last]

    def after_epoch(self, at: Position) -> None:
        self.note("after", at)
        self.means.append(self.model.layers[0].running_mean.clone())


def test_an_observer_hears_of_all_epochs_and_steps():
    training = Training(**parts())
    notes = Notes(training.model)
    train_epochs(training, Position(epoch=1, it=3), notes)
    assert notes.heard == [
        *(("before", 1, 3, 0), ("step", 1, 4, 1), ("step", 1, 5, 2), ("step", 1, 6, 3)),
        *(("after", 2, 6, 0), ("before", 2, 6, 0)),
        *(("step", 2, 7, 1), ("step", 2, 8, 2), ("step", 2, 9, 3), ("after", 3, 9, 0)),
    ]
    assert training.lr_scheduler.asked == [3, 4, 5, 6, 7, 8]


def test_an_observer_changes_nothing():
    states = []
    for observed in (False, True):
        training = Training(**parts(), seed=3)
        train_epochs(training, Position(), Notes(training.model) if observed else None)
        states.append(training.model.state_dict())
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def test_an_observer_may_stop_the_training():
    class Stop(Observer):
        def after_step(self, at, step):
            if at.it == 4:
                raise SystemExit(3)

    at = Position()
    with pytest.raises(SystemExit):
        train_epochs(Training(**parts()), at, Stop())
    assert (at.epoch, at.it, at.batches_done) == (1, 4, 1)


def test_warm_up_takes_the_first_iterations():
    warmup = Rates()
    training = Training(**parts(), lr_warmup_scheduler=warmup)
    train_epochs(training, Position())
    assert warmup.asked == [0, 1] and training.lr_scheduler.asked == [2, 3, 4, 5, 6, 7, 8]


def test_precise_bn_measures_before_the_epochs_of_freeze_bn():
    """The averages over three batches are exact, and then stay."""
    training = Training(**parts(), precise_bn=3, freeze_bn=2)
    notes = Notes(training.model)
    train_epochs(training, Position(), notes)
    data = training.train_loader.dataset
    data.set_epoch(0)
    exact = torch.stack([data[k]["x"] for k in range(6)]).mean(dim=0)
    torch.testing.assert_close(notes.means[0], exact)
    assert len(notes.means) == 3
    assert all(torch.equal(mean, notes.means[0]) for mean in notes.means)


def test_statistics_that_are_due_are_measured_before_the_first_epoch():
    training = Training(**parts(), precise_bn=3, freeze_bn=2, statistics_are_due=True)
    notes = Notes(training.model)
    train_epochs(training, Position(2, 6), notes)
    data = training.train_loader.dataset
    exact = torch.stack([data[k]["x"] for k in range(6)]).mean(dim=0)
    (mean,) = notes.means
    torch.testing.assert_close(mean, exact)


@pytest.mark.parametrize("by_keyword", [False, True])
def test_train_model_is_called_as_pcdets(tmp_path, by_keyword):
    """Checkpoints and curves come of it, and the weights are those of the loop alone."""
    given, folder = parts(), tmp_path / "run" / "ckpt"
    folder.mkdir(parents=True)
    tb_log = SummaryWriter(str(tmp_path / "curves"))
    training = Training(**parts(), seed=0)
    train_epochs(training, Position())
    torch.manual_seed(0)  # the seed of a training that was given none
    first = [given.pop(k) for k in ("model", "optimizer", "train_loader", "model_func")]
    first += [given.pop(k) for k in ("lr_scheduler", "optim_cfg")]
    place = {"start_epoch": 0, "total_epochs": 3, "start_iter": 0, "rank": 0, "tb_log": tb_log}
    place["ckpt_save_dir"] = folder
    if by_keyword:
        more = {"train_sampler": None, "lr_warmup_scheduler": None, "ckpt_save_interval": 2}
        train_model(*first, **place, **more, max_ckpt_save_num=5)
    else:
        train_model(*first, *place.values(), None, None, 2, 5)
    tb_log.close()
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["checkpoint_epoch_2.pth", "checkpoint_epoch_3.pth"]
    state = torch.load(folder / names[1], weights_only=True)
    assert (state["epoch"], state["it"]) == (3, 9)
    for name, value in training.model.state_dict().items():
        assert torch.equal(value, state["model_state"][name]), name
    steps = [step for step, _ in curves_in(tmp_path / "curves")["train/loss"]]
    assert steps == list(range(1, 10))


def test_ranks_other_than_0_write_nothing(tmp_path):
    given = parts()
    total = given.pop("total_epochs")
    train_model(
        *given.values(), 0, total, start_iter=0, rank=1, tb_log=None, ckpt_save_dir=tmp_path / "c"
    )
    assert list(tmp_path.iterdir()) == []
