"""What labelled frames hold, class by class, and what in them cannot be right.

    print(class_table(frames, limit_range))
    for line in data_warnings(frames, limit_range):
        ...

Frames of any data set: nothing here knows KITTI.
"""

from pcdet.utils.data_report.facts import Frame, Scan, describe_scan
from pcdet.utils.data_report.table import class_table, count_objects, other_names
from pcdet.utils.data_report.warnings import apart_in_height, data_warnings

__all__ = [
    "Frame",
    "Scan",
    "apart_in_height",
    "class_table",
    "count_objects",
    "data_warnings",
    "describe_scan",
    "other_names",
]
