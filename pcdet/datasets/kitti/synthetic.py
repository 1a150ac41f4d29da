"""The former place of `pcdet.simulator`; `python -m` still finds it here."""

import sys

from pcdet.simulator.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
