"""PCDet's name for the training loop: `pcdet.run.train_model` and `pcdet.engine.train_loop`."""

from pcdet.engine.train_loop import train_one_epoch
from pcdet.run.train_model import train_model

__all__ = ["train_model", "train_one_epoch"]
