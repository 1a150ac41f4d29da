"""Write docs/configuration.md.

python -m pcdet.config.schema [file]
"""

import sys
from pathlib import Path

from pcdet.config.schema.page import PAGE, render
from pcdet.utils.paths import root_dir

if __name__ == "__main__":
    Path(*sys.argv[1:] or [root_dir() / PAGE]).write_text(render(), encoding="utf-8")
