"""What a batch of users looks like at a moment: the shared input of candidates and features."""

from dataclasses import dataclass

import numpy as np

from recsys.arrays import rank_within, sums_within
from recsys.features.interactions import InteractionConfig, Interactions, interactions, sessions
from recsys.features.statistics import Statistics
from recsys.histories import Histories


@dataclass(frozen=True, slots=True)
class Profiles:
    """Aggregates of users' histories as of `now` (ms).

    by_item: one row for each (user, item); by_category: one for each (user, category)
    by_level: one for each level of the tree, root first, and (user, category there), user = level * n_users + user
    recency: int64 (n_rows,), position of a row of `by_item` among its user's by newest event, 0 first
    totals: float64 (n_users, 3), each user's sum of `by_item.decayed`
    session_start: int64 (n_users,), ms, NEVER without events; session_events: int64 (n_users,)
    """

    histories: Histories
    now: int
    by_item: Interactions
    by_category: Interactions
    by_level: Interactions
    recency: np.ndarray
    totals: np.ndarray
    session_start: np.ndarray
    session_events: np.ndarray

    def __len__(self) -> int:
        return len(self.histories)


def build_profiles(histories: Histories, statistics: Statistics, now: int, config: InteractionConfig) -> Profiles:
    """Aggregate histories that end at or before `now`."""
    items, n_users = histories.items, len(histories)
    levels = statistics.levels[items].T
    width = max(statistics.n_items, len(statistics.categories), 1)
    every = interactions(histories, [items, *levels], width, now, config)
    by_item = every.of_users(0, n_users)
    by_level = every.of_users(n_users, n_users * (1 + len(levels)))
    by_category = by_level.of_users(n_users * (len(levels) - 1), n_users * len(levels))
    recency = rank_within(by_item.users, by_item.newest)
    totals = sums_within(by_item.users, by_item.decayed, n_users)
    session = sessions(histories, config.session_gap_minutes)
    return Profiles(histories, now, by_item, by_category, by_level, recency, totals, *session)
