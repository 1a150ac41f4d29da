"""A small data set in KITTI's layout, made of simple shapes: for tests that need files on disk."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from pcdet.utils.kitti_format.calib import Calibration
from pcdet.utils.kitti_format.label import Object3d

IMAGE_SHAPE = (375, 1242)
GROUND_Z = -1.7
SIZES = {"Car": (1.6, 3.9, 1.5), "Pedestrian": (0.6, 0.8, 1.75), "Cyclist": (0.6, 1.8, 1.7)}
SPLITS = {
    "train": ("000000", "000001", "000002", "000003"),
    "val": ("000004", "000005"),
    "test": ("000000", "000001"),
}
# Frames of training/ without any object: an empty label file, and DontCare regions alone.
EMPTY_FRAME, DONT_CARE_FRAME = "000002", "000003"
DONT_CARE_LINE = "DontCare -1 -1 -10 503.89 169.71 590.61 230.13 -1 -1 -1 -1000 -1000 -1000 -10"
_CALIB = {
    "P2": "721.5377 0 609.5593 44.85728 0 721.5377 172.854 0.2163791 0 0 1 0.002745884",
    "R0_rect": "0.9999239 0.00983776 -0.00744505 -0.0098698 0.9999421 -0.004278459 "
    "0.007402527 0.004351614 0.9999631",
    "Tr_velo_to_cam": "0.007533745 -0.9999714 -0.000616602 -0.004069766 0.01480249 0.0007280733 "
    "-0.9998902 -0.07631618 0.9998621 0.00752379 0.01480755 -0.2717806",
}


def make_tiny_kitti(root: str | Path, planes: bool = True, seed: int = 0) -> Path:
    """Write training/ (6 frames), testing/ (2) and ImageSets below `root`, and return it.

    Each frame has ground at z = -1.7 m, 60 m deep, and, but for EMPTY_FRAME and DONT_CARE_FRAME,
    a car, a pedestrian and a cyclist with 150 points each in their upper half, in view of the
    camera, and one DontCare region between them. The same seed makes the same bytes.
    """
    root, rng = Path(root), np.random.default_rng(seed)
    for split, frames in SPLITS.items():
        _write(root / "ImageSets" / f"{split}.txt", "".join(f"{name}\n" for name in frames))
    for name in (*SPLITS["train"], *SPLITS["val"]):
        write_frame(root / "training", name, rng)
        if planes:
            plane = "# Matrix\nWIDTH 4\nHEIGHT 1\n" + " ".join(map(str, _ground_plane())) + "\n"
            _write(root / "training" / "planes" / f"{name}.txt", plane)
    for name in SPLITS["test"]:
        write_frame(root / "testing", name, rng, label=False)
    return root


def write_frame(folder: Path, name: str, rng: np.random.Generator, label: bool = True) -> None:
    """Write the files of one frame below training/ or testing/."""
    _write(folder / "calib" / f"{name}.txt", calib_text())
    _write(folder / "image_2" / f"{name}.png", png_bytes(IMAGE_SHAPE))
    boxes = {}
    if name not in (EMPTY_FRAME, DONT_CARE_FRAME):
        boxes = _draw_boxes(rng)
    points = [_ground(rng), *(_points_in(box, rng) for box in boxes.values())]
    _write(folder / "velodyne" / f"{name}.bin", np.concatenate(points).tobytes())
    if label:
        lines = [_label_line(cls, box) for cls, box in boxes.items()]
        if name != EMPTY_FRAME:
            lines.insert(1, DONT_CARE_LINE)
        _write(folder / "label_2" / f"{name}.txt", "".join(f"{line}\n" for line in lines))


def calib_text() -> str:
    """The text of every frame's calibration file."""
    return "".join(f"{key}: {values}\n" for key, values in _CALIB.items())


def calibration() -> Calibration:
    """Every frame's calibration."""
    shapes = {"P2": (3, 4), "R0_rect": (3, 3), "Tr_velo_to_cam": (3, 4)}
    names = {"P2": "P2", "R0_rect": "R0", "Tr_velo_to_cam": "Tr_velo2cam"}
    return Calibration(
        {names[k]: np.array(_CALIB[k].split(), float).reshape(shapes[k]) for k in shapes}
    )


def png_bytes(shape: tuple[int, int]) -> bytes:
    """A black grey-scale PNG."""
    height, width = shape
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(height * (width + 1)))),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _draw_boxes(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Class to LiDAR box; the classes keep to their own depth, so that none collide."""
    boxes = {}
    for (cls, size), depth in zip(SIZES.items(), (20.0, 10.0, 14.0)):
        x = depth + rng.uniform(-1, 1)
        box = [x, rng.uniform(-0.3, 0.3) * x, GROUND_Z, *size, rng.uniform(-3, 3)]
        boxes[cls] = np.array(box)
    return boxes


def _points_in(box: np.ndarray, rng: np.random.Generator, count: int = 150) -> np.ndarray:
    x, y = (rng.uniform(-0.45, 0.45, (count, 2)) * box[3:5]).T
    cos, sin = np.cos(box[6]), np.sin(box[6])
    z = rng.uniform(0.5, 0.95, count) * box[5]
    points = np.stack((x * cos + y * sin, y * cos - x * sin, z), axis=1) + box[:3]
    return np.column_stack((points, rng.uniform(0, 1, count))).astype(np.float32)


def _ground(rng: np.random.Generator, count: int = 4000) -> np.ndarray:
    x, y = rng.uniform(2, 60, count), rng.uniform(-25, 25, count)
    z = GROUND_Z + rng.normal(0, 0.01, count)
    return np.stack((x, y, z, rng.uniform(0, 1, count)), axis=1).astype(np.float32)


def _ground_plane() -> np.ndarray:
    """The ground in the rectified camera frame, normal pointing down as in some planes files."""
    calib = calibration()
    corners = np.array([[0, 0, GROUND_Z], [50, 0, GROUND_Z], [0, 50, GROUND_Z]])
    a, b, c = calib.lidar_to_rect(corners)
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal) * np.sign(normal[1])
    return np.append(normal, -normal @ a)


def _label_line(cls: str, box: np.ndarray) -> str:
    calib = calibration()
    location = calib.lidar_to_rect(box[None, :3])[0]
    u, v = calib.rect_to_img(location[None])[0][0]
    half = 0.5 * calib.P2[0, 0] * max(box[3:5]) / location[2]
    top = v - calib.P2[1, 1] * box[5] / location[2]
    bbox = np.clip((u - half, top, u + half, v), 0, (1241, 374, 1241, 374)).astype(np.float32)
    alpha = box[6] - np.arctan2(-box[1], box[0])
    w, length, h = box[3:6]
    label = Object3d(cls, 0.0, 0.0, alpha, bbox, h, w, length, location, box[6])
    return label.to_kitti_format(with_score=False)


def _write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
