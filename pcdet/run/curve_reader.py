"""Reads back the curves of a run, as TensorBoard would show them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorboardX.proto.event_pb2 import Event, SessionLog

from pcdet.utils.errors import DataError
from pcdet.utils.io_utils import read_file

# A record is the length of its data, a checksum of that, the data, and a checksum of these.
_LENGTH = struct.Struct("<Q")
_CHECKSUM = 4


def read_curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read all scalars of a run.

    Args:
        folder: of the event files; it may be missing.

    Returns:
        By name (step, value) in the order of the steps. Of several starts of a training, a later
        one replaces what an earlier one wrote from its first step on.

    Raises:
        DataError: a record cannot be read; what is damaged otherwise is not noticed.
    """
    curves: dict[str, dict[int, float]] = {}
    files = folder.glob("events.out.tfevents.*") if folder.is_dir() else ()
    for path in sorted(files, key=lambda file: file.name):
        for event in _events(path):
            if event.session_log.status == SessionLog.START:
                for points in curves.values():
                    for step in [step for step in points if step >= event.step]:
                        del points[step]
            for value in event.summary.value:
                if value.WhichOneof("value") == "simple_value":
                    curves.setdefault(value.tag, {})[event.step] = value.simple_value
    return {name: sorted(points.items()) for name, points in curves.items() if points}


def _events(path: Path) -> Iterator[Event]:
    """Events of a file, up to one that is still being written."""
    data, at = read_file(path, "curves"), 0
    while at + _LENGTH.size + _CHECKSUM <= len(data):
        start = at + _LENGTH.size + _CHECKSUM
        end = start + _LENGTH.unpack_from(data, at)[0]
        if end + _CHECKSUM > len(data):
            return
        try:
            yield Event.FromString(data[start:end])
        except DecodeError as error:
            raise DataError(f"{path}: not a file of curves, or damaged: {error}") from error
        at = end + _CHECKSUM
