"""Summary statistics of nine real KITTI frames, as `compare.frame_statistics` gives them.

Means, and standard deviations from frame to frame. Numbers only; KITTI's data is not part of the
repository.
"""

from __future__ import annotations

FRAMES = 9
POINTS = (120007, 5171)
# Of every fourth laser, from the top.
RING_COUNTS = {
    0: (1832, 242), 4: (1759, 261), 8: (1861, 217), 12: (1938, 141), 16: (1964, 176),
    20: (2020, 145), 24: (2004, 166), 28: (2035, 136), 32: (2101, 63), 36: (2071, 102),
    40: (2102, 95), 44: (1975, 105), 48: (1907, 130), 52: (1785, 96), 56: (1626, 116),
    60: (1292, 130), 63: (1083, 115),
}  # fmt: skip
# Shares of the points between compare.RANGE_EDGES.
RANGE_SHARES = (
    (0.264, 0.116), (0.325, 0.053), (0.182, 0.056), (0.094, 0.039), (0.070, 0.033),
    (0.033, 0.023), (0.022, 0.011), (0.009, 0.008),
)  # fmt: skip
DARK_SHARE = (0.105, 0.039)
MEDIAN_INTENSITY = (0.287, 0.021)
RAISED_SHARE = (0.356, 0.111)
GROUND_HEIGHT = (-1.674, 0.032)
GROUND_SLOPE = (0.004, 0.010)
SMOOTHNESS = (0.0067, 0.0006)
# Unhidden cars: distance in metres, points in the box, points over those that rays would leave in
# the whole of the 2D box.
CARS = ((13.3, 680, 0.62), (34.5, 67, 0.50), (41.4, 77, 0.41), (53.6, 26, 0.33), (60.8, 9, 0.12))
PEDESTRIANS = ((8.6, 376), (24.5, 70))
CYCLISTS = ((46.1, 18),)
