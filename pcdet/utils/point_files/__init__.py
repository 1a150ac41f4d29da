"""Files of points: `read_points` reads a scan of any form, `read_rows` plain rows of float32.

A scan is read here wherever one is read: for infos and database, in a training, by the demo.
"""

from pcdet.utils.point_files.reader import (
    SCAN_SUFFIXES,
    check_points,
    list_scans,
    named_columns,
    read_points,
    read_rows,
)

__all__ = [
    "SCAN_SUFFIXES",
    "check_points",
    "list_scans",
    "named_columns",
    "read_points",
    "read_rows",
]
