"""A candidate source yields rows (user, item, score); this is what they share."""

from dataclasses import dataclass

import numpy as np

from recsys.arrays import order_within, runs


@dataclass(frozen=True, slots=True)
class Scored:
    """Items that a source proposes, user after user, each user's best first, at most one row for each (user, item).

    users: int64 (n,), positions in the batch; items: int32 (n,); scores: float64 (n,), higher is better
    """

    users: np.ndarray
    items: np.ndarray
    scores: np.ndarray


def best_first(users: np.ndarray, items: np.ndarray, scores: np.ndarray) -> Scored:
    """Rows in the order of a source; equal scores by item code."""
    order = order_within(users, scores, items)
    return Scored(users[order], items[order], scores[order])


def summed(users: np.ndarray, items: np.ndarray, scores: np.ndarray, n_items: int) -> Scored:
    """The same, with the scores of equal (user, item) rows added up in the order given."""
    keys = users * n_items + items
    order = keys.argsort(kind="stable")
    starts, row = runs(keys[order])
    first = order[starts]
    return best_first(users[first], items[first], np.bincount(row, scores[order]))
