"""PCDet's name for `pcdet.engine.optimization`."""

from pcdet.engine.optimization import build_optimizer, build_scheduler

__all__ = ["build_optimizer", "build_scheduler"]
