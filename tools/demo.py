"""Detect and draw objects in raw LiDAR scans: `python tools/demo.py --help`, as `pcdet-demo`."""

from pcdet.cli.demo import run

if __name__ == "__main__":
    run()
