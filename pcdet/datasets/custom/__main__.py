"""`python -m pcdet.datasets.custom` is `pcdet-custom`."""

from pcdet.cli.custom import run

if __name__ == "__main__":
    run()
