"""Importers: each turns the files of another program into a folder for `CustomDataset`.

An importer is a function of a source folder and a folder of scans that yields `ImportedFrame`s.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pcdet.own_data.importers import (
    cvat,
    kitti,
    labelcloud,
    nuscenes,
    openlabel,
    segments,
    supervisely,
    sustechpoints,
    xtreme1,
)
from pcdet.own_data.importers.common import (
    ImportedFrame,
    check_free,
    write_frame,
    write_note,
)
from pcdet.own_data.importers.scans import name_frames
from pcdet.utils.errors import DataError, PcdetError, lookup

_LOGGER = logging.getLogger("pcdet.own_data")

# FORMAT of the command line -> importer. labelCloud's formats by their names there, too.
FORMATS: Mapping[str, Callable[[Path, Path], Iterator[ImportedFrame]]] = {
    "labelcloud": labelcloud.read_frames,
    **{name: labelcloud.reader_of(name) for name in labelcloud.FORMATS},
    "sustechpoints": sustechpoints.read_frames,
    "cvat": cvat.read_frames,
    "supervisely": supervisely.read_frames,
    "kitti": kitti.read_frames,
    "nuscenes": nuscenes.read_frames,
    "openlabel": openlabel.read_frames,
    "segments": segments.read_frames,
    "xtreme1": xtreme1.read_frames,
}
# Those of whole programs.
_OWN_NAMES = [name for name in FORMATS if name not in labelcloud.FORMATS]


def import_folder(name: str, source: Path, target: Path, scans: Path | None = None) -> Counter:
    """Turn the files of another program into a folder of points, labels and, if need be, a note.

    Args:
        name: of the format, a key of `FORMATS`.
        source: folder of the program.
        target: folder to write; it must not hold labels.
        scans: folder of the scans; None to look for them in `source`.

    Returns:
        Objects by class.

    Raises:
        DataError: an entry cannot be mapped; file and entry are named, and nothing is written.
    """
    read = lookup(FORMATS, name, "FORMAT")
    if not source.is_dir():
        archive = "; unpack the archive and give its folder" if source.is_file() else ""
        raise DataError(f"{source}: no such folder{archive}")
    if (target / "labels").is_dir() and any((target / "labels").iterdir()):
        raise DataError(f"{target}: holds labels already; give another folder")
    scans = scans or source
    try:
        frames = list(read(source, scans))
        if not frames:
            raise DataError(f"{source}: no labels of the format {name} were found")
    except DataError as error:
        fitting = [other for other in _OWN_NAMES if other != name and _reads(other, source, scans)]
        if not fitting or name in labelcloud.FORMATS:
            raise
        raise DataError(f"{error}; it looks like {' or '.join(fitting)}") from error
    frames = name_frames(frames)
    check_free(frames, target)
    for frame in frames:
        write_frame(frame, target)
    write_note(frames, target)
    counts: Counter = Counter(str(n) for frame in frames for n in frame.objects.names)
    told = ", ".join(f"{n} {count}" for n, count in counts.most_common())
    _LOGGER.info("%s: %d frames, %s", target, len(frames), told or "no object")
    return counts


def _reads(name: str, source: Path, scans: Path) -> bool:
    """Tell whether an importer finds a frame that it can read."""
    try:
        return next(iter(FORMATS[name](source, scans)), None) is not None
    except PcdetError:
        return False
