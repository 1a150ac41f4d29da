"""Make the infos and the ground-truth database of a data set in KITTI's layout."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pcdet.datasets.kitti import kitti_dataset

_COMMAND = "create_kitti_infos"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `kitti_dataset create_kitti_infos` with these options; return its exit code.

    The word itself may be there or not.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    return kitti_dataset.main(words if words[:1] == [_COMMAND] else [_COMMAND, *words])


if __name__ == "__main__":
    sys.exit(main())
