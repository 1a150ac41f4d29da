"""Draw the picture of docs/coordinates.md.

    python tools/scripts/draw_coordinates.py [--out docs/images/coordinates.png]

Every corner, voxel and anchor comes from the package's own functions, so the picture shows what
the code does. Drawn again with the same matplotlib, the file is the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Polygon, Rectangle

from pcdet.datasets.processor.voxel_generator import VoxelGenerator
from pcdet.models.model_utils.anchor_generator import AnchorGeneratorRange
from pcdet.utils import box_utils
from pcdet.utils.box_utils import CAM_RY, CENTER, RZ, L, W, X, Y
from pcdet.utils.kitti_format.calib import Calibration

REPOSITORY = Path(__file__).resolve().parents[2]
BLUE, ORANGE, GREY, GREEN = "tab:blue", "tab:orange", "0.6", "tab:green"
# Two cars: rz = 0 and rz = 0.5.
BOXES = np.array([[4.0, 2.6, -1.7, 1.6, 3.9, 1.5, 0.0], [4.0, -3.0, -1.7, 1.6, 3.9, 1.5, 0.5]])
# A camera at the LiDAR, its axes along it: x right, y down, z forward.
CALIB = Calibration(
    {
        "P2": np.eye(3, 4),
        "R0": np.eye(3),
        "Tr_velo2cam": np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0]]),
    }
)
GRID_RANGE = (0.0, -1.6, -3.0, 3.2, 1.6, 1.0)
VOXEL_SIZE = (0.05, 0.05, 0.1)
STRIDE = 8  # voxels along a cell of the head's grid, DOWNSAMPLED_FACTOR


def paper(xy: np.ndarray) -> np.ndarray:
    """Points (..., 2) of the LiDAR frame on paper, seen from above: x points up, y to the left."""
    return np.stack((-xy[..., 1], xy[..., 0]), axis=-1)


def arrow(ax: Axes, start: np.ndarray, end: np.ndarray, color: str, style: str = "-|>") -> None:
    """An arrow between two points on paper."""
    line = {"arrowstyle": style, "color": color, "lw": 1.6, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", xy=end, xytext=start, arrowprops=line)


def axes_arrows(ax: Axes, right: str, up: str, left: bool, into: str) -> None:
    """The two axes of a frame at the origin, and a mark for the third."""
    arrow(ax, (0, 0), (0, 1.7), "k")
    arrow(ax, (0, 0), (-1.7 if left else 1.7, 0), "k")
    ax.text(0.12, 1.7, up, va="center")
    ax.text(-1.8 if left else 1.8, 0, right, ha="right" if left else "left", va="center")
    ax.plot(0, 0, "o", ms=11, mfc="w", mec="k", zorder=3)
    ax.plot(0, 0, "." if "of the paper" in into else "x", ms=7, c="k", zorder=4)
    ax.text(0.3 if left else -0.3, -0.55, into, ha="left" if left else "right", va="center")


def draw_box(ax: Axes, corners: np.ndarray, color: str) -> None:
    """A box seen from above; corners (4, 2) on paper, those of the front first."""
    ax.add_patch(Polygon(corners, fc=color, alpha=0.15))
    ax.add_patch(Polygon(corners, fill=False, ec=color, lw=1.8))
    ax.add_patch(Polygon(corners[:2], closed=False, ec=color, lw=5))
    middle, front = corners.mean(axis=0), corners[:2].mean(axis=0)
    arrow(ax, middle, middle + 1.55 * (front - middle), color)
    ax.plot(*middle, ".", c=color)


def draw_lidar_view(ax: Axes) -> None:
    """Both boxes from above, with corner numbers, w, l and the sense of rz."""
    axes_arrows(ax, "y", "x", left=True, into="z, out of the paper")
    for box, color in zip(BOXES, (BLUE, ORANGE)):
        corners = paper(box_utils.boxes3d_to_corners3d_lidar(box[None])[0, :4, :2])
        draw_box(ax, corners, color)
        smaller = box[None] - [0, 0, 0, 0.5, 0.6, 0, 0]
        places = paper(box_utils.boxes3d_to_corners3d_lidar(smaller)[0, :4, :2])
        for k, place in enumerate(places):
            ax.text(*place, k, color=color, ha="center", va="center")
        ax.text(
            corners[:, 0].mean(), 6.3, f"rz = {box[RZ]:g}", color=color, ha="center", weight="bold"
        )
    corners = paper(box_utils.boxes3d_to_corners3d_lidar(BOXES[:1])[0, :4, :2])
    for low, high, name, offset in (
        (corners[1], corners[2], f"l = {BOXES[0, L]:g}", (0, -0.55)),
        (corners[2], corners[3], f"w = {BOXES[0, W]:g}", (-0.55, 0)),
    ):
        arrow(ax, low + offset, high + offset, GREY, "<|-|>")
        turn = 90 if offset[0] else 0
        place = (low + high) / 2 + 1.75 * np.array(offset)
        ax.text(*place, name, color="0.3", ha="center", va="center", rotation=turn)
    draw_turn(ax, paper(BOXES[1, X : Y + 1]), BOXES[1, RZ], "rz")
    ax.set_title("LiDAR frame from above: corners 0-3, front = 0 and 1", fontsize=10)
    ax.set(xlim=(-6.2, 6.6), ylim=(-1.2, 6.9))


def draw_turn(ax: Axes, middle: np.ndarray, angle: float, name: str) -> None:
    """An arc from the paper's right, clockwise by `angle`, with its name."""
    degrees = np.degrees(angle)
    ax.plot([middle[0], middle[0] + 3.2], [middle[1]] * 2, ":", c=GREY)
    ax.add_patch(Arc(middle, 4.8, 4.8, theta1=-degrees, theta2=0, ec="k"))
    ax.text(*(middle + 2.75 * np.array([np.cos(angle / 2), -np.sin(angle / 2)])), name, va="center")


