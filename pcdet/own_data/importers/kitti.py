"""KITTI's layout; images are not needed: training/{velodyne,label_2,calib}."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pcdet.datasets.custom.folder import USUAL_COLUMNS
from pcdet.datasets.custom.label_file import Objects, check_row, rows_from_boxes
from pcdet.datasets.kitti.kitti_infos import object_annotations
from pcdet.own_data.importers.common import ImportedFrame
from pcdet.own_data.importers.scans import Scans
from pcdet.utils.errors import DataError
from pcdet.utils.kitti_format.calib import Calibration
from pcdet.utils.kitti_format.label import DONT_CARE, get_objects_from_label


def read_frames(source: Path, scans: Path) -> Iterator[ImportedFrame]:
    """Read the labelled frames of a folder in KITTI's layout, or of its folder training/."""
    root = source / "training" if (source / "training").is_dir() else source
    folder = root / "label_2"
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected velodyne/, label_2/ and calib/ in it")
    found = Scans(root / "velodyne" if scans == source else scans)
    for path in sorted(folder.glob("[!.]*.txt")):  # macOS adds ._* to what it copies
        calib = Calibration(root / "calib" / path.name)
        annos = object_annotations(get_objects_from_label(path, need_sizes=True), calib)
        names = annos["name"][annos["name"] != DONT_CARE]
        objects = Objects(names, annos["gt_boxes_lidar"])
        for k, (row, name) in enumerate(zip(rows_from_boxes(objects.boxes), names.tolist())):
            try:
                check_row(row.tolist(), name)
            except ValueError as error:
                raise DataError(f"{path}: object {k} ({name}): {error}") from error
        scan = found.find(path.stem, path)
        columns = USUAL_COLUMNS if scan.suffix.lower() == ".bin" else None
        yield ImportedFrame(path.stem, path, scan, objects, columns)
