"""A candidate source yields rows (user, item, score); this is what they share."""

from dataclasses import dataclass

import numpy as np

from recsys.histories import runs


@dataclass(frozen=True, slots=True)
class Scored:
    """Items that a source proposes, at most one row for each (user, item).

    users: int64 (n,), positions in the batch; items: int32 (n,); scores: float64 (n,), higher is better
    """

    users: np.ndarray
    items: np.ndarray
    scores: np.ndarray

    def where(self, keep: np.ndarray) -> "Scored":
        return Scored(self.users[keep], self.items[keep], self.scores[keep])


def summed(users: np.ndarray, items: np.ndarray, scores: np.ndarray, n_items: int) -> Scored:
    """Add up the scores of equal (user, item) rows, each group in the order given."""
    keys = users.astype(np.int64) * n_items + items
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    starts, group = runs(keys)
    total = np.bincount(group, scores[order], minlength=len(starts))
    unique = keys[starts]
    return Scored(unique // n_items, (unique % n_items).astype(np.int32), total)
