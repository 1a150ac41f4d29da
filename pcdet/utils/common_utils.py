"""PCDet's name for helpers that have rooms of their own here."""

from pcdet.utils.array_utils import (
    FinitePoints,
    drop_arrays_by_name,
    keep_arrays_by_name,
    mask_points_by_range,
)
from pcdet.utils.device_utils import default_device, keep_freed_memory, set_random_seed
from pcdet.utils.dist_utils import init_dist_pytorch, init_dist_slurm, port_for
from pcdet.utils.log_utils import create_logger, machine_line
from pcdet.utils.paths import resolve_path

__all__ = [
    "FinitePoints",
    "create_logger",
    "default_device",
    "drop_arrays_by_name",
    "init_dist_pytorch",
    "init_dist_slurm",
    "keep_arrays_by_name",
    "keep_freed_memory",
    "machine_line",
    "mask_points_by_range",
    "port_for",
    "resolve_path",
    "set_random_seed",
]
