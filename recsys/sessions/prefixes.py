"""Labelled prefixes: beginnings of sessions, each with the item of the step that came next."""

from dataclasses import dataclass

import numpy as np

from recsys.arrays import offsets_of, ragged_indices, rank_within
from recsys.histories import Histories
from recsys.sessions.log import SessionLog, step_starts


@dataclass(frozen=True, slots=True)
class Prefixes:
    """Beginnings of sessions.

    sessions: the events before the label; targets: int32 (n,), item of the next step
    owners: int64 (n,), position of the user
    """

    sessions: Histories
    targets: np.ndarray
    owners: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: np.ndarray) -> "Prefixes":
        """Some of the prefixes; rows: int64 (n,)."""
        return Prefixes(self.sessions.take(rows), self.targets[rows], self.owners[rows])

    def drawn(self, limit: int, seed: int) -> "Prefixes":
        """At most `limit` prefixes, drawn without replacement, in their order."""
        if len(self) <= limit:
            return self
        return self.take(np.sort(np.random.default_rng(seed).choice(len(self), limit, replace=False)))

    @property
    def repeats(self) -> np.ndarray:
        """Whether the target is an item of the session already, bool (n,)."""
        hits = self.sessions.items == self.targets[self.sessions.rows]
        return np.bincount(self.sessions.rows[hits], minlength=len(self)) > 0


def labelled(log: SessionLog) -> Prefixes:
    """Every prefix whose next step is later in time than the event before it.

    Events at one time, such as the lines of an order, have no order: none of them is the next one.
    """
    sessions = log.sessions
    starts, rows = step_starts(sessions), sessions.rows
    usable = np.zeros(len(starts), bool)
    usable[1:] = starts[1:] & (rows[1:] == rows[:-1]) & (sessions.times[1:] > sessions.times[:-1])
    targets = usable.nonzero()[0]
    begins = sessions.offsets[rows[targets]]
    lengths = targets - begins
    index = ragged_indices(begins, lengths)
    prefixes = Histories(offsets_of(lengths), sessions.items[index], sessions.events[index], sessions.times[index])
    return Prefixes(prefixes, sessions.items[targets], log.owners[rows[targets]])


def target_ranks(users: np.ndarray, items: np.ndarray, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The rank of each target in its list, float64 (n_prefixes,): 1 is the best, infinite if it is not listed.

    users: int64 (n,), positions of the prefixes; items: int32 (n,); scores: float (n,); ties go to the smaller item
    """
    rank = rank_within(users, scores, items)
    hits = (items == targets[users]).nonzero()[0]
    ranks = np.full(len(targets), np.inf)
    ranks[users[hits]] = rank[hits] + 1.0
    return ranks


def ndcg_by_prefix(ranks: np.ndarray, k: int) -> np.ndarray:
    """NDCG@k of lists with one right item, float64 (n,); ranks: see `target_ranks`."""
    return np.where(ranks <= k, 1.0 / np.log2(1.0 + ranks), 0.0)


def hit_rate(ranks: np.ndarray, k: int) -> float:
    """The fraction of targets among the first k."""
    return float((ranks <= k).mean()) if len(ranks) else 0.0


def mrr(ranks: np.ndarray, k: int) -> float:
    """The mean of 1 / rank, with 0 for targets after the first k."""
    return float(np.where(ranks <= k, 1.0 / ranks, 0.0).mean()) if len(ranks) else 0.0
