"""Test a checkpoint, or all of a run: `python tools/test.py --help`, as `pcdet-test`."""

from pcdet.cli.test import run

if __name__ == "__main__":
    run()
