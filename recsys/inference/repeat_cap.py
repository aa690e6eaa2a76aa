"""A cap on the items of a list that the user has had before."""

import numpy as np

from recsys.arrays import run_starts

ROUNDING = 1e-9
"""17 / 0.68 is 25, and not the float below it."""


def cap_repeats(order: np.ndarray, users: np.ndarray, in_history: np.ndarray, caps: np.ndarray) -> np.ndarray:
    """The rows reordered and cut so that of the first p items of a list at most ⌈cap · p⌉ are of the user's history.

    Items of the history move back until enough new items stand before them; those for which there are not enough are
    dropped. So a list of n items is the start of every longer list.

    order: int64 (n,), rows user after user, best first; users: int64 (n,), ascending in that order
    in_history: bool (n,), of the rows; caps: float64 (n_users,), in [0, 1]
    """
    owners, known = users[order], in_history[order]
    starts = run_starts(owners)
    lengths = np.diff(np.append(starts, len(owners)))

    def before(counted: np.ndarray) -> np.ndarray:
        """The number of `counted` rows before each row in its user's list."""
        running = np.cumsum(counted) - counted
        return running - running[starts].repeat(lengths)

    earlier, new = before(known), before(~known)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # The i-th known item, from 0, may stand at position p where cap * p > i: behind this number of new items.
        needed = np.floor(earlier / caps[owners] + ROUNDING) - earlier
    needed = np.where(caps[owners] > 0, needed, np.inf)
    place = np.where(known, np.maximum(new, needed), new)
    n_new = np.bincount(owners[~known], minlength=len(caps))
    kept = (~known | (place <= n_new[owners])).nonzero()[0]
    return order[kept[np.lexsort((~known[kept], place[kept], owners[kept]))]]