def draw_camera_view(ax: Axes) -> None:
    """The same boxes in the rectified camera frame, with rotation_y and alpha."""
    axes_arrows(ax, "x", "z", left=False, into="y, into the paper")
    camera = box_utils.boxes3d_lidar_to_camera(BOXES, CALIB)
    corners = box_utils.boxes3d_to_corners3d_camera(camera)[:, :4, [0, 2]]
    for box, own, color in zip(camera, corners, (BLUE, ORANGE)):
        draw_box(ax, own, color)
        x, _, z = box[CENTER]
        ax.plot([0, x], [0, z], "--", c=color, lw=1)
        alpha = box[CAM_RY] - np.arctan2(x, z)
        text = f"rotation_y = {box[CAM_RY]:g}\nalpha = {alpha:.2f}"
        ax.text(own[:, 0].mean(), 6.3, text, color=color, ha="center", va="center")
    draw_turn(ax, corners[1].mean(axis=0), camera[1, CAM_RY], "rotation_y")
    ax.set_title("Camera frame from above: rotation_y is rz", fontsize=10)
    ax.set(xlim=(-6.2, 6.6), ylim=(-1.2, 6.9))


def draw_solid(ax: Axes) -> None:
    """One box at an angle, with all corner numbers and the place of z."""
    box = BOXES[:1] * [0, 0, 0, 1, 1, 1, 0]
    flat = np.array([[-0.45, 0.35], [-0.9, -0.22], [0, 1]])  # of x, y, z on paper
    corners = box_utils.boxes3d_to_corners3d_lidar(box)[0] @ flat
    for k in range(4):
        for a, b in ((k, (k + 1) % 4), (k + 4, (k + 1) % 4 + 4), (k, k + 4)):
            ax.plot(*corners[[a, b]].T, c=BLUE, lw=1.8)
    front = corners[[0, 1, 5, 4]]
    ax.add_patch(Polygon(front, fc=BLUE, alpha=0.25))
    for k, corner in enumerate(corners):
        offset = np.array([-0.16 if k % 4 in (0, 3) else 0.16, -0.1 if k < 4 else 0.12])
        ax.text(*(corner + offset), k, ha="center", va="center")
    ax.plot(0, 0, "o", c=ORANGE, zorder=4)
    ax.text(0.35, -0.75, "x, y, z: the middle of the bottom face", color=ORANGE, fontsize=9)
    ax.plot([0, 0.6], [0, -0.6], c=ORANGE, lw=1)
    origin = np.array([-3.0, -0.9])
    for direction, name in zip(flat, "xyz"):
        end = origin + 0.8 * direction / np.linalg.norm(direction)
        arrow(ax, origin, end, "k")
        ax.text(*(origin + 1.3 * (end - origin)), name, ha="center", va="center")
    ax.text(*(front.mean(axis=0)), "front", color=BLUE, ha="center", va="center", weight="bold")
    ax.set_title("A LiDAR box with rz = 0: corners 4-7 are the top", fontsize=10)
    ax.set(xlim=(-4.4, 3.2), ylim=(-1.9, 2.91))


