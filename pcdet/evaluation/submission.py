"""Detections as KITTI result files, checked line by line, and the zip that the server takes."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from pcdet.utils.errors import DataError
from pcdet.utils.io_utils import atomic_write
from pcdet.utils.kitti_format.label import (
    NUM_RESULT_FIELDS,
    FieldError,
    read_numbers,
    result_lines,
)

_FRAME_NAME = re.compile(r"\d{6}")
_PLAIN_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the zip format's zero: equal results make equal bytes


def check_line(line: str, image_shape: Sequence[int], where: str) -> None:
    """Check one line of a result file.

    Args:
        line: the line, without its line end.
        image_shape: (H, W) of the frame's image in pixels.
        where: what to call the line in the error.

    Raises:
        DataError: it does not have 16 fields, a number is not finite or not a plain decimal, a
            size is not positive, or the 2D box is not within [0, W - 1] x [0, H - 1].
    """
    fields = line.split()
    if len(fields) != NUM_RESULT_FIELDS:
        raise DataError(
            f"{where}: expected {NUM_RESULT_FIELDS} fields, got {len(fields)}: {line!r}"
        )
    for position, field in enumerate(fields[1:], 2):
        if not _PLAIN_NUMBER.fullmatch(field):
            raise DataError(
                f"{where}: expected a finite decimal number in field {position}, got {field!r}"
            )
    try:
        numbers = read_numbers(fields)
    except FieldError as error:
        raise DataError(f"{where}: {error}") from error
    x1, y1, x2, y2 = numbers[3:7]
    height, width = (int(size) for size in image_shape)
    if not (0 <= x1 <= x2 <= width - 1 and 0 <= y1 <= y2 <= height - 1):
        raise DataError(
            f"{where}: expected a 2D box inside the image of {width} x {height} pixels, "
            f"got {fields[4:8]}"
        )
    if min(numbers[7:10]) <= 0:
        raise DataError(f"{where}: expected positive sizes, got {fields[8:11]}")


def write_submission(
    det_annos: Sequence[Mapping],
    sample_ids: Sequence[str],
    image_shapes: Sequence[Sequence[int]],
    out_dir: str | os.PathLike,
) -> Path:
    """Write one result file for each frame of a split, and the zip to upload.

    Every line is checked before anything is written. The files go to `out_dir`/data, the zip is
    `out_dir`/submission.zip with the files in its root, as the server wants them; equal
    detections make a zip of equal bytes.

    Args:
        det_annos: one annotation dict a frame, see `result_lines`; a frame in which nothing was
            found gets an empty file.
        sample_ids: name of each frame, six digits.
        image_shapes: (H, W) in pixels of each frame.
        out_dir: folder, made if need be.

    Returns:
        The path of the zip.

    Raises:
        DataError: a line fails `check_line`; the lists differ in length; a frame name is not six
            digits or comes twice; `out_dir`/data holds result files of other frames.
    """
    if not len(det_annos) == len(sample_ids) == len(image_shapes):
        raise DataError(
            f"expected detections, names and image sizes of the same frames, got {len(det_annos)}, "
            f"{len(sample_ids)} and {len(image_shapes)}"
        )
    check_frames(sample_ids, out_dir)
    files: dict[str, bytes] = {}
    for anno, sample_id, image_shape in zip(det_annos, sample_ids, image_shapes):
        lines = result_lines(anno)
        for number, line in enumerate(lines, 1):
            check_line(line, image_shape, f"{sample_id}.txt:{number}")
        files[f"{sample_id}.txt"] = "".join(f"{line}\n" for line in lines).encode("ascii")
    folder = Path(out_dir) / "data"
    for name, content in files.items():
        with atomic_write(folder / name) as file:
            file.write(content)
    return _write_zip(files, Path(out_dir) / "submission.zip")


def check_frames(sample_ids: Sequence[str], out_dir: str | os.PathLike) -> None:
    """Raise what `write_submission` raises of the frames, before there are detections."""
    names = set()
    for sample_id in sample_ids:
        if not _FRAME_NAME.fullmatch(sample_id):
            raise DataError(
                f"results as files: expected a frame name of six digits, got {sample_id!r}"
            )
        if sample_id in names:
            raise DataError(f"results as files: frame {sample_id} comes twice")
        names.add(sample_id)
    folder = Path(out_dir) / "data"
    others = sorted(path.name for path in folder.glob("*.txt") if path.stem not in names)
    if others:
        raise DataError(
            f"{folder}: holds {len(others)} result files of frames that are not in this split, "
            f"the first is {others[0]}; remove them or choose another folder"
        )


def _write_zip(files: Mapping[str, bytes], path: Path) -> Path:
    with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, date_time=_ZIP_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix on every system, for equal bytes
            info.external_attr = 0o644 << 16
            archive.writestr(info, files[name])
    return path
