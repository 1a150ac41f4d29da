"""How like the real thing is it? Statistics of frames, and a real and a synthetic one drawn.

`python -m pcdet.simulator.compare --real data/kitti --synthetic data/synthetic
--frame 000003 --synthetic_frame 000007 --out docs/images/synthetic_vs_real.png`
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from skimage.draw import polygon_perimeter, set_color

from pcdet.simulator.sensor import RINGS
from pcdet.utils.box_utils import boxes3d_to_corners3d_camera
from pcdet.utils.errors import ConfigError, DataError, PcdetError
from pcdet.utils.io_utils import atomic_write
from pcdet.utils.kitti_format.calib import Calibration
from pcdet.utils.kitti_format.folders import NUM_POINT_FEATURES, TRAINING, frame_path
from pcdet.utils.kitti_format.label import DONT_CARE, Object3d, get_objects_from_label
from pcdet.utils.point_files import read_points
from pcdet.utils.program_name import program_name

logger = logging.getLogger(__name__)
RANGE_EDGES = np.array([0.0, 6.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0])
_BEV_REACH = 40.0  # metres to each side of the sensor in a drawing
_BEV_SCALE = 9.0  # pixels a metre
_BOX_COLOURS = {"Car": (80, 220, 90), "Pedestrian": (255, 90, 90), "Cyclist": (255, 220, 70)}
_OTHER_COLOUR = (90, 190, 255)


@dataclass(frozen=True)
class FrameStatistics:
    """What is compared between frames.

    Attributes:
        points: number of points.
        ring_counts: (64,) points of each laser.
        range_shares: (8,) shares of the points between `RANGE_EDGES`.
        dark_share: share of points with intensity zero.
        median_intensity: over all points.
        raised_share: share of points more than about 0.7 m above the road (z > -1).
        ground_height: median z of the points about the car's own lane, 5 to 15 m ahead.
        ground_slope: rise per metre along x there.
        smoothness: median disagreement of a range with its neighbours' mean on the road, metres.
    """

    points: int
    ring_counts: np.ndarray
    range_shares: np.ndarray
    dark_share: float
    median_intensity: float
    raised_share: float
    ground_height: float
    ground_slope: float
    smoothness: float


def rings_of(points: np.ndarray) -> np.ndarray:
    """Find the laser of each point (N,), which KITTI's files do not hold but their order shows.

    The points of a laser follow each other, once around; a laser ends where the azimuth falls by
    more than half a turn.
    """
    azimuth = np.mod(np.arctan2(points[:, 1], points[:, 0]), 2 * np.pi)
    return np.concatenate([[0], np.cumsum(np.diff(azimuth) < -np.pi)])


def frame_statistics(points: np.ndarray) -> FrameStatistics:
    """Compute the statistics of one frame.

    Args:
        points: (N, 4) x, y, z, intensity, in KITTI's order.
    """
    distance = np.linalg.norm(points[:, :3], axis=1)
    ring = rings_of(points)
    lane = (np.abs(points[:, 1]) < 1.2) & (points[:, 0] > 4.5) & (points[:, 0] < 25.0)
    lane &= (points[:, 2] < -1.2) & (points[:, 2] > -2.3)
    slope = np.polyfit(points[lane, 0], points[lane, 2], 1)[0] if lane.sum() > 20 else np.nan
    near = lane & (points[:, 0] < 15.0)
    rough = np.abs(distance[1:-1] - (distance[:-2] + distance[2:]) / 2)
    return FrameStatistics(
        points=len(points),
        ring_counts=np.bincount(ring, minlength=RINGS)[:RINGS],
        range_shares=np.histogram(distance, RANGE_EDGES)[0] / len(points),
        dark_share=float((points[:, 3] == 0).mean()),
        median_intensity=float(np.median(points[:, 3])),
        raised_share=float((points[:, 2] > -1.0).mean()),
        ground_height=float(np.median(points[near, 2])) if near.any() else float("nan"),
        ground_slope=float(slope),
        smoothness=float(np.median(rough[near[1:-1]])) if near.any() else float("nan"),
    )


def draw_bev(points: np.ndarray, labels: Sequence[Object3d], calib: Calibration) -> np.ndarray:
    """Draw a frame from above, forward up: points by height, boxes by class.

    Args:
        points: (N, 4) of the LiDAR frame.
        labels: objects; DontCare regions are skipped.
        calib: the frame's calibration.

    Returns:
        (S, S, 3) uint8 pixels.
    """
    side = int(2 * _BEV_REACH * _BEV_SCALE)
    canvas = np.zeros((side, side, 3), dtype=np.uint8)
    spots = _bev_pixels(points[:, :2])
    order = np.argsort(points[:, 2])
    order = order[((spots[order] >= 0) & (spots[order] < side)).all(axis=1)]
    level = np.clip((points[order, 2] + 2.2) / 3.5, 0.0, 1.0)
    colours = np.stack(
        [110 + 145 * level, 120 + 110 * (1 - np.abs(2 * level - 1)), 235 - 180 * level], axis=1
    )
    canvas[tuple(spots[order].T)] = colours.astype(np.uint8)
    for label in labels:
        if label.cls_type != DONT_CARE:
            rows, columns = _bev_pixels(_footprint(label, calib)).T
            colour = _BOX_COLOURS.get(label.cls_type, _OTHER_COLOUR)
            for shift in (0, 1):  # lines of two pixels
                outline = polygon_perimeter(rows + shift, columns + shift)
                set_color(canvas, outline, colour)
    return canvas


def _bev_pixels(xy: np.ndarray) -> np.ndarray:
    """Rows and columns (N, 2) of points (N, 2) of the LiDAR frame."""
    return np.floor((_BEV_REACH - xy) * _BEV_SCALE).astype(int)


def _footprint(label: Object3d, calib: Calibration) -> np.ndarray:
    """The four lower corners (4, 2) of a label's box in the LiDAR frame."""
    box = np.array([[*label.loc, label.l, label.h, label.w, label.ry]], dtype=np.float32)
    return calib.rect_to_lidar(boxes3d_to_corners3d_camera(box)[0, :4])[:, :2]


