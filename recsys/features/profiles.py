"""Profiles: aggregates of a batch of users as of a time, the common input of candidates and features."""

from dataclasses import dataclass

import numpy as np

from recsys.arrays import rank_within, sums_within
from recsys.features.attributes import Affinities, affinities
from recsys.features.interactions import InteractionConfig, Interactions, interactions, sessions
from recsys.features.statistics import Statistics
from recsys.histories import Histories
from recsys.timeline import Present


@dataclass(frozen=True, slots=True)
class Profiles:
    """Aggregates of users' histories as of `now`.

    by_item: one row for each (user, item)
    by_category: one row for each (user, category of the item)
    by_level: one row for each (user, category) of each level of the tree, the root first. The row's user is
    level * n_users + user
    recency: int64 (n_rows,), rank of each row of `by_item` among the rows of its user, 0 for the newest event
    totals: float64 (n_users, 3), sum of `by_item.decayed` over the rows of each user
    session_start: int64 (n_users,), start of the newest session, ms; NEVER without events
    session_events: int64 (n_users,), events of the newest session
    affinities: interest in attributes of items; None if the shop gives no attributes
    """

    histories: Histories
    now: Present
    by_item: Interactions
    by_category: Interactions
    by_level: Interactions
    recency: np.ndarray
    totals: np.ndarray
    session_start: np.ndarray
    session_events: np.ndarray
    affinities: Affinities | None = None

    def __len__(self) -> int:
        return len(self.histories)

    def now_of(self, users: np.ndarray) -> Present:
        """The present of some users; users: int (n,)."""
        return self.now[users] if isinstance(self.now, np.ndarray) else self.now


def build_profiles(histories: Histories, statistics: Statistics, now: Present, config: InteractionConfig) -> Profiles:
    """Profiles of the users of `histories`; no event may be later than `now`."""
    items, n_users = histories.items, len(histories)
    levels = statistics.levels[items].T
    width = max(statistics.n_items, len(statistics.categories), 1)
    all_kinds = interactions(histories, [items, *levels], width, now, config)
    by_item = all_kinds.of_users(0, n_users)
    by_level = all_kinds.of_users(n_users, n_users * (1 + len(levels)))
    by_category = by_level.of_users(n_users * (len(levels) - 1), n_users * len(levels))
    recency = rank_within(by_item.users, by_item.newest)
    totals = sums_within(by_item.users, by_item.decayed, n_users)
    session = sessions(histories, config.session_gap_minutes)
    attributes = statistics.attributes
    interest = None if attributes is None else affinities(by_item, totals, attributes)
    return Profiles(histories, now, by_item, by_category, by_level, recency, totals, *session, interest)
