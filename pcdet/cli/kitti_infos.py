"""Make the infos and the ground-truth database of a data set in KITTI's layout."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pcdet.datasets.kitti import kitti_dataset


def main(argv: Sequence[str] | None = None) -> int:
    """Run `kitti_dataset create_kitti_infos` with these options; return its exit code."""
    return kitti_dataset.main(["create_kitti_infos", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    sys.exit(main())
