"""3D object detection from LiDAR point clouds: SECOND, Part-A2 and PointPillar on KITTI."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["Detector", "__version__"]


def __getattr__(name: str) -> Any:
    """Import `Detector` when it is asked for: torch and all that it needs take seconds."""
    if name == "Detector":
        from pcdet.inference.detector import Detector

        return Detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
