"""What a batch of users looks like at a moment: the shared input of candidates and features."""

from dataclasses import dataclass

import numpy as np

from recsys.features.interactions import (
    NEVER,
    InteractionConfig,
    Interactions,
    interactions,
    rank_within,
    session_starts,
)
from recsys.features.statistics import Statistics
from recsys.histories import Histories
from recsys.schema import CART, DAY, PURCHASE, VIEW


@dataclass(frozen=True, slots=True)
class Profiles:
    """Aggregates of users' histories as of `now` (ms).

    by_item: one row for each (user, item); by_level: the same for category levels, root first, leaf last
    totals: float64 (n_users, 3), each user's sum of `by_item.decayed`
    session_start: int64 (n_users,), ms, NEVER without events
    """

    histories: Histories
    now: int
    by_item: Interactions
    by_level: tuple[Interactions, ...]
    totals: np.ndarray
    session_start: np.ndarray

    def __len__(self) -> int:
        return len(self.histories)


def profiles(histories: Histories, statistics: Statistics, now: int, config: InteractionConfig) -> Profiles:
    """Aggregate histories that end at or before `now`."""
    items = histories.items
    by_item = interactions(histories, items, statistics.n_items, now, config)
    width = len(statistics.categories)
    by_level = tuple(
        interactions(histories, statistics.levels[items, level], max(width, 1), now, config)
        for level in range(statistics.levels.shape[1])
    )
    totals = np.stack(
        [np.bincount(by_item.users, column, minlength=len(histories)) for column in by_item.decayed.T], axis=1
    )
    starts = session_starts(histories, config.session_gap_minutes)
    return Profiles(histories, now, by_item, by_level, totals, starts)


def user_columns(of: Profiles) -> dict[str, np.ndarray]:
    """Features that depend on the user alone, float64 (n_users,) each; NaN where the user has no event."""
    histories, n_users = of.histories, len(of)
    counts = histories.counts()
    events = counts.sum(1)
    some = events > 0
    ends = histories.offsets[1:][some] - 1
    newest, oldest = _nan(n_users), _nan(n_users)
    newest[some] = histories.times[ends]
    oldest[some] = histories.times[histories.offsets[:-1][some]]
    day = np.floor(newest / DAY)
    bought = of.by_item.counts[:, PURCHASE] > 0
    buyers = np.bincount(of.by_item.users[bought], minlength=n_users)
    again = of.by_item.purchase_days > 1
    in_session = histories.times >= of.session_start[histories.rows]
    leaf = of.by_level[-1] if of.by_level else None
    return {
        "user_events": events.astype(np.float64),
        "user_views": counts[:, VIEW].astype(np.float64),
        "user_carts": counts[:, CART].astype(np.float64),
        "user_purchases": counts[:, PURCHASE].astype(np.float64),
        "user_purchase_rate": counts[:, PURCHASE] / np.where(some, events, np.nan),
        "user_items": np.bincount(of.by_item.users, minlength=n_users).astype(np.float64),
        "user_categories": (np.bincount(leaf.users, minlength=n_users).astype(np.float64) if leaf else _nan(n_users)),
        "user_recent_events": of.totals[:, 1],
        "user_days_idle": (of.now - newest) / DAY,
        "user_days_known": (of.now - oldest) / DAY,
        "user_repeat_share": np.bincount(of.by_item.users[again], minlength=n_users)
        / np.where(buyers > 0, buyers, np.nan),
        "user_session_events": np.bincount(histories.rows[in_session], minlength=n_users).astype(np.float64),
        "last_hour": np.floor((newest - day * DAY) / 3_600_000),
        "last_weekday": day % 7,
        "last_weekend": np.where(some, np.isin(day % 7, (2, 3)), np.nan),
    }


def pair_ranks(by_item: Interactions) -> tuple[np.ndarray, np.ndarray]:
    """Positions of each (user, item) row by slow decayed weight and by last event, 0 first; int64 (n,) each."""
    newest = by_item.last.max(axis=1)
    return (
        rank_within(by_item.users, by_item.decayed[:, -1], by_item.things),
        rank_within(by_item.users, newest.astype(np.float64), by_item.things),
    )


def days_since(now: int, times: np.ndarray) -> np.ndarray:
    """Days from `times` (ms) to `now`, NaN for NEVER; float64."""
    return np.where(times == NEVER, np.nan, (now - np.where(times == NEVER, now, times)) / DAY)


def _nan(n: int) -> np.ndarray:
    return np.full(n, np.nan)
