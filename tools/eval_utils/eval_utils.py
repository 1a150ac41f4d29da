"""PCDet's name for the evaluation of `pcdet.engine.evaluate`."""

from pcdet.engine.evaluate import eval_one_epoch

__all__ = ["eval_one_epoch"]
