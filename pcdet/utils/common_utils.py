"""PCDet's name for helpers that have rooms of their own here, and that its users call by it."""

from pcdet.utils.array_utils import (
    FinitePoints,
    drop_arrays_by_name,
    keep_arrays_by_name,
    mask_points_by_range,
)
from pcdet.utils.box_utils import limit_period, rotate_pc_along_z
from pcdet.utils.box_utils import rotate_points_along_z as rotate_pc_along_z_torch
from pcdet.utils.device_utils import default_device, set_random_seed
from pcdet.utils.dist_utils import init_dist_pytorch, init_dist_slurm, port_for
from pcdet.utils.log_utils import create_logger, machine_line
from pcdet.utils.memory_utils import keep_freed_memory
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
    "limit_period",
    "machine_line",
    "mask_points_by_range",
    "port_for",
    "resolve_path",
    "rotate_pc_along_z",
    "rotate_pc_along_z_torch",
    "set_random_seed",
]
