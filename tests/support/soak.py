"""Longer runs of the same tests: `make soak`.

A test that takes a number of cases or requests asks `scaled` for it. A test that may fail by chance, such as one that
kills a process, is marked `soak(times)` and runs as many times; in `make test` it runs once.
"""

import os

SOAK = os.environ.get("RECSYS_SOAK") == "1"


def scaled(usual: int, soak: int) -> int:
    """How many cases, requests or turns a test takes: `usual` in `make test`, `soak` in `make soak`."""
    return soak if SOAK else usual
