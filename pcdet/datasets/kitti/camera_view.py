"""Which points the camera sees, and the size of its images."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np

from pcdet.ops.points import points_utils
from pcdet.utils.errors import DataError
from pcdet.utils.io_utils import regular_file_size
from pcdet.utils.kitti_format.calib import Calibration

_MOST_PIXELS = 1 << 26
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Signature; length, type, width, height, five more bytes and the CRC of the chunk IHDR.
_PNG_HEADER = struct.Struct(">8sI4sII5sI")


def read_image_shape(path: str | os.PathLike) -> np.ndarray:
    """Read the (2,) int32 height and width of a PNG or JPEG file, without its pixels.

    Raises:
        DataError: the file cannot be read, or is damaged, see `read_png_shape`.
    """
    path = Path(path)
    if path.suffix.lower() == ".png":
        return read_png_shape(path)
    from PIL import Image  # takes its time to start, and few data sets have such images

    regular_file_size(path, "image")
    try:
        with Image.open(path, formats=["JPEG"]) as image:
            width, height = image.size
    except Exception as error:  # a damaged image may raise anything
        raise DataError(f"{path}: damaged JPEG: {error or type(error).__name__}") from error
    _check_size(path, width, height)
    return np.array([height, width], dtype=np.int32)


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > _MOST_PIXELS:
        raise DataError(
            f"{path}: expected an image of at most {_MOST_PIXELS} pixels, got {width} x {height}"
        )


def read_png_shape(path: str | os.PathLike) -> np.ndarray:
    """Read height and width of a PNG from its first 33 bytes.

    scikit-image can only decode the whole image, which takes a hundred times as long.

    Returns:
        (2,) int32.

    Raises:
        DataError: the file cannot be read, is not a PNG, has a damaged header or end, or claims
            to be larger than a camera's image can be.
    """
    path = Path(path)
    regular_file_size(path, "image")
    try:
        with path.open("rb") as file:
            header = file.read(_PNG_HEADER.size)
            file.seek(max(file.seek(0, os.SEEK_END) - 4096, 0))
            tail = file.read()
    except OSError as error:
        raise DataError(f"{path}: image cannot be read: {error.strerror}") from error
    if not header.startswith(_PNG_SIGNATURE):
        raise DataError(f"{path}: expected a PNG image, got a file that starts with {header[:8]}")
    damaged = len(header) < _PNG_HEADER.size
    if not damaged:
        _, length, kind, width, height, _, crc = _PNG_HEADER.unpack(header)
        damaged = (length, kind) != (13, b"IHDR") or zlib.crc32(header[12:29]) != crc
    if damaged or not (width and height):
        raise DataError(f"{path}: damaged PNG: its header (chunk IHDR) is wrong")
    if b"IEND" not in tail:
        raise DataError(f"{path}: truncated PNG: its last chunk (IEND) is missing")
    _check_size(path, width, height)
    return np.array([height, width], dtype=np.int32)


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Read the (height, width, 3) uint8 colours of a PNG or JPEG; transparency is dropped.

    Raises:
        DataError: see `read_image_shape`; or its pixels are damaged.
    """
    from skimage import io, util  # takes most of a second to start, and only pictures need it

    read_image_shape(path)
    try:
        pixels = np.atleast_3d(util.img_as_ubyte(io.imread(path)))
        return np.repeat(pixels[..., :1], 3, axis=-1) if pixels.shape[-1] < 3 else pixels[..., :3]
    except Exception as error:  # a damaged image may raise anything
        raise DataError(f"{path}: damaged image: {error or type(error).__name__}") from error


def rect_points_in_view(
    pts_rect: np.ndarray, image_shape: np.ndarray, calib: Calibration
) -> np.ndarray:
    """Tell which points of the rectified camera frame are seen in the image.

    Args:
        pts_rect: (N, 3), metres.
        image_shape: (height, width).
        calib: of the frame.

    Returns:
        (N,) bool.
    """
    pixels, depth = calib.rect_to_img(pts_rect)
    height, width = image_shape[:2]
    u, v = pixels.T
    return (u >= 0) & (u < width) & (v >= 0) & (v < height) & (depth >= 0)


def points_in_view(points: np.ndarray, image_shape: np.ndarray, calib: Calibration) -> np.ndarray:
    """Tell which points of the LiDAR frame are seen in the image.

    What `rect_points_in_view` says, in one compiled pass: several times faster on a whole scan,
    not worth its start-up on a few points.

    Args:
        points: (N, 3 + C) float32 LiDAR frame, metres.
        image_shape: (height, width).
        calib: of the frame.

    Returns:
        (N,) bool.
    """
    return points_utils.points_in_view(
        points.astype(np.float32, copy=False), calib.lidar_to_rect_matrix, calib.P2, image_shape
    )
