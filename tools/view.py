"""Look at scenes, detections and samples: `python tools/view.py --help`, as `pcdet-view`."""

from pcdet.cli.view import run

if __name__ == "__main__":
    run()
