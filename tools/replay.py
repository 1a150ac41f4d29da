"""Repeat a step whose loss was not finite: `python tools/replay.py --help`, as `pcdet-replay`."""

from pcdet.cli.replay import run

if __name__ == "__main__":
    run()
