"""Proposals of a session source, and sums of scores by (session, item)."""

from dataclasses import dataclass

import numpy as np

from recsys.arrays import runs


@dataclass(frozen=True, slots=True)
class Proposal:
    """Proposed items of a source, one row for each (user, item), ascending.

    users: int64 (n,); items: int64 (n,); scores: float64 (n,), above 0
    support: float64 (n,), number of sessions or items that the score is added up from
    """

    users: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    support: np.ndarray

    def where(self, keep: np.ndarray) -> "Proposal":
        """The rows where `keep`, bool (n,), is true."""
        return self if keep.all() else Proposal(*(getattr(self, name)[keep] for name in self.__slots__))


def add_up(users: np.ndarray, items: np.ndarray, scores: np.ndarray, n_items: int) -> Proposal:
    """One row for each (user, item) with the sum of its scores, added in the given order within a user.

    A sort of whole numbers is faster than an argsort: the key carries the position of its row.
    """
    bits = max(len(users), 1).bit_length()
    keys = ((users * n_items + items) << bits) + np.arange(len(users))
    keys.sort()
    order = keys & ((1 << bits) - 1)
    pairs = keys >> bits
    starts, run = runs(pairs)
    first = pairs[starts]
    owners = first // n_items
    sums = np.bincount(run, scores[order], minlength=len(starts))
    counts = np.diff(np.append(starts, len(order))).astype(np.float64)
    return Proposal(owners, first - owners * n_items, sums, counts)