def load_frame(root: Path, frame: str) -> tuple[np.ndarray, list[Object3d], Calibration]:
    """Read points, labels and calibration of a frame of `root`/training."""
    part = root / TRAINING
    return (
        read_points(frame_path(part, "velodyne", frame), NUM_POINT_FEATURES),
        get_objects_from_label(frame_path(part, "label_2", frame)),
        Calibration(frame_path(part, "calib", frame)),
    )


def draw_side_by_side(frames: Sequence[tuple[str, Path, str]]) -> Image.Image:
    """Draw frames from above next to each other.

    Args:
        frames: title, data set and frame number of each.
    """
    panels = [draw_bev(*load_frame(root, frame)) for _, root, frame in frames]
    gap, head = 8, 26
    pitch = len(panels[0]) + gap
    sheet = np.full((head + len(panels[0]), len(panels) * pitch - gap, 3), 255, np.uint8)
    for k, panel in enumerate(panels):
        sheet[head:, k * pitch :][:, : len(panel)] = panel
    image = Image.fromarray(sheet)
    pen = ImageDraw.Draw(image)  # scikit-image writes no text
    for k, (title, _, _) in enumerate(frames):
        pen.text((k * pitch + 4, 4), title, fill=(0, 0, 0), font_size=16)
    return image


def _report(name: str, root: Path) -> None:
    """Log the mean statistics of all frames of a data set."""
    files = sorted((root / TRAINING / "velodyne").glob("*.bin"))
    if not files:
        raise DataError(f"{root}: expected training/velodyne/*.bin, found none")
    rows = []
    for file in files:
        points = read_points(file, NUM_POINT_FEATURES)
        if not len(points):
            raise DataError(f"{file}: expected points, got an empty file")
        rows.append(frame_statistics(points))
    logger.info("%s: %d frames", name, len(rows))
    for key in FrameStatistics.__dataclass_fields__:
        values = np.array([getattr(row, key) for row in rows], dtype=np.float64)
        mean = np.round(np.nanmean(values, axis=0), 4)
        logger.info("  %-17s %s", key, np.array2string(mean, max_line_width=100))


def main(argv: Sequence[str] | None = None) -> int:
    """Draw and report; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog=program_name(), description="Compare a synthetic data set with a real one."
    )
    parser.add_argument("--real", type=Path, required=True, help="folder of real KITTI")
    parser.add_argument("--synthetic", type=Path, required=True, help="folder of the synthetic set")
    parser.add_argument("--frame", default="000000", help="real frame to draw")
    parser.add_argument("--synthetic_frame", default="000000", help="synthetic frame to draw")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if args.out.suffix != ".png":
            raise ConfigError(f"--out: expected a .png file, got {args.out}")
        frames = [
            (f"KITTI, frame {args.frame}", args.real, args.frame),
            (f"synthetic, frame {args.synthetic_frame}", args.synthetic, args.synthetic_frame),
        ]
        sheet = draw_side_by_side(frames)
        with atomic_write(args.out) as file:
            sheet.save(file, "png", optimize=True)
        _report("real", args.real)
        _report("synthetic", args.synthetic)
    except (PcdetError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
