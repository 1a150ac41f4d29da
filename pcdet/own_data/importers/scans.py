"""Which scan a label belongs to, and what the frames of several folders are called."""

from __future__ import annotations

import dataclasses
import os
from collections import defaultdict
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path, PurePosixPath

from pcdet.own_data.importers.common import ImportedFrame, visible_files
from pcdet.utils.errors import DataError
from pcdet.utils.file_checks import first_of_one_name, is_file_name
from pcdet.utils.point_files import SCAN_SUFFIXES

# Where labelCloud keeps clouds as they were before it turned them.
_ORIGINALS = "originals"


class Scans:
    """All scans below a folder, but for hidden files and folders named `originals`."""

    def __init__(self, folder: Path) -> None:
        # By name, then by the folder that they lie in.
        self._found: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
        for path in visible_files(folder):
            if path.suffix.lower() in SCAN_SUFFIXES and path.parent.name != _ORIGINALS:
                self._found[path.stem][path.parent.name].append(path)

    def __contains__(self, stem: str) -> bool:
        return stem in self._found

    def find(self, name: str, label: Path) -> Path:
        """The scan that a label names.

        Args:
            name: of its file, with or without the suffix, and folders, by which scans of one name
                keep apart.
            label: where it stands, for messages.

        Raises:
            DataError: there is none, or more than one.
        """
        *folders, last = PurePosixPath(name.replace("\\", "/")).parts or ("",)
        by_folder = self._found.get(last) or self._found.get(Path(last).stem)
        if not by_folder:
            forms = ", ".join(SCAN_SUFFIXES)
            raise DataError(
                f"{label}: no scan {name} ({forms}) was found; give its folder by --points"
            )
        near = by_folder.get(folders[-1], []) if folders else []
        found = near or [path for paths in by_folder.values() for path in paths]
        fits = [_common_end(path.parent.parts, folders) for path in found]
        most = max(fits)
        best = [path for path, fit in zip(found, fits) if fit == most]
        if len(best) > 1:
            raise DataError(
                f"{label}: {best[0]} and {best[1]} have the same name; give the folder by --points"
            )
        return best[0]


def _common_end(parts: Sequence[str], others: Sequence[str]) -> int:
    pairs = zip(reversed(parts), reversed(others))
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _own_parts(alike: Sequence[Path]) -> list[str]:
    """Of each of some scans of one name: the folders that not all of them share, and its name."""
    common = os.path.commonpath(alike)
    parts = [path.relative_to(common).with_suffix("").parts for path in alike]
    if len({len(of_path) for of_path in parts}) == 1:
        columns = list(zip(*parts))
        kept = [column for column in columns[:-1] if len(set(column)) > 1]
        parts = list(zip(*kept, columns[-1]))
    return ["_".join(of_path) for of_path in parts]


def name_frames(frames: Sequence[ImportedFrame]) -> list[ImportedFrame]:
    """Give frames names of their own: those of their folders come first where scans share one.

    Blanks become underscores.

    Raises:
        DataError: two labels are of the same scan, as where two people have labelled it, or a name
            cannot be a file's.
    """
    by_name: dict[str, dict[Path, ImportedFrame]] = defaultdict(dict)
    for frame in frames:
        first = by_name[frame.name].setdefault(frame.scan, frame)
        if first is not frame:
            raise DataError(
                f"{frame.labels}: frame {frame.name} is labelled in {first.labels}, too: "
                "keep one of them"
            )
    own = {
        (name, scan): part
        for name, alike in by_name.items()
        for scan, part in zip(alike, _own_parts(list(alike)) if len(alike) > 1 else [name])
    }
    named = []
    for frame in frames:
        name = "_".join(own[frame.name, frame.scan].split())
        if not is_file_name(name):
            raise DataError(
                f"{frame.labels}: expected a name of the frame without slashes, "
                f"got {name[:80]!r}: rename its scan and labels"
            )
        named.append(dataclasses.replace(frame, name=name))
    if pair := first_of_one_name((frame.name, frame) for frame in named):
        other, frame = pair
        raise DataError(
            f"{frame.labels}: its frame would be named {frame.name}, as that of {other.scan}: "
            "rename one of the scans"
        )
    return named
