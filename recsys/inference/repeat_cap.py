"""How many of a list's items the user may have had before."""

import numpy as np

from recsys.arrays import run_starts

ROUNDING = 1e-9
"""17 / 0.68 is 25, not the float below it."""


def limit_repeats(order: np.ndarray, users: np.ndarray, had: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """`order` with items that the user had moved back, so that they are at most ceil(share * p) of the first p.

    So the list of n items is the start of every longer one. What no new item is left for is dropped.

    order: int64 (n,), rows user after user, best first; users: int64 (n,), ascending there; had: bool (n,), of the rows
    shares: float64 (n_users,), in [0, 1]
    """
    owners, mine = users[order], had[order]
    starts = run_starts(owners)
    lengths = np.diff(np.append(starts, len(owners)))

    def before(counted: np.ndarray) -> np.ndarray:
        """How many of the `counted` stand before each row in its user's list."""
        running = np.cumsum(counted) - counted
        return running - running[starts].repeat(lengths)

    earlier, new = before(mine), before(~mine)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # The i-th item of theirs, from 0, may stand where share * p > i, so behind so many new ones.
        needed = np.floor(earlier / shares[owners] + ROUNDING) - earlier
    needed = np.where(shares[owners] > 0, needed, np.inf)
    place = np.where(mine, np.maximum(new, needed), new)
    there = np.bincount(owners[~mine], minlength=len(shares))
    kept = (~mine | (place <= there[owners])).nonzero()[0]
    return order[kept[np.lexsort((~mine[kept], place[kept], owners[kept]))]]
