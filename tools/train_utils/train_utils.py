"""PCDet's name for the training loop of `pcdet.engine.train_loop`."""

from pcdet.engine.train_loop import train_model, train_one_epoch

__all__ = ["train_model", "train_one_epoch"]
