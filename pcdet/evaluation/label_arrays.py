"""The objects of all frames as flat arrays: what every later stage works on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pcdet.utils.errors import DataError

# Keys of an annotation dict and how many numbers each object has there.
_WIDTHS = {"alpha": 1, "bbox": 4, "dimensions": 3, "location": 3, "rotation_y": 1}
_GT_WIDTHS = {"truncated": 1, "occluded": 1, **_WIDTHS}
_DET_WIDTHS = {**_WIDTHS, "score": 1}


@dataclass(frozen=True)
class Labels:
    """N objects of F frames, in the order of the frames and of the lines in a file.

    Boxes are in the rectified camera frame (x right, y down, z forward; metres).

    Attributes:
        frame_starts: (F + 1,) int64, frame f holds objects frame_starts[f] to frame_starts[f + 1].
        name: (N,) class names in lower case, for classes are compared without regard to case.
        truncated: (N,) float64, truncated share; ground truth only.
        occluded: (N,) float64, occlusion level; ground truth only.
        alpha: (N,) float64, observation angle in radians; -10 if not known.
        bbox: (N, 4) float64, x1, y1, x2, y2 in pixels.
        dimensions: (N, 3) float64, length, height, width in metres.
        location: (N, 3) float64, bottom centre.
        rotation_y: (N,) float64, radians.
        score: (N,) float64; detections only (zeros for ground truth).
    """

    frame_starts: np.ndarray
    name: np.ndarray
    truncated: np.ndarray
    occluded: np.ndarray
    alpha: np.ndarray
    bbox: np.ndarray
    dimensions: np.ndarray
    location: np.ndarray
    rotation_y: np.ndarray
    score: np.ndarray

    @property
    def num_frames(self) -> int:
        """Number of frames, empty ones included."""
        return len(self.frame_starts) - 1

    def __len__(self) -> int:
        return len(self.name)

    @property
    def frame(self) -> np.ndarray:
        """(N,) int64, the frame that each object belongs to."""
        return np.repeat(np.arange(self.num_frames), np.diff(self.frame_starts))

    def heights(self) -> np.ndarray:
        """Return the (N,) heights in the image in pixels, whichever corner is the upper one."""
        return np.abs(self.bbox[:, 1] - self.bbox[:, 3])


def labels_from_table(name: np.ndarray, values: np.ndarray, counts: np.ndarray) -> Labels:
    """Build `Labels` from the columns of KITTI's label format.

    Args:
        name: (N,) class names in any case.
        values: (N, 15) float64: truncation, occlusion, alpha, x1, y1, x2, y2, height, width,
            length, x, y, z, rotation_y, score.
        counts: (F,) number of objects of each frame.
    """
    return Labels(
        frame_starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        name=np.char.lower(name),
        truncated=values[:, 0],
        occluded=values[:, 1],
        alpha=values[:, 2],
        bbox=values[:, 3:7],
        dimensions=values[:, [9, 7, 8]],
        location=values[:, 10:13],
        rotation_y=values[:, 13],
        score=values[:, 14],
    )


def labels_from_annos(annos: Sequence[Mapping], what: str) -> Labels:
    """Build `Labels` from one annotation dict a frame.

    Args:
        annos: dicts with `name`, `alpha`, `bbox`, `dimensions` (length, height, width),
            `location`, `rotation_y`; ground truth also has `truncated` and `occluded`, detections
            have `score`.
        what: "ground truth" or "detections".

    Raises:
        DataError: a key is missing, arrays of a frame differ in length, or a number is not finite.
    """
    widths = _GT_WIDTHS if what == "ground truth" else _DET_WIDTHS
    counts = [_check_anno(anno, widths, f"{what}, frame {i}") for i, anno in enumerate(annos)]
    total = sum(counts)
    columns = {key: np.zeros(total) for key in ("truncated", "occluded", "score")}
    for key, width in widths.items():
        parts = [_exact(anno[key]).reshape(-1, width) for anno in annos]
        column = np.concatenate(parts) if parts else np.zeros((0, width))
        columns[key] = column[:, 0] if width == 1 else column
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    _check_finite({key: columns[key] for key in widths}, starts, what)
    names = [str(name).lower() for anno in annos for name in anno["name"]]
    return Labels(frame_starts=starts, name=np.array(names, dtype=np.str_), **columns)


def _check_anno(anno: Mapping, widths: Mapping[str, int], where: str) -> int:
    """Return the number of objects in `anno`, all of whose arrays must agree on it."""
    if not isinstance(anno, Mapping):
        raise DataError(f"{where}: expected an annotation, got {anno!r:.80}")
    for key in ("name", *widths):
        if key not in anno:
            raise DataError(f"{where}: the annotation has no {key!r}; it has {sorted(anno)}")
    count = len(anno["name"])
    for key, width in widths.items():
        size = np.size(anno[key])
        if size != count * width:
            raise DataError(
                f"{where}: expected {count * width} numbers in {key!r} for {count} names, "
                f"got {size}"
            )
    return count


def _exact(values: np.ndarray) -> np.ndarray:
    """Return `values` in double; a float32 that stands for a number of two decimals becomes it.

    Labels have two decimals, and a height of exactly 40 pixels lies on the limit: the binary
    neighbour that float32 makes of 190.07 must not decide on which side it falls.
    """
    values = np.asarray(values)
    if values.dtype != np.float32:
        return values.astype(np.float64)
    wide = values.astype(np.float64)
    decimal = np.round(wide, 2)
    return np.where(decimal.astype(np.float32) == values, decimal, wide)


def _check_finite(columns: Mapping[str, np.ndarray], starts: np.ndarray, what: str) -> None:
    """Raise a DataError that names the first frame, object and key with a NaN or infinity."""
    for key, column in columns.items():
        finite = np.isfinite(column)
        bad = np.flatnonzero(~(finite if finite.ndim == 1 else finite.all(axis=1)))
        if len(bad):
            frame = int(np.searchsorted(starts, bad[0], side="right")) - 1
            raise DataError(
                f"{what}, frame {frame}, object {bad[0] - starts[frame]}: expected finite numbers "
                f"in {key!r}, got {column[bad[0]].tolist()}"
            )
