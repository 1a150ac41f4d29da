"""The former place of `pcdet.evaluation`; `python -m` still finds it here."""

import sys

from pcdet.evaluation import *  # noqa: F403
from pcdet.evaluation.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
