"""A cap on the items of a list that are in the user's history."""

import numpy as np

from recsys.arrays import run_starts

ROUNDING = 1e-9
"""Added before a quotient is rounded down: 17 / 0.68 is 25, although the float lies just below."""


def cap_repeats(order: np.ndarray, users: np.ndarray, in_history: np.ndarray, caps: np.ndarray) -> np.ndarray:
    """The rows under the caps, int64 (n_kept,): of the first p items of a list at most ⌈cap · p⌉ are in the history.

    Items of the history move back until enough new items stand before them. If the list has too few new items, they are
    dropped. A list of n items is the start of every longer list.

    order: int64 (n,), rows user after user, best first; users: int64 (n,), ascending in that order
    in_history: bool (n,), by row; caps: float64 (n_users,), in [0, 1]
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
        # The i-th item of the history (i from 0) may stand at position p (from 1) if cap * p > i. `needed` counts
        # the new items before the smallest such p.
        needed = np.floor(earlier / caps[owners] + ROUNDING) - earlier
    needed = np.where(caps[owners] > 0, needed, np.inf)
    new_before = np.where(known, np.maximum(new, needed), new)
    n_new = np.bincount(owners[~known], minlength=len(caps))
    kept = (~known | (new_before <= n_new[owners])).nonzero()[0]
    return order[kept[np.lexsort((~known[kept], new_before[kept], owners[kept]))]]
