"""Train a detector: `python tools/train.py --help`, as `pcdet-train`."""

from pcdet.cli.train import run

if __name__ == "__main__":
    run()
