"""Numbers that are larger in a long run of the same tests: `make soak`."""

import os

SOAK = os.environ.get("RECSYS_SOAK") == "1"


def scaled(usual: int, soak: int) -> int:
    """How many cases, requests or turns a test takes: `usual` in `make test`, `soak` in `make soak`."""
    return soak if SOAK else usual
