"""The lists of several sources, merged into one row for each user and item."""

from dataclasses import dataclass

import numpy as np

from recsys.arrays import positions, runs
from recsys.retrieval.preranker import MAX_RANK, Proposals
from recsys.schema import UNKNOWN


@dataclass(frozen=True, slots=True)
class Listed:
    """The lists of the sources, source after source, user after user, best first.

    source: int64 (n,), position of the source; key: int64 (n,), user * n_items + item
    score: float64 (n,); history_row: int64 (n,), see Proposals.history_rows
    """

    source: np.ndarray
    key: np.ndarray
    score: np.ndarray
    history_row: np.ndarray

    def take(self, rows: np.ndarray) -> "Listed":
        return Listed(self.source[rows], self.key[rows], self.score[rows], self.history_row[rows])


def merged(listed: Listed, n_users: int, n_items: int, n_sources: int) -> Proposals:
    """The lists of the sources, merged into one row for each (user, item)."""
    rank = positions(listed.source * n_users + listed.key // n_items)
    order = listed.key.argsort()
    starts, row = runs(listed.key[order])
    scores = np.full((len(starts), n_sources), np.nan, np.float32)
    ranks = np.full((len(starts), n_sources), MAX_RANK)
    history_rows = np.full(len(starts), UNKNOWN)
    cells = row, listed.source[order]
    scores[cells] = listed.score[order]
    ranks[cells] = np.minimum(rank[order], MAX_RANK - 1)
    ordered = listed.history_row[order]
    history_rows[row[ordered != UNKNOWN]] = ordered[ordered != UNKNOWN]
    users, items = np.divmod(listed.key[order[starts]], n_items)
    return Proposals(users, items.astype(np.int32), scores, ranks, history_rows)
