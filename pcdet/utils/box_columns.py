"""The columns of boxes, which `box_utils` explains; without torch, for programs that need none."""

import math

# Columns of a LiDAR box; a batch of ground truth adds the 1-based class label.
X, Y, Z, W, L, H, RZ, LABEL = range(8)
CENTER = slice(X, Z + 1)
DIMS = slice(W, H + 1)
BOX = slice(X, RZ + 1)
# Columns of a camera box.
CAM_L, CAM_H, CAM_W, CAM_RY = 3, 4, 5, 6
# An angle beyond a full turn, and some room for rounding, is not in radians.
LARGEST_ANGLE = 2 * math.pi + 0.01