def draw_grid(ax: Axes) -> None:
    """A small grid of the head: cells, the voxels of one of them, and the anchors of one class."""
    voxels = VoxelGenerator(VOXEL_SIZE, GRID_RANGE, max_num_points=1)
    width, height = (int(size) // STRIDE for size in voxels.grid_size[:2])
    anchor_range = (*GRID_RANGE[:2], -1.78, *GRID_RANGE[3:5], -1.78)
    generator = AnchorGeneratorRange(anchor_range, [[0.3, 0.5, 1.5]], [0, 1.57], "Car", 0.6, 0.45)
    anchors = generator.generate((height, width)).numpy()
    edges_x = np.linspace(GRID_RANGE[0], GRID_RANGE[3], width + 1)
    edges_y = np.linspace(GRID_RANGE[1], GRID_RANGE[4], height + 1)
    for x in edges_x:
        ax.plot(*paper(np.array([[x, edges_y[0]], [x, edges_y[-1]]])).T, c="0.8", lw=0.8)
    for y in edges_y:
        ax.plot(*paper(np.array([[edges_x[0], y], [edges_x[-1], y]])).T, c="0.8", lw=0.8)
    zyx = np.array([[0, iy, ix] for iy in range(STRIDE) for ix in range(STRIDE)])
    centers = paper(voxels.voxel_centers(zyx)[:, :2])
    for center in centers:
        low = center - np.array(VOXEL_SIZE[:2]) / 2
        ax.add_patch(Rectangle(low, *VOXEL_SIZE[:2], ec=GREEN, fill=False, lw=0.5))
    ax.plot(*paper(anchors[..., :2]).reshape(-1, 2).T, "+", c=BLUE, ms=6)
    for box, color in zip(anchors[height // 2, width // 2], (BLUE, ORANGE)):
        corners = paper(box_utils.boxes3d_to_corners3d_lidar(box[None])[0, :4, :2])
        ax.add_patch(Polygon(corners, fill=False, ec=color, lw=1.8))
    right, bottom = paper(np.array(GRID_RANGE[:2])) + np.array([0.2, -0.2])
    arrow(ax, (right, bottom), (right, bottom + 1.4), "k")
    arrow(ax, (right, bottom), (right - 1.4, bottom), "k")
    ax.text(right + 0.07, bottom + 1.4, "W, along x", rotation=90, va="top")
    ax.text(right - 1.45, bottom, "H, along y", ha="right", va="center")
    ax.text(right + 0.07, bottom, "row 0, column 0", fontsize=8, va="center")
    ax.set_title("Head: cells, one cell's voxels (green), anchors (+)", fontsize=10)
    ax.set(xlim=(-2.95, 3.29), ylim=(-0.4, 3.55))


def draw() -> Figure:
    """All four pictures."""
    figure = Figure(figsize=(12, 8.2), layout="constrained")
    drawings = (draw_lidar_view, draw_camera_view, draw_solid, draw_grid)
    for ax, drawing in zip(figure.subplots(2, 2).flat, drawings):
        drawing(ax)
        ax.set_aspect("equal")
        ax.axis("off")
    return figure


def main(argv: list[str] | None = None) -> None:
    """Draw the picture of docs/coordinates.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = REPOSITORY / "docs" / "images" / "coordinates.png"
    parser.add_argument("--out", type=Path, default=default, help="the picture to write")
    args = parser.parse_args(argv)
    mpl.rcParams["font.size"] = 9
    # Without matplotlib's version inside.
    args.out.parent.mkdir(parents=True, exist_ok=True)
    draw().savefig(args.out, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
