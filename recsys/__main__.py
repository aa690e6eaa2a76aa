"""`python -m recsys`: the same as the command `recsys`."""

import sys

from recsys.cli import main

if __name__ == "__main__":
    sys.exit(main())
