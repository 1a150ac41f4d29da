"""Write docs/configuration.md."""

import argparse
from pathlib import Path

from pcdet.config.schema.page import PAGE, render
from pcdet.utils.paths import root_dir

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m pcdet.config.schema", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=root_dir() / PAGE)
    parser.parse_args().file.write_text(render(), encoding="utf-8")
